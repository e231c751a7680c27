//! Which requests' spans are exported: the caller's decision, our own draw at the start, and what is only known at the
//! end.
//!
//! The sampled flag leaves with the first call to another service, so it is fixed at the start and never changed: the
//! caller's flag where there is one, else [`head`]. Sampled requests are always exported. Of the others the tail rules
//! keep those that turned out to matter; of these only our own spans exist, and the root says why
//! (`zerver.retained.reason`).
//!
//! Draws are consistent: what is drawn is the trace's identity, so gateways with the same share decide alike, and what a
//! smaller share takes a larger one takes too. Sources: OpenTelemetry specification 1.50, "TraceState: Probability
//! Sampling" (the last 56 bits of the trace's identity against a threshold); W3C Trace Context, level 2, section 3.2.2.3.2
//! (the random flag, which promises that those bits are random).

use std::collections::BTreeMap;

use crate::exemplars::failed;
use crate::hash::ByName;
use crate::id::{TraceId, mix};
use crate::metrics::histogram::Rolling;
use crate::timeline::Timeline;

/// What is exported.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingSettings {
    /// The share of requests without a caller's decision that are sampled at the start, 0 to 1 (default 1).
    pub head: f64,
    /// What differs for single routes, by the route's name.
    pub routes: BTreeMap<String, RouteSampling>,
    /// What is kept of the requests that were not sampled.
    pub tail: TailSettings,
}

/// What differs for one route; what is none is as for all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RouteSampling {
    /// See [`SamplingSettings::head`].
    pub head: Option<f64>,
    /// See [`TailSettings::errors`].
    pub errors: Option<bool>,
    /// See [`TailSettings::slow`].
    pub slow: Option<bool>,
}

/// What is exported of the requests that were not sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct TailSettings {
    /// Those that failed: 5xx, an error, a timeout (default true).
    pub errors: bool,
    /// Those slower than their route's own 99th percentile, once 1,000 were seen (default true).
    pub slow: bool,
    /// Those with a promoted wait (default true).
    pub promoted: bool,
    /// This share of the rest, 0 to 1 (default 0).
    pub baseline: f64,
    /// Whether these rules also hold for requests whose caller decided against sampling (default true, except for the
    /// baseline, which never does). Their spans name a parent that no backend has.
    pub over_caller: bool,
}

impl Default for SamplingSettings {
    fn default() -> Self {
        Self { head: 1.0, routes: BTreeMap::new(), tail: TailSettings::default() }
    }
}

impl Default for TailSettings {
    fn default() -> Self {
        Self { errors: true, slow: true, promoted: true, baseline: 0.0, over_caller: true }
    }
}

/// Why a request's spans are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Sampled at the start, by the caller or by us.
    Sampled,
    /// It failed.
    Error,
    /// It was slow for its route.
    Slow,
    /// It has a promoted wait.
    Promoted,
    /// It stands for the rest.
    Baseline,
}

impl Reason {
    /// The word for it in `zerver.retained.reason` and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sampled => "sampled",
            Self::Error => "error",
            Self::Slow => "slow",
            Self::Promoted => "promoted",
            Self::Baseline => "baseline",
        }
    }
}

/// The draw at the start for a trace that began here: whether it is in the share `ratio`, 0 to 1.
///
/// The result goes to [`crate::recorder::Recorder::start`]; a route with a ratio of its own is drawn once the route is
/// known, before the first call, with [`crate::recorder::Log::set_sampled`].
#[must_use]
pub fn head(ratio: f64, trace: TraceId) -> bool {
    drawn(ratio, trace.0 as u64)
}

/// A draw that has nothing to do with the one at the start: what that one left is all on one side of its threshold.
fn baseline(ratio: f64, trace: TraceId) -> bool {
    drawn(ratio, mix(trace.0 as u64))
}

/// How many numbers the last 56 bits can be.
const RANGE: u64 = 1 << 56;

/// Whether the last 56 bits reach the threshold that leaves `ratio` of their range.
fn drawn(ratio: f64, random: u64) -> bool {
    ratio > 0.0 && random % RANGE >= rejected(ratio)
}

/// How many of them a share leaves out.
fn rejected(ratio: f64) -> u64 {
    ((1.0 - ratio.clamp(0.0, 1.0)) * RANGE as f64) as u64
}

/// What says in a `tracestate`, as the value of its member `ot`, that a trace was sampled by [`head`] with the share `ratio`:
/// `th:` and the threshold in 14 hexadecimal digits, zeros at the end cut, `th:0` for all.
///
/// Whoever counts spans can tell by it how many requests each stands for.
#[must_use]
pub fn threshold(ratio: f64) -> String {
    let digits = format!("{:014x}", rejected(ratio));
    match digits.trim_end_matches('0') {
        "" => "th:0".to_owned(),
        digits => format!("th:{digits}"),
    }
}

impl SamplingSettings {
    /// The head ratio of a route.
    #[must_use]
    pub fn head_of(&self, route: &str) -> f64 {
        self.routes.get(route).and_then(|route| route.head).unwrap_or(self.head)
    }

    /// Whether, and why, a finished request's spans are exported. `slow` is what [`SlowHistory::is_slow`] says.
    #[must_use]
    pub fn decide(&self, timeline: &Timeline, slow: bool) -> Option<Reason> {
        if timeline.sampled {
            return Some(Reason::Sampled);
        }
        let tail = &self.tail;
        let called = timeline.parent_span_id.is_some();
        if called && !tail.over_caller {
            return None;
        }
        let promoted = || timeline.nodes.iter().flat_map(|node| &node.states).any(|state| state.promoted.is_some());
        let route = self.routes.get(&*timeline.route).copied().unwrap_or_default();
        if route.errors.unwrap_or(tail.errors) && failed(timeline) {
            return Some(Reason::Error);
        }
        if route.slow.unwrap_or(tail.slow) && slow {
            return Some(Reason::Slow);
        }
        if tail.promoted && promoted() {
            return Some(Reason::Promoted);
        }
        // By the trace, so that all gateways on a path choose alike.
        (!called && baseline(tail.baseline, timeline.trace_id)).then_some(Reason::Baseline)
    }
}

/// Requests in a generation of a route's own 99th percentile.
const GENERATION: u64 = 1_000;
/// Routes with a percentile of their own; further ones have none, so nothing of theirs counts as slow.
const ROUTES: usize = 1_024;

/// Each route's own 99th percentile of latency.
#[derive(Debug)]
pub struct SlowHistory {
    routes: ByName<Latencies>,
}

/// A route's own percentile.
#[derive(Debug)]
struct Latencies(Rolling);

impl Default for Latencies {
    fn default() -> Self {
        Self(Rolling::new(0.99, GENERATION))
    }
}

impl Default for SlowHistory {
    fn default() -> Self {
        Self { routes: ByName::new(ROUTES) }
    }
}

impl SlowHistory {
    /// Whether a request was slower than its route's 99th percentile, as known before it; it is then added.
    pub fn is_slow(&mut self, timeline: &Timeline) -> bool {
        let Some(Latencies(p99)) = self.routes.enter(&timeline.route) else { return false };
        let slow = p99.value_ns().is_some_and(|p99| timeline.latency_ns > p99);
        p99.record(timeline.latency_ns);
        slow
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::Outcome;
    use crate::id::SpanId;

    fn timeline(outcome: Outcome, status: u16, caller: bool) -> Timeline {
        let mut timeline = crate::timeline::sample();
        timeline.nodes.truncate(1);
        timeline.sampled = false;
        timeline.parent_span_id = caller.then_some(SpanId(7));
        (timeline.outcome, timeline.status) = (outcome, status);
        timeline
    }

    #[test]
    fn the_sampling_table() {
        let all = TailSettings { baseline: 1.0, ..TailSettings::default() };
        let strict = TailSettings { over_caller: false, ..all.clone() };
        let none = TailSettings { errors: false, slow: false, promoted: false, baseline: 0.0, over_caller: true };
        for (tail, caller, outcome, status, slow, expected) in [
            (&all, false, Outcome::Error, 502, true, Some(Reason::Error)),
            (&all, false, Outcome::Timeout, 0, false, Some(Reason::Error)),
            (&all, false, Outcome::Ok, 200, true, Some(Reason::Slow)),
            (&all, false, Outcome::Ok, 200, false, Some(Reason::Baseline)),
            // A refusal and a client that left are not failures.
            (&all, false, Outcome::Refused, 429, false, Some(Reason::Baseline)),
            (&all, false, Outcome::Cancelled, 0, false, Some(Reason::Baseline)),
            // The caller said no: what matters is kept, the baseline is not.
            (&all, true, Outcome::Error, 502, false, Some(Reason::Error)),
            (&all, true, Outcome::Ok, 200, false, None),
            (&strict, true, Outcome::Error, 502, true, None),
            (&none, false, Outcome::Error, 502, true, None),
        ] {
            let settings = SamplingSettings { tail: tail.clone(), ..SamplingSettings::default() };
            let mut timeline = timeline(outcome, status, caller);
            assert_eq!(settings.decide(&timeline, slow), expected, "{outcome:?} {status} caller {caller}");
            timeline.sampled = true;
            assert_eq!(settings.decide(&timeline, slow), Some(Reason::Sampled));
        }
    }

    #[test]
    fn a_promoted_wait_is_a_reason() {
        let settings = SamplingSettings::default();
        let mut timeline = crate::timeline::sample();
        timeline.sampled = false;
        assert_eq!(settings.decide(&timeline, false), Some(Reason::Promoted));
    }

    #[test]
    fn the_draw_keeps_its_ratio() {
        let ids = crate::id::IdSource::new(3);
        for ratio in [0.0, 0.01, 0.5, 1.0] {
            for draw in [head, baseline] {
                let drawn = (0..20_000).filter(|_| draw(ratio, ids.trace_id())).count() as f64 / 20_000.0;
                assert!((drawn - ratio).abs() < 0.012, "{drawn} for {ratio}");
            }
        }
        // The share of the rest is a share of it, however much the start has taken.
        let rest: Vec<TraceId> = (0..40_000).map(|_| ids.trace_id()).filter(|trace| !head(0.5, *trace)).collect();
        let kept = rest.iter().filter(|trace| baseline(0.1, **trace)).count() as f64 / rest.len() as f64;
        assert!((kept - 0.1).abs() < 0.012, "{kept}");
    }

    #[test]
    fn thresholds_are_those_of_the_specification() {
        for (ratio, below, from) in [
            (0.5, 0x7f_ffff_ffff_ffff, 0x80_0000_0000_0000),
            (0.25, 0xbf_ffff_ffff_ffff, 0xc0_0000_0000_0000),
            (1.0 / 65_536.0, 0xff_feff_ffff_ffff, 0xff_ff00_0000_0000),
        ] {
            // Nothing but the last 56 bits counts.
            for above in [0, 0xffff_0000 << 56] {
                assert!(!head(ratio, TraceId(above | below)) && head(ratio, TraceId(above | from)), "{ratio}");
            }
        }
        assert!(head(1.0, TraceId(1)) && !head(0.0, TraceId(u128::MAX)) && !head(f64::NAN, TraceId(u128::MAX)));
    }

    #[test]
    fn thresholds_are_written_as_the_specification_says() {
        // Halves as in "TraceState: Probability Sampling", and what does not come out even, as near as the draw is.
        for (ratio, expected) in [
            (1.0, "th:0"),
            (0.5, "th:8"),
            (0.25, "th:c"),
            (1.0 / 3.0, "th:aaaaaaaaaaaab"),
            (0.01, "th:fd70a3d70a3d7"),
            (0.05, "th:f333333333333"),
            (1.0 / 65_536.0, "th:ffff"),
        ] {
            assert_eq!(threshold(ratio), expected, "{ratio}");
            // What is written is what is drawn by.
            let digits = threshold(ratio);
            let least = u128::from_str_radix(&format!("{:0<14}", &digits[3..]), 16).expect("hexadecimal digits");
            assert!(head(ratio, TraceId(least)) && (least == 0 || !head(ratio, TraceId(least - 1))), "{ratio}");
        }
    }

    #[test]
    fn a_route_may_differ() {
        let off = RouteSampling { head: Some(1.0), errors: Some(false), slow: Some(false) };
        let mut settings = SamplingSettings { head: 0.25, ..SamplingSettings::default() };
        settings.routes.insert("probe".into(), off);
        settings.routes.insert("plain".into(), RouteSampling::default());
        assert_eq!(["probe", "plain", "search"].map(|route| settings.head_of(route)), [1.0, 0.25, 0.25]);
        let mut timeline = timeline(Outcome::Error, 502, false);
        for (route, errors, slow) in [
            ("probe", None, None),
            ("plain", Some(Reason::Error), Some(Reason::Slow)),
            ("x", Some(Reason::Error), Some(Reason::Slow)),
        ] {
            timeline.route = route.into();
            (timeline.outcome, timeline.status) = (Outcome::Error, 502);
            assert_eq!(settings.decide(&timeline, false), errors, "{route}");
            (timeline.outcome, timeline.status) = (Outcome::Ok, 200);
            assert_eq!(settings.decide(&timeline, true), slow, "{route}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Two gateways with the same share decide alike, and of two shares the larger takes all that the smaller takes.
        #[test]
        fn draws_are_consistent(trace in any::<u128>(), one in 0.0..=1.0_f64, other in 0.0..=1.0_f64) {
            let (small, large) = (one.min(other), one.max(other));
            for draw in [head, baseline] {
                prop_assert_eq!(draw(one, TraceId(trace)), draw(one, TraceId(trace)));
                prop_assert!(!draw(small, TraceId(trace)) || draw(large, TraceId(trace)));
            }
            // The half that says nothing of the draw may differ.
            prop_assert_eq!(head(one, TraceId(trace)), head(one, TraceId(trace & ((1 << 56) - 1))));
        }
    }

    #[test]
    fn slow_is_above_the_routes_own_99th_percentile() {
        let mut history = SlowHistory::default();
        let mut timeline = timeline(Outcome::Ok, 200, false);
        for n in 0..GENERATION {
            timeline.latency_ns = (n + 1) * 1_000_000;
            assert!(!history.is_slow(&timeline), "nothing is known yet");
        }
        for (ms, slow) in [(980, false), (1_010, true)] {
            timeline.latency_ns = ms * 1_000_000;
            assert_eq!(history.is_slow(&timeline), slow, "{ms} ms");
        }
    }
}
