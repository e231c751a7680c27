//! Distributions of durations: exact buckets for histogram metrics, hdrhistogram for percentiles.

use hdrhistogram::Histogram;

use crate::id::{SpanId, TraceId};
use crate::metrics::exponential::Exponential;

/// Upper bounds of the buckets that Prometheus is shown, in microseconds. They span what a gateway sees, from a cached
/// answer to a long poll; the last bucket, `+Inf`, is implied.
pub const BOUNDS_US: [u64; 16] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];

/// Percentiles know durations up to one hour; a longer one counts as one hour.
const MAX_US: u64 = 3_600_000_000;
/// Two significant digits: a percentile is off by at most 1 %. A histogram that has seen one second holds 14 KiB.
const DIGITS: u8 = 2;

/// The durations of one labelled series since the start: exact counts per bucket, and an exact sum.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    /// The last place is `+Inf`.
    counts: [u64; BOUNDS_US.len() + 1],
    sum_ns: u128,
    exemplars: Option<Box<[Option<Exemplar>; BOUNDS_US.len() + 1]>>,
    /// The same durations in finer buckets, for whoever sends those.
    fine: Option<Box<Exponential>>,
}

/// One request that fell into a bucket: a way from the metric to its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its span.
    pub span_id: SpanId,
    /// Its duration.
    pub ns: u64,
    /// When it ended, nanoseconds since the Unix epoch.
    pub at_unix_ns: u64,
    /// Whether its trace was sampled, so that wherever traces are sent it can be found.
    pub sampled: bool,
}

/// A distribution as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    /// How many durations were at most as long as the bound of the same place; the last place is `+Inf`.
    pub cumulative: [u64; BOUNDS_US.len() + 1],
    /// One request of each bucket, where one was noted: the latest that was sampled, else the latest.
    pub exemplars: [Option<Exemplar>; BOUNDS_US.len() + 1],
    /// The sum of all durations in seconds.
    pub sum: f64,
    /// How many there were.
    pub count: u64,
    /// The same durations in finer buckets, where they are counted so.
    pub fine: Option<Box<Exponential>>,
}

impl Distribution {
    /// An empty one that counts in exponential buckets as well.
    #[must_use]
    pub fn finely() -> Self {
        Self { fine: Some(Box::default()), ..Self::default() }
    }

    /// Adds one duration.
    pub fn record(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.sum_ns += u128::from(ns);
        if let Some(fine) = &mut self.fine {
            fine.record(ns);
        }
    }

    /// Adds one duration, and keeps its request as the example of its bucket: the latest that was sampled, or where none
    /// was the latest of all.
    pub fn record_with(&mut self, exemplar: Exemplar) {
        self.record(exemplar.ns);
        let kept = &mut self.exemplars.get_or_insert_default()[bucket(exemplar.ns)];
        if exemplar.sampled || kept.is_none_or(|kept| !kept.sampled) {
            *kept = Some(exemplar);
        }
    }

    /// The counts at each bound.
    #[must_use]
    pub fn buckets(&self) -> Buckets {
        let mut count = 0;
        let cumulative = self.counts.map(|n| {
            count += n;
            count
        });
        let exemplars = self.exemplars.as_deref().copied().unwrap_or_default();
        Buckets { cumulative, exemplars, sum: self.sum_ns as f64 / 1e9, count, fine: self.fine.clone() }
    }
}

impl Buckets {
    /// Adds what another gateway, or another time, has counted; of two exemplars the better stays, as
    /// [`Distribution::record_with`] judges.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.cumulative.iter_mut().zip(other.cumulative) {
            *mine += theirs;
        }
        for (mine, theirs) in self.exemplars.iter_mut().zip(other.exemplars) {
            *mine =
                [*mine, theirs].into_iter().flatten().max_by_key(|exemplar| (exemplar.sampled, exemplar.at_unix_ns));
        }
        self.sum += other.sum;
        self.count += other.count;
        if let Some(theirs) = &other.fine {
            self.fine.get_or_insert_default().merge(theirs);
        }
    }

    /// Takes away what an earlier reading of the same series had counted already.
    pub fn subtract(&mut self, earlier: &Self) {
        for (mine, theirs) in self.cumulative.iter_mut().zip(earlier.cumulative) {
            *mine = mine.saturating_sub(theirs);
        }
        for (mine, theirs) in self.exemplars.iter_mut().zip(earlier.exemplars) {
            *mine = mine.filter(|exemplar| Some(*exemplar) != theirs);
        }
        if let (Some(mine), Some(theirs)) = (&mut self.fine, &earlier.fine) {
            mine.subtract(theirs);
        }
        self.sum -= earlier.sum;
        self.count = self.count.saturating_sub(earlier.count);
    }
}

/// The place of the first bound that the duration does not exceed.
fn bucket(ns: u64) -> usize {
    BOUNDS_US.partition_point(|bound| bound * 1_000 < ns)
}

/// The percentiles of a series since the start.
#[derive(Clone, Debug)]
pub struct Percentiles(Histogram<u64>);

impl Default for Percentiles {
    fn default() -> Self {
        Self(histogram())
    }
}

impl Percentiles {
    /// Adds one duration.
    pub fn record(&mut self, ns: u64) {
        record(&mut self.0, ns);
    }

    /// How many durations it holds.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The duration that the share `q` (0 to 1) of all is at most as long as, in nanoseconds; 0 when empty.
    #[must_use]
    pub fn quantile_ns(&self, q: f64) -> u64 {
        self.0.value_at_quantile(q) * 1_000
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("two significant digits are within what a histogram takes")
}

fn record(values: &mut Histogram<u64>, ns: u64) {
    // The only failure is a value that cannot be made room for, and MAX_US keeps it within range.
    let recorded = values.record(ns.div_ceil(1_000).min(MAX_US));
    debug_assert!(recorded.is_ok(), "an auto-resizing histogram takes any duration up to an hour");
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
            assert_eq!(bucket(bound * 1_000), place, "{bound} us");
            assert_eq!(bucket(bound * 1_000 + 1), place + 1, "{bound} us and one ns");
        }
    }

    #[test]
    fn buckets_are_cumulative_and_the_sum_is_exact() {
        let mut distribution = Distribution::default();
        for ns in [0, 1, 700_000, 3_000_000, 4_000_000_000] {
            distribution.record(ns);
        }
        let exemplar =
            Exemplar { trace_id: TraceId(9), span_id: SpanId(7), ns: 7_200_000_000_000, at_unix_ns: 5, sampled: false };
        distribution.record_with(exemplar);
        let buckets = distribution.buckets();
        assert_eq!(
            (buckets.count, buckets.cumulative[0], buckets.cumulative[15], buckets.cumulative[16]),
            (6, 2, 5, 6)
        );
        assert!(buckets.cumulative.is_sorted());
        assert!((buckets.sum - 7_204.003_700_001).abs() < 1e-9);
        assert_eq!((buckets.exemplars[16], buckets.exemplars[0]), (Some(exemplar), None));
    }

    #[test]
    fn a_sampled_example_makes_way_for_sampled_ones_only() {
        let mut distribution = Distribution::default();
        for (at_unix_ns, sampled, kept) in [(1, false, 1), (2, false, 2), (3, true, 3), (4, false, 3), (5, true, 5)] {
            distribution.record_with(Exemplar { trace_id: TraceId(9), span_id: SpanId(7), ns: 1, at_unix_ns, sampled });
            assert_eq!(distribution.buckets().exemplars[0].map(|exemplar| exemplar.at_unix_ns), Some(kept));
        }
        assert_eq!(distribution.buckets().count, 5);
    }

    #[test]
    fn percentiles_are_within_one_percent() {
        let mut percentiles = Percentiles::default();
        for n in 1..=1_000 {
            percentiles.record(n * 1_000_000);
        }
        for (q, ms) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let found = percentiles.quantile_ns(q) as f64 / 1e6;
            assert!((found / ms - 1.0).abs() < 0.01, "{found} ms at {q}");
        }
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
