//! What the kept timelines of one flow say of its steps: how long each takes and why, and which chains hold requests up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zerver_telemetry::event::{Cause, NodeKind, Outcome};
use zerver_telemetry::explain::critical_path;
use zerver_telemetry::timeline::{Node, Split, Timeline};

/// What was measured of a flow. Counts and shares stand for all requests of the time that the gateway remembers: each
/// kept timeline counts as often as its weight says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// The flow.
    pub flow: String,
    /// The version that serves now; the requests may have had an earlier one.
    pub version: u32,
    /// Timelines that were looked at.
    pub timelines: usize,
    /// Requests that they stand for.
    pub requests: f64,
    /// The share of these that ended with an error, out of time or refused; 0 to 1, as all shares.
    pub errors: f64,
    /// The median latency.
    pub p50_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The share of the time of all requests that no step held up: admission, reading, writing.
    pub outside: f64,
    /// The steps that ran, by name.
    pub steps: Vec<StepLatency>,
    /// The measured critical paths, the most frequent first; at most [`CHAINS_MAX`].
    pub chains: Vec<Chain>,
}

/// What was measured of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepLatency {
    /// The step.
    pub name: String,
    /// How often it ran to an end of its own: neither skipped nor cancelled.
    pub runs: f64,
    /// The median time from ready to end.
    pub p50_ms: f64,
    /// The 99th percentile of it.
    pub p99_ms: f64,
    /// The share of its time that it, or the call it waited for, was ready without a worker or permit.
    pub queued: f64,
    /// The share of its time spent waiting for another system, a timer, a limit.
    pub parked: f64,
    /// The share of its time on a processor.
    pub running: f64,
    /// The share of its runs that ended with an error, out of time or refused.
    pub errors: f64,
    /// Its part of the time of all requests: how much of it was spent waiting for this step.
    pub critical: f64,
}

/// A chain of steps that held requests up from beginning to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// Its steps, in order; none for requests that no step held up.
    pub steps: Vec<String>,
    /// The share of the requests it held up.
    pub share: f64,
    /// The same among the slowest twentieth.
    pub slow_share: f64,
    /// Their mean latency.
    pub mean_ms: f64,
}

/// The most chains that are told; what others there are is the rest to a share of 1.
pub const CHAINS_MAX: usize = 8;

/// Where the slowest twentieth begins.
const SLOW: f64 = 0.95;

/// Measures a flow by these timelines; those of other flows, and those without weight, are passed over.
///
/// Cost: linear in the states of the flow's timelines, about ten microseconds each.
#[must_use]
pub fn measure(flow: &str, version: u32, timelines: &[Arc<Timeline>]) -> Latencies {
    let ours = |t: &&Arc<Timeline>| t.flow.as_deref() == Some(flow) && t.weight > 0.0 && !t.nodes.is_empty();
    let timelines: Vec<&Timeline> = timelines.iter().filter(ours).map(|timeline| &**timeline).collect();
    let mut all = Durations::default();
    timelines.iter().for_each(|timeline| all.add(timeline.latency_ns, timeline.weight.into()));
    all.sort();
    let slow_from = all.quantile_ns(SLOW);
    let (mut steps, mut chains) = (BTreeMap::new(), HashMap::new());
    let (mut failed, mut slow, mut on_steps) = (0.0, 0.0, 0.0);
    for timeline in &timelines {
        let weight = f64::from(timeline.weight);
        let is_slow = timeline.latency_ns >= slow_from;
        failed += if is_failure(timeline.outcome) { weight } else { 0.0 };
        slow += if is_slow { weight } else { 0.0 };
        let tops = top_steps(timeline);
        for (n, node) in timeline.nodes.iter().enumerate().filter(|(n, _)| tops[*n] == Some(*n)) {
            let step: &mut StepSum = steps.entry(&*node.name).or_default();
            step.add(timeline, n, node, weight);
        }
        let mut path: Vec<&str> = Vec::new();
        for piece in critical_path(timeline) {
            let Some(top) = tops.get(usize::from(piece.node.0)).copied().flatten() else { continue };
            let name = &*timeline.nodes[top].name;
            let ns = piece.len_ns() as f64 * weight;
            on_steps += ns;
            steps.entry(name).or_default().critical_ns += ns;
            if path.last() != Some(&name) {
                path.push(name);
            }
        }
        let chain: &mut ChainSum = chains.entry(path).or_default();
        chain.weight += weight;
        chain.slow += if is_slow { weight } else { 0.0 };
        chain.latency_ns += timeline.latency_ns as f64 * weight;
    }
    let time = all.sum_ns;
    Latencies {
        flow: flow.to_owned(),
        version,
        timelines: timelines.len(),
        requests: all.weight,
        errors: share(failed, all.weight),
        p50_ms: all.quantile_ms(0.5),
        p99_ms: all.quantile_ms(0.99),
        outside: share(time - on_steps, time),
        steps: steps.into_iter().map(|(name, step)| step.told(name, time)).collect(),
        chains: told(chains, all.weight, slow),
    }
}

fn is_failure(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Error | Outcome::Timeout | Outcome::Refused)
}

/// `part` of `whole`; nothing of nothing is nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole).clamp(0.0, 1.0) } else { 0.0 }
}

/// Durations with weights.
#[derive(Default)]
struct Durations {
    ns: Vec<(u64, f64)>,
    weight: f64,
    sum_ns: f64,
}

impl Durations {
    fn add(&mut self, ns: u64, weight: f64) {
        self.ns.push((ns, weight));
        self.weight += weight;
        self.sum_ns += ns as f64 * weight;
    }

    fn sort(&mut self) {
        self.ns.sort_unstable_by_key(|(ns, _)| *ns);
    }

    /// The shortest duration that this share of the weight does not exceed. For sorted ones.
    fn quantile_ns(&self, q: f64) -> u64 {
        let mut below = 0.0;
        let reached = |(_, weight): &&(u64, f64)| {
            below += weight;
            below >= q * self.weight
        };
        self.ns.iter().find(reached).or(self.ns.last()).map_or(0, |(ns, _)| *ns)
    }

    fn quantile_ms(&self, q: f64) -> f64 {
        self.quantile_ns(q) as f64 / 1e6
    }
}

/// A step's sums.
#[derive(Default)]
struct StepSum {
    times: Durations,
    failed: f64,
    queue_ns: f64,
    park_ns: f64,
    run_ns: f64,
    critical_ns: f64,
}

impl StepSum {
    fn add(&mut self, timeline: &Timeline, n: usize, node: &Node, weight: f64) {
        if matches!(node.outcome, Outcome::Skipped | Outcome::Cancelled) {
            return;
        }
        self.times.add(node.end_ns.saturating_sub(node.start_ns), weight);
        self.failed += if is_failure(node.outcome) { weight } else { 0.0 };
        let mut split = Split::default();
        spent(timeline, n, node.start_ns, node.end_ns, &mut split);
        self.queue_ns += split.queue_ns as f64 * weight;
        self.park_ns += split.park_ns as f64 * weight;
        self.run_ns += split.run_ns as f64 * weight;
    }

    fn told(mut self, name: &str, time: f64) -> StepLatency {
        self.times.sort();
        let spent = self.queue_ns + self.park_ns + self.run_ns;
        StepLatency {
            name: name.to_owned(),
            runs: self.times.weight,
            p50_ms: self.times.quantile_ms(0.5),
            p99_ms: self.times.quantile_ms(0.99),
            queued: share(self.queue_ns, spent),
            parked: share(self.park_ns, spent),
            running: share(self.run_ns, spent),
            errors: share(self.failed, self.times.weight),
            critical: share(self.critical_ns, time),
        }
    }
}

/// The requests of one chain.
#[derive(Default)]
struct ChainSum {
    weight: f64,
    slow: f64,
    latency_ns: f64,
}

fn told(chains: HashMap<Vec<&str>, ChainSum>, requests: f64, slow: f64) -> Vec<Chain> {
    let mut chains: Vec<(Vec<&str>, ChainSum)> = chains.into_iter().collect();
    // By weight, and by name where that is equal, so that the same timelines always give the same list.
    chains.sort_by(|a, b| b.1.weight.total_cmp(&a.1.weight).then_with(|| a.0.cmp(&b.0)));
    let chain = |(steps, sum): (Vec<&str>, ChainSum)| Chain {
        steps: steps.into_iter().map(str::to_owned).collect(),
        share: share(sum.weight, requests),
        slow_share: share(sum.slow, slow),
        mean_ms: sum.latency_ns / sum.weight / 1e6,
    };
    chains.into_iter().take(CHAINS_MAX).map(chain).collect()
}

/// For each node the outermost step it belongs to, itself included, by its place.
fn top_steps(timeline: &Timeline) -> Vec<Option<usize>> {
    let mut tops: Vec<Option<usize>> = Vec::with_capacity(timeline.nodes.len());
    for (n, node) in timeline.nodes.iter().enumerate() {
        let outer = node.parent.and_then(|parent| tops.get(usize::from(parent.0)).copied().flatten());
        tops.push(outer.or((node.kind == NodeKind::Step).then_some(n)));
    }
    tops
}

/// What `lo..hi` of a node's life was spent on. A wait for a child counts as what the child did meanwhile: of several, the
/// one that ended the wait. Every step goes to a node that opened later, which bounds the walk.
fn spent(timeline: &Timeline, n: usize, lo: u64, hi: u64, split: &mut Split) {
    let states = &timeline.nodes[n].states;
    for (at, state) in states.iter().enumerate() {
        let (from, to) = (state.from_ns.clamp(lo, hi), state.to_ns.clamp(lo, hi));
        if to <= from {
            continue;
        }
        let child = (state.cause == Cause::Join).then(|| {
            let woken_by = states.get(at + 1).and_then(|next| next.woken_by).map(|id| usize::from(id.0));
            woken_by
                .filter(|child| *child > n && *child < timeline.nodes.len())
                .or_else(|| last_child(timeline, n, from, to))
        });
        let Some(child) = child.flatten() else {
            split.add(state.cause.kind(), to - from);
            continue;
        };
        let (begin, end) =
            (timeline.nodes[child].start_ns.clamp(from, to), timeline.nodes[child].end_ns.clamp(from, to));
        spent(timeline, child, begin, end, split);
        split.add(state.cause.kind(), (to - from) - (end - begin));
    }
}

/// The child that ended last of those that ended in `from..=to`.
fn last_child(timeline: &Timeline, parent: usize, from: u64, to: u64) -> Option<usize> {
    let children = timeline.nodes.iter().enumerate().skip(parent + 1);
    children
        .filter(|(_, node)| node.parent.is_some_and(|id| usize::from(id.0) == parent))
        .filter(|(_, node)| node.end_ns > from && node.end_ns <= to)
        .max_by_key(|(_, node)| node.end_ns)
        .map(|(n, _)| n)
}

#[cfg(test)]
mod tests;
