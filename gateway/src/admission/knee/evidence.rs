//! What buckets with the limit reached have shown: throughput at full use, and whether answers follow the seats.

use std::collections::VecDeque;

/// Limited buckets whose throughput is remembered.
const TOPS: usize = 10;

/// Throughputs of the last limited buckets, per second.
#[derive(Clone, Debug, Default)]
pub(super) struct Tops(VecDeque<f64>);

impl Tops {
    pub(super) fn remember(&mut self, throughput: f64) {
        self.0.truncate(TOPS - 1);
        self.0.push_front(throughput);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The throughput at full use: the 70th percentile of what was seen, so that one lucky bucket does not count.
    pub(super) fn top(&self) -> Option<f64> {
        let mut tops: Vec<f64> = self.0.iter().copied().collect();
        tops.sort_by(f64::total_cmp);
        tops.get((tops.len() * 7 / 10).min(tops.len().saturating_sub(1))).copied()
    }
}

/// A finished limited bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) limit: f64,
    pub(super) rtt: f64,
}

impl Seen {
    /// Whether the answer time stayed although the limit moved.
    pub(super) fn is_linear_to(self, before: Self) -> bool {
        let seats = (self.limit / before.limit).ln();
        let answer = (self.rtt / before.rtt).ln();
        seats.abs() >= 0.2 && answer / seats < 0.3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lucky_bucket_does_not_count() {
        let mut tops = Tops::default();
        assert_eq!(tops.top(), None);
        tops.remember(900.0);
        (0..TOPS - 1).for_each(|_| tops.remember(100.0));
        assert_eq!(tops.top(), Some(100.0));
        tops.remember(100.0);
        assert_eq!(tops.0.len(), TOPS);
    }

    #[test]
    fn answers_that_stay_while_seats_move_show_no_queue() {
        let at = |limit, rtt| Seen { limit, rtt };
        assert!(at(50.0, 0.1).is_linear_to(at(100.0, 0.1)));
        assert!(!at(50.0, 0.05).is_linear_to(at(100.0, 0.1)), "half the seats, half the time: a queue");
        assert!(!at(99.0, 0.1).is_linear_to(at(100.0, 0.1)), "a limit that stood still says nothing");
    }
}
