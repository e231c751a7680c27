//! Promotion: which waits of a request are long enough to become spans of their own.
//!
//! An episode is one state of a node in which it is queued or parked. It is promoted when it is **longer** than the
//! route's threshold for its kind. [`promote`] is pure: it takes limits, and [`History`] makes them from the route's
//! own past.
//!
//! Left out, because a span of their own would say nothing:
//! - a park for a join: the child that is waited for is the reason, and has a span;
//! - the states of a branch: its children do its waiting;
//! - folded states: they are sums of many short ones, not one wait.
//!
//! With `debug_jobs` the first two are promoted as well.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::{Cause, NodeKind, StateKind};
use crate::hash::ByName;
use crate::metrics::histogram::Rolling;
use crate::timeline::{PromotedBy, State, Timeline};

/// What is promoted.
#[derive(Clone, Debug, PartialEq)]
pub struct PromotionSettings {
    /// Queue episodes longer than this are promoted (default 5 ms; `ZER_VER_PROMOTE_QUEUE_MS`).
    pub queue: Duration,
    /// Park episodes longer than this are promoted (default 5 ms; `ZER_VER_PROMOTE_PARK_MS`).
    pub park: Duration,
    /// Thresholds of single routes, by the route's name.
    pub routes: BTreeMap<String, RouteThresholds>,
    /// Raises a threshold to the route's own 95th percentile of that kind of episode (default true).
    pub adaptive: bool,
    /// Promotes every queue and park episode (default false; `ZER_VER_DEBUG_JOBS`).
    pub debug_jobs: bool,
}

/// The thresholds of one route; what is not given is as for all routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteThresholds {
    /// For queue episodes.
    pub queue: Option<Duration>,
    /// For park episodes.
    pub park: Option<Duration>,
}

impl Default for PromotionSettings {
    fn default() -> Self {
        Self {
            queue: Duration::from_millis(5),
            park: Duration::from_millis(5),
            routes: BTreeMap::new(),
            adaptive: true,
            debug_jobs: false,
        }
    }
}

/// How long an episode of one kind may be, and which rule set that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Longer ones are promoted, in nanoseconds.
    pub ns: u64,
    /// What the promoted episode is marked with.
    pub rule: PromotedBy,
}

impl Limit {
    /// The larger of the configured threshold and the route's own percentile, where there is one.
    #[must_use]
    pub fn new(configured: Duration, own_p95_ns: Option<u64>) -> Self {
        let ns = u64::try_from(configured.as_nanos()).unwrap_or(u64::MAX);
        match own_p95_ns.filter(|own| *own > ns) {
            Some(own) => Self { ns: own, rule: PromotedBy::Adaptive },
            None => Self { ns, rule: PromotedBy::Threshold },
        }
    }
}

/// The limits that hold for one timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For queue episodes.
    pub queue: Limit,
    /// For park episodes.
    pub park: Limit,
    /// Whether everything is promoted.
    pub debug: bool,
}

impl Limits {
    /// The rule that promotes this state of a node of this kind, if one does.
    #[must_use]
    pub fn rule(&self, kind: NodeKind, state: &State) -> Option<PromotedBy> {
        let limit = match state.cause.kind() {
            StateKind::Run => return None,
            StateKind::Queue => self.queue,
            StateKind::Park => self.park,
        };
        if state.folded || state.len_ns() == 0 {
            return None;
        }
        let explained_elsewhere = state.cause == Cause::Join || kind == NodeKind::Branch;
        if state.len_ns() > limit.ns && !explained_elsewhere {
            return Some(limit.rule);
        }
        self.debug.then_some(PromotedBy::Debug)
    }
}

/// Marks the promoted episodes of `timeline` and says how many there are.
pub fn promote(timeline: &mut Timeline, limits: &Limits) -> u32 {
    let mut promoted = 0;
    for node in &mut timeline.nodes {
        for state in &mut node.states {
            state.promoted = limits.rule(node.kind, state);
            promoted += u32::from(state.promoted.is_some());
        }
    }
    promoted
}

/// Episodes of one kind in a generation: a route's percentile stands after that many and is renewed as often.
const GENERATION: u64 = 1_000;
/// Routes with a history of their own; a configuration with more shares one among the rest.
const ROUTES: usize = 1_024;

/// What each route's episodes have been like.
#[derive(Debug)]
pub struct History {
    routes: ByName<RouteHistory>,
    rest: RouteHistory,
}

impl Default for History {
    fn default() -> Self {
        Self { routes: ByName::new(ROUTES), rest: RouteHistory::default() }
    }
}

#[derive(Debug)]
struct RouteHistory {
    queue: Rolling,
    park: Rolling,
}

impl Default for RouteHistory {
    fn default() -> Self {
        Self { queue: Rolling::new(0.95, GENERATION), park: Rolling::new(0.95, GENERATION) }
    }
}

impl History {
    /// The limits for a route: per-route threshold, else the general one, raised to the route's own 95th percentile
    /// once a generation of 1,000 episodes of that kind has been seen.
    #[must_use]
    pub fn limits(&self, route: &str, settings: &PromotionSettings) -> Limits {
        let own = settings.routes.get(route).copied().unwrap_or_default();
        let past = self.routes.get(route).unwrap_or(&self.rest);
        let p95 = |rolling: &Rolling| rolling.value_ns().filter(|_| settings.adaptive);
        Limits {
            queue: Limit::new(own.queue.unwrap_or(settings.queue), p95(&past.queue)),
            park: Limit::new(own.park.unwrap_or(settings.park), p95(&past.park)),
            debug: settings.debug_jobs,
        }
    }

    /// Adds a timeline's episodes to its route's past. Only those that could be promoted count.
    pub fn add(&mut self, timeline: &Timeline) {
        let past = self.routes.enter(&timeline.route).unwrap_or(&mut self.rest);
        let nodes = timeline.nodes.iter().filter(|node| node.kind != NodeKind::Branch);
        for state in nodes.flat_map(|node| &node.states) {
            if state.folded || state.len_ns() == 0 || state.cause == Cause::Join {
                continue;
            }
            match state.cause.kind() {
                StateKind::Queue => past.queue.record(state.len_ns()),
                StateKind::Park => past.park.record(state.len_ns()),
                StateKind::Run => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn state(cause: Cause, ns: u64, folded: bool) -> State {
        State { from_ns: 7, to_ns: 7 + ns, cause, name: None, woken_by: None, worker: None, promoted: None, folded }
    }

    fn limits(debug: bool) -> Limits {
        Limits {
            queue: Limit::new(Duration::from_millis(5), None),
            park: Limit::new(Duration::from_millis(5), Some(20 * MS)),
            debug,
        }
    }

    #[test]
    fn the_promotion_table() {
        use NodeKind::{Branch, Effect, Request, Station, Step};
        use PromotedBy::{Adaptive, Debug, Threshold};
        for (kind, cause, ns, folded, plain, debug) in [
            // The threshold itself is not longer than the threshold.
            (Step, Cause::Worker, 5 * MS, false, None, Some(Debug)),
            (Step, Cause::Worker, 5 * MS + 1, false, Some(Threshold), Some(Threshold)),
            (Request, Cause::Permit, 9 * MS, false, Some(Threshold), Some(Threshold)),
            (Station, Cause::Permit, 9 * MS, false, Some(Threshold), Some(Threshold)),
            (Effect, Cause::Permit, 9 * MS, false, Some(Threshold), Some(Threshold)),
            // This route's own 95th percentile of parks is 20 ms.
            (Effect, Cause::Io, 20 * MS, false, None, Some(Debug)),
            (Effect, Cause::Io, 21 * MS, false, Some(Adaptive), Some(Adaptive)),
            (Request, Cause::Write, 21 * MS, false, Some(Adaptive), Some(Adaptive)),
            (Step, Cause::Timer, 21 * MS, false, Some(Adaptive), Some(Adaptive)),
            // Explained elsewhere, running, sums, nothing.
            (Step, Cause::Join, 900 * MS, false, None, Some(Debug)),
            (Branch, Cause::Io, 900 * MS, false, None, Some(Debug)),
            (Step, Cause::Run, 900 * MS, false, None, None),
            (Request, Cause::Write, 900 * MS, true, None, None),
            (Effect, Cause::Permit, 0, false, None, None),
        ] {
            let state = state(cause, ns, folded);
            assert_eq!(limits(false).rule(kind, &state), plain, "{kind:?} {cause:?} {ns} folded {folded}");
            assert_eq!(limits(true).rule(kind, &state), debug, "{kind:?} {cause:?} {ns} folded {folded}, debug");
        }
    }

    #[test]
    fn a_threshold_is_the_routes_own_where_it_has_one() {
        let mut settings = PromotionSettings::default();
        let own = RouteThresholds { queue: Some(Duration::from_millis(1)), park: None };
        settings.routes.insert("fast".into(), own);
        let history = History::default();
        assert_eq!(history.limits("fast", &settings).queue.ns, MS);
        assert_eq!(history.limits("fast", &settings).park.ns, 5 * MS);
        assert_eq!(history.limits("other", &settings).queue.ns, 5 * MS);
    }

    #[test]
    fn a_route_that_always_waits_raises_its_threshold() {
        let settings = PromotionSettings::default();
        let mut history = History::default();
        let mut timeline = crate::timeline::sample();
        for n in 1..=GENERATION {
            timeline.nodes.truncate(1);
            timeline.nodes[0].states = vec![state(Cause::Io, n * MS, false), state(Cause::Permit, MS, false)];
            history.add(&timeline);
        }
        let limits = history.limits(&timeline.route, &settings);
        assert_eq!(limits.park.rule, PromotedBy::Adaptive);
        assert!((940 * MS..965 * MS).contains(&limits.park.ns), "{limits:?}");
        // Its queues are short; the configured threshold stays.
        assert_eq!(limits.queue, Limit { ns: 5 * MS, rule: PromotedBy::Threshold });
        let fixed = PromotionSettings { adaptive: false, ..settings };
        assert_eq!(history.limits(&timeline.route, &fixed).park.rule, PromotedBy::Threshold);
        assert_eq!(history.limits("elsewhere", &fixed).park.ns, 5 * MS);
    }
}
