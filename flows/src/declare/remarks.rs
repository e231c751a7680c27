//! What a page says of a flow that its graph does not hold, for the linter.

use serde_saphyr::Spanned;

use super::document::{FlowDoc, Tree};
use crate::lint::{Remarks, Rule};

/// Reads what the linter asks of a flow's page. For a page that [`load`](super::load) takes; of any other it sees what it
/// understands. The routes' time is not in it.
#[must_use]
pub fn remarks(doc: &FlowDoc) -> Remarks {
    let flow = &doc.0.value;
    let allow = get(flow, "lint").and_then(|lint| get(lint, "allow")).map(allowed).unwrap_or_default();
    let in_rust = match get(flow, "steps") {
        Some(Tree::Map(steps)) => {
            let calls = steps.iter().filter(|(_, step)| get(&step.value, "call").is_some());
            calls.map(|(name, _)| name.value.clone()).collect()
        }
        _ => Vec::new(),
    };
    Remarks { allow, route_timeout: None, in_rust }
}

fn allowed(list: &Tree) -> Vec<Rule> {
    let Tree::List(list) = list else { return Vec::new() };
    list.iter().filter_map(|id| text(&id.value)).filter_map(Rule::from_id).collect()
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
    use super::*;

    #[test]
    fn what_is_allowed_and_what_is_rust_is_read() {
        let page = "
flow: shop
lint: { allow: [ZF004, ZF999, 7] }
steps:
  a: { post: 'x:/' }
  b: { call: post }
  c: nothing
";
        let found = remarks(&serde_saphyr::from_str(page).unwrap());
        assert_eq!((&found.allow[..], &found.in_rust[..]), (&[Rule::RetriedWrite][..], &["b".to_owned()][..]));
        assert_eq!(remarks(&serde_saphyr::from_str("7").unwrap()), Remarks::default());
    }
}
