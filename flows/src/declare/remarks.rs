//! What a page says of a flow that its graph does not hold, for the linter.

use serde_saphyr::Spanned;

use super::document::{FlowDoc, Tree};
use crate::lint::{Join, Remarks, Rule, Said};

/// Reads what the linter asks of a flow's page. For a page that [`load`](super::load) takes; of any other it sees what it
/// understands. The routes' time is not in it.
#[must_use]
pub fn remarks(doc: &FlowDoc) -> Remarks {
    let flow = &doc.0.value;
    let allow = get(flow, "lint").and_then(|lint| get(lint, "allow")).map(allowed).unwrap_or_default();
    let steps = match get(flow, "steps") {
        Some(Tree::Map(steps)) => steps.iter().map(|(name, step)| (name.value.clone(), said(&step.value))).collect(),
        _ => Vec::new(),
    };
    Remarks { allow, route_timeout: None, steps }
}

fn allowed(list: &Tree) -> Vec<Rule> {
    let Tree::List(list) = list else { return Vec::new() };
    list.iter().filter_map(|id| text(&id.value)).filter_map(Rule::from_id).collect()
}

fn said(step: &Tree) -> Said {
    let is = |key: &str| matches!(get(step, key), Some(Tree::Bool(true)));
    let join = if is("race") {
        Some(Join::Race)
    } else if is("first_ok") {
        Some(Join::FirstOk)
    } else if get(step, "quorum").is_some() {
        Some(Join::Quorum)
    } else {
        get(step, "hedge").map(|after| Join::Hedge(text(after).and_then(crate::deadline::parse)))
    };
    Said { idempotent: is("idempotent"), rust: get(step, "call").is_some(), join }
}

fn get<'d>(tree: &'d Tree, key: &str) -> Option<&'d Tree> {
    let Tree::Map(entries) = tree else { return None };
    let named = |(name, _): &&(Spanned<String>, Spanned<Tree>)| name.value == key;
    entries.iter().find(named).map(|(_, value)| &value.value)
}

fn text(tree: &Tree) -> Option<&str> {
    match tree {
        Tree::Text(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn joins_declarations_and_what_is_allowed_are_read() {
        let page = "
flow: shop
lint: { allow: [ZF004, ZF999, 7] }
steps:
  a: { post: ['x:/', 'y:/'], race: true, idempotent: true }
  b: { get: ['x:/', 'y:/'], hedge: 80ms }
  c: { get: ['x:/', 'y:/'], quorum: 1, first_ok: false }
  d: { get: ['x:/', 'y:/'], race: false }
  e: nothing
";
        let found = remarks(&serde_saphyr::from_str(page).unwrap());
        assert_eq!(found.allow, [Rule::RetriedWrite]);
        assert_eq!(found.of("a"), Said { idempotent: true, join: Some(Join::Race), ..Said::default() });
        assert_eq!(found.of("b").join, Some(Join::Hedge(Some(Duration::from_millis(80)))));
        assert_eq!((found.of("c").join, found.of("d").join), (Some(Join::Quorum), None));
        assert_eq!((found.of("e"), found.of("z")), (Said::default(), Said::default()));
        assert_eq!(remarks(&serde_saphyr::from_str("7").unwrap()), Remarks::default());
    }
}
