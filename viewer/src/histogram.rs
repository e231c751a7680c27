//! Latencies in 64 logarithmic buckets, four to each doubling: the ground on which cohorts are brushed.

/// The number of buckets.
pub(crate) const BUCKETS: usize = 64;
/// The lower edge of bucket 0, in milliseconds; bucket 63 ends at 8.2 s and takes all that is longer.
const LEAST_MS: f64 = 0.125;
const PER_DOUBLING: f64 = 4.0;

/// Weighted counts by latency.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram {
    pub(crate) weights: [f64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { weights: [0.0; BUCKETS] }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, ms: f64, weight: f64) {
        self.weights[bucket(ms)] += weight;
    }

    /// The first and last bucket that hold anything.
    pub(crate) fn range(&self) -> Option<(usize, usize)> {
        let first = self.weights.iter().position(|w| *w > 0.0)?;
        let last = self.weights.iter().rposition(|w| *w > 0.0)?;
        Some((first, last))
    }
}

/// The bucket of a latency in milliseconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the buckets")]
pub(crate) fn bucket(ms: f64) -> usize {
    // The small shift keeps an edge in the bucket that begins there, whatever the logarithm's last bit says.
    let place = ((ms.max(LEAST_MS) / LEAST_MS).log2() * PER_DOUBLING + 1e-9).floor();
    place.clamp(0.0, (BUCKETS - 1) as f64) as usize
}

/// The lower edge of a bucket in milliseconds; the one of bucket 0 is 0, and the last has no upper edge.
pub(crate) fn edge_ms(bucket: usize) -> f64 {
    match bucket {
        0 => 0.0,
        #[expect(clippy::cast_precision_loss, reason = "at most 64")]
        n if n < BUCKETS => LEAST_MS * (n as f64 / PER_DOUBLING).exp2(),
        _ => f64::MAX,
    }
}

/// The weighted quantiles `qs` (ascending) of pairs of latency and weight, which it sorts.
pub(crate) fn quantiles<const N: usize>(values: &mut [(f64, f64)], qs: [f64; N]) -> [f64; N] {
    values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let whole: f64 = values.iter().map(|v| v.1).sum();
    let mut out = [0.0; N];
    let (mut at, mut place) = (0.0, 0);
    for (q, slot) in qs.into_iter().zip(&mut out) {
        while place < values.len() && at + values[place].1 < q * whole {
            at += values[place].1;
            place += 1;
        }
        *slot = values.get(place.min(values.len().saturating_sub(1))).map_or(0.0, |v| v.0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_and_buckets_agree() {
        for n in 0..BUCKETS {
            assert_eq!(bucket(edge_ms(n)), n, "bucket {n}");
        }
        assert_eq!([bucket(-1.0), bucket(1e12), bucket(f64::NAN)], [0, 63, 0]);
        assert_eq!(edge_ms(12), 1.0);
    }

    #[test]
    fn quantiles_follow_the_weights() {
        let mut values: Vec<(f64, f64)> = (1..=100).map(|n| (f64::from(n), 1.0)).collect();
        assert_eq!(quantiles(&mut values, [0.5, 0.95, 0.99]), [50.0, 95.0, 99.0]);
        assert_eq!(quantiles(&mut [(9.0, 1.0), (1.0, 99.0)], [0.5, 0.995]), [1.0, 9.0]);
        assert_eq!(quantiles(&mut [], [0.5]), [0.0]);
    }

    #[test]
    fn the_range_that_holds_something_is_found() {
        let mut h = Histogram::default();
        assert_eq!(h.range(), None);
        h.add(1.0, 2.0);
        h.add(8.0, 3.0);
        assert_eq!(h.range(), Some((12, 24)));
        assert_eq!((h.weights[12], h.weights[24]), (2.0, 3.0));
    }
}
