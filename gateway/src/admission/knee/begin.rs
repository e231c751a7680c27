//! The beginning: few seats, then four times as many at a time, until more seats bring no more throughput.
//!
//! Few seats come first because their answers come from an upstream that is idle or nearly so: they show the answer time
//! without a queue, which nothing shows later without a drain. Four times as many is a difference that a dozen answers can
//! tell; twice as many would want fifty.

use std::time::Duration;

use super::bucket::{ALIKE, Bucket};
use super::level::{Growth, Level};
use super::{BUCKET_MAX_S, DRAIN_SOON_S, Knee, LIMITED_FOR_DRAIN, Phase, SAMPLES, Why};

/// Samples a level wants where answers are alike; twice as many where they vary.
const SAMPLES_LEVEL: u32 = 8;
/// Seats of the next level, as a factor.
const STEP: f64 = 4.0;
/// The same where some of the throughput stayed away, or where the next level could outlast the callers.
const STEP_CAREFUL: f64 = 2.0;
/// A level is at least so long, in seconds.
const LEVEL_S: f64 = 0.005;

impl Knee {
    /// The samples a level wants, and the seconds it takes at least.
    pub(super) fn level_wants(&self, before: Option<Level>) -> (u32, f64) {
        let alike = self.bucket.spread() < ALIKE;
        match before {
            // One answer on each seat is enough where they are alike.
            None => {
                let least = if alike { 1 } else { SAMPLES_LEVEL };
                (least.max(self.current()), self.bucket.mean().clamp(LEVEL_S, 2.0))
            }
            Some(before) => (if alike { SAMPLES_LEVEL } else { 2 * SAMPLES_LEVEL }, before.rtt.clamp(LEVEL_S, 2.0)),
        }
    }

    /// Goes on from a level in which the limit was reached: to more seats, or to an end.
    pub(super) fn level_seen(&mut self, now: Duration, throughput: f64, bucket: &Bucket, before: Option<Level>) {
        let samples = f64::from(bucket.finished);
        let (mean, spread) = (bucket.mean(), bucket.spread().min(1.0));
        let healthy = bucket.is_healthy();
        // Where answers vary, the first ones after a step are the short ones. Seats over throughput (Little's law) knows of
        // those still in flight as well.
        let filled = healthy && bucket.full_share() >= 0.9;
        let rtt = if filled { mean + spread * (self.limit / throughput - mean) } else { mean };
        let level = Level { seats: self.limit, throughput, rtt, samples, spread };
        let growth = match (before, self.base) {
            (Some(before), _) => level.growth_from(before),
            // Seats to spare have shown the base before the load came.
            (None, Some(base)) if rtt > base * (1.5 + bucket.error()) => Growth::Nothing,
            (None, _) => Growth::Whole,
        };

        self.tops.clear();
        self.tops.remember(throughput);
        if before.is_some() && growth >= Growth::Little {
            self.sure = true;
        }
        match self.base {
            None => (self.base, self.base_samples) = (Some(rtt), samples),
            Some(base) if growth == Growth::Whole => {
                self.base_samples += samples;
                self.base = Some(base + (rtt - base) * samples / self.base_samples);
            }
            Some(_) => {}
        }

        // What a level costs is known when it is over, so the first one beyond what callers wait for is the last one.
        let patient = before.is_some() || level.seats <= 1.5 * self.cap;
        let more = growth >= Growth::Some && level.seats < f64::from(self.bounds.max);
        if healthy && patient && more {
            // Four times the seats are four times the answer time, if there are no more slots.
            let slow = self.deadline.is_some_and(|deadline| STEP * rtt > deadline);
            let step = if growth == Growth::Whole && !slow { STEP } else { STEP_CAREFUL };
            self.phase = Phase::Begin { before: Some(level) };
            self.move_to(now, step * self.limit, Why::Search);
            // Answers that are alike come back as in the level before for the time of one; others change at once.
            let echo = (mean * (1.0 - spread)).min(BUCKET_MAX_S);
            self.bucket = Bucket::open(now.as_secs_f64() + echo);
        } else if healthy && bucket.full_share() < 0.5 {
            // Some waited now and then, but mostly there was room: there is no more load than this.
        } else if self.sure {
            self.phase = Phase::Follow;
            // A base of a few answers is looked at again before it has done harm.
            let few = self.base_samples < 0.5 * f64::from(SAMPLES);
            self.limited = if few { LIMITED_FOR_DRAIN } else { 0 };
            self.drain_due = now.as_secs_f64() + DRAIN_SOON_S * if few { 0.5 } else { 2.0 };
            self.move_to(now, self.target().min(self.cap), Why::SearchEnd);
        } else {
            // Never seen without a queue, perhaps: the base is that at most.
            self.begun = Some(level.seats);
            self.drain(now, throughput);
        }
    }

    /// Goes on with the beginning where the first drain has shown that chance alone had ended it.
    pub(super) fn begin_again(&mut self, now: Duration, seats: f64, drained: Level) {
        self.base_samples = drained.samples;
        self.phase = Phase::Begin { before: Some(drained) };
        self.move_to(now, seats, Why::DrainEnd);
    }

    /// Seats to spare have shown the base: as good as a bucket.
    pub(super) fn base_is_free(&mut self) {
        self.base_samples = f64::from(SAMPLES);
        self.sure = true;
    }
}
