//! What a limit is told about finished requests, and what it tells about its own moves.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a seat was given back, as the limit sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The upstream answered as it should.
    Good,
    /// The upstream answered with a failure of its own, or the connection failed.
    Failed,
    /// Our patience ended before the upstream answered.
    Timeout,
    /// The client went away; how long the upstream would have taken is not known.
    ClientGone,
}

impl Outcome {
    /// The word for it in labels and on screens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::ClientGone => "client_gone",
        }
    }
}

/// One seat given back.
#[derive(Clone, Copy, Debug)]
pub struct Finish {
    /// When the seat was taken, since the gate opened.
    pub started: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// The limit was reached at this moment: this was the last seat, or somebody waited.
    pub full: bool,
}

/// Why a limit last moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It stands where the settings put it.
    Settings,
    /// It looks for the knee: more seats still bring more throughput.
    Search,
    /// The search found the knee: more seats brought no more throughput.
    SearchEnd,
    /// Throughput at full use, times the answer time without a queue, calls for more seats.
    KneeUp,
    /// The same product calls for fewer seats.
    KneeDown,
    /// More seats would make requests wait in the upstream for over half of their deadline.
    DeadlineCap,
    /// It is held low for a moment to measure the answer time without a queue.
    Drain,
    /// That moment is over.
    DrainEnd,
}

impl Why {
    /// The word for it in labels and on screens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Search => "search",
            Self::SearchEnd => "search_end",
            Self::KneeUp => "knee_up",
            Self::KneeDown => "knee_down",
            Self::DeadlineCap => "deadline_cap",
            Self::Drain => "drain",
            Self::DrainEnd => "drain_end",
        }
    }
}

/// A limit's last move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// When, since the gate opened.
    pub at: Duration,
    /// The limit before.
    pub from: u32,
    /// The limit after.
    pub to: u32,
    /// The reason.
    pub why: Why,
}

/// The bounds of an adaptive limit. None of them needs to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// Where the search begins.
    pub start: u32,
    /// Never fewer seats than this, but for the moments of a drain (one seat).
    pub min: u32,
    /// Never more seats than this.
    pub max: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { start: 4, min: 2, max: 4_000 }
    }
}
