//! What a number of seats brought, and whether more of them brought more.

use super::bucket::ALIKE;

/// A number of seats and what came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    pub(super) seats: f64,
    /// Answers per second.
    pub(super) throughput: f64,
    /// Mean answer time, in seconds.
    pub(super) rtt: f64,
    pub(super) samples: f64,
    /// How much answer times vary.
    pub(super) spread: f64,
}

/// How much more throughput the seats of a level brought than those of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Growth {
    /// None, as far as can be told: the level before was enough to fill the upstream, perhaps more than enough.
    Nothing,
    /// A little: the level before did not fill the upstream, this one does.
    Little,
    /// Some: perhaps this one does not fill it either.
    Some,
    /// As much as there are more seats: neither does.
    Whole,
}

impl Level {
    pub(super) fn growth_from(self, before: Self) -> Growth {
        let more_seats = self.seats / before.seats - 1.0;
        let more_answers = self.throughput / before.throughput - 1.0;
        // What chance does to the quotient of two throughputs, for answers that come at random.
        let noise = (1.0 / self.samples + 1.0 / before.samples).sqrt();
        // Answers that are alike say it more exactly than their count, which depends on where in a burst a level ends.
        let slower = if self.spread < ALIKE { self.rtt / before.rtt } else { f64::INFINITY };
        if more_answers >= more_seats * (0.9 - noise).max(0.25) {
            Growth::Whole
        } else if slower < 1.15 || more_answers >= more_seats * (0.85 - 1.4 * noise).max(0.25) {
            Growth::Some
        } else if more_answers > 0.3 + noise * self.spread {
            Growth::Little
        } else {
            Growth::Nothing
        }
    }
}
