//! Governor's clock over ours, so that only one place reads the time and tests can wind it by hand.

use std::time::Duration;

use zerver_telemetry::clock::{Clock, Ticks};

/// Time since the limit was made.
#[derive(Clone, Debug)]
pub(super) struct WoundClock {
    clock: Clock,
    began: Ticks,
}

impl WoundClock {
    pub(super) fn new(clock: Clock) -> Self {
        Self { began: clock.now(), clock }
    }
}

impl governor::clock::Clock for WoundClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.clock.since(self.began)
    }
}
