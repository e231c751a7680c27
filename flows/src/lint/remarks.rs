//! What is known of a flow beyond its graph: what its page says of single steps, what its routes allow, what to overlook.

use std::time::Duration;

use crate::lint::rule::Rule;

/// What is known of a flow beyond its graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Rules whose findings are not wanted.
    pub allow: Vec<Rule>,
    /// The most time that any route to the flow gives it; none when one of them gives it any.
    pub route_timeout: Option<Duration>,
    /// What the page says of steps, by name.
    pub steps: Vec<(String, Said)>,
}

/// What a page says of one step and its graph does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Whether its writes are declared to be harmless when made twice.
    pub idempotent: bool,
    /// It calls a step written in Rust, whatever that is called.
    pub rust: bool,
    /// How its calls are joined, where not all of them count.
    pub join: Option<Join>,
}

/// A join that is content with some of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// What ends first.
    Race,
    /// The first success.
    FirstOk,
    /// Some successes.
    Quorum,
    /// A second call when the first one takes this long; none when that is measured.
    Hedge(Option<Duration>),
}

impl Join {
    /// The modifier that asks for it.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Race => "race",
            Self::FirstOk => "first_ok",
            Self::Quorum => "quorum",
            Self::Hedge(_) => "hedge",
        }
    }
}

impl Remarks {
    /// What is said of a step; nothing, where nothing is.
    #[must_use]
    pub fn of(&self, step: &str) -> Said {
        self.steps.iter().find(|(name, _)| name == step).map(|(_, said)| *said).unwrap_or_default()
    }
}
