//! ZF002: somebody answers for a flow, and a sentence says what it is for.

use crate::lint::finding::Finding;
use crate::lint::rule::Rule;
use crate::lint::subject::Subject;

pub(super) fn look(flow: &Subject<'_>, found: &mut Vec<Finding>) {
    let head = flow.graph.head();
    let owned = head.owner.as_deref().is_some_and(|owner| !owner.trim().is_empty());
    let described = !head.doc.trim().is_empty();
    let (owner, doc) = if flow.is_page() {
        ("`owner: the-team`", "`description: what it answers`")
    } else {
        ("`owner = \"the-team\"`", "a `///` sentence above it")
    };
    let (message, help) = match (owned, described) {
        (true, true) => return,
        (false, true) => ("it has no owner", format!("add {owner}: who is asked when it fails")),
        (true, false) => ("it has no description", format!("add {doc}")),
        (false, false) => ("it has no owner and no description", format!("add {owner} and {doc}")),
    };
    found.push(flow.finding(Rule::Unowned, None, message, help));
}
