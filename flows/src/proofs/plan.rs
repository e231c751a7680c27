//! Random flows: what their steps are, and what the world does to them.

use std::time::Duration;

use proptest::prelude::*;

/// An answer that makes its step panic.
pub(super) const POISON: u64 = 666_666;
/// The deadline of the flow.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);
/// The most steps; with more the times of different steps could meet.
const STEPS_MAX: usize = 8;

/// What a step is.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Bits of the steps before it whose slots it reads.
    pub(super) reads: u16,
    pub(super) optional: bool,
    /// It runs only when the sum of what it reads is even.
    pub(super) when: bool,
    pub(super) retry: bool,
    pub(super) writes: bool,
    pub(super) idempotent: bool,
    /// In tens of milliseconds.
    pub(super) timeout: Option<u8>,
    pub(super) fallback: bool,
    pub(super) undo: bool,
}

/// How a step's call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Good,
    Bad,
    /// With status 503 and "again in a second" the first time, then well.
    Flaky,
    Never,
    /// Well, but the step makes nothing of it.
    Panics,
}

/// What the world does to a step.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    /// In tens of milliseconds.
    pub(super) takes: u8,
    pub(super) end: End,
    pub(super) fallback_fails: bool,
    pub(super) undo: End,
}

/// A run: what the world does to each step, and when the client leaves, in tens of milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Day {
    pub(super) steps: Vec<Weather>,
    pub(super) leaves: Option<u8>,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let seldom = || prop::bool::weighted(0.3);
    let flags = (seldom(), seldom(), seldom(), any::<bool>(), any::<bool>(), seldom(), any::<bool>());
    let step = (any::<u16>(), any::<u16>(), flags, prop::option::weighted(0.3, 1..150_u8)).prop_map(|(a, b, f, t)| {
        let (optional, when, retry, writes, idempotent, fallback, undo) = f;
        Step { reads: a & b, optional, when, retry, writes, idempotent, timeout: t, fallback, undo }
    });
    prop::collection::vec(step, 1..=STEPS_MAX)
}

pub(super) fn day() -> impl Strategy<Value = Day> {
    let end = prop_oneof![
        8 => Just(End::Good),
        2 => Just(End::Flaky),
        1 => Just(End::Bad),
        1 => Just(End::Never),
        1 => Just(End::Panics),
    ];
    let undo = prop_oneof![4 => Just(End::Good), 1 => Just(End::Flaky), 1 => Just(End::Bad)];
    let weather = (1..40_u8, end, prop::bool::weighted(0.3), undo)
        .prop_map(|(takes, end, fallback_fails, undo)| Weather { takes, end, fallback_fails, undo });
    (prop::collection::vec(weather, STEPS_MAX), prop::option::weighted(0.2, any::<u8>()))
        .prop_map(|(steps, leaves)| Day { steps, leaves })
}

/// So many tens of milliseconds, and a few nanoseconds that keep the times of different steps apart.
pub(super) fn tens(of: u8, step: usize) -> Duration {
    Duration::from_millis(10 * u64::from(of)) + Duration::from_nanos(1 << (2 * step))
}

/// How long a step may take.
pub(super) fn limit(of: u8, step: usize) -> Duration {
    tens(of, step) + Duration::from_millis(5) + Duration::from_nanos(1 << (2 * step))
}

/// The steps that step `n` reads.
pub(super) fn reads(steps: &[Step], n: usize) -> impl Iterator<Item = usize> {
    let mask = steps[n].reads;
    (0..n).filter(move |m| mask & (1 << m) != 0)
}

/// When the client leaves: at no step's end.
pub(super) fn leaves(after: u8) -> Duration {
    Duration::from_millis(10 * u64::from(after) + 7)
}

/// The value of step `n` for the sum of what it reads.
pub(super) fn value(n: usize, sum: u64) -> u64 {
    (sum * 31 + n as u64 + 1) % 10_007
}
