//! The timeline of one finished request: what was when queued, parked and running, as the admin API, recordings,
//! the comparison and the viewer all read it.
//!
//! The JSON form is documented in `docs/timeline.md`; [`FORMAT_VERSION`] grows when a reader could misread it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Cause, NodeId, NodeKind, Outcome, StateKind};
use crate::id::{SpanId, TraceId};

/// The version of the timeline's JSON form.
pub const FORMAT_VERSION: u32 = 1;

/// What happened to one request.
///
/// All times are nanoseconds since the request's start, so that `0..latency_ns` is the whole of it. The states of each
/// node tile its life: they are in order, without gap or overlap, and their lengths add up to it exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// The number of this timeline in its gateway's order of completion; grows by one each.
    #[serde(default)]
    pub seq: u64,
    /// The W3C trace.
    pub trace_id: TraceId,
    /// The span of the request itself.
    pub span_id: SpanId,
    /// The caller's span, when the request carried a `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<SpanId>,
    /// Whether the caller, or our own draw at the start, sampled the trace.
    #[serde(default)]
    pub sampled: bool,
    /// The route's name, as the configuration gives it; `(none)` when no route matched.
    pub route: Arc<str>,
    /// The flow that answered, for flow routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<Arc<str>>,
    /// The version of the configuration that served it.
    #[serde(default)]
    pub config_version: u32,
    /// The wall-clock start, nanoseconds since the Unix epoch.
    pub start_unix_ns: u64,
    /// First byte of the head to last byte of the answer, in nanoseconds.
    pub latency_ns: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status sent; 0 when none was (the client left).
    pub status: u16,
    /// The error's name (`upstream_timeout`, `rate_limited`, …), when it ended with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Arc<str>>,
    /// How many requests this one stands for: 1 / the probability that it was kept. 0 for one that is shown but not
    /// counted, because it was kept only for being recent.
    #[serde(default = "one")]
    pub weight: f32,
    /// Why it was kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Kept>,
    /// Events that did not fit into the request's logbook.
    #[serde(default)]
    pub lost_events: u32,
    /// The nodes, in the order of their opening; the first is the request itself.
    pub nodes: Vec<Node>,
}

fn one() -> f32 {
    1.0
}

/// Why a timeline was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// It is among the last ones.
    Recent,
    /// It is in the uniform sample over the whole window.
    Uniform,
    /// It is among the slowest of its route.
    Slow,
    /// It failed.
    Error,
}

/// One execution of a station, a step or an effect; node 0 is the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its number; its place in [`Timeline::nodes`].
    pub id: NodeId,
    /// Its span, as a `traceparent` sent from it named it; zero in timelines that were not recorded by a gateway.
    #[serde(default, skip_serializing_if = "is_no_span")]
    pub span_id: SpanId,
    /// The node it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<NodeId>,
    /// The node whose end made it ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<NodeId>,
    /// The step, the effect's target, the station.
    pub name: Arc<str>,
    /// What it is.
    pub kind: NodeKind,
    /// 1 for the first try.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub attempt: u16,
    /// 1 for the first use of this name under this parent.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub occurrence: u16,
    /// When it began.
    pub start_ns: u64,
    /// When it ended. A detached node may end after its request.
    pub end_ns: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The status it ended with, or 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub status: u16,
    /// The error's name, when it ended with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Arc<str>>,
    /// Its states, which tile `start_ns..end_ns`.
    pub states: Vec<State>,
    /// What else is known: `peer`, `tenant`, `http.request.method`, ….
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attrs: Vec<(Arc<str>, Value)>,
}

fn first() -> u16 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_first(n: &u16) -> bool {
    *n == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_no_span(id: &SpanId) -> bool {
    id.0 == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(n: &u16) -> bool {
    *n == 0
}

/// One stretch of a node's life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Its beginning.
    pub from_ns: u64,
    /// Its end.
    pub to_ns: u64,
    /// Why; [`Cause::kind`] says whether that is queued, parked or running.
    pub cause: Cause,
    /// The permit, upstream, timer or limit waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// The node whose end ended the park before this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub woken_by: Option<NodeId>,
    /// The worker it ran on, for running states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<u16>,
    /// The rule that lifted this episode into a span of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<PromotedBy>,
    /// True when this state is the sum of many short ones that the logbook had no room for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub folded: bool,
}

/// The rule that promoted an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromotedBy {
    /// Longer than the configured threshold.
    Threshold,
    /// Longer than the route's own 95th percentile of that kind of episode.
    Adaptive,
    /// All jobs are promoted (`ZER_VER_DEBUG_JOBS`).
    Debug,
}

impl PromotedBy {
    /// The word for this rule in JSON and in span attributes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Threshold => "threshold",
            Self::Adaptive => "adaptive",
            Self::Debug => "debug",
        }
    }
}

/// The value of an attribute. Numbers stay numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
    /// A text.
    Text(Arc<str>),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(v) => v.fmt(f),
            Self::Int(v) => v.fmt(f),
            Self::Float(v) => v.fmt(f),
            Self::Text(v) => v.fmt(f),
        }
    }
}

/// Time spent in each kind of state, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Ready, but no worker or permit.
    pub queue_ns: u64,
    /// Waiting for I/O, a join, a limit or a timer.
    pub park_ns: u64,
    /// On a processor.
    pub run_ns: u64,
}

impl Split {
    /// Adds `ns` to the kind's total.
    pub fn add(&mut self, kind: StateKind, ns: u64) {
        match kind {
            StateKind::Queue => self.queue_ns += ns,
            StateKind::Park => self.park_ns += ns,
            StateKind::Run => self.run_ns += ns,
        }
    }

    /// The whole.
    #[must_use]
    pub const fn total_ns(&self) -> u64 {
        self.queue_ns + self.park_ns + self.run_ns
    }
}

impl State {
    /// Its length in nanoseconds.
    #[must_use]
    pub const fn len_ns(&self) -> u64 {
        self.to_ns.saturating_sub(self.from_ns)
    }
}

impl Node {
    /// The node's own time, by kind of state.
    #[must_use]
    pub fn split(&self) -> Split {
        let mut split = Split::default();
        for state in &self.states {
            split.add(state.cause.kind(), state.len_ns());
        }
        split
    }

    /// The value of one attribute.
    #[must_use]
    pub fn attr(&self, key: &str) -> Option<&Value> {
        self.attrs.iter().find(|(k, _)| &**k == key).map(|(_, v)| v)
    }
}

impl Timeline {
    /// The node that is the request itself.
    ///
    /// # Panics
    /// When the timeline has no node; none is built or read without one.
    #[must_use]
    pub fn root(&self) -> &Node {
        self.nodes.first().expect("a timeline has its request as first node")
    }

    /// The node with this number.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(usize::from(id.0))
    }

    /// The path of a node from the request down, names joined with dots, the request itself left out:
    /// `price.quotes` is the effect `quotes` of the step `price`; the request's own path is empty.
    ///
    /// Attempts and occurrences are not part of it; see [`Node::attempt`] and [`Node::occurrence`].
    #[must_use]
    pub fn path(&self, id: NodeId) -> String {
        let mut names = Vec::new();
        let mut at = Some(id);
        while let Some(node) = at.and_then(|id| self.node(id)) {
            if node.parent.is_some() {
                names.push(&*node.name);
            }
            // A parent always opens before its child, which bounds the walk.
            at = node.parent.filter(|parent| *parent < node.id);
        }
        names.reverse();
        names.join(".")
    }

    /// Checks what every reader relies on: node numbers are places, parents come first, and the states of each node
    /// tile its life.
    ///
    /// # Errors
    /// One sentence that names the first node that breaks a rule.
    pub fn check(&self) -> Result<(), String> {
        if self.nodes.is_empty() {
            return Err("a timeline needs at least the request's own node".into());
        }
        for (place, node) in self.nodes.iter().enumerate() {
            let name = &node.name;
            if usize::from(node.id.0) != place {
                return Err(format!("node {place} (`{name}`) has the number {}", node.id.0));
            }
            if node.parent.is_none() != (place == 0) || node.parent.is_some_and(|p| usize::from(p.0) >= place) {
                return Err(format!("node {place} (`{name}`) has no parent before it"));
            }
            let mut at = node.start_ns;
            for state in &node.states {
                if state.from_ns != at || state.to_ns < state.from_ns {
                    return Err(format!(
                        "node {place} (`{name}`): a state begins at {} ns, not at {at}",
                        state.from_ns
                    ));
                }
                at = state.to_ns;
            }
            if at != node.end_ns {
                return Err(format!("node {place} (`{name}`): its states end at {at} ns, it at {}", node.end_ns));
            }
        }
        if self.root().end_ns != self.latency_ns || self.root().start_ns != 0 {
            return Err("the request's own node does not span the latency".into());
        }
        Ok(())
    }
}

/// The timeline that tests share and `docs/timeline.md` shows: a flow of one step with two tries of one effect.
#[cfg(test)]
pub(crate) fn sample() -> Timeline {
    let text = include_str!("../../docs/timeline.md");
    let (_, rest) = text.split_once("```json\n").expect("the document has an example");
    let (json, _) = rest.split_once("```").expect("the example ends");
    serde_json::from_str(json).expect("the documented example is a timeline")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_example_is_a_timeline_and_reads_back_the_same() {
        let timeline = sample();
        timeline.check().expect("it holds the rules");
        let text = serde_json::to_string(&timeline).expect("a timeline is written");
        assert_eq!(serde_json::from_str::<Timeline>(&text).expect("and read"), timeline);
        assert_eq!(timeline.path(NodeId(3)), "price.quotes");
    }

    #[test]
    fn every_field_that_is_written_is_documented() {
        let document = include_str!("../../docs/timeline.md");
        fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
            match value {
                serde_json::Value::Object(map) => {
                    for (key, value) in map {
                        found.push(key.clone());
                        keys(value, found);
                    }
                }
                serde_json::Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        keys(&serde_json::to_value(sample()).expect("a timeline is written"), &mut found);
        for key in found {
            assert!(document.contains(&format!("| `{key}` |")), "`{key}` is not in the tables of docs/timeline.md");
        }
    }
}
