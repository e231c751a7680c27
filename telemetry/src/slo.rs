//! Service-level objectives: which share of a route's requests is to be good, and how fast what may go wrong is used up.
//!
//! Source: B. Beyer et al., "The Site Reliability Workbook" (2018), chapters 2 and 5: good events over valid events, an
//! error budget, burn rates over several windows.

mod window;
pub mod rules;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::clock::Clock;
use crate::event::Outcome;
use crate::hash;
use crate::metrics::{Sink, Source, catalog};
use crate::timeline::Timeline;

use window::{Counts, Windows};

/// The windows over which burn rates are given, shortest first; each alert looks at two of them.
pub const BURN_WINDOWS: [(&str, Duration); 7] = [
    ("5m", Duration::from_secs(5 * 60)),
    ("30m", Duration::from_secs(30 * 60)),
    ("1h", Duration::from_secs(60 * 60)),
    ("2h", Duration::from_secs(2 * 60 * 60)),
    ("6h", Duration::from_secs(6 * 60 * 60)),
    ("1d", Duration::from_secs(24 * 60 * 60)),
    ("3d", Duration::from_secs(3 * 24 * 60 * 60)),
];

/// What makes a request good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indicator {
    /// It was answered, and not with 5xx: a refusal for want of room is the gateway's fault, one by a rate limit is not.
    Availability,
    /// It was answered in time; one that failed was not.
    Latency {
        /// The longest good latency.
        under: Duration,
    },
}

impl Indicator {
    /// The word for it in metrics and rules.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::Latency { .. } => "latency",
        }
    }

    /// Whether a request was good; none when it counts for nothing, because its client left before the answer.
    #[must_use]
    pub fn judge(self, timeline: &Timeline) -> Option<bool> {
        if timeline.outcome == Outcome::Cancelled {
            return None;
        }
        let answered = timeline.status != 0 && timeline.status < 500;
        Some(match self {
            Self::Availability => answered,
            Self::Latency { under } => answered && u128::from(timeline.latency_ns) <= under.as_nanos(),
        })
    }
}

/// One objective of one route.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// The route.
    pub route: Arc<str>,
    /// What makes its requests good.
    pub indicator: Indicator,
    /// The share of them that is to be good, between 0 and 1.
    pub ratio: f64,
    /// The time over which that is to hold.
    pub window: Duration,
}

impl Objective {
    /// The share that may be bad.
    #[must_use]
    pub fn budget(&self) -> f64 {
        1.0 - self.ratio
    }
}

/// How an objective stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Which.
    pub objective: Objective,
    /// Requests that counted, since the start.
    pub requests: u64,
    /// Those of them that were bad.
    pub bad: u64,
    /// How many times faster than allowed the budget is used, by window: at 1 it lasts exactly as long as it should. 0 where
    /// there were no requests.
    pub burn_rates: Vec<(&'static str, f64)>,
}

impl Standing {
    /// For programs: `route, slo, objective, under_ms, window_s, requests, bad, burn_rates`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Objective { route, indicator, ratio, window } = &self.objective;
        let under = match indicator {
            Indicator::Availability => None,
            Indicator::Latency { under } => Some(under.as_secs_f64() * 1e3),
        };
        let rates: Map<String, Value> =
            self.burn_rates.iter().map(|(window, rate)| ((*window).to_owned(), json!(rate))).collect();
        json!({
            "route": &**route,
            "slo": indicator.as_str(),
            "objective": ratio,
            "under_ms": under,
            "window_s": window.as_secs(),
            "requests": self.requests,
            "bad": self.bad,
            "burn_rates": rates,
        })
    }
}

/// The objectives of one gateway and what is known of each: some 18 KiB for each objective.
///
/// Counts live in this process: they begin at 0 with each start. What has to outlive it is Prometheus' work
/// ([`rules`]).
#[derive(Debug)]
pub struct Slos {
    clock: Clock,
    tracked: Mutex<hash::Map<Arc<str>, Vec<Tracked>>>,
}

#[derive(Debug)]
struct Tracked {
    objective: Objective,
    windows: Windows,
}

impl Slos {
    /// No objectives yet.
    #[must_use]
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, tracked: Mutex::default() })
    }

    /// From now on these are the objectives. One that stays as it was keeps its counts.
    pub fn set(&self, objectives: &[Objective]) {
        let mut tracked = self.tracked.lock();
        let mut before: Vec<Tracked> = tracked.drain().flat_map(|(_, list)| list).collect();
        for objective in objectives {
            let known = before.iter().position(|one| one.objective == *objective);
            let one = known
                .map(|at| before.swap_remove(at))
                .unwrap_or_else(|| Tracked { objective: objective.clone(), windows: Windows::new() });
            tracked.entry(Arc::clone(&objective.route)).or_default().push(one);
        }
    }

    /// Counts a request that has ended.
    pub fn observe(&self, timeline: &Timeline) {
        let mut tracked = self.tracked.lock();
        let Some(list) = tracked.get_mut(&timeline.route) else { return };
        let at = timeline.start_unix_ns.saturating_add(timeline.latency_ns);
        for one in list {
            if let Some(good) = one.objective.indicator.judge(timeline) {
                one.windows.count(at, good);
            }
        }
    }

    /// How every objective stands, by route and indicator.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        let now = self.clock.unix_ns(self.clock.now());
        let tracked = self.tracked.lock();
        let mut standings: Vec<Standing> = tracked.values().flatten().map(|one| one.standing(now)).collect();
        standings.sort_by(|a, b| key(&a.objective).cmp(&key(&b.objective)));
        standings
    }
}

fn key(objective: &Objective) -> (&str, &str) {
    (&objective.route, objective.indicator.as_str())
}

impl Tracked {
    fn standing(&self, now: u64) -> Standing {
        let Counts { good, bad } = self.windows.all();
        let burn = |window: Duration| {
            let Counts { good, bad } = self.windows.last(now, window);
            let share = if good + bad == 0 { 0.0 } else { bad as f64 / (good + bad) as f64 };
            share / self.objective.budget()
        };
        let burn_rates = BURN_WINDOWS.iter().map(|(name, window)| (*name, burn(*window))).collect();
        Standing { objective: self.objective.clone(), requests: good + bad, bad, burn_rates }
    }
}

impl Source for Slos {
    fn collect(&self, out: &mut Sink) {
        for Standing { objective, requests, bad, burn_rates } in self.standings() {
            let (route, slo) = (&*objective.route, objective.indicator.as_str());
            out.put(catalog::SLO_OBJECTIVE, &[route, slo], objective.ratio);
            out.put(catalog::SLO_EVENTS, &[route, slo, "good"], (requests - bad) as f64);
            out.put(catalog::SLO_EVENTS, &[route, slo, "bad"], bad as f64);
            for (window, rate) in burn_rates {
                out.put(catalog::SLO_BURN, &[route, slo, window], rate);
            }
        }
    }
}

#[cfg(test)]
mod tests;
