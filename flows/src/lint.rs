//! The linter: what is allowed in a flow and yet seldom meant, found in its graph before it serves.
//!
//! Pure: a graph in, findings out. A flow from a page says a little more than its graph; that comes as [`Remarks`].

mod rule;
mod finding;
mod remarks;
mod subject;
mod owner;
mod slots;
mod writes;
mod time;
mod order;

pub use finding::Finding;
pub use remarks::Remarks;
pub use rule::{Rule, Severity};

use crate::graph::Graph;
use crate::lint::subject::Subject;

/// Looks at a flow with every rule, but those that `remarks` allows. Sorted by line, then by rule. Cost: the square of
/// the number of steps, at most 128.
#[must_use]
pub fn lint(graph: &Graph, remarks: &Remarks) -> Vec<Finding> {
    let subject = Subject { graph, remarks };
    let mut found = Vec::new();
    for look in [owner::look, slots::look, writes::look, time::look, order::look] {
        look(&subject, &mut found);
    }
    found.retain(|finding| !remarks.allow.contains(&finding.rule));
    found.sort_by_key(|finding| (finding.line, finding.rule));
    found
}

/// The finding about a flow that nothing leads to. Only who knows the routes can tell that.
#[must_use]
pub fn unreached(graph: &Graph, remarks: &Remarks) -> Option<Finding> {
    let subject = Subject { graph, remarks };
    (!remarks.allow.contains(&Rule::Unreached)).then(|| {
        let help = format!("add a route with `to: {{ flow: {} }}`, or remove the flow", graph.slug());
        subject.finding(Rule::Unreached, None, "no route leads to this flow", help)
    })
}

#[cfg(test)]
mod tests;
