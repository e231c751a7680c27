//! What a change would bring: how far a node can slip unnoticed, and the latency if one thing took longer or shorter.

use crate::event::{Cause, NodeId, Outcome};
use crate::timeline::{Node, Timeline};

/// For each node, by how many nanoseconds its end could be later without the request's end being later.
///
/// 0 for a node on the critical path all through; none for a node nobody waits for (detached, cancelled, skipped).
/// First order: a delay that would change a decision (a time-out, a race) is not followed. Cost: nodes × states.
#[must_use]
pub fn slack(timeline: &Timeline) -> Vec<Option<u64>> {
    let nodes = &timeline.nodes;
    let mut slack: Vec<Option<u64>> = vec![None; nodes.len()];
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    let followers = followers(timeline);
    // Whatever waits for a node ends no earlier than it; of those that end together, the parent is settled first.
    order.sort_by_key(|&at| (std::cmp::Reverse(nodes[at].end_ns), depth(timeline, at), std::cmp::Reverse(at)));
    for at in order {
        if at == 0 {
            slack[0] = Some(0);
            continue;
        }
        let node = &nodes[at];
        if matches!(node.outcome, Outcome::Cancelled | Outcome::Skipped) {
            continue;
        }
        let mut least: Option<u64> = None;
        let mut within = |room: u64| least = Some(least.map_or(room, |known| known.min(room)));
        if let Some((parent, join)) = joined_by(timeline, at)
            && let Some(rest) = slack_at(timeline, parent, join, slack[parent])
        {
            within((nodes[parent].states[join].to_ns - node.end_ns).saturating_add(rest));
        }
        for &next in &followers[at] {
            if let Some(room) = first_slack(timeline, next, slack[next]) {
                within((nodes[next].start_ns - node.end_ns).saturating_add(room));
            }
        }
        slack[at] = least;
    }
    slack
}

/// The latency in nanoseconds if everything of one cause at one place took `factor` times as long.
///
/// `place` is a path as [`Timeline::path`] writes it. The recorded order is kept and run forward again: later nodes
/// move with what made them ready, and a join ends with the last of its branches, so the answer stops falling where
/// the next branch becomes the limit. First order: queues are not simulated. A factor that is not a number, or
/// negative, counts as 0. Cost: nodes × states.
#[must_use]
pub fn what_if(timeline: &Timeline, place: &str, cause: Cause, factor: f64) -> u64 {
    let factor = if factor >= 0.0 { factor } else { 0.0 };
    let scaled: Vec<bool> = timeline.nodes.iter().map(|node| timeline.path(node.id) == place).collect();
    let nodes = &timeline.nodes;
    // When each node, and each of its states, ends in the new run; filled in the order of the recorded ends.
    let mut ends: Vec<Vec<u64>> = nodes.iter().map(|node| Vec::with_capacity(node.states.len())).collect();
    // Of states that end together, the deeper node's is settled first: the join above it ends because of it.
    let mut order: Vec<(u64, std::cmp::Reverse<usize>, usize, usize)> = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        let deep = depth(timeline, at);
        let states = node.states.iter().enumerate();
        order.extend(states.map(|(state, s)| (s.to_ns, std::cmp::Reverse(deep), at, state)));
    }
    order.sort_unstable();
    let followers = followers(timeline);
    let mut waits_for: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (before, next) in followers.iter().enumerate().flat_map(|(at, all)| all.iter().map(move |&next| (at, next))) {
        waits_for[next].push(before);
    }
    let joined: Vec<Option<(usize, usize)>> = (0..nodes.len()).map(|child| joined_by(timeline, child)).collect();
    for (_, _, at, state) in order {
        let begun = ends[at].last().copied().unwrap_or_else(|| {
            let others = waits_for[at].iter().filter_map(|&before| ends[before].last().copied());
            others.fold(new_start(timeline, &ends, at), u64::max)
        });
        let recorded = &nodes[at].states[state];
        let length = if recorded.cause == Cause::Join {
            // A join of which nothing is recorded keeps its length.
            let end = joined_end(timeline, &ends, &joined, at, state);
            end.map_or(recorded.len_ns(), |end| end.saturating_sub(begun))
        } else if scaled[at] && recorded.cause == cause {
            scale(recorded.len_ns(), factor)
        } else {
            recorded.len_ns()
        };
        ends[at].push(begun.saturating_add(length));
    }
    ends[0].last().copied().unwrap_or(timeline.latency_ns)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "saturates")]
fn scale(ns: u64, factor: f64) -> u64 {
    (ns as f64 * factor).round() as u64
}

/// For each node, those that begin because it ended: the ones that say so, or else the next node beside it that waited
/// for something. A node records only the last of those it waits for, so that one must stand for the others too.
fn followers(timeline: &Timeline) -> Vec<Vec<usize>> {
    let nodes = &timeline.nodes;
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (next, node) in nodes.iter().enumerate() {
        if let Some(after) = node.after.map(|id| usize::from(id.0)).filter(|&after| after < next)
            && nodes[after].end_ns <= node.start_ns
        {
            followers[after].push(next);
        }
    }
    // The waiting siblings by parent, in the order of their start, so that the next one is found by halving.
    let mut waiting: std::collections::BTreeMap<Option<NodeId>, Vec<(u64, usize)>> = std::collections::BTreeMap::new();
    for (at, node) in nodes.iter().enumerate().filter(|(_, node)| node.after.is_some()) {
        waiting.entry(node.parent).or_default().push((node.start_ns, at));
    }
    waiting.values_mut().for_each(|siblings| siblings.sort_unstable());
    for (at, node) in nodes.iter().enumerate().skip(1) {
        let finished = !matches!(node.outcome, Outcome::Cancelled | Outcome::Skipped);
        let Some(siblings) = waiting.get(&node.parent).filter(|_| followers[at].is_empty() && finished) else {
            continue;
        };
        let later = siblings.partition_point(|(start, _)| *start < node.end_ns);
        if let Some((_, next)) = siblings[later..].iter().find(|(_, next)| *next > at) {
            followers[at].push(*next);
        }
    }
    followers
}

/// When a join ends in the new run: with the last of its branches; after the one that woke it comes the same pause as
/// recorded. None when it waits for nothing that is recorded.
fn joined_end(
    timeline: &Timeline,
    ends: &[Vec<u64>],
    joined: &[Option<(usize, usize)>],
    at: usize,
    state: usize,
) -> Option<u64> {
    let node = &timeline.nodes[at];
    let woken = node.states.get(state + 1).and_then(|next| next.woken_by).map(|id| usize::from(id.0));
    let children = (0..timeline.nodes.len()).filter(|&child| joined[child] == Some((at, state)));
    let finished = children.filter(|&child| timeline.nodes[child].outcome != Outcome::Cancelled);
    let times = finished.filter_map(|child| {
        let pause = node.states[state].to_ns.saturating_sub(timeline.nodes[child].end_ns);
        Some(ends[child].last()?.saturating_add(if woken == Some(child) { pause } else { 0 }))
    });
    times.max()
}

/// When a node begins in the new run: as long after what made it ready as it was recorded.
fn new_start(timeline: &Timeline, ends: &[Vec<u64>], at: usize) -> u64 {
    let node = &timeline.nodes[at];
    if let Some(after) = node.after.map(|id| usize::from(id.0)).filter(|&after| after < at)
        && let Some(end) = ends[after].last()
    {
        return end.saturating_add(node.start_ns.saturating_sub(timeline.nodes[after].end_ns));
    }
    let Some(parent) = node.parent.map(|id| usize::from(id.0)).filter(|&parent| parent < at) else { return 0 };
    let states = &timeline.nodes[parent].states;
    let before = states.iter().take_while(|state| state.to_ns <= node.start_ns).count();
    let before = before.min(ends[parent].len());
    match before.checked_sub(1) {
        Some(last) => ends[parent][last].saturating_add(node.start_ns.saturating_sub(states[last].to_ns)),
        None => {
            let offset = node.start_ns.saturating_sub(timeline.nodes[parent].start_ns);
            first_start(timeline, ends, parent).saturating_add(offset)
        }
    }
}

/// When a node that has not ended a state yet began in the new run.
fn first_start(timeline: &Timeline, ends: &[Vec<u64>], mut at: usize) -> u64 {
    let mut offset = 0_u64;
    // Up to the first ancestor whose beginning is known; parents come first, which bounds the way.
    while at > 0 {
        let node = &timeline.nodes[at];
        if node.after.is_some_and(|id| usize::from(id.0) < at && !ends[usize::from(id.0)].is_empty()) {
            return new_start(timeline, ends, at).saturating_add(offset);
        }
        let Some(parent) = node.parent.map(|id| usize::from(id.0)).filter(|&parent| parent < at) else { break };
        if !ends[parent].is_empty() {
            return new_start(timeline, ends, at).saturating_add(offset);
        }
        offset = offset.saturating_add(node.start_ns.saturating_sub(timeline.nodes[parent].start_ns));
        at = parent;
    }
    offset
}

/// How many parents a node has above it.
fn depth(timeline: &Timeline, mut at: usize) -> usize {
    let mut depth = 0;
    while let Some(parent) = timeline.nodes[at].parent.map(|id| usize::from(id.0)).filter(|&parent| parent < at) {
        depth += 1;
        at = parent;
    }
    depth
}

/// The parent's join in which a child's end falls, or which it precedes; none when the parent never waits for it.
fn joined_by(timeline: &Timeline, child: usize) -> Option<(usize, usize)> {
    let node = &timeline.nodes[child];
    let parent = node.parent.map(|id| usize::from(id.0)).filter(|&parent| parent < child)?;
    let waits =
        |state: &crate::timeline::State| state.cause == Cause::Join && state.to_ns >= node.end_ns && state.len_ns() > 0;
    let join = timeline.nodes[parent].states.iter().position(waits)?;
    Some((parent, join))
}

/// The room from the end of a state on: what the rest of the node can lose in waits that end by something independent,
/// and then the node's own slack.
fn slack_at(timeline: &Timeline, at: usize, state: usize, own: Option<u64>) -> Option<u64> {
    let node = &timeline.nodes[at];
    let from = node.states[state].to_ns;
    own.map(|own| absorbed(timeline, node, state + 1, from).saturating_add(own))
}

/// The same from the node's beginning on.
fn first_slack(timeline: &Timeline, at: usize, own: Option<u64>) -> Option<u64> {
    let node = &timeline.nodes[at];
    own.map(|own| absorbed(timeline, node, 0, node.start_ns).saturating_add(own))
}

/// How much of a delay at `from` the later joins swallow: those woken by a node that had already begun.
fn absorbed(timeline: &Timeline, node: &Node, first: usize, from: u64) -> u64 {
    let mut sum = 0_u64;
    for (at, state) in node.states.iter().enumerate().skip(first).filter(|(_, state)| state.cause == Cause::Join) {
        let waker = node.states.get(at + 1).and_then(|next| next.woken_by).and_then(|id| timeline.node(id));
        if waker.is_some_and(|waker| waker.start_ns < from) {
            sum = sum.saturating_add(state.len_ns());
        }
    }
    sum
}
