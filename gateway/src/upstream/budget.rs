//! The retry budget of an upstream: retries may add a tenth to its load, and a few a second when there is little.
//!
//! Counted when a retry is scheduled. Without a budget, retries keep an overload alive that would have passed by itself
//! (Huang et al., Metastable Failures in the Wild, OSDI 2022).

use std::time::Duration;

use parking_lot::Mutex;
use zerver_telemetry::clock::{Clock, Ticks};

/// Retries that one request earns.
const PER_REQUEST: f64 = 0.1;
/// Retries that a second earns.
const PER_SECOND: f64 = 3.0;
/// The most that can be saved up: ten seconds' worth of the least.
const MOST: f64 = 30.0;

/// The retry budget of an upstream.
#[derive(Debug)]
pub struct Budget {
    clock: Clock,
    saved: Mutex<Saved>,
}

#[derive(Debug)]
struct Saved {
    retries: f64,
    at: Ticks,
}

impl Budget {
    /// A budget with three retries saved.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let at = clock.now();
        Self { clock, saved: Mutex::new(Saved { retries: PER_SECOND, at }) }
    }

    /// Counts a request.
    pub fn earn(&self) {
        self.change(PER_REQUEST);
    }

    /// Takes a retry out of the budget, if there is one.
    #[must_use]
    pub fn spend(&self) -> bool {
        let mut saved = self.saved.lock();
        self.refill(&mut saved);
        let enough = saved.retries >= 1.0;
        if enough {
            saved.retries -= 1.0;
        }
        enough
    }

    /// What is left, 0 to 1.
    #[must_use]
    pub fn left(&self) -> f64 {
        let mut saved = self.saved.lock();
        self.refill(&mut saved);
        saved.retries / MOST
    }

    fn change(&self, by: f64) {
        let mut saved = self.saved.lock();
        saved.retries = (saved.retries + by).min(MOST);
    }

    fn refill(&self, saved: &mut Saved) {
        let now = self.clock.now();
        let passed: Duration = self.clock.between(saved.at, now);
        saved.retries = (saved.retries + passed.as_secs_f64() * PER_SECOND).min(MOST);
        saved.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_stay_a_tenth_of_the_load() {
        let clock = Clock::manual();
        let budget = Budget::new(clock.clone());
        let spent = (0..1000)
            .filter(|_| {
                budget.earn();
                budget.spend()
            })
            .count();
        assert!((100..=104).contains(&spent), "{spent}");
        clock.advance(Duration::from_secs(2));
        assert_eq!((0..100).filter(|_| budget.spend()).count(), 6);
    }
}
