//! Counts of good and bad over the last minutes, hours and days, in bounded memory.

use std::time::Duration;

/// Good ones and bad ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) good: u64,
    pub(super) bad: u64,
}

impl Counts {
    fn add(&mut self, good: bool) {
        if good {
            self.good += 1;
        } else {
            self.bad += 1;
        }
    }

    fn plus(self, other: Self) -> Self {
        Self { good: self.good + other.good, bad: self.bad + other.bad }
    }
}

/// Counts in slices of time: the youngest take the places of the oldest.
#[derive(Debug)]
struct Ring {
    slice_ns: u64,
    /// The number of each slice since the Unix epoch, and what happened in it.
    slices: Box<[(u64, Counts)]>,
}

impl Ring {
    fn new(slice: Duration, slices: usize) -> Self {
        let slice_ns = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { slice_ns, slices: vec![(0, Counts::default()); slices].into() }
    }

    fn count(&mut self, unix_ns: u64, good: bool) {
        let number = unix_ns / self.slice_ns;
        let place = (number % self.slices.len() as u64) as usize;
        let slice = &mut self.slices[place];
        if slice.0 < number {
            *slice = (number, Counts::default());
        }
        // What ended so long ago that its slice is gone counts in no window.
        if slice.0 == number {
            slice.1.add(good);
        }
    }

    /// The slices of the last so much time, the present one included.
    fn last(&self, unix_ns: u64, time: Duration) -> Counts {
        let now = unix_ns / self.slice_ns;
        let slices = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).div_ceil(self.slice_ns);
        let wanted = now.saturating_sub(slices - 1)..=now;
        self.slices
            .iter()
            .filter(|(number, _)| wanted.contains(number))
            .fold(Counts::default(), |sum, (_, one)| sum.plus(*one))
    }
}

/// The longest time that fine slices hold.
const FINE: Duration = Duration::from_secs(60 * 60);

/// What happened within the last hour in slices of 15 s, within the last three days in slices of 5 min, and ever.
#[derive(Debug)]
pub(super) struct Windows {
    fine: Ring,
    coarse: Ring,
    all: Counts,
}

impl Windows {
    pub(super) fn new() -> Self {
        Self {
            fine: Ring::new(Duration::from_secs(15), 240),
            coarse: Ring::new(Duration::from_secs(5 * 60), 864),
            all: Counts::default(),
        }
    }

    pub(super) fn count(&mut self, unix_ns: u64, good: bool) {
        self.fine.count(unix_ns, good);
        self.coarse.count(unix_ns, good);
        self.all.add(good);
    }

    pub(super) fn last(&self, unix_ns: u64, time: Duration) -> Counts {
        if time <= FINE { self.fine.last(unix_ns, time) } else { self.coarse.last(unix_ns, time) }
    }

    pub(super) fn all(&self) -> Counts {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn windows_forget_what_is_older() {
        let mut windows = Windows::new();
        let start = 1_000_000 * 300 * SECOND;
        for second in 0..3_600 {
            windows.count(start + second * SECOND, second % 10 != 0);
        }
        let end = start + 3_599 * SECOND;
        let counts = |time: u64| windows.last(end, Duration::from_secs(time));
        assert_eq!(counts(300), Counts { good: 270, bad: 30 });
        assert_eq!(counts(3_600), Counts { good: 3_240, bad: 360 });
        assert_eq!(counts(3 * 86_400), windows.all());
        let later = windows.last(end + 3_600 * SECOND, Duration::from_secs(3_600));
        assert_eq!(later, Counts::default(), "an hour later nothing is left of it");
        assert_eq!(windows.last(end + 3_600 * SECOND, Duration::from_secs(7_200)), windows.all());
    }

    #[test]
    fn what_comes_late_counts_in_its_own_time_or_not_at_all() {
        let mut ring = Ring::new(Duration::from_secs(1), 3);
        for (at, good) in [(5, true), (4, true), (7, false), (4, true), (1, true)] {
            ring.count(at * SECOND, good);
        }
        assert_eq!(ring.last(7 * SECOND, Duration::from_secs(3)), Counts { good: 1, bad: 1 });
        assert_eq!(ring.last(7 * SECOND, Duration::from_secs(1)), Counts { good: 0, bad: 1 });
    }
}
