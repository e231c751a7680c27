//! The one place that reads a clock: raw monotonic ticks, turned into time only when something is read back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment on a [`Clock`], in its own raw ticks.
///
/// Ticks of one clock may be compared and subtracted through that clock; ticks of two clocks mean nothing together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticks(pub u64);

/// A monotonic clock with one wall-clock anchor. Cloning shares it.
///
/// The real clock reads the processor's time stamp counter where that is invariant and falls back to the operating
/// system's monotonic clock elsewhere (`quanta`). One read costs about 17 ns on a virtual machine; read it once where
/// two events meet.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Real { clock: quanta::Clock, anchor: Anchor },
    Manual { nanos: Arc<AtomicU64>, anchor: Anchor },
}

/// One moment known on both the tick clock and the wall clock.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    ticks: u64,
    unix_ns: u64,
}

impl Clock {
    /// The machine's clock, anchored to the wall clock now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this file is the one that may read a clock")]
    pub fn real() -> Self {
        let clock = quanta::Clock::new();
        let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let anchor = Anchor { ticks: clock.raw(), unix_ns: u64::try_from(unix_ns.as_nanos()).unwrap_or(0) };
        Self(Kind::Real { clock, anchor })
    }

    /// A clock that stands still until [`Clock::advance`] moves it; it starts at one second after the Unix epoch.
    #[must_use]
    pub fn manual() -> Self {
        let start = 1_000_000_000;
        Self(Kind::Manual { nanos: Arc::new(AtomicU64::new(start)), anchor: Anchor { ticks: start, unix_ns: start } })
    }

    /// Moves a manual clock on; does nothing to the real one.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual { nanos, .. } = &self.0 {
            nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// The present moment.
    #[must_use]
    #[inline]
    pub fn now(&self) -> Ticks {
        match &self.0 {
            Kind::Real { clock, .. } => Ticks(clock.raw()),
            Kind::Manual { nanos, .. } => Ticks(nanos.load(Ordering::Relaxed)),
        }
    }

    /// Nanoseconds from `from` to `to`; zero when `to` is earlier.
    #[must_use]
    pub fn nanos_between(&self, from: Ticks, to: Ticks) -> u64 {
        match &self.0 {
            Kind::Real { clock, .. } => clock.delta_as_nanos(from.0, to.0.max(from.0)),
            Kind::Manual { .. } => to.0.saturating_sub(from.0),
        }
    }

    /// Time from `from` to `to`; zero when `to` is earlier.
    #[must_use]
    pub fn between(&self, from: Ticks, to: Ticks) -> Duration {
        Duration::from_nanos(self.nanos_between(from, to))
    }

    /// The moment `by` after `from`.
    #[must_use]
    pub fn after(&self, from: Ticks, by: Duration) -> Ticks {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let ticks = match &self.0 {
            // A sample of the clock's own conversion gives its ticks per nanosecond without naming its internals.
            Kind::Real { clock, .. } => {
                const SAMPLE: u64 = 1 << 40;
                let per_sample = clock.delta_as_nanos(0, SAMPLE).max(1);
                u64::try_from(u128::from(nanos) * u128::from(SAMPLE) / u128::from(per_sample)).unwrap_or(u64::MAX)
            }
            Kind::Manual { .. } => nanos,
        };
        Ticks(from.0.saturating_add(ticks))
    }

    /// Time since `from`.
    #[must_use]
    pub fn since(&self, from: Ticks) -> Duration {
        self.between(from, self.now())
    }

    /// Nanoseconds since the Unix epoch at `at`, by the anchor taken when the clock was made.
    #[must_use]
    pub fn unix_ns(&self, at: Ticks) -> u64 {
        let anchor = match &self.0 {
            Kind::Real { anchor, .. } | Kind::Manual { anchor, .. } => anchor,
        };
        if at.0 >= anchor.ticks {
            anchor.unix_ns + self.nanos_between(Ticks(anchor.ticks), at)
        } else {
            anchor.unix_ns.saturating_sub(self.nanos_between(at, Ticks(anchor.ticks)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual();
        let start = clock.now();
        assert_eq!(clock.since(start), Duration::ZERO);
        clock.advance(Duration::from_millis(3));
        assert_eq!(clock.since(start), Duration::from_millis(3));
        assert_eq!(clock.unix_ns(clock.now()) - clock.unix_ns(start), 3_000_000);
    }

    #[test]
    fn the_real_clock_does_not_run_backwards() {
        let clock = Clock::real();
        let first = clock.now();
        let second = clock.now();
        assert!(second >= first);
        assert!(clock.unix_ns(second) >= clock.unix_ns(first));
        assert_eq!(clock.nanos_between(second, first), 0);
        let later = clock.after(first, Duration::from_secs(3));
        let error = clock.nanos_between(first, later).abs_diff(3_000_000_000);
        assert!(error < 1000, "{error} ns off");
    }
}
