//! How long the collector waits between two looks: the shorter the more finishes, so that what it takes is still in the cache.

use std::time::Duration;

use crate::clock::{Clock, Ticks};

/// Requests that shall have finished between two looks: their logbooks take some 200 KiB.
const EACH: f64 = 128.0;
/// The shortest wait: a look at nothing costs some ten microseconds.
const SHORTEST: Duration = Duration::from_millis(2);

/// The pace of one collector.
#[derive(Debug)]
pub(super) struct Pace {
    longest: Duration,
    wait: Duration,
    last: Option<Ticks>,
}

impl Pace {
    /// Waits `longest` at most, and that long while nothing happens.
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, wait: longest, last: None }
    }

    /// How long to wait now.
    pub(super) fn next(&self) -> Duration {
        self.wait
    }

    /// A look that somebody asked for is over. It says nothing about the rate: who asks, asks when something is there.
    pub(super) fn asked(&mut self, clock: &Clock) {
        self.last = Some(clock.now());
    }

    /// A look after a wait is over, and has found so many.
    pub(super) fn found(&mut self, found: u64, clock: &Clock) {
        let now = clock.now();
        let since = self.last.replace(now).map_or(Duration::ZERO, |last| clock.between(last, now));
        if since.is_zero() {
            return;
        }
        let rate = found as f64 / since.as_secs_f64();
        // Half of what this look says and half of what those before said: rates jump.
        let wish = if rate > 0.0 { EACH / rate } else { f64::MAX }.min(self.longest.as_secs_f64());
        let wait = (Duration::from_secs_f64(wish) + self.wait) / 2;
        self.wait = wait.clamp(SHORTEST.min(self.longest), self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wait after so many looks at this many requests a second.
    fn settled(pace: &mut Pace, clock: &Clock, rate: f64) -> Duration {
        for _ in 0..40 {
            let wait = pace.next();
            clock.advance(wait);
            pace.found((wait.as_secs_f64() * rate) as u64, clock);
        }
        pace.next()
    }

    #[test]
    fn it_follows_the_rate_within_its_bounds() {
        let clock = Clock::manual();
        let longest = Duration::from_millis(50);
        let mut pace = Pace::new(longest);
        for (rate, from, to) in [(100.0, 49, 51), (20_000.0, 5, 8), (1_000_000.0, 2, 3), (0.0, 49, 51)] {
            let wait = settled(&mut pace, &clock, rate);
            assert!((Duration::from_millis(from)..Duration::from_millis(to)).contains(&wait), "{wait:?} at {rate}/s");
        }
        // Who looks only when asked goes on doing so.
        let mut pace = Pace::new(Duration::from_secs(3_600));
        for _ in 0..2 {
            clock.advance(Duration::from_millis(1));
            pace.asked(&clock);
        }
        assert_eq!(pace.next(), Duration::from_secs(3_600));
    }
}
