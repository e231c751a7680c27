//! A refusal: why, in one closed list, and when to come back.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::class::fraction;

/// Why a request got no seat. The words are stable: they stand in a response header, a counter's label and the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The waiting room holds as many of this class as the settings allow.
    QueueFull,
    /// It would have waited longer than its class may.
    PredictedWait,
    /// It was let in to wait, the upstream slowed down, and it waited as long as its class may.
    QueueWait,
    /// Its deadline passed, or would have passed before an answer.
    Deadline,
    /// The room is full, and its tenant stands there more often than others do.
    TenantShare,
    /// The gate is closed: the gateway shuts down, or its settings were replaced.
    Draining,
}

impl Reason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 6] =
        [Self::QueueFull, Self::PredictedWait, Self::QueueWait, Self::Deadline, Self::TenantShare, Self::Draining];

    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::PredictedWait => "predicted_wait",
            Self::QueueWait => "queue_wait",
            Self::Deadline => "deadline",
            Self::TenantShare => "tenant_share",
            Self::Draining => "draining",
        }
    }
}

/// A request that got no seat. It took nothing and owes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no seat: {}, try again in {} s", .reason.as_str(), .retry_after.as_secs())]
pub struct Shed {
    /// Why.
    pub reason: Reason,
    /// When to come back: whole seconds, at least one, spread so that clients do not return together.
    pub retry_after: Duration,
}

/// The longest `Retry-After` before its spread, in seconds.
const LONGEST_S: u64 = 32;

/// How long to stay away: doubles while refusals keep coming, falls by one while they do not.
///
/// The rule of Kubernetes API priority and fairness (`kubernetes/apiserver`, `dropped_requests_tracker.go`).
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    seconds: u64,
    since: Duration,
    refused: u64,
    seed: u64,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Self { seconds: 1, since: Duration::ZERO, refused: 0, seed }
    }

    /// Counts one refusal and says when to come back.
    pub(super) fn refuse(&mut self, now: Duration) -> Duration {
        self.turn(now);
        self.refused += 1;
        self.seed = self.seed.wrapping_add(2);
        let spread = self.seconds as f64 * (0.8 + 0.4 * fraction(self.seed));
        // Rounded up or down by chance, or the spread of small numbers would be lost.
        let seconds = (spread + fraction(self.seed.wrapping_add(1))).floor().max(1.0);
        Duration::from_secs(seconds as u64)
    }

    /// What it stands at, before the spread.
    pub(super) fn current(&mut self, now: Duration) -> Duration {
        self.turn(now);
        Duration::from_secs(self.seconds)
    }

    /// Ends the windows that are over.
    fn turn(&mut self, now: Duration) {
        loop {
            let window = Duration::from_secs(self.seconds);
            if now.saturating_sub(self.since) < window {
                return;
            }
            if self.refused >= 3 * self.seconds {
                self.seconds = (2 * self.seconds).min(LONGEST_S);
            } else if self.refused < self.seconds {
                self.seconds = (self.seconds - 1).max(1);
            }
            self.refused = 0;
            self.since += window;
            if self.seconds == 1 && now.saturating_sub(self.since) > Duration::from_secs(LONGEST_S) {
                // A long calm: nothing more can change, so do not count through it.
                self.since = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_that_serde_writes() {
        for (n, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, n);
            assert_eq!(serde_json::to_value(reason).ok(), Some(reason.as_str().into()));
        }
    }

    #[test]
    fn staying_away_doubles_under_pressure_and_falls_in_calm() {
        let mut backoff = Backoff::new(7);
        let mut now = Duration::ZERO;
        for _ in 0..10_000 {
            backoff.refuse(now);
            now += Duration::from_millis(10);
        }
        assert_eq!(backoff.current(now), Duration::from_secs(32));
        let high: Vec<u64> = (0..200).map(|_| backoff.refuse(now).as_secs()).collect();
        assert!(high.iter().all(|s| (25..=39).contains(s)), "{high:?}");
        assert!(high.iter().any(|s| *s < 29) && high.iter().any(|s| *s > 35), "spread: {high:?}");
        // 32 + 31 + … + 2 seconds of calm, after one more window for the refusals just counted.
        now += Duration::from_secs(32 + 32 * 33 / 2);
        assert_eq!(backoff.current(now), Duration::from_secs(1));
        now += Duration::from_secs(86_400 * 365);
        assert_eq!(backoff.current(now), Duration::from_secs(1));
    }

    #[test]
    fn a_single_refusal_asks_for_about_a_second() {
        let answers: Vec<u64> = (0..100).map(|seed| Backoff::new(seed).refuse(Duration::ZERO).as_secs()).collect();
        assert!(answers.iter().all(|s| (1..=2).contains(s)), "{answers:?}");
    }
}
