//! Durations counted in buckets whose bounds grow by a constant factor, as OTLP's exponential histograms hold them.
//!
//! Source: OpenTelemetry metrics data model, "ExponentialHistogram": bucket `i` of scale `s` holds what is above `b^i` and at
//! most `b^(i+1)` seconds, with `b = 2^(2^-s)`.

use std::collections::VecDeque;

/// The scale of all of them: sixteen buckets for each doubling, so a quantile is off by at most 2.2 %.
pub const SCALE: i32 = 4;
/// The first and the last bucket: 1 ns and about an hour. What is outside counts as the nearest.
const FIRST: i32 = -30 << SCALE;
const LAST: i32 = (12 << SCALE) - 1;

/// Counts by bucket, from the lowest that was needed to the highest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exponential {
    /// The bucket of the first count.
    pub offset: i32,
    /// How many durations are in each bucket. At most 672 of them; a route whose requests take 1 to 100 ms needs 110.
    pub counts: VecDeque<u64>,
    /// Durations of nothing at all.
    pub zero: u64,
}

impl Exponential {
    /// Adds one duration.
    pub fn record(&mut self, ns: u64) {
        match ns {
            0 => self.zero += 1,
            ns => *self.at(bucket(ns)) += 1,
        }
    }

    /// The count of a bucket; there is room for it from now on.
    fn at(&mut self, bucket: i32) -> &mut u64 {
        if self.counts.is_empty() {
            self.offset = bucket;
        }
        while bucket < self.offset {
            self.counts.push_front(0);
            self.offset -= 1;
        }
        let place = usize::try_from(bucket - self.offset).unwrap_or(0);
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        &mut self.counts[place]
    }

    fn each(&self) -> impl Iterator<Item = (i32, u64)> {
        (self.offset..).zip(self.counts.iter().copied()).filter(|(_, count)| *count > 0)
    }

    /// Adds what another one has counted.
    pub fn merge(&mut self, other: &Self) {
        self.zero += other.zero;
        for (bucket, count) in other.each() {
            *self.at(bucket) += count;
        }
    }

    /// Takes away what an earlier reading of the same series had counted already.
    pub fn subtract(&mut self, earlier: &Self) {
        self.zero = self.zero.saturating_sub(earlier.zero);
        for (bucket, count) in earlier.each() {
            let here = self.at(bucket);
            *here = here.saturating_sub(count);
        }
    }
}

/// The bucket of a duration above zero.
fn bucket(ns: u64) -> i32 {
    let place = (ns as f64 / 1e9).log2() * f64::from(1 << SCALE);
    // The bound itself belongs to the bucket below it.
    (place.ceil() as i32 - 1).clamp(FIRST, LAST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Exponential {
        let mut counted = Exponential::default();
        values.iter().for_each(|ns| counted.record(*ns));
        counted
    }

    #[test]
    fn a_power_of_two_is_at_the_upper_end_of_its_bucket() {
        for (ns, expected) in [(1_000_000_000, -1), (1_000_000_001, 0), (2_000_000_000, 15), (500_000_000, -17)] {
            assert_eq!(bucket(ns), expected, "{ns} ns");
        }
        assert_eq!((bucket(1), bucket(u64::MAX)), (FIRST + 1, LAST));
        assert_eq!(of(&[0, 5, 5]), Exponential { offset: bucket(5), counts: VecDeque::from([2]), zero: 1 });
    }

    proptest! {
        #[test]
        fn every_duration_is_within_its_bucket(ns in 1_u64..3_600_000_000_000) {
            let bound = |index: i32| (f64::from(index) / 16.0).exp2() * 1e9;
            let index = bucket(ns);
            // Rounding may put what is at a bound to its other side.
            prop_assert!(bound(index) < ns as f64 * (1.0 + 1e-12) && ns as f64 <= bound(index + 1) * (1.0 + 1e-12));
        }

        #[test]
        fn what_is_added_up_and_taken_away_again_is_as_before(
            first in prop::collection::vec(0_u64..9_000_000_000, 0..40),
            second in prop::collection::vec(0_u64..9_000_000_000, 0..40),
        ) {
            let (a, b) = (of(&first), of(&second));
            let mut all = a.clone();
            all.merge(&b);
            prop_assert_eq!(all.zero + all.counts.iter().sum::<u64>(), (first.len() + second.len()) as u64);
            let both: Vec<u64> = first.iter().chain(&second).copied().collect();
            prop_assert!(all.each().eq(of(&both).each()));
            all.subtract(&b);
            prop_assert_eq!(all.zero, a.zero);
            prop_assert!(all.each().eq(a.each()));
        }
    }
}
