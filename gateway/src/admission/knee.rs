//! The adaptive limit Knee2: seats for the throughput the upstream has shown, times its answer time without a queue.
//!
//! Time is cut into buckets. In a bucket with the limit reached, throughput is what the upstream can do; in one with
//! seats to spare, the mean answer time is free of queueing. Their product is the knee: the fewest requests in flight
//! that keep the upstream busy (Little's law). The limit stands a little above it. A *minimum* answer time is never used:
//! where answer times vary, the minimum says nothing about the mean, and limits built on it starve the upstream.

mod evidence;

use std::time::Duration;

use super::class::fraction;
use super::moves::{Bounds, Finish, Move, Outcome, Why};
use evidence::{Seen, Tops};

/// Samples a bucket wants: the mean of 64 exponential answer times is right within an eighth.
const SAMPLES: u32 = 64;
/// Samples a bucket wants while the limit still searches, where a doubling is easy to see.
const SAMPLES_SEARCH: u32 = 32;
/// Samples a drain wants: it costs throughput, so it is short.
const SAMPLES_DRAIN: u32 = 48;
/// A bucket is at least so long, in seconds.
const BUCKET_S: f64 = 0.1;
/// A bucket ends after so long with fewer samples, in seconds.
const BUCKET_MAX_S: f64 = 1.0;
/// Seats above the knee, as a factor: a short queue in the upstream hides the way to it and back.
const HEAD: f64 = 1.5;
/// Seconds between two drains while the limit is reached.
const DRAIN_S: f64 = 5.0;
/// Seconds to the next drain when the last one, or the answer time, says that the base is wrong.
const DRAIN_SOON_S: f64 = 1.0;
/// Limited buckets in a row before a drain: a gust of requests is no overload, and a drain in it would refuse some.
const LIMITED_FOR_DRAIN: u32 = 3;
/// A drain's share of the knee.
const DRAIN_SHARE: f64 = 0.7;

/// The limit and what it knows.
#[derive(Clone, Debug)]
pub struct Knee {
    bounds: Bounds,
    limit: f64,
    phase: Phase,
    bucket: Bucket,
    /// Mean answer time without a queue, in seconds.
    base: Option<f64>,
    /// The base was seen with seats to spare, not only with all in use.
    sure: bool,
    /// Mean answer time of the last bucket, in seconds.
    rtt: Option<f64>,
    /// A longer pause between two answers begins the bucket anew, in seconds.
    patience: f64,
    tops: Tops,
    /// The limited bucket before this one.
    before: Option<Seen>,
    /// Limited buckets in a row.
    limited: u32,
    /// What requests have left of their deadline when they take a seat: a slow mean, in seconds.
    deadline: Option<f64>,
    /// Seats that keep requests in the upstream for no more than half of their deadline.
    cap: f64,
    drain_due: f64,
    drain_began: f64,
    seed: u64,
    last: Option<Move>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// One more seat for each answer, so that the limit doubles in the time of one; `from` is where this bucket began,
    /// `before` the best throughput so far, `flat` the buckets in a row that brought no more of it.
    Search { before: Option<f64>, from: f64, flat: u8 },
    /// Following the knee.
    Follow,
    /// Held low until a bucket shows less throughput; then back to the knee.
    Drain,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// When it opens, in seconds; later than now while an earlier change of the limit still echoes.
    opens: f64,
    /// The last seat given back, in seconds.
    last: f64,
    finished: u32,
    presumed: u32,
    failed: u32,
    timeouts: u32,
    full: u32,
    rtt_sum: f64,
}

impl Knee {
    /// A limit that begins its search.
    #[must_use]
    pub fn new(bounds: Bounds, seed: u64) -> Self {
        let min = bounds.min.max(1);
        let bounds = Bounds { min, max: bounds.max.max(min), start: bounds.start.clamp(min, bounds.max.max(min)) };
        Self {
            bounds,
            limit: f64::from(bounds.start),
            phase: Phase::Search { before: None, from: 0.0, flat: 0 },
            bucket: Bucket::default(),
            base: None,
            sure: false,
            rtt: None,
            patience: 4.0 * BUCKET_MAX_S,
            tops: Tops::default(),
            before: None,
            limited: 0,
            deadline: None,
            cap: f64::INFINITY,
            drain_due: DRAIN_S,
            drain_began: 0.0,
            seed,
            last: None,
        }
    }

    /// Seats that may be taken at once, now.
    #[must_use]
    pub fn current(&self) -> u32 {
        (self.limit.round() as u32).max(1)
    }

    /// The lowest and the highest it can be.
    #[must_use]
    pub const fn bounds(&self) -> (u32, u32) {
        (self.bounds.min, self.bounds.max)
    }

    /// Its last move.
    #[must_use]
    pub const fn last_move(&self) -> Option<Move> {
        self.last
    }

    /// The mean answer time without a queue.
    #[must_use]
    pub fn base(&self) -> Option<Duration> {
        self.base.map(Duration::from_secs_f64)
    }

    /// A request with so much of its deadline left took a seat.
    pub fn started(&mut self, deadline_left: Option<Duration>) {
        if let Some(left) = deadline_left {
            let left = left.as_secs_f64();
            self.deadline = Some(self.deadline.map_or(left, |mean| mean + 0.01 * (left - mean)));
        }
    }

    /// A seat was given back at `now`.
    pub fn finished(&mut self, now: Duration, finish: Finish) {
        let at = now.as_secs_f64();
        let rtt = (at - finish.started.as_secs_f64()).max(0.0);
        if !self.takes(at) {
            return;
        }
        match finish.outcome {
            Outcome::Good => {}
            Outcome::Failed => self.bucket.failed += 1,
            Outcome::Timeout => self.bucket.timeouts += 1,
            // How long the upstream takes is not known, so this is no sample.
            Outcome::ClientGone => return,
        }
        self.bucket.finished += 1;
        self.bucket.full += u32::from(finish.full);
        self.bucket.rtt_sum += rtt;
        if let Phase::Search { before: Some(_), from, flat: 0 } = self.phase
            && self.bucket.full > 0
            && finish.outcome == Outcome::Good
            && self.limit + 1.0 <= (2.0 * from).min(self.cap)
        {
            self.move_to(now, self.limit + 1.0, Why::Search);
        }
        self.close_when_due(now);
    }

    /// The upstream should have finished about now for a client long gone: throughput, but no answer time.
    pub fn presumed(&mut self, now: Duration) {
        if self.takes(now.as_secs_f64()) {
            self.bucket.presumed += 1;
        }
    }

    /// Whether what happens at `at` belongs to the bucket; a stall makes the bucket begin anew.
    fn takes(&mut self, at: f64) -> bool {
        if at < self.bucket.opens {
            return false;
        }
        // After a pause in the answers (a freeze, an idle night) the bucket's length says nothing about throughput.
        let quiet = at - self.bucket.last.max(self.bucket.opens);
        if quiet > self.patience {
            self.bucket = Bucket { opens: at, ..Bucket::default() };
            // A second pause like this one is how the upstream answers now.
            self.patience = 2.0 * quiet;
        }
        self.bucket.last = at;
        true
    }

    fn close_when_due(&mut self, now: Duration) {
        let at = now.as_secs_f64();
        let length = at - self.bucket.opens;
        let mean = self.bucket.rtt_sum / f64::from(self.bucket.finished.max(1));
        let (wanted, shortest) = match self.phase {
            // All that are in flight, or answers that come in bursts would look like throughput that stands still.
            Phase::Search { from, .. } => (SAMPLES_SEARCH.max(from as u32), mean.clamp(0.02, 2.0)),
            Phase::Drain => (SAMPLES_DRAIN, (1.5 * mean).clamp(BUCKET_S, 2.0)),
            Phase::Follow => (SAMPLES, (1.5 * mean).clamp(BUCKET_S, 2.0)),
        };
        if length >= shortest && (self.bucket.finished >= wanted || length >= BUCKET_MAX_S.max(shortest)) {
            let bucket = std::mem::replace(&mut self.bucket, Bucket { opens: at, last: at, ..Bucket::default() });
            self.learn(now, length, bucket);
        }
    }

    fn learn(&mut self, now: Duration, length: f64, bucket: Bucket) {
        let samples = f64::from(bucket.finished);
        let throughput = (samples + f64::from(bucket.presumed) - f64::from(bucket.timeouts)) / length;
        let rtt = bucket.rtt_sum / samples;
        let full = f64::from(bucket.full) / samples;
        // A timed-out answer time is a lower bound, not a measurement of an upstream without a queue.
        let measured = bucket.timeouts * 10 <= bucket.finished;
        self.rtt = Some(rtt);
        self.patience = BUCKET_S.max(4.0 * rtt);

        if let Some(deadline) = self.deadline {
            // Without a queue in the upstream, fewer seats would not make answers shorter, only fewer.
            let queue = self.base.is_none_or(|base| !self.sure || rtt > HEAD * base);
            let half = (0.5 * deadline).max(if self.sure { HEAD * self.base.unwrap_or(0.0) } else { 0.0 });
            self.cap = if queue { half * throughput } else { f64::INFINITY };
        }
        if self.phase == Phase::Drain {
            self.drained(now, length, throughput, rtt, measured);
            return;
        }

        // While it searches, answers that come in bursts leave seats free between them: then less is enough.
        let limited = if matches!(self.phase, Phase::Search { .. }) { 0.1 } else { 0.5 };
        if full < limited {
            // Seats to spare: nothing is learnt about the knee, but this is what an answer takes without a queue.
            self.before = None;
            self.limited = 0;
            if full <= 0.05 && measured {
                self.base = Some(self.base.map_or(rtt, |base| base + 0.3 * (rtt - base)));
                self.sure = true;
                // The base was had for nothing; no need to drain for it just now.
                self.drain_due = self.drain_due.max(now.as_secs_f64() + DRAIN_SOON_S);
            } else if self.phase == Phase::Follow && self.limit < self.target().min(self.cap) {
                // Somebody waits now and then, and the upstream has shown that it can do more.
                let way = self.target().min(self.cap) - self.limit;
                self.move_to(now, self.limit + 0.4 * way, Why::KneeUp);
            }
            return;
        }

        let base = *self.base.get_or_insert(rtt);
        let seen = Seen { limit: self.limit, rtt };
        if rtt < base && measured {
            // Far below, the upstream has become faster; a little below is mostly chance, and following chance downwards
            // only would end at a minimum.
            let weight = if rtt < 0.8 * base { 0.5 } else { 0.2 };
            self.base = Some(base + weight * (rtt - base));
        } else if self.phase == Phase::Follow && self.before.is_some_and(|before| seen.is_linear_to(before)) {
            // Fewer seats and no shorter answers (or more seats and no longer ones): there is no queue in the upstream,
            // so this is its true answer time. Without this rule a slower upstream looks like a queue, and the limit
            // would follow it down.
            self.base = Some(base + 0.8 * (rtt - base));
        }
        self.before = Some(seen);
        self.limited += 1;
        self.follow(now, throughput, rtt, bucket);
    }

    /// Moves the limit after a bucket in which it was reached.
    fn follow(&mut self, now: Duration, throughput: f64, rtt: f64, bucket: Bucket) {
        let at = now.as_secs_f64();
        let base = self.base.unwrap_or(rtt).max(1e-6);
        let healthy = (bucket.failed + bucket.timeouts) * 4 <= bucket.finished;

        // A capacity that left this band has changed: the throughputs of before say nothing about it.
        let top = self.tops.top();
        if top.is_some_and(|top| throughput < 0.6 * top || throughput > 1.25 * top) {
            self.tops.clear();
        }
        self.tops.remember(throughput);

        if let Phase::Search { before, flat, .. } = self.phase {
            let grows = before.is_none_or(|before| throughput >= 1.2 * before);
            let flat = if grows { 0 } else { flat + 1 };
            let queue = flat > 0 && rtt > 2.0 * base;
            if flat < 2 && !queue && healthy && self.limit < self.cap {
                let best = before.unwrap_or(0.0).max(throughput);
                self.phase = Phase::Search { before: Some(best), from: self.limit, flat };
                return;
            }
            self.phase = Phase::Follow;
            if !self.sure {
                // The base was taken with all seats in use: there was a queue in it, perhaps.
                self.drain_due = at;
            }
            self.move_to(now, self.target().min(self.cap), Why::SearchEnd);
            return;
        }

        if rtt < 1.2 * base && healthy {
            // Reached, and no queue in the upstream: the knee is higher than it was.
            self.tops.clear();
            self.tops.remember(throughput);
            self.phase = Phase::Search { before: Some(throughput), from: self.limit, flat: 0 };
            return;
        }
        let doubtful = rtt > 3.5 * base;
        if doubtful {
            self.drain_due = self.drain_due.min(self.drain_began + DRAIN_SOON_S);
        }
        let target = self.target();
        if at >= self.drain_due && (doubtful || self.limited >= LIMITED_FOR_DRAIN) {
            self.phase = Phase::Drain;
            self.drain_began = at;
            let knee = self.tops.top().unwrap_or(throughput) * base;
            // Not far below the present limit at once: where the base is too low, so is the knee.
            self.move_to(now, (DRAIN_SHARE * knee).clamp(0.4 * self.limit, DRAIN_SHARE * self.limit), Why::Drain);
        } else if self.cap < target && self.cap < self.limit {
            self.move_to(now, self.cap, Why::DeadlineCap);
        } else {
            let way = target.min(self.cap) - self.limit;
            let (share, why) = if way < 0.0 { (0.7, Why::KneeDown) } else { (0.4, Why::KneeUp) };
            self.move_to(now, self.limit + share * way, why);
        }
    }

    /// Ends a drain, or takes it deeper while fewer seats bring no less throughput: then the upstream still had a queue.
    fn drained(&mut self, now: Duration, length: f64, throughput: f64, rtt: f64, measured: bool) {
        let before = self.base.unwrap_or(rtt);
        let top = self.tops.top().unwrap_or(throughput);
        if measured && rtt < before && throughput > 1.2 * top {
            // More throughput with fewer seats: the upstream has become faster meanwhile.
            self.base = Some(rtt);
            self.tops.clear();
            self.tops.remember(throughput);
            self.end_drain(now, DRAIN_SOON_S);
            self.phase = Phase::Search { before: Some(throughput), from: self.limit, flat: 0 };
            return;
        }
        if measured && throughput > 0.8 * top && self.current() > 2 {
            self.base = Some(before.min(rtt));
            self.move_to(now, DRAIN_SHARE * self.limit, Why::Drain);
            return;
        }
        // Less throughput, so no queue: this is the answer time. A time cut short by our patience says "at least".
        if rtt > before {
            self.base = Some(rtt);
        } else if measured {
            self.base = Some(before + 0.7 * (rtt - before));
        }
        self.sure = true;
        let wrong = (rtt - before).abs() > 0.25 * before;
        self.end_drain(now, if wrong { DRAIN_SOON_S.max(4.0 * length) } else { DRAIN_S.max(40.0 * length) });
    }

    fn end_drain(&mut self, now: Duration, pause_s: f64) {
        self.seed = self.seed.wrapping_add(1);
        // Spread by a fifth, so that gates do not drain together.
        self.drain_due = now.as_secs_f64() + pause_s * (0.8 + 0.4 * fraction(self.seed));
        self.phase = Phase::Follow;
        self.before = None;
        self.move_to(now, self.target().min(self.cap), Why::DrainEnd);
    }

    fn target(&self) -> f64 {
        let knee = self.tops.top().unwrap_or(0.0) * self.base.unwrap_or(0.0);
        HEAD * knee + knee.sqrt()
    }

    fn move_to(&mut self, now: Duration, limit: f64, why: Why) {
        let from = self.current();
        let floor = if why == Why::Drain { 1.0 } else { f64::from(self.bounds.min) };
        self.limit = limit.clamp(floor, f64::from(self.bounds.max));
        let to = self.current();
        if from == to {
            return;
        }
        self.last = Some(Move { at: now, from, to, why });
        // What is in flight still belongs to the old limit. A small change can be seen through, a large one cannot.
        if why != Why::Search && from.abs_diff(to) * 10 > from {
            self.bucket.opens = now.as_secs_f64() + self.rtt.unwrap_or(0.0).min(BUCKET_MAX_S);
            self.bucket.last = self.bucket.opens;
        }
    }
}

#[cfg(test)]
mod tests;
