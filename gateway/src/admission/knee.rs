//! The adaptive limit Knee2: seats for the throughput the upstream has shown, times its answer time without a queue.
//!
//! Time is cut into buckets. In a bucket with the limit reached, throughput is what the upstream can do; in one with
//! seats to spare, the mean answer time is free of queueing. Their product is the knee: the fewest requests in flight
//! that keep the upstream busy (Little's law). The limit stands a little above it. A *minimum* answer time is never used:
//! where answer times vary, the minimum says nothing about the mean, and limits built on it starve the upstream.

mod bucket;
mod evidence;
mod level;
mod begin;
mod drain;

use std::time::Duration;

use super::moves::{Bounds, Finish, Move, Outcome, Why};
use bucket::Bucket;
use evidence::{Seen, Tops};
use level::Level;

/// Samples a bucket wants: the mean of 64 exponential answer times is right within an eighth.
const SAMPLES: u32 = 64;
/// Samples a bucket wants while the limit still searches, where a doubling is easy to see.
const SAMPLES_SEARCH: u32 = 32;
/// A bucket is at least so long, in seconds.
const BUCKET_S: f64 = 0.1;
/// A bucket ends after so long with fewer samples, in seconds.
const BUCKET_MAX_S: f64 = 1.0;
/// Seats above the knee, as a factor: a short queue in the upstream hides the way to it and back.
const HEAD: f64 = 1.5;
/// Seconds to the next drain when the last one, or the answer time, says that the base is wrong.
const DRAIN_SOON_S: f64 = 1.0;
/// Limited buckets in a row before a drain: a gust of requests is no overload, and a drain in it would refuse some.
const LIMITED_FOR_DRAIN: u32 = 3;

/// The limit and what it knows.
#[derive(Clone, Debug)]
pub struct Knee {
    bounds: Bounds,
    limit: f64,
    phase: Phase,
    bucket: Bucket,
    /// Mean answer time without a queue, in seconds.
    base: Option<f64>,
    /// How many answers it is the mean of, while the beginning lasts.
    base_samples: f64,
    /// The base was seen without a queue: with seats to spare, with throughput that grew with the seats, or in a drain.
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
    /// When its bucket opens, although requests from before it are still in flight.
    drain_opens_by: f64,
    /// Seats of the level that ended the beginning, until the first drain has confirmed it.
    begun: Option<f64>,
    seed: u64,
    last: Option<Move>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Nothing is known yet: more seats for as long as they bring more throughput; `before` is the level before this one.
    Begin { before: Option<Level> },
    /// There is more room than was known: one more seat for each answer, so that the limit doubles in the time of one;
    /// `from` is where this bucket began, `before` the best throughput so far, `flat` the buckets in a row that brought
    /// no more of it.
    Search { before: f64, from: f64, flat: u8 },
    /// Following the knee.
    Follow,
    /// Held low until a bucket shows less throughput; then back to the knee.
    Drain,
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
            phase: Phase::Begin { before: None },
            bucket: Bucket::default(),
            base: None,
            base_samples: 0.0,
            sure: false,
            rtt: None,
            patience: 4.0 * BUCKET_MAX_S,
            tops: Tops::default(),
            before: None,
            limited: 0,
            deadline: None,
            cap: f64::INFINITY,
            drain_due: 0.0,
            drain_began: 0.0,
            drain_opens_by: 0.0,
            begun: None,
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
        if self.rtt.is_none() && self.bucket.finished == 0 {
            // What happened before the first request is not part of the first bucket.
            self.bucket = Bucket::open(self.bucket.opens.max(finish.started.as_secs_f64()));
        }
        if self.bucket.opens.is_infinite() {
            self.open_drain(at, finish.started.as_secs_f64());
            return;
        }
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
        self.bucket.add(rtt, finish.full);
        if let Phase::Search { from, flat: 0, .. } = self.phase
            && self.bucket.full_share() > 0.0
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
            self.bucket = Bucket::open(at);
            // A second pause like this one is how the upstream answers now.
            self.patience = 2.0 * quiet;
        }
        self.bucket.last = at;
        true
    }

    fn close_when_due(&mut self, now: Duration) {
        let at = now.as_secs_f64();
        let length = at - self.bucket.opens;
        let mean = self.bucket.mean();
        let (wanted, shortest) = match self.phase {
            Phase::Begin { before } => self.level_wants(before),
            // All that are in flight, or answers that come in bursts would look like throughput that stands still.
            Phase::Search { from, .. } => (SAMPLES_SEARCH.max(from as u32), mean.clamp(0.02, 2.0)),
            Phase::Drain => self.drain_wants(),
            Phase::Follow => (SAMPLES, (1.5 * mean).clamp(BUCKET_S, 2.0)),
        };
        if length >= shortest && (self.bucket.finished >= wanted || length >= BUCKET_MAX_S.max(shortest)) {
            let bucket = std::mem::replace(&mut self.bucket, Bucket::open(at));
            self.learn(now, length, bucket);
        }
    }

    fn learn(&mut self, now: Duration, length: f64, bucket: Bucket) {
        let samples = f64::from(bucket.finished);
        let throughput = (samples + f64::from(bucket.presumed) - f64::from(bucket.timeouts)) / length;
        let rtt = bucket.mean();
        let full = bucket.full_share();
        let measured = bucket.is_measured();
        self.rtt = Some(rtt);
        self.patience = BUCKET_S.max(4.0 * rtt);

        if let Some(deadline) = self.deadline
            && self.phase != Phase::Drain
        {
            // Without a queue in the upstream, fewer seats would not make answers shorter, only fewer.
            let queue = self.base.is_none_or(|base| !self.sure || rtt > HEAD * base);
            let half = (0.5 * deadline).max(if self.sure { HEAD * self.base.unwrap_or(0.0) } else { 0.0 });
            self.cap = if queue { half * throughput } else { f64::INFINITY };
        }
        if self.phase == Phase::Drain {
            self.drained(now, length, throughput, &bucket);
            return;
        }

        // While it searches, answers that come in bursts leave seats free between them: then less is enough.
        let limited = if self.phase == Phase::Follow { 0.5 } else { 0.1 };
        if full < limited {
            // Seats to spare: nothing is learnt about the knee, but this is what an answer takes without a queue.
            self.before = None;
            self.limited = 0;
            if full <= 0.05 && measured {
                self.base = Some(self.base.map_or(rtt, |base| base + 0.3 * (rtt - base)));
                self.base_is_free();
                // The base was had for nothing; no need to drain for it just now.
                self.drain_due = self.drain_due.max(now.as_secs_f64() + DRAIN_SOON_S);
            } else if self.phase == Phase::Follow && self.limit < self.target().min(self.cap) {
                // Somebody waits now and then, and the upstream has shown that it can do more.
                let way = self.target().min(self.cap) - self.limit;
                self.move_to(now, self.limit + 0.4 * way, Why::KneeUp);
            }
            return;
        }

        let collapsed = self.tops.top().is_some_and(|top| throughput < 0.6 * top);
        if self.sure && collapsed && self.base.is_some_and(|base| rtt > 3.5 * base) {
            // The upstream can do much less than it could, and whether it has fewer slots or slower ones only fewer seats
            // will show: all that was known is void.
            self.base = Some(rtt);
            self.sure = false;
            // Of this bucket too: the change was in the middle of it, perhaps.
            self.tops.clear();
            self.drain(now, throughput);
            return;
        }
        if let Phase::Begin { before } = self.phase {
            self.level_seen(now, throughput, &bucket, before);
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
        let healthy = bucket.is_healthy();

        // A capacity that left this band has changed: the throughputs of before say nothing about it.
        let top = self.tops.top();
        if top.is_some_and(|top| throughput < 0.6 * top || throughput > 1.25 * top) {
            self.tops.clear();
        }
        self.tops.remember(throughput);

        if let Phase::Search { before, flat, .. } = self.phase {
            let flat = if throughput >= 1.2 * before { 0 } else { flat + 1 };
            let queue = flat > 0 && rtt > 2.0 * base;
            if flat < 2 && !queue && healthy && self.limit < self.cap {
                self.phase = Phase::Search { before: before.max(throughput), from: self.limit, flat };
                return;
            }
            self.phase = Phase::Follow;
            self.move_to(now, self.target().min(self.cap), Why::SearchEnd);
            return;
        }

        if rtt < 1.2 * base && healthy {
            // Reached, and no queue in the upstream: the knee is higher than it was.
            self.tops.clear();
            self.tops.remember(throughput);
            self.phase = Phase::Search { before: throughput, from: self.limit, flat: 0 };
            return;
        }
        let doubtful = rtt > 3.5 * base;
        if doubtful {
            self.drain_due = self.drain_due.min(self.drain_began + DRAIN_SOON_S);
        }
        let target = self.target();
        if at >= self.drain_due && (doubtful || self.limited >= LIMITED_FOR_DRAIN) {
            self.drain(now, throughput);
        } else if self.cap < target && self.cap < self.limit {
            self.move_to(now, self.cap, Why::DeadlineCap);
        } else {
            let way = target.min(self.cap) - self.limit;
            let (share, why) = if way < 0.0 { (0.7, Why::KneeDown) } else { (0.4, Why::KneeUp) };
            self.move_to(now, self.limit + share * way, why);
        }
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
            self.bucket = Bucket::open(now.as_secs_f64() + self.rtt.unwrap_or(0.0).min(BUCKET_MAX_S));
        }
    }
}

#[cfg(test)]
mod tests;
