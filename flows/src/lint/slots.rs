//! ZF003: what is written is read, or its step is there for what it does.

use crate::lint::finding::Finding;
use crate::lint::rule::Rule;
use crate::lint::subject::{Deed, Subject};

/// A step that writes to another system, or that others wait for, has done its work without a reader. Of a Rust step the
/// graph does not know what it does: a name that begins with `_` says, as everywhere in Rust, that nobody is to read it.
pub(super) fn look(flow: &Subject<'_>, found: &mut Vec<Finding>) {
    for (_, node) in flow.steps() {
        let deed = flow.deed(node);
        let for_its_effect = matches!(deed, Deed::Writes | Deed::WritesAlike)
            || (deed == Deed::Unknown && (flow.is_page() || node.name.starts_with('_')))
            // What has to be undone has done something, and what undoes it or clears up behind it may read the slot.
            || node.undo.is_some()
            || node.cleanup.is_some();
        if for_its_effect || flow.is_read(node) || flow.is_waited_for(node) {
            continue;
        }
        let name = &node.name;
        let help = match deed {
            Deed::Unknown => format!("read it, remove it, or call it `_{name}` if its work is its effect"),
            _ if node.step == "set" => "read it, or remove it".to_owned(),
            _ => format!("read it, remove it, or let the steps it guards wait: `after: [{name}]`"),
        };
        found.push(flow.finding(Rule::DeadSlot, Some(node), format!("`{name}` is written and never read"), help));
    }
}
