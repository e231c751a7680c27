//! How well an attribute separates the requests that suffer from the others, with the sample size already paid for.

use super::align::Row;

/// The normal quantile of the bounds: 5 % over some thousand tries (Bonferroni).
const Z: f64 = 3.9;

/// Of the Kolmogorov-Smirnov band that pays for having searched the best of all intervals.
const BAND: f64 = 1.3;

/// How many thresholds of suffering are tried.
pub(crate) const LEVELS: usize = 3;

/// A set of requests, as large as its weights make it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Group {
    pub(crate) weight: f64,
    squares: f64,
    pub(crate) count: usize,
}

/// Which requests suffer, which do not, and which are left out.
#[derive(Debug)]
pub(crate) struct Labels {
    /// For each row: 0 left out; `1..=LEVELS` passes that many thresholds; [`Labels::NEGATIVE`] does not suffer.
    pub(crate) of_row: Vec<u8>,
    /// The requests that pass each threshold.
    pub(crate) positives: [Group; LEVELS],
    pub(crate) negatives: Group,
}

/// The shares of two groups for which something holds, and what is certain of their difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Separation {
    /// Among those that suffer.
    pub(crate) p: f64,
    /// Among the others.
    pub(crate) q: f64,
    /// The lower bound of `p − q`, Youden's J.
    pub(crate) bound: f64,
}

impl Group {
    pub(crate) fn add(&mut self, weight: f64) {
        self.weight += weight;
        self.squares += weight * weight;
        self.count += 1;
    }

    /// How many equally weighted requests would say as much (Kish's effective sample size).
    pub(crate) fn effective(&self) -> f64 {
        if self.squares > 0.0 { self.weight * self.weight / self.squares } else { 0.0 }
    }

    /// A weight as a share of the group.
    pub(crate) fn share(&self, weight: f64) -> f64 {
        if self.weight > 0.0 { (weight / self.weight).clamp(0.0, 1.0) } else { 0.0 }
    }
}

impl Labels {
    /// Does not suffer.
    pub(crate) const NEGATIVE: u8 = u8::MAX;

    /// Labels the rows of `universe` by their time at the place in question: positive from a threshold on, negative up
    /// to `negative_max`, left out between.
    pub(crate) fn new(
        rows: &[Row],
        universe: &[usize],
        times: &[f64],
        thresholds: [f64; LEVELS],
        negative_max: f64,
    ) -> Self {
        let mut labels =
            Self { of_row: vec![0; rows.len()], positives: Default::default(), negatives: Group::default() };
        for &row in universe {
            let (time, weight) = (times[row], rows[row].weight);
            if time <= negative_max {
                labels.of_row[row] = Self::NEGATIVE;
                labels.negatives.add(weight);
                continue;
            }
            for (level, threshold) in thresholds.iter().enumerate() {
                if time >= *threshold {
                    labels.of_row[row] = labels.of_row[row].max(u8::try_from(level + 1).expect("few levels"));
                    labels.positives[level].add(weight);
                }
            }
        }
        labels
    }

    /// What share weights of `positive` at a level and of `negative` make, and how certain their difference is.
    pub(crate) fn separation(&self, level: usize, positive: f64, negative: f64) -> Separation {
        let (p, q) = (self.positives[level].share(positive), self.negatives.share(negative));
        let bound = newcombe_lower(p, self.positives[level].effective(), q, self.negatives.effective());
        Separation { p, q, bound }
    }

    /// As [`Labels::separation`], for the best of all intervals of a number.
    pub(crate) fn separation_of_interval(&self, level: usize, positive: f64, negative: f64) -> Separation {
        let separation = self.separation(level, positive, negative);
        let (n, m) = (self.positives[level].effective(), self.negatives.effective());
        let band = separation.p - separation.q - BAND * (n.powf(-0.5) + m.powf(-0.5));
        Separation { bound: separation.bound.min(band), ..separation }
    }
}

/// The lower bound of `p − q`: Newcombe's hybrid of two Wilson intervals (Statistics in Medicine 17, 1998, method 10).
fn newcombe_lower(p: f64, n: f64, q: f64, m: f64) -> f64 {
    if n <= 0.0 || m <= 0.0 {
        return -1.0;
    }
    let below = p - wilson(p, n).0;
    let above = wilson(q, m).1 - q;
    p - q - below.hypot(above)
}

/// The Wilson interval of a share `p` seen in `n` requests.
fn wilson(p: f64, n: f64) -> (f64, f64) {
    let zz = Z * Z / n;
    let centre = (p + zz / 2.0) / (1.0 + zz);
    let half = Z / (1.0 + zz) * (p * (1.0 - p) / n + zz / (4.0 * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// The run of consecutive blocks with the largest sum, as first and last index; none when no block is positive.
///
/// Kadane's algorithm: one pass.
pub(crate) fn best_run(blocks: &[f64]) -> Option<(usize, usize)> {
    let (mut sum, mut from) = (0.0, 0);
    let mut best: Option<(f64, usize, usize)> = None;
    for (at, value) in blocks.iter().enumerate() {
        if sum <= 0.0 {
            (sum, from) = (0.0, at);
        }
        sum += value;
        if sum > best.map_or(0.0, |(most, ..)| most) {
            best = Some((sum, from, at));
        }
    }
    best.map(|(_, from, to)| (from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_agrees_with_the_published_example() {
        // 81 of 263 at z = 1.96 is 0.2553 to 0.3662 (Newcombe 1998); scaled to this z the interval is wider.
        let (lo, hi) = wilson(81.0 / 263.0, 263.0 * (Z / 1.96) * (Z / 1.96));
        assert!((lo - 0.2553).abs() < 2e-3 && (hi - 0.3662).abs() < 2e-3, "{lo} {hi}");
    }

    #[test]
    fn the_bound_grows_with_the_sample() {
        let small = newcombe_lower(0.9, 20.0, 0.05, 500.0);
        let large = newcombe_lower(0.9, 2000.0, 0.05, 50_000.0);
        assert!(small < large && large < 0.85, "{small} {large}");
        assert!(newcombe_lower(1.0, 6.0, 0.0, 1000.0) < 0.35);
        assert!(newcombe_lower(1.0, 0.0, 0.0, 10.0) < 0.0);
    }

    #[test]
    fn the_best_run_is_found() {
        assert_eq!(best_run(&[-1.0, 2.0, -0.5, 3.0, -4.0, 1.0]), Some((1, 3)));
        assert_eq!(best_run(&[-1.0, -2.0]), None);
        assert_eq!(best_run(&[]), None);
    }
}
