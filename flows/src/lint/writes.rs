//! ZF004 and ZF007: retries of writes that come to little, and writes whose answer does not count.

use crate::lint::finding::Finding;
use crate::lint::rule::Rule;
use crate::lint::subject::{Deed, Subject};

pub(super) fn look(flow: &Subject<'_>, found: &mut Vec<Finding>) {
    for (_, node) in flow.steps() {
        let deed = flow.deed(node);
        let verb = Subject::verb(node);
        if deed == Deed::Writes && node.retries > 0 && !node.idempotent {
            let target = node.targets.first().map_or("the target", String::as_str);
            let message = format!("`{verb}` is tried again only when it surely did not arrive");
            let help = format!(
                "say `idempotent: true` where `{target}` knows the `Idempotency-Key` that every try carries, or leave \
                 `retry` out"
            );
            found.push(flow.finding(Rule::RetriedWrite, Some(node), message, help));
        }
        // An answer that does not count is no write that did not happen, be it one that may be made twice.
        if let (Deed::Writes | Deed::WritesAlike, Some(join)) = (deed, Subject::partial_join(node)) {
            let message =
                format!("`{}` of `{verb}`: a call whose answer does not count may have written", join.as_str());
            let help = "write to one target, or to all of them: a list without a join waits for every answer";
            found.push(flow.finding(Rule::JoinedWrite, Some(node), message, help));
        }
    }
}
