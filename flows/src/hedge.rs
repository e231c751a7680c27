//! When a second branch may help the first: how long that one takes as a rule, and a budget for extra work.
//!
//! Delay by percentile and budget follow "The Tail at Scale" (Dean and Barroso, CACM 56(2), 2013): a second request after
//! the 95th percentile shortens the tail for about five percent more load, and a budget keeps that true when everything
//! becomes slow at once.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

/// Times of the first branch that must be known before a percentile of them is.
const SAMPLES_MIN: u64 = 100;
/// Times after which the older half is forgotten.
const SAMPLES_TURN: u64 = 1_000;
/// What a second branch costs, in runs of the join: one in ten runs may have one.
const COST: i64 = 10;
/// The most that is saved up, in runs of the join.
const SAVED_MAX: i64 = 100;

/// How long a join's first branch took lately, and what is left of its budget for further ones.
#[derive(Debug)]
pub(crate) struct Pace {
    times: Mutex<Option<Times>>,
    saved: AtomicI64,
}

#[derive(Debug)]
struct Times {
    now: Histogram<u64>,
    before: Histogram<u64>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { times: Mutex::new(None), saved: AtomicI64::new(SAVED_MAX) }
    }
}

impl Pace {
    /// The first branch took so long.
    pub(crate) fn took(&self, time: Duration) {
        let mut times = self.times.lock();
        let times = times.get_or_insert_with(|| {
            let empty = || Histogram::new_with_bounds(1, 60_000_000, 2).expect("these bounds are in order");
            Times { now: empty(), before: empty() }
        });
        times.now.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
        if times.now.len() >= SAMPLES_TURN {
            std::mem::swap(&mut times.now, &mut times.before);
            times.now.reset();
        }
    }

    /// The percentile of the latest thousand or two; none before there are a hundred.
    pub(crate) fn percentile(&self, percent: u8) -> Option<Duration> {
        let times = self.times.lock();
        let times = times.as_ref()?;
        let mut both = times.before.clone();
        // Both have the same bounds.
        both.add(&times.now).ok()?;
        (both.len() >= SAMPLES_MIN).then(|| Duration::from_micros(both.value_at_percentile(f64::from(percent))))
    }

    /// A join began: its budget grows.
    pub(crate) fn earn(&self) {
        let _ = self.saved.fetch_update(Relaxed, Relaxed, |saved| (saved < SAVED_MAX).then_some(saved + 1));
    }

    /// Takes what a further branch costs; false when it is not there.
    pub(crate) fn spend(&self) -> bool {
        self.saved.fetch_update(Relaxed, Relaxed, |saved| (saved >= COST).then(|| saved - COST)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_follows_the_latest_times() {
        let pace = Pace::default();
        (1..=99).for_each(|ms| pace.took(Duration::from_millis(ms)));
        assert_eq!(pace.percentile(95), None, "one is missing");
        pace.took(Duration::from_millis(100));
        let p95 = pace.percentile(95).unwrap();
        assert!((94..=97).contains(&p95.as_millis()), "{p95:?}");
        (0..2 * SAMPLES_TURN).for_each(|_| pace.took(Duration::from_millis(5)));
        assert!(pace.percentile(95).unwrap() < Duration::from_millis(6), "what was long ago is forgotten");
    }

    #[test]
    fn one_run_in_ten_may_have_a_second_branch() {
        let pace = Pace::default();
        let spent = (0..1_000).filter(|_| {
            pace.earn();
            pace.spend()
        });
        let spent = spent.count();
        assert!((100..=110).contains(&spent), "{spent}: a tenth, and what was saved up");
    }
}
