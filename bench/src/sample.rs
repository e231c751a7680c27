//! Repeated measurements of one thing: their median, and how far they spread.

/// Measurements of one thing, in the order they were taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sample(pub(crate) Vec<f64>);

impl Sample {
    /// The value that `part` (0 to 1) of the measurements do not exceed.
    fn quantile(&self, part: f64) -> f64 {
        let mut sorted: Vec<f64> = self.0.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let place = (part * sorted.len().saturating_sub(1) as f64).round() as usize;
        sorted.get(place).copied().unwrap_or(f64::NAN)
    }

    /// The middle one.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The lower end of the spread: a tenth of the measurements lie below.
    pub(crate) fn low(&self) -> f64 {
        self.quantile(0.1)
    }

    /// The upper end of the spread: a tenth of the measurements lie above.
    pub(crate) fn high(&self) -> f64 {
        self.quantile(0.9)
    }

    /// Combines measurements that were taken side by side: the n-th with the n-th, so that what disturbed both cancels.
    pub(crate) fn with(&self, other: &Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| combine(*a, *b)).collect())
    }

    /// This one over the other, pair by pair.
    pub(crate) fn over(&self, other: &Self) -> Self {
        self.with(other, |a, b| a / b)
    }

    /// Every measurement times `factor`.
    pub(crate) fn times(&self, factor: f64) -> Self {
        Self(self.0.iter().map(|value| value * factor).collect())
    }
}

impl From<f64> for Sample {
    fn from(value: f64) -> Self {
        Self(vec![value])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_in_the_middle_and_pairs_stay_pairs() {
        let (a, b) = (Sample(vec![9.0, 2.0, 4.0]), Sample(vec![3.0, 1.0, 2.0]));
        assert_eq!((a.median(), a.low(), a.high()), (4.0, 2.0, 9.0));
        assert_eq!(a.over(&b), Sample(vec![3.0, 2.0, 2.0]));
        assert!(Sample::default().median().is_nan());
    }
}
