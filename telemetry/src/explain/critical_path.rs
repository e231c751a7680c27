//! The critical path of one request: which node, in which state, each nanosecond of its latency was spent on.

use std::sync::Arc;

use crate::event::{Cause, NodeId, Outcome};
use crate::timeline::Timeline;

/// One stretch of the critical path.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The node the request was held up by.
    pub node: NodeId,
    /// That node's path, as [`Timeline::path`] writes it; empty for the request itself.
    pub place: Arc<str>,
    /// 1 for the first attempt.
    pub attempt: u16,
    /// What the node did. [`Cause::Join`] only where no recorded node explains the wait.
    pub cause: Cause,
    /// The permit, upstream, timer or limit waited for.
    pub name: Option<Arc<str>>,
    /// Its beginning, nanoseconds since the request's start.
    pub from_ns: u64,
    /// Its end.
    pub to_ns: u64,
    /// True when recorded wakes led here; false when the walk had to guess (a lost event, a foreign trace).
    pub exact: bool,
}

impl Piece {
    /// Its length in nanoseconds.
    #[must_use]
    pub const fn len_ns(&self) -> u64 {
        self.to_ns - self.from_ns
    }
}

/// The critical path of a request, from its start to its end.
///
/// The pieces are in order, disjoint, and cover `0..latency_ns` to the nanosecond. The walk goes back from the end: a
/// state counts as itself, a wait for children ([`Cause::Join`]) counts as whatever the child that ended it was doing,
/// and before a node's first state comes the node whose end made it ready. Where a wake or an `after` is missing, the
/// child that ended last stands in, and the piece says so.
///
/// Bad input cannot make it fail or run long: nodes that are not there are ignored, and the number of pieces is
/// bounded by the number of states and nodes. Cost: linear in the states of a sane timeline.
#[must_use]
pub fn critical_path(timeline: &Timeline) -> Vec<Piece> {
    let mut places: Vec<Option<Arc<str>>> = vec![None; timeline.nodes.len()];
    let steps = walk(timeline);
    let mut pieces = Vec::with_capacity(steps.len());
    for step in steps {
        let node = &timeline.nodes[step.node];
        let place = places[step.node].get_or_insert_with(|| timeline.path(node.id).into());
        pieces.push(Piece {
            node: node.id,
            place: Arc::clone(place),
            attempt: node.attempt,
            cause: step.cause,
            name: step.state.and_then(|at| node.states[at].name.clone()),
            from_ns: step.from,
            to_ns: step.to,
            exact: step.exact,
        });
    }
    pieces
}

/// A piece that borrows nothing and allocates nothing, for walking many requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Its node's place in the timeline.
    pub(crate) node: usize,
    /// The state it is a part of; none for time no state accounts for.
    pub(crate) state: Option<usize>,
    pub(crate) cause: Cause,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) exact: bool,
}

impl Step {
    pub(crate) const fn len(&self) -> u64 {
        self.to - self.from
    }
}

/// A stretch of a node's life that is still to be walked, from its end backwards.
struct Frame {
    node: usize,
    /// `states[..states]` are not visited yet.
    states: usize,
    lo: u64,
    hi: u64,
    /// The chain of joins that led here.
    join: usize,
    exact: bool,
}

/// A node that waits, and the join around it.
struct Join {
    waiter: usize,
    outer: usize,
}

/// The outermost join: the request, which its client waits for.
const OUTERMOST: usize = 0;

/// The walk behind [`critical_path`].
pub(crate) fn walk(timeline: &Timeline) -> Vec<Step> {
    let nodes = &timeline.nodes;
    let latency = timeline.latency_ns;
    let mut steps: Vec<Step> = Vec::with_capacity(24);
    if nodes.is_empty() || latency == 0 {
        return steps;
    }
    // A sane walk visits each state about once. The budget is what keeps a hostile recording from being expensive.
    let states: usize = nodes.iter().map(|node| node.states.len()).sum();
    let mut budget = 4 * (states + nodes.len()) + 16;
    // A guess looks at all nodes.
    let guess = nodes.len() / 8;
    let mut joins = vec![Join { waiter: 0, outer: OUTERMOST }];
    let mut stack = vec![whole(timeline, 0, 0, latency, OUTERMOST, true)];
    while let Some(frame) = stack.pop() {
        let node = &nodes[frame.node];
        let waiter = joins[frame.join].waiter;
        let (lo, mut hi, mut at) = (frame.lo, frame.hi, frame.states);
        if hi <= lo {
            continue;
        }
        if budget == 0 {
            unaccounted(&mut steps, waiter, lo, hi);
            continue;
        }
        budget -= 1;
        let mut entered = false;
        while at > 0 && hi > lo {
            let state = &node.states[at - 1];
            let (from, to) = (state.from_ns.clamp(lo, hi), state.to_ns.clamp(lo, hi));
            if to <= from {
                at -= 1;
                continue;
            }
            // Between the end of the node that made it ready or woke it and the waiter's going on: the waiter's own.
            unaccounted(&mut steps, waiter, to, hi);
            hi = from;
            at -= 1;
            if state.cause != Cause::Join {
                // A folded state adds up many short ones: how long is known, when is not.
                let exact = frame.exact && !state.folded;
                steps.push(Step { node: frame.node, state: Some(at), cause: state.cause, from, to, exact });
                continue;
            }
            let recorded = node.states.get(at + 1).and_then(|next| next.woken_by).map(|id| usize::from(id.0));
            let recorded =
                recorded.filter(|&waker| waker < nodes.len() && !waits(&joins, frame.join, frame.node, waker));
            let waker = recorded.or_else(|| {
                budget = budget.saturating_sub(guess);
                last_to_end(timeline, frame.node, from, to)
            });
            let Some(waker) = waker.filter(|&waker| !waits(&joins, frame.join, frame.node, waker)) else {
                unaccounted(&mut steps, frame.node, from, to);
                continue;
            };
            joins.push(Join { waiter: frame.node, outer: frame.join });
            let exact = frame.exact && recorded.is_some();
            stack.push(Frame { states: at, hi, ..frame });
            stack.push(whole(timeline, waker, from, to, joins.len() - 1, exact));
            entered = true;
            break;
        }
        if entered || hi <= lo {
            continue;
        }
        // Before its first state: the node whose end made it ready. It opened earlier, which bounds the chain.
        let after = node.after.map(|id| usize::from(id.0)).filter(|&after| after < frame.node);
        let before = after.or_else(|| {
            budget = budget.saturating_sub(guess);
            (waiter != frame.node).then(|| last_to_end(timeline, waiter, lo, hi)).flatten()
        });
        match before {
            Some(before) if before != frame.node && !waits(&joins, frame.join, waiter, before) => {
                let exact = frame.exact && after.is_some();
                stack.push(whole(timeline, before, lo, hi, frame.join, exact));
            }
            _ => unaccounted(&mut steps, waiter, lo, hi),
        }
    }
    steps.reverse();
    steps
}

/// A frame over all states of a node.
fn whole(timeline: &Timeline, node: usize, lo: u64, hi: u64, join: usize, exact: bool) -> Frame {
    Frame { node, states: timeline.nodes[node].states.len(), lo, hi, join, exact }
}

/// Whether `node` waits, directly or further out, for what is being walked: then it cannot be what it waits for.
fn waits(joins: &[Join], mut join: usize, waiter: usize, node: usize) -> bool {
    if node == waiter {
        return true;
    }
    loop {
        if joins[join].waiter == node {
            return true;
        }
        if join == OUTERMOST {
            return false;
        }
        join = joins[join].outer;
    }
}

/// Time that no recorded state explains stays with the node that waited.
fn unaccounted(steps: &mut Vec<Step>, waiter: usize, from: u64, to: u64) {
    if from < to {
        steps.push(Step { node: waiter, state: None, cause: Cause::Join, from, to, exact: false });
    }
}

/// The child of `parent` that ended last within `lo..=hi`: the best guess at what a wait was for.
fn last_to_end(timeline: &Timeline, parent: usize, lo: u64, hi: u64) -> Option<usize> {
    let children = timeline.nodes.iter().enumerate().skip(parent + 1);
    children
        .filter(|(_, node)| node.parent.is_some_and(|id| usize::from(id.0) == parent))
        .filter(|(_, node)| node.end_ns > lo && node.end_ns <= hi && node.start_ns < hi)
        .filter(|(_, node)| !matches!(node.outcome, Outcome::Cancelled | Outcome::Skipped))
        .max_by_key(|(_, node)| node.end_ns)
        .map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::NodeKind;
    use crate::id::{SpanId, TraceId};
    use crate::timeline::{Node, State};

    /// `name parent after start: cause length [woken_by], …` per line; `-` is none.
    fn timeline(text: &str) -> Timeline {
        let number = |word: &str| word.parse::<u16>().ok().map(NodeId);
        let mut nodes: Vec<Node> = Vec::new();
        for line in text.trim().lines() {
            let (head, states) = line.trim().split_once(':').unwrap();
            let head: Vec<&str> = head.split_whitespace().collect();
            let start_ns = head[3].parse().unwrap();
            let mut at = start_ns;
            let states: Vec<State> = states
                .split(',')
                .map(|state| {
                    let words: Vec<&str> = state.split_whitespace().collect();
                    let cause = Cause::ALL.into_iter().find(|cause| cause.as_str() == words[0]).unwrap();
                    let from_ns = at;
                    at += words[1].parse::<u64>().unwrap();
                    let woken_by = words.get(2).and_then(|word| number(word));
                    let (worker, promoted) = (None, None);
                    State { from_ns, to_ns: at, cause, name: None, woken_by, worker, promoted, folded: false }
                })
                .collect();
            nodes.push(Node {
                id: NodeId(u16::try_from(nodes.len()).unwrap()),
                parent: number(head[1]),
                after: number(head[2]),
                name: head[0].into(),
                kind: NodeKind::Step,
                span_id: SpanId(0),
                attempt: 1,
                occurrence: 1,
                start_ns,
                end_ns: at,
                outcome: Outcome::Ok,
                status: 0,
                error: None,
                states,
                attrs: Vec::new(),
            });
        }
        Timeline {
            seq: 0,
            trace_id: TraceId(1),
            span_id: SpanId(1),
            parent_span_id: None,
            sampled: false,
            route: "r".into(),
            flow: None,
            config_version: 0,
            start_unix_ns: 0,
            latency_ns: nodes[0].end_ns,
            outcome: Outcome::Ok,
            status: 200,
            error: None,
            weight: 1.0,
            kept: Vec::new(),
            lost_events: 0,
            nodes,
        }
    }

    fn check(text: &str, expected: &str) {
        let timeline = timeline(text);
        timeline.check().unwrap();
        let pieces: Vec<String> = critical_path(&timeline)
            .iter()
            .map(|piece| {
                let guess = if piece.exact { "" } else { "~" };
                format!("{guess}{} {} {}", piece.place, piece.cause.as_str(), piece.len_ns()).trim().to_owned()
            })
            .collect();
        assert_eq!(pieces.join(", "), expected);
    }

    #[test]
    fn a_wait_is_what_its_waker_did() {
        check(
            "request - - 0: run 10, join 80, run 10 1
             upstream 0 - 10: permit 30, io 50",
            "run 10, upstream permit 30, upstream io 50, run 10",
        );
    }

    #[test]
    fn before_a_step_comes_the_one_that_made_it_ready() {
        // b ends last and makes c ready; a is off the path.
        check(
            "request - - 0: join 100, run 5 3
             a 0 - 0: run 20
             b 0 - 0: run 10, join 40, run 10 4
             c 0 2 60: worker 10, run 30
             call 2 - 10: io 40",
            "b run 10, b.call io 40, b run 10, c worker 10, c run 30, run 5",
        );
    }

    #[test]
    fn a_race_is_explained_by_its_winner() {
        check(
            "request - - 0: join 50, run 5 2
             slow 0 - 0: io 90
             fast 0 - 0: io 50",
            "fast io 50, run 5",
        );
    }

    #[test]
    fn what_is_not_recorded_is_guessed_and_says_so() {
        // No wake: the child that ended last. No child either: the waiter's own join.
        check(
            "request - - 0: run 10, join 80, run 10
             x 0 - 10: io 40
             y 0 - 10: io 75",
            "run 10, ~y io 75, ~ join 5, run 10",
        );
        check("request - - 0: join 50, run 5 9", "~ join 50, run 5");
        // A node that claims to have been woken by its own parent.
        check(
            "request - - 0: join 50, run 5 1
             a 0 - 0: join 50, run 0 0",
            "~a join 50, run 5",
        );
    }
}
