//! The rules of retention: how much is kept, and which requests count as failed.

use std::time::Duration;

use crate::event::Outcome;
use crate::timeline::Timeline;

/// How much is kept. All of it is bounded; what is reached first counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionSettings {
    /// The last so many (default 5,000).
    pub recent: usize,
    /// The most that one tenth of a second adds to them (default 100): the first ones of it. Above 1,000 requests a second
    /// they then still reach back five seconds, and what nobody will read is not packed.
    pub recent_each: u32,
    /// The sample over the whole window (default 10,000).
    pub uniform: usize,
    /// The last so many that failed (default 3,000).
    pub errors: usize,
    /// The slowest so many of each route (default 32).
    pub slow_per_route: usize,
    /// The most that all routes together keep as slow (default 2,000, which makes 20,000 in all).
    pub slow: usize,
    /// The most memory, in bytes (default 128 MiB: it would hold some 350,000 of ten nodes each, so that the numbers above are
    /// what is reached first).
    pub bytes: usize,
    /// What is older gives way first, and does not keep newer slow ones out (default 15 minutes).
    pub window: Duration,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            recent: 5_000,
            recent_each: 100,
            uniform: 10_000,
            errors: 3_000,
            slow_per_route: 32,
            slow: 2_000,
            bytes: 128 << 20,
            window: Duration::from_secs(15 * 60),
        }
    }
}

/// Whether a request counts as failed: an error, a timeout, or a 5xx. A refusal or a client that left is neither.
#[must_use]
pub fn failed(timeline: &Timeline) -> bool {
    matches!(timeline.outcome, Outcome::Error | Outcome::Timeout) || timeline.status >= 500
}
