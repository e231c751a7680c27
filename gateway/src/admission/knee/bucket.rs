//! A bucket: what came back in one span of time.

/// Answer times that vary by less than this part of their mean are alike: a few of them tell the mean.
pub(super) const ALIKE: f64 = 0.3;

/// What came back between its opening and its end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    /// When it opens, in seconds; later than now while an earlier change of the limit still echoes, infinite while nobody
    /// knows how long it will.
    pub(super) opens: f64,
    /// The last seat given back, in seconds.
    pub(super) last: f64,
    pub(super) finished: u32,
    pub(super) presumed: u32,
    pub(super) failed: u32,
    pub(super) timeouts: u32,
    full: u32,
    rtt_sum: f64,
    rtt_squares: f64,
}

impl Bucket {
    pub(super) fn open(at: f64) -> Self {
        Self { opens: at, last: at, ..Self::default() }
    }

    pub(super) fn add(&mut self, rtt: f64, full: bool) {
        self.finished += 1;
        self.full += u32::from(full);
        self.rtt_sum += rtt;
        self.rtt_squares += rtt * rtt;
    }

    /// Mean answer time, in seconds.
    pub(super) fn mean(&self) -> f64 {
        self.rtt_sum / self.samples()
    }

    /// How much answer times vary: their standard deviation as a part of the mean. One for exponential times.
    pub(super) fn spread(&self) -> f64 {
        let square = self.rtt_squares / self.samples() / self.mean().powi(2).max(1e-18);
        (square - 1.0).max(0.0).sqrt()
    }

    /// How far off the mean may be: its standard error as a part of it. A few answers that look alike may do so by chance,
    /// so two exponential ones count with them.
    pub(super) fn error(&self) -> f64 {
        let samples = self.samples();
        let variance = (samples * self.spread().powi(2) + 2.0) / (samples + 2.0);
        (variance / samples).sqrt()
    }

    /// The share of answers that came back while the limit was reached.
    pub(super) fn full_share(&self) -> f64 {
        f64::from(self.full) / self.samples()
    }

    /// A timed-out answer time is a lower bound, not a measurement of an upstream without a queue.
    pub(super) fn is_measured(&self) -> bool {
        self.timeouts * 10 <= self.finished
    }

    /// Whether the upstream mostly answered as it should.
    pub(super) fn is_healthy(&self) -> bool {
        (self.failed + self.timeouts) * 4 <= self.finished
    }

    fn samples(&self) -> f64 {
        f64::from(self.finished.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rtts: impl IntoIterator<Item = f64>) -> Bucket {
        let mut bucket = Bucket::open(0.0);
        rtts.into_iter().for_each(|rtt| bucket.add(rtt, true));
        bucket
    }

    #[test]
    fn few_answers_that_are_alike_tell_as_much_as_many_that_vary() {
        let alike = of([0.05; 8]);
        assert!((alike.mean() - 0.05).abs() < 1e-9 && alike.spread() < 1e-3);
        assert!((0.1..0.2).contains(&alike.error()), "{}", alike.error());
        // The quantiles of an exponential distribution.
        let varied = of((0..32).map(|n| -0.05 * (1.0 - (f64::from(n) + 0.5) / 32.0).ln()));
        assert!((0.8..1.1).contains(&varied.spread()), "{}", varied.spread());
        assert!((0.1..0.2).contains(&varied.error()), "{}", varied.error());
    }

    #[test]
    fn an_empty_bucket_has_no_mean_to_divide_by() {
        let empty = of([]);
        assert_eq!((empty.mean(), empty.spread(), empty.full_share()), (0.0, 0.0, 0.0));
        assert!(empty.error().is_finite() && empty.is_measured() && empty.is_healthy());
    }
}
