//! How often something happens: a rate that forgets.

use std::time::Duration;

/// Events per second, as an exponentially weighted count: one addition per event, correct from the first second on.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    began: Option<Duration>,
    last: Duration,
    weight: f64,
}

impl Pace {
    /// One event at `now`; `memory` is how long events count.
    pub(super) fn count(&mut self, now: Duration, memory: Duration) {
        self.began.get_or_insert(now);
        self.weight = self.faded(now, memory) + 1.0;
        self.last = self.last.max(now);
    }

    /// Events per second as they look at `now`.
    pub(super) fn per_second(&self, now: Duration, memory: Duration) -> f64 {
        let Some(began) = self.began else { return 0.0 };
        let memory_s = memory.as_secs_f64();
        // While the meter is young it has seen less than its memory; a floor keeps the first event from being a torrent.
        let seen = (now.saturating_sub(began)).as_secs_f64().max(0.5 * memory_s);
        self.faded(now, memory) / (memory_s * (1.0 - (-seen / memory_s).exp()))
    }

    fn faded(&self, now: Duration, memory: Duration) -> f64 {
        let passed = now.saturating_sub(self.last).as_secs_f64();
        self.weight * (-passed / memory.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_its_rate_and_a_stopped_one_fades() {
        let memory = Duration::from_millis(200);
        let mut pace = Pace::default();
        assert_eq!(pace.per_second(Duration::from_secs(5), memory), 0.0);
        let mut now = Duration::from_secs(1);
        for n in 0..2_000 {
            pace.count(now, memory);
            if n > 50 {
                let rate = pace.per_second(now, memory);
                assert!((rate - 500.0).abs() < 25.0, "{n}: {rate}");
            }
            now += Duration::from_millis(2);
        }
        assert!(pace.per_second(now + memory, memory) < 200.0);
        assert!(pace.per_second(now + 20 * memory, memory) < 1.0);
    }
}
