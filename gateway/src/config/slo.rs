//! Settings of a route's objectives: which share of its requests is to be good, and over how long.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zerver_telemetry::slo::{Indicator, Objective};

use super::duration;
use super::placed::Placed;
use super::problem::Problem;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a route promises.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// The percentage of requests that are to be answered without 5xx, such as 99.9.
    #[serde(default)]
    pub availability: Option<Placed<f64>>,
    /// How quick most of them are to be.
    #[serde(default)]
    pub latency: Option<Latency>,
    /// Over how long that is to hold, 1d to 90d (default 30d).
    #[serde(default = "month", with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub window: Duration,
}

/// How quick a route's requests are to be.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// The longest good latency.
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub under: Duration,
    /// The percentage of requests that are to be answered well within it, such as 99.
    pub share: Placed<f64>,
}

fn month() -> Duration {
    30 * DAY
}

impl Slo {
    /// The objectives of a route.
    #[must_use]
    pub fn objectives(&self, route: &str) -> Vec<Objective> {
        let route: Arc<str> = route.into();
        let of = |percent: &Placed<f64>, indicator: Indicator| Objective {
            route: Arc::clone(&route),
            indicator,
            ratio: **percent / 100.0,
            window: self.window,
        };
        let available = self.availability.as_ref().map(|percent| of(percent, Indicator::Availability));
        let quick = self.latency.as_ref();
        let quick = quick.map(|quick| of(&quick.share, Indicator::Latency { under: quick.under }));
        available.into_iter().chain(quick).collect()
    }

    /// What is wrong with it; `name` is the route's.
    pub fn check(&self, name: &Placed<String>, problems: &mut Vec<Problem>) {
        let percents = self.availability.iter().chain(self.latency.as_ref().map(|latency| &latency.share));
        for percent in percents.filter(|percent| !(50.0..100.0).contains(&***percent)) {
            let wrong = format!("an objective of {} % is not from 50 to below 100", **percent);
            let help = if **percent >= 100.0 {
                "nothing is always good; what is left of 100 is the budget: 99.9 lets one request in a thousand fail"
            } else {
                "write a percentage: 99.9, not 0.999"
            };
            problems.push(Problem::at(percent.place(), wrong).help(help));
        }
        let at = |message: String| Problem::at(name.place(), message);
        if self.availability.is_none() && self.latency.is_none() {
            let help = "say `availability: 99.9`, `latency: { under: 300ms, share: 99 }`, or both";
            problems.push(at(format!("the `slo` of route `{}` promises nothing", **name)).help(help));
        }
        if !(DAY..=90 * DAY).contains(&self.window) {
            let message = format!("the `slo.window` of route `{}` is not from 1d to 90d", **name);
            problems.push(at(message).help("30d is usual: long enough for one bad hour not to decide it"));
        }
        if self.latency.as_ref().is_some_and(|latency| latency.under.is_zero()) {
            let help = "write how long a good answer may take: `under: 300ms`";
            problems.push(at(format!("no request of route `{}` takes no time", **name)).help(help));
        }
    }
}
