//! How many requests an upstream may hold at once: a number by hand, or one that is found.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::knee::Knee;
use super::moves::{Bounds, Finish, Move};

/// What bounds the requests in an upstream, as written in the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LimitSettings {
    /// Found and followed by [`Knee`].
    Adaptive(Bounds),
    /// A number chosen by hand. It is right only for the upstream's health on the day it was chosen.
    Fixed(u32),
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self::Adaptive(Bounds::default())
    }
}

/// A concurrency limit: a state machine over moments it is told, without a clock of its own.
#[derive(Clone, Debug)]
pub enum Limit {
    /// Always the same number (at least one).
    Fixed(u32),
    /// Found and followed.
    Adaptive(Box<Knee>),
}

impl Limit {
    /// The limit that the settings ask for; `seed` spreads the drains of many gates over time.
    #[must_use]
    pub fn new(settings: LimitSettings, seed: u64) -> Self {
        match settings {
            LimitSettings::Fixed(n) => Self::Fixed(n.max(1)),
            LimitSettings::Adaptive(bounds) => Self::Adaptive(Box::new(Knee::new(bounds, seed))),
        }
    }

    /// Seats that may be taken at once, now.
    #[must_use]
    pub fn current(&self) -> u32 {
        match self {
            Self::Fixed(n) => *n,
            Self::Adaptive(knee) => knee.current(),
        }
    }

    /// The lowest and the highest it can be.
    #[must_use]
    pub fn bounds(&self) -> (u32, u32) {
        match self {
            Self::Fixed(n) => (*n, *n),
            Self::Adaptive(knee) => knee.bounds(),
        }
    }

    /// Its last move; none while it stands where the settings put it.
    #[must_use]
    pub fn last_move(&self) -> Option<Move> {
        match self {
            Self::Fixed(_) => None,
            Self::Adaptive(knee) => knee.last_move(),
        }
    }

    /// The mean answer time without a queue in the upstream, as far as it is known.
    #[must_use]
    pub fn base(&self) -> Option<Duration> {
        match self {
            Self::Fixed(_) => None,
            Self::Adaptive(knee) => knee.base(),
        }
    }

    /// A seat was taken by a request with so much of its deadline left.
    pub fn started(&mut self, deadline_left: Option<Duration>) {
        if let Self::Adaptive(knee) = self {
            knee.started(deadline_left);
        }
    }

    /// A seat was given back at `now`.
    pub fn finished(&mut self, now: Duration, finish: Finish) {
        if let Self::Adaptive(knee) = self {
            knee.finished(now, finish);
        }
    }

    /// A seat that was held for a client long gone is free: the upstream should have finished about now.
    pub fn presumed(&mut self, now: Duration) {
        if let Self::Adaptive(knee) = self {
            knee.presumed(now);
        }
    }
}
