//! Settings of sampling: which requests' spans are sent, for all routes and for single ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zerver_telemetry::sampling::{self, TailSettings};

use super::placed::Placed;
use super::problem::{Place, Problem};

/// Which requests' spans are sent.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// The share of requests without a caller's decision that are sampled at the start, 0 to 1 (default: what `otlp.sample`
    /// says, 0.05).
    pub sample: Option<Placed<f64>>,
    /// Whether those that failed are sent although they were not sampled (default true).
    pub errors: bool,
    /// Whether those slower than their route's own 99th percentile are (default true).
    pub slow: bool,
    /// Whether those with a promoted wait are (default true).
    pub promoted: bool,
    /// The share of the rest that is sent too, 0 to 1 (default 0); never against a caller's decision.
    pub baseline: Placed<f64>,
    /// Whether `errors`, `slow` and `promoted` also hold where the caller decided against sampling (default true).
    pub over_caller: bool,
}

impl Default for Sampling {
    fn default() -> Self {
        let TailSettings { errors, slow, promoted, baseline, over_caller } = TailSettings::default();
        Self { sample: None, errors, slow, promoted, baseline: Placed::nowhere(baseline), over_caller }
    }
}

/// What differs for one route.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteSampling {
    /// The share of requests without a caller's decision that are sampled at the start, 0 to 1.
    pub sample: Option<Placed<f64>>,
    /// Whether those that failed are sent although they were not sampled.
    pub errors: Option<bool>,
    /// Whether those slower than their route's own 99th percentile are.
    pub slow: Option<bool>,
}

impl Sampling {
    /// What is sent of the requests that were not sampled.
    #[must_use]
    pub fn tail(&self) -> TailSettings {
        let Self { errors, slow, promoted, over_caller, .. } = *self;
        TailSettings { errors, slow, promoted, baseline: *self.baseline, over_caller }
    }

    /// Notes shares that are none.
    pub fn check(&self, problems: &mut Vec<Problem>) {
        for (key, share) in [("sample", self.sample.as_ref()), ("baseline", Some(&self.baseline))] {
            check_share(&format!("telemetry.sampling.{key}"), share, problems);
        }
    }
}

impl RouteSampling {
    /// The same for the collector.
    #[must_use]
    pub fn settings(&self) -> sampling::RouteSampling {
        sampling::RouteSampling {
            head: self.sample.as_ref().map(|share| **share),
            errors: self.errors,
            slow: self.slow,
        }
    }

    /// Notes a share that is none.
    pub fn check(&self, problems: &mut Vec<Problem>) {
        check_share("sampling.sample", self.sample.as_ref(), problems);
    }
}

fn check_share(key: &str, share: Option<&Placed<f64>>, problems: &mut Vec<Problem>) {
    let Some(share) = share.filter(|share| !(0.0..=1.0).contains(&***share)) else { return };
    let message = format!("`{key}` is {}; a share lies between 0 and 1", **share);
    let problem = match share.place() {
        place if place == Place::default() => Problem::whole(message),
        place => Problem::at(place, message),
    };
    problems.push(problem.help("0.05 takes one ordinary request in twenty"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::parse;

    #[test]
    fn what_is_not_said_is_as_the_collector_has_it() {
        assert_eq!(Sampling::default().tail(), TailSettings::default());
        let page = |telemetry: &str| {
            let text = format!("listen: 127.0.0.1:0\nroutes: []\ntelemetry: {telemetry}\n");
            parse(&text).expect("it is a page").telemetry
        };
        for (telemetry, head) in [
            ("{}", 0.05),
            ("{ otlp: { sample: 0.5 } }", 0.5),
            ("{ sampling: { sample: 0.25 } }", 0.25),
            ("{ otlp: { sample: 0.5 }, sampling: { sample: 0 } }", 0.0),
        ] {
            assert!((page(telemetry).head() - head).abs() < f64::EPSILON, "{telemetry}");
        }
        let tail = page("{ sampling: { errors: false, baseline: 0.5, over_caller: false } }").sampling.tail();
        assert_eq!(tail, TailSettings { errors: false, slow: true, promoted: true, baseline: 0.5, over_caller: false });
    }

    #[test]
    fn shares_lie_between_0_and_1() {
        let at = |share: f64| Some(Placed::nowhere(share));
        let mut problems = Vec::new();
        Sampling { sample: at(1.5), baseline: Placed::nowhere(f64::NAN), ..Sampling::default() }.check(&mut problems);
        RouteSampling { sample: at(-0.1), ..RouteSampling::default() }.check(&mut problems);
        RouteSampling { sample: at(1.0), ..RouteSampling::default() }.check(&mut problems);
        let said: Vec<&str> = problems.iter().map(|problem| problem.message.split(';').next().unwrap_or("")).collect();
        assert_eq!(
            said,
            ["`telemetry.sampling.sample` is 1.5", "`telemetry.sampling.baseline` is NaN", "`sampling.sample` is -0.1"]
        );
    }
}
