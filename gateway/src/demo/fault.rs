//! The faults that the demo can inject, each with the truth that the verdict is held against.

use clap::ValueEnum;
use zerver_telemetry::event::Cause;
use zerver_telemetry::explain::{Comparison, VerdictKind};

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// One of three replicas of the quotes service takes 60 ms longer.
    SlowReplica,
    /// The profiles service finds one tenant's data in no cache: 50 ms longer.
    ColdCache,
    /// Only two calls may be with the quotes service at once.
    SmallPool,
    /// Large carts cost the scoring step 40 ms of computing.
    HeavyStep,
    /// The carts service fails one call in twelve; it is tried again after a pause.
    Flaky,
    /// Nothing.
    None,
}

/// What a fault should be found to be.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    /// The place's path ends with this.
    pub place: &'static str,
    /// What the time is spent on.
    pub cause: Cause,
    /// What marks those that suffer: key and value; none where nothing but the place does.
    pub mark: Option<(&'static str, &'static str)>,
}

impl Fault {
    /// Every fault, `none` last.
    pub const ALL: [Self; 6] =
        [Self::SlowReplica, Self::ColdCache, Self::SmallPool, Self::HeavyStep, Self::Flaky, Self::None];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SlowReplica => "slow-replica",
            Self::ColdCache => "cold-cache",
            Self::SmallPool => "small-pool",
            Self::HeavyStep => "heavy-step",
            Self::Flaky => "flaky",
            Self::None => "none",
        }
    }

    /// What it is, in a sentence.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::SlowReplica => "one of the three replicas of `quotes` takes 60 ms longer",
            Self::ColdCache => "`profiles` finds the tenant `acme` in no cache and takes 50 ms longer",
            Self::SmallPool => "only two calls may be with `quotes` at once",
            Self::HeavyStep => "carts of more than 40 items cost the step `score` 40 ms of computing",
            Self::Flaky => "`carts` fails one call in twelve, which is tried again after a pause",
            Self::None => "nothing: the verdict should find no single cause",
        }
    }

    /// What the verdict should say; none when it should abstain.
    #[must_use]
    pub fn truth(self) -> Option<Truth> {
        let truth = |place, cause, mark| Some(Truth { place, cause, mark });
        match self {
            Self::SlowReplica => truth("price.quotes", Cause::Io, Some(("peer", ""))),
            Self::ColdCache => truth("profile.profiles", Cause::Io, Some(("tenant", "acme"))),
            Self::SmallPool => truth("price.quotes", Cause::Permit, None),
            Self::HeavyStep => truth("score", Cause::Run, Some(("items", ""))),
            Self::Flaky => truth("cart.carts", Cause::Timer, None),
            Self::None => None,
        }
    }

    /// Whether a comparison found it: place, cause and mark of the first finding, or rightly nothing.
    #[must_use]
    pub fn is_found_by(self, comparison: &Comparison) -> bool {
        let Some(truth) = self.truth() else {
            return comparison.kind != VerdictKind::Cause;
        };
        let Some(first) = comparison.findings.first().filter(|_| comparison.kind == VerdictKind::Cause) else {
            return false;
        };
        let mark = truth.mark.is_none_or(|(key, value)| {
            // A mark of a step's own attribute may name the step: `items@score`.
            let named = |k: &str| k.split('@').next() == Some(key);
            first.marks.iter().any(|mark| {
                named(&mark.key) && (value.is_empty() || mark.value == value)
                    || !value.is_empty() && mark.also.iter().any(|also| *also == format!("{key}={value}"))
            })
        });
        first.place.ends_with(truth.place) && first.reasons.first().is_some_and(|r| r.cause == truth.cause) && mark
    }
}
