//! ZF005, ZF009, ZF015 and ZF017: every call has a limit of time, and the limits fit into each other.

use std::time::Duration;

use crate::graph::GraphNode;
use crate::join::Start;
use crate::lint::finding::Finding;
use crate::lint::rule::Rule;
use crate::lint::subject::Subject;

pub(super) fn look(flow: &Subject<'_>, found: &mut Vec<Finding>) {
    beyond_deadline(flow, found);
    for (_, node) in flow.steps() {
        patience(flow, node, found);
        late_hedge(flow, node, found);
    }
}

/// The chain with the largest sum of declared timeouts against the time of the whole.
fn beyond_deadline(flow: &Subject<'_>, found: &mut Vec<Finding>) {
    let Some(deadline) = flow.deadline() else { return };
    let nodes = flow.graph.nodes();
    let path: Vec<&GraphNode> = flow.graph.critical_path().into_iter().map(|n| &nodes[n]).collect();
    let sum: Duration = path.iter().filter_map(|node| node.timeout).sum();
    if sum > deadline {
        let limits: Vec<String> =
            path.iter().filter_map(|node| node.timeout.map(|time| format!("{} {time:?}", node.name))).collect();
        let message =
            format!("{} may take {sum:?} one after the other, and the run has {deadline:?}", limits.join(" + "));
        let help = "shorten the timeouts, so that the slow step is named when time runs out, or raise the deadline";
        found.push(flow.finding(Rule::BeyondDeadline, None, message, help));
    }
}

/// A call without a limit of its own: bounded by the flow at least, and an optional one by less than that.
fn patience(flow: &Subject<'_>, node: &GraphNode, found: &mut Vec<Finding>) {
    if node.targets.is_empty() || node.timeout.is_some() {
        return;
    }
    let calls = format!("calls {} without a timeout", node.targets.join(", "));
    let write = if flow.is_page() { "`timeout: 300ms`" } else { "`#[timeout(\"300ms\")]`" };
    if node.optional && flow.graph.optional_within().is_some() {
        return;
    }
    if node.optional {
        // Every step ends before the answer leaves, so an optional one is as able to hold it up as any.
        let time = flow.deadline().map_or_else(|| "for any time".to_owned(), |time| format!("for up to {time:?}"));
        let message = format!("it is optional, but {calls}: it may hold up the answer {time}");
        let help = format!("say how long it is worth waiting for: {write}");
        found.push(flow.finding(Rule::PatientOption, Some(node), message, help));
    } else if flow.deadline().is_none() {
        let deadline = if flow.is_page() { "`deadline: 2s`" } else { "`deadline = \"2s\"`" };
        let message = format!("it {calls}, and the flow has no deadline");
        let help = format!("give the flow a limit, {deadline}, or the step one, {write}");
        found.push(flow.finding(Rule::NoTimeout, Some(node), message, help));
    }
}

fn late_hedge(flow: &Subject<'_>, node: &GraphNode, found: &mut Vec<Finding>) {
    let Some(Start::After(after)) = Subject::partial_join(node).map(|join| join.start) else { return };
    let limit = node.timeout.into_iter().chain(flow.deadline()).min();
    if let Some(limit) = limit.filter(|limit| after >= *limit) {
        let message = format!("its second call begins after {after:?}, when its time of {limit:?} is over");
        let help = "hedge at about the 95th percentile of the first call, well below the timeout";
        found.push(flow.finding(Rule::LateHedge, Some(node), message, help));
    }
}
