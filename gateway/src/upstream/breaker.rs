//! A circuit breaker: an upstream whose tries fail is left alone for a while, and then tried again one by one.
//!
//! ```text
//!            min tries and the share of failures in 10 s            open is over
//!   closed ───────────────────────────────────────────────► open ───────────────► half open
//!      ▲                                                      ▲                      │  │
//!      │                                                      └── a probe fails ─────┘  │
//!      └───────────────── probes in a row succeed ──────────────────────────────────────┘
//! ```
//!
//! After M. Nygard, Release It! (2007). A share in a window rather than failures in a row, so that a breaker opens for an
//! upstream of which one peer in two fails, and not for a burst among many tries.

mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zerver_telemetry::clock::{Clock, Ticks};
use zerver_telemetry::id::mix;

use self::window::Window;

/// Why a try was refused: the word in headers, counters and timelines.
pub const REASON: &str = "breaker_open";

/// The longest that a breaker stays open, before its spread.
pub const OPEN_MAX: Duration = Duration::from_secs(60);
/// When to come again while a probe is under way: nobody knows how long it takes.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// A breaker's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The share of tries that fail within ten seconds from which on it opens, above 0 to 1 (default 0.5).
    pub failures: f64,
    /// The fewest tries within ten seconds for which the share counts (default 20).
    pub min: u32,
    /// How long it stays open at first (default 5s); twice as long after each probe that fails, up to 60s.
    #[serde(with = "crate::config::duration")]
    #[schemars(schema_with = "crate::config::duration::schema")]
    pub open: Duration,
    /// Probes in a row that have to succeed before it closes (default 3).
    pub probes: u32,
    /// The statuses of answers that are failures (default 502, 503 and 504).
    pub statuses: Vec<u16>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { failures: 0.5, min: 20, open: Duration::from_secs(5), probes: 3, statuses: vec![502, 503, 504] }
    }
}

/// What a breaker does with the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Lets it pass.
    Closed,
    /// Lets it pass when no other try is under way.
    HalfOpen,
    /// Refuses it.
    Open,
}

impl State {
    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// How a try went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The upstream answered.
    Success,
    /// No connection, a broken one, no answer in time, or an answer that counts as a failure.
    Failure,
    /// Nobody waited for the answer.
    Unknown,
}

/// A try that the breaker does not let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What it is in: open or half open.
    pub state: State,
    /// When another try makes sense.
    pub retry_after: Duration,
}

impl Refused {
    /// The time in the form of `Retry-After`: whole seconds, rounded up, at least one.
    #[must_use]
    pub fn seconds(&self) -> u32 {
        u32::try_from(self.retry_after.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
    }
}

/// The circuit breaker of an upstream.
#[derive(Debug)]
pub struct Breaker {
    name: String,
    settings: Settings,
    clock: Clock,
    begun: Ticks,
    seed: u64,
    inner: Mutex<Inner>,
    trips: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    phase: Phase,
    /// Counts the changes of phase: what a try of an earlier one says is of no use any more.
    turn: u64,
    /// How long it was open last, before the spread.
    open: Duration,
    window: Window,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed,
    Open { until: Ticks },
    HalfOpen { probing: bool, good: u32 },
}

/// A breaker as the admin API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct BreakerState {
    /// What it does with the next try.
    pub state: State,
    /// Tries that ended within the last ten seconds, while it was closed.
    pub tries: u32,
    /// Those among them that failed.
    pub failures: u32,
    /// For how much longer it is open, in milliseconds; 0 when it is not.
    pub open_ms: f64,
    /// Probes in a row that have succeeded.
    pub probes: u32,
    /// How often it opened, after a probe that failed too.
    pub trips_total: u64,
    /// Tries that it refused.
    pub refused_total: u64,
}

impl Breaker {
    /// A closed breaker. `name` is for the log, and seeds the spread of the times for which it is open.
    #[must_use]
    pub fn new(name: &str, settings: &Settings, clock: Clock) -> Arc<Self> {
        let open = settings.open;
        Arc::new(Self {
            name: name.to_owned(),
            settings: settings.clone(),
            begun: clock.now(),
            clock,
            seed: name.bytes().fold(0, |seed, byte| mix(seed ^ u64::from(byte))),
            inner: Mutex::new(Inner { phase: Phase::Closed, turn: 0, open, window: Window::default() }),
            trips: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Whether a try may hope to pass now: for asking before a wait. Takes nothing.
    ///
    /// # Errors
    /// [`Refused`], which is counted.
    pub fn look(&self) -> Result<(), Refused> {
        match self.refusal(&self.inner.lock()) {
            None => Ok(()),
            Some(refused) => Err(self.count(refused)),
        }
    }

    /// Lets a try pass. Its verdict is to be told to the [`Pass`]; dropping that tells that there is none.
    ///
    /// # Errors
    /// [`Refused`], which is counted.
    pub fn enter(self: &Arc<Self>) -> Result<Pass, Refused> {
        let mut inner = self.inner.lock();
        if let Some(refused) = self.refusal(&inner) {
            return Err(self.count(refused));
        }
        let is_probe = match &mut inner.phase {
            Phase::Closed => false,
            Phase::Open { .. } => {
                inner.pass_to(Phase::HalfOpen { probing: true, good: 0 });
                true
            }
            Phase::HalfOpen { probing, .. } => {
                *probing = true;
                true
            }
        };
        Ok(Pass { of: Some((Arc::clone(self), inner.turn)), is_probe })
    }

    fn count(&self, refused: Refused) -> Refused {
        self.refused.fetch_add(1, Relaxed);
        refused
    }

    fn refusal(&self, inner: &Inner) -> Option<Refused> {
        let (state, retry_after) = match inner.phase {
            Phase::Closed | Phase::HalfOpen { probing: false, .. } => return None,
            Phase::HalfOpen { probing: true, .. } => (State::HalfOpen, PROBE_TIME),
            Phase::Open { until } => (State::Open, self.clock.between(self.clock.now(), until)),
        };
        (retry_after > Duration::ZERO).then_some(Refused { state, retry_after })
    }

    fn settle(&self, turn: u64, verdict: Verdict) {
        let mut inner = self.inner.lock();
        if inner.turn != turn {
            return;
        }
        match (inner.phase, verdict) {
            (Phase::Closed, Verdict::Success | Verdict::Failure) => {
                let failed = verdict == Verdict::Failure;
                let second = self.clock.since(self.begun).as_secs();
                let (tries, failures) = inner.window.add(second, failed);
                let share = f64::from(failures) / f64::from(tries);
                if failed && tries >= self.settings.min && share >= self.settings.failures {
                    tracing::warn!(upstream = self.name, tries, failures, "the circuit breaker opens");
                    self.open(&mut inner, self.settings.open);
                }
            }
            (Phase::HalfOpen { .. }, Verdict::Failure) => {
                let longer = (2 * inner.open).min(OPEN_MAX.max(self.settings.open));
                tracing::warn!(upstream = self.name, "a probe failed; the circuit breaker stays open");
                self.open(&mut inner, longer);
            }
            (Phase::HalfOpen { good, .. }, Verdict::Success) if good + 1 >= self.settings.probes => {
                tracing::info!(upstream = self.name, "the circuit breaker closes");
                inner.window = Window::default();
                inner.pass_to(Phase::Closed);
            }
            (Phase::HalfOpen { good, .. }, verdict) => {
                let good = good + u32::from(verdict == Verdict::Success);
                inner.phase = Phase::HalfOpen { probing: false, good };
            }
            // No try passes while it is open, and those from before are of another turn.
            (Phase::Closed, Verdict::Unknown) | (Phase::Open { .. }, _) => {}
        }
    }

    /// Opens for about so long: spread by a fifth either way, so that gateways which opened together do not come back
    /// together.
    fn open(&self, inner: &mut Inner, time: Duration) {
        let now = self.clock.now();
        let chance = (mix(self.seed ^ now.0) >> 11) as f64 / (1_u64 << 53) as f64;
        inner.open = time;
        inner.pass_to(Phase::Open { until: self.clock.after(now, time.mul_f64(0.8 + 0.4 * chance)) });
        self.trips.fetch_add(1, Relaxed);
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        let inner = self.inner.lock();
        let (tries, failures) = inner.window.sums(self.clock.since(self.begun).as_secs());
        let left = match inner.phase {
            Phase::Open { until } => self.clock.between(self.clock.now(), until),
            _ => Duration::ZERO,
        };
        let state = match inner.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } if left > Duration::ZERO => State::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => State::HalfOpen,
        };
        let probes = if let Phase::HalfOpen { good, .. } = inner.phase { good } else { 0 };
        BreakerState {
            state,
            tries,
            failures,
            open_ms: left.as_secs_f64() * 1e3,
            probes,
            trips_total: self.trips.load(Relaxed),
            refused_total: self.refused.load(Relaxed),
        }
    }
}

impl Inner {
    fn pass_to(&mut self, phase: Phase) {
        self.phase = phase;
        self.turn += 1;
    }
}

/// A try that may be made. Dropping it untold means that nobody knows how it went; a probe's place is free again then.
#[derive(Debug, Default)]
pub struct Pass {
    /// None when it was told, or there is no breaker.
    of: Option<(Arc<Breaker>, u64)>,
    is_probe: bool,
}

impl Pass {
    /// Whether the breaker is half open and waits for what this try says.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// What an answer with this status is.
    #[must_use]
    pub fn verdict(&self, status: u16) -> Verdict {
        let fails = self.of.as_ref().is_some_and(|(breaker, _)| breaker.settings.statuses.contains(&status));
        if fails { Verdict::Failure } else { Verdict::Success }
    }

    /// Tells how the try went. Only the first word counts.
    pub fn settle(&mut self, verdict: Verdict) {
        if let Some((breaker, turn)) = self.of.take() {
            breaker.settle(turn, verdict);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.settle(Verdict::Unknown);
    }
}

#[cfg(test)]
mod tests;
