//! Distributions of durations: the one behind a histogram metric, and the rolling one behind a route's own percentiles.

use hdrhistogram::Histogram;

/// Upper bounds of the buckets that Prometheus is shown, in microseconds. They span what a gateway sees, from a cached
/// answer to a long poll; the last bucket, `+Inf`, is implied.
pub const BOUNDS_US: [u64; 16] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];

/// Durations are kept up to one hour; a longer one is counted as one hour (the sum stays exact).
const MAX_US: u64 = 3_600_000_000;
/// Two significant digits: a percentile is off by at most 1 %. A histogram that has seen one second holds 14 KiB.
const DIGITS: u8 = 2;

/// All durations of one labelled series since the start.
#[derive(Clone, Debug)]
pub struct Distribution {
    values: Histogram<u64>,
    sum_ns: u128,
}

/// A distribution as it is shown: cumulative counts at [`BOUNDS_US`], the sum and the count.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    /// How many durations were at most as long as the bound of the same place, within 1 %.
    pub cumulative: [u64; BOUNDS_US.len()],
    /// Their sum in seconds.
    pub sum: f64,
    /// How many there were.
    pub count: u64,
}

fn histogram() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("two significant digits are within what a histogram takes")
}

/// Rounded up, so that a duration never lands in a bucket whose bound it exceeds.
fn micros(ns: u64) -> u64 {
    ns.div_ceil(1_000).min(MAX_US)
}

fn record(values: &mut Histogram<u64>, ns: u64) {
    // The only failure is a value that cannot be made room for, and MAX_US keeps it within range.
    let recorded = values.record(micros(ns));
    debug_assert!(recorded.is_ok(), "an auto-resizing histogram takes any duration up to an hour");
}

impl Default for Distribution {
    fn default() -> Self {
        Self { values: histogram(), sum_ns: 0 }
    }
}

impl Distribution {
    /// Adds one duration.
    pub fn record(&mut self, ns: u64) {
        record(&mut self.values, ns);
        self.sum_ns += u128::from(ns);
    }

    /// How many durations it holds.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.values.len()
    }

    /// The duration that the share `q` (0 to 1) of all is at most as long as, in nanoseconds; 0 when empty.
    #[must_use]
    pub fn quantile_ns(&self, q: f64) -> u64 {
        self.values.value_at_quantile(q) * 1_000
    }

    /// The counts at each bound.
    #[must_use]
    pub fn buckets(&self) -> Buckets {
        let mut cumulative = [0; BOUNDS_US.len()];
        let mut at = 0;
        let mut below = 0;
        for value in self.values.iter_recorded() {
            // A cell is counted by its lower edge: a duration equal to a bound belongs at that bound.
            let edge = self.values.lowest_equivalent(value.value_iterated_to());
            while at < BOUNDS_US.len() && edge > BOUNDS_US[at] {
                cumulative[at] = below;
                at += 1;
            }
            below += value.count_at_value();
        }
        for slot in &mut cumulative[at..] {
            *slot = below;
        }
        Buckets { cumulative, sum: self.sum_ns as f64 / 1e9, count: self.values.len() }
    }
}

/// A percentile that follows its series: it is that of the last full generation of durations.
///
/// It counts in durations, not in time, so it reads no clock; a new value stands after each generation. Cost per
/// duration: one histogram record, a few nanoseconds.
#[derive(Clone, Debug)]
pub struct Rolling {
    quantile: f64,
    generation: u64,
    current: Histogram<u64>,
    value_ns: Option<u64>,
}

impl Rolling {
    /// The quantile `q` (0 to 1) over generations of `generation` durations.
    #[must_use]
    pub fn new(q: f64, generation: u64) -> Self {
        Self { quantile: q, generation: generation.max(1), current: histogram(), value_ns: None }
    }

    /// Adds one duration.
    pub fn record(&mut self, ns: u64) {
        record(&mut self.current, ns);
        if self.current.len() >= self.generation {
            self.value_ns = Some(self.current.value_at_quantile(self.quantile) * 1_000);
            self.current.reset();
        }
    }

    /// The percentile in nanoseconds; none before the first generation is full.
    #[must_use]
    pub fn value_ns(&self) -> Option<u64> {
        self.value_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_equal_to_a_bound_is_counted_at_it() {
        for (place, bound) in BOUNDS_US.into_iter().enumerate() {
            let mut distribution = Distribution::default();
            distribution.record(bound * 1_000);
            let buckets = distribution.buckets();
            assert_eq!(buckets.cumulative[place], 1, "{bound} us");
            assert!(place == 0 || buckets.cumulative[place - 1] == 0, "{bound} us");
        }
    }

    #[test]
    fn buckets_are_cumulative_and_the_sum_is_exact() {
        let mut distribution = Distribution::default();
        for ns in [0, 1, 700_000, 3_000_000, 4_000_000_000, 7_200_000_000_000] {
            distribution.record(ns);
        }
        let buckets = distribution.buckets();
        assert_eq!(buckets.count, 6);
        assert_eq!(buckets.cumulative[0], 2);
        assert_eq!(buckets.cumulative[15], 5);
        assert!(buckets.cumulative.is_sorted());
        assert!((buckets.sum - 7_204.003_700_001).abs() < 1e-9);
    }

    #[test]
    fn a_rolling_percentile_forgets() {
        let mut rolling = Rolling::new(0.95, 100);
        for n in 1..=99 {
            rolling.record(n * 1_000_000);
        }
        assert_eq!(rolling.value_ns(), None);
        rolling.record(100_000_000);
        let p95 = rolling.value_ns().unwrap();
        assert!((94_000_000..97_000_000).contains(&p95), "{p95}");
        for _ in 0..100 {
            rolling.record(1_000_000);
        }
        assert_eq!(rolling.value_ns().unwrap() / 10_000, 100);
    }
}
