//! ZF012 and ZF016: an order that is declared is one that is needed.

use crate::graph::{Graph, GraphNode};
use crate::lint::finding::Finding;
use crate::lint::rule::Rule;
use crate::lint::subject::{Deed, Subject};

pub(super) fn look(flow: &Subject<'_>, found: &mut Vec<Finding>) {
    let nodes = flow.graph.nodes();
    for node in nodes {
        let mut seen: Vec<&str> = Vec::new();
        for name in &node.after {
            let Some(first) = flow.graph.position(name) else { continue };
            if seen.contains(&name.as_str()) || waits_anyway(flow.graph, node, first) {
                let message = format!("it waits for `{name}` already, by what it reads and waits for");
                let help = format!("remove `{name}` from its `after`");
                found.push(flow.finding(Rule::RedundantOrder, Some(node), message, help));
            } else if is_needless(flow, node, &nodes[first]) {
                let message = format!("it waits for `{name}` and needs nothing of it: they could run side by side");
                let help = format!("remove `{name}` from its `after`, unless its failing is to keep this step back");
                found.push(flow.finding(Rule::NeedlessOrder, Some(node), message, help));
            }
            seen.push(name);
        }
    }
}

/// Whether `node` would wait for `first` without being told.
fn waits_anyway(graph: &Graph, node: &GraphNode, first: usize) -> bool {
    let nodes = graph.nodes();
    let name = &*nodes[first].name;
    let mut reached = vec![false; nodes.len()];
    let other = |slot: &&String| ***slot != *name;
    let mut next: Vec<usize> =
        node.reads.iter().chain(node.after.iter().filter(other)).filter_map(|slot| graph.position(slot)).collect();
    while let Some(at) = next.pop() {
        if !std::mem::replace(&mut reached[at], true) {
            next.extend((0..nodes.len()).filter(|dep| nodes[at].deps & (1 << dep) != 0));
        }
    }
    reached[first]
}

/// Two reads have no order. A write has: it may wait for a check, and be waited for. A step that nobody reads is there to
/// be waited for. What a Rust step does is not known, and its author has thought of an order.
fn is_needless(flow: &Subject<'_>, node: &GraphNode, first: &GraphNode) -> bool {
    let reads = |node| flow.deed(node) == Deed::Reads;
    reads(node) && reads(first) && flow.is_read(first)
}
