//! Drains: moments with few seats, which show what an answer takes without a queue in the upstream.

use std::time::Duration;

use super::super::class::fraction;
use super::bucket::{ALIKE, Bucket};
use super::level::Level;
use super::{BUCKET_MAX_S, BUCKET_S, DRAIN_SOON_S, Knee, LIMITED_FOR_DRAIN, Phase, Why};

/// Samples a drain wants: it costs throughput, so it is short.
const SAMPLES: u32 = 32;
/// The same while the base is not sure: half as exact, twice as soon, and looked at again a second later.
const SAMPLES_UNSURE: u32 = 16;
/// The same where answers are alike.
const SAMPLES_ALIKE: u32 = 8;
/// Seconds between two drains while the limit is reached.
const PAUSE_S: f64 = 5.0;
/// A drain's share of the knee, and of the seats of a drain that was not deep enough.
const SHARE: f64 = 0.7;
/// The same while the base is not sure: it is too high if anything, and every answer until it is right has waited.
const SHARE_UNSURE: f64 = 0.5;
/// Not far below the present seats at once, all the same: one seat alone takes long to tell anything.
const SHARE_LEAST: f64 = 0.125;
/// The longest wait for requests from before a drain to leave the upstream, in seconds.
const ECHO_MAX_S: f64 = 4.0;

impl Knee {
    /// The samples a drain wants, and the seconds it takes at least.
    pub(super) fn drain_wants(&self) -> (u32, f64) {
        let mean = self.bucket.mean();
        let samples = if self.sure { SAMPLES } else { SAMPLES_UNSURE };
        let shortest = if self.sure { (1.5 * mean).clamp(BUCKET_S, 2.0) } else { mean.min(2.0) };
        (if self.bucket.spread() < ALIKE { SAMPLES_ALIKE } else { samples }, shortest)
    }

    /// Begins a drain.
    pub(super) fn drain(&mut self, now: Duration, throughput: f64) {
        self.phase = Phase::Drain;
        let top = self.tops.top().unwrap_or(throughput);
        let knee = top * self.base.unwrap_or(0.0);
        let seats = if self.sure {
            // Not far below the present limit at once: where the base is too low, so is the knee.
            (SHARE * knee).clamp(0.4 * self.limit, SHARE * self.limit)
        } else {
            (SHARE_UNSURE * knee.min(self.limit)).max(SHARE_LEAST * self.limit)
        };
        self.drain_to(now, seats, top);
    }

    fn drain_to(&mut self, now: Duration, seats: f64, throughput: f64) {
        let at = now.as_secs_f64();
        let leaving_s = self.limit / throughput.max(1e-6);
        self.move_to(now, seats, Why::Drain);
        self.drain_began = at;
        self.drain_opens_by = at + (2.0 * leaving_s).clamp(BUCKET_S, ECHO_MAX_S);
        self.bucket = Bucket::open(f64::INFINITY);
        // With a seat or two, long answers are long pauses.
        self.patience = self.patience.max(BUCKET_MAX_S);
    }

    /// Opens a drain's bucket when the first request from after its beginning comes back: then those from before it have
    /// left the upstream, or nearly so. Where a few of them take very long it is not waited for.
    pub(super) fn open_drain(&mut self, at: f64, started: f64) {
        if started >= self.drain_began || at >= self.drain_opens_by {
            self.bucket = Bucket::open(at);
        }
    }

    /// Ends a drain, or takes it deeper while fewer seats bring no less throughput: then the upstream still had a queue.
    pub(super) fn drained(&mut self, now: Duration, length: f64, throughput: f64, bucket: &Bucket) {
        let rtt = bucket.mean();
        let measured = bucket.is_measured();
        let before = self.base.unwrap_or(rtt);
        let top = self.tops.top().unwrap_or(throughput);
        if self.tops.top().is_none() {
            self.tops.remember(throughput);
        }
        if self.sure && measured && rtt < 1.25 * before && throughput > 1.2 * top {
            // More throughput with fewer seats: the upstream has become faster meanwhile.
            self.base = Some(before.min(rtt));
            self.tops.clear();
            self.tops.remember(throughput);
            self.end_drain(now, DRAIN_SOON_S);
            self.phase = Phase::Search { before: throughput, from: self.limit, flat: 0 };
            return;
        }
        let (share, full) = if self.sure { (SHARE, 0.8) } else { (SHARE_UNSURE, 0.7) };
        // One seat alone is no place for a request that nobody answers: it would keep it for as long as seats linger.
        let fewest = if bucket.timeouts == 0 { 1.0 } else { f64::from(self.bounds.min) };
        let deeper = self.current() > 1 && (fewest <= 1.0 || share * self.limit >= fewest) && (measured || !self.sure);
        if deeper && throughput > full * top {
            self.base = Some(before.min(rtt));
            self.drain_to(now, share * self.limit, throughput);
            return;
        }
        // Less throughput, so no queue: this is the answer time. A time cut short by our patience says "at least".
        if rtt > before || !self.sure {
            self.base = Some(rtt);
        } else if measured {
            self.base = Some(before + 0.7 * (rtt - before));
        }
        let wrong = if self.sure {
            (rtt - before).abs() > 0.25 * before
        } else {
            self.sure = true;
            self.limited = LIMITED_FOR_DRAIN;
            if let Some(seats) = self.begun.take().filter(|seats| top * rtt > 0.75 * seats) {
                let samples = f64::from(bucket.finished);
                self.begin_again(
                    now,
                    seats,
                    Level { seats: self.limit, throughput, rtt, samples, spread: bucket.spread() },
                );
                return;
            }
            bucket.error() > 0.2
        };
        if rtt > 2.5 * before {
            // Slower without a queue than with one: what it could do before says nothing about what it can do now.
            self.tops.clear();
            self.tops.remember(throughput);
        }
        self.end_drain(now, if wrong { DRAIN_SOON_S.max(8.0 * length) } else { PAUSE_S.max(40.0 * length) });
    }

    fn end_drain(&mut self, now: Duration, pause_s: f64) {
        self.seed = self.seed.wrapping_add(1);
        // Spread by a fifth, so that gates do not drain together.
        self.drain_due = now.as_secs_f64() + pause_s * (0.8 + 0.4 * fraction(self.seed));
        self.phase = Phase::Follow;
        self.before = None;
        self.move_to(now, self.target().min(self.cap), Why::DrainEnd);
    }
}
