//! The index of what is kept and why: each timeline once, under up to four reasons, let go when none is left.
//!
//! In a steady state nothing here allocates: places, blocks and lists are used again.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::exemplars::blocks::{Blocks, Chain};
use crate::exemplars::retention::{RetentionSettings, failed};
use crate::exemplars::slow::{Slow, Slowest};
use crate::id::{TraceId, mix};
use crate::packed::{Dictionary, pack};
use crate::timeline::{Kept, Timeline};

#[derive(Debug, Default)]
pub(crate) struct Index {
    /// What is kept, at places that are used again.
    entries: Vec<Entry>,
    vacant: Vec<u32>,
    /// Every `seq` with its place, in order; those that are gone stay until they are as many as the others.
    order: VecDeque<(u64, u32)>,
    last_seq: Option<u64>,
    recent: VecDeque<u32>,
    errors: VecDeque<u32>,
    uniform: VecDeque<u32>,
    slow: Slowest,
    /// The sample's probability is 2 to the power of minus this.
    halvings: u32,
    bytes: usize,
    seen: u64,
    /// The tenth of a second that the latest timeline ended in, and how many did.
    tenth: u64,
    of_tenth: u32,
    blocks: Blocks,
    dictionary: Dictionary,
    /// A timeline on its way into blocks.
    packed: Vec<u8>,
}

/// One kept timeline.
#[derive(Debug)]
struct Entry {
    seq: u64,
    trace: TraceId,
    hash: u64,
    end_unix_ns: u64,
    /// The route's number in the dictionary; none where that had no room.
    route: Option<u32>,
    packed: Chain,
    /// Whether it is one: the place is not vacant.
    held: bool,
    reasons: Reasons,
}

/// Why a timeline is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reasons {
    recent: bool,
    slow: bool,
    error: bool,
    /// While in the uniform sample: the most halvings since it entered.
    uniform: Option<u32>,
}

impl Reasons {
    fn any(self) -> bool {
        self.recent || self.slow || self.error || self.uniform.is_some()
    }

    fn weight(self) -> f32 {
        match self.uniform {
            _ if self.slow || self.error => 1.0,
            Some(halvings) => 2_f32.powi(halvings.cast_signed()),
            None => 0.0,
        }
    }

    fn list(self) -> Vec<Kept> {
        let all = [
            (self.recent, Kept::Recent),
            (self.uniform.is_some(), Kept::Uniform),
            (self.slow, Kept::Slow),
            (self.error, Kept::Error),
        ];
        all.into_iter().filter_map(|(is, why)| is.then_some(why)).collect()
    }
}

/// Bytes to make room for at once, for each timeline that is read: more than most take.
const ROOM_EACH: usize = 512;

/// The memory that a kept timeline takes beside its blocks: its entry, its place in the order, and in each list.
const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<(u64, u32)>() + 4 * size_of::<u32>();

impl Entry {
    /// The memory it takes, in bytes.
    fn size(&self) -> usize {
        self.packed.size() + ENTRY_BYTES
    }
}

/// Kept timelines on their way to a reader: copied while the index was locked, unpacked when it is not.
#[derive(Debug)]
pub(crate) struct Copies {
    bytes: Vec<u8>,
    each: Vec<Copied>,
    words: Arc<Vec<Arc<str>>>,
}

#[derive(Debug)]
struct Copied {
    end: usize,
    reasons: Reasons,
}

impl Copies {
    /// Unpacks them, each with the weight and the reasons it had when it was copied.
    pub(crate) fn unpack(&self) -> Vec<Arc<Timeline>> {
        let mut start = 0;
        let mut timelines = Vec::with_capacity(self.each.len());
        for Copied { end, reasons } in &self.each {
            let unpacked = crate::packed::unpack(&self.bytes[start..*end], &self.words);
            debug_assert!(unpacked.is_ok(), "what the index packed is unpacked: {unpacked:?}");
            start = *end;
            if let Ok(mut timeline) = unpacked {
                (timeline.weight, timeline.kept) = (reasons.weight(), reasons.list());
                timelines.push(Arc::new(timeline));
            }
        }
        timelines
    }
}

/// Of the request, not of the trace alone: a load generator may send one `traceparent` with all its requests.
fn hash(timeline: &Timeline) -> u64 {
    let trace = timeline.trace_id.0;
    mix((trace >> 64) as u64 ^ mix(trace as u64 ^ mix(timeline.span_id.0)))
}

/// Whether a request of this hash is in the sample after so many halvings.
fn in_sample(hash: u64, halvings: u32) -> bool {
    hash <= u64::MAX.checked_shr(halvings).unwrap_or(0)
}

/// How many of a list go with the index as it is read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    pub(crate) seen: u64,
    pub(crate) timelines: usize,
    pub(crate) bytes: usize,
    pub(crate) recent: usize,
    pub(crate) uniform: usize,
    pub(crate) slow: usize,
    pub(crate) errors: usize,
    pub(crate) halvings: u32,
    pub(crate) oldest_seq: Option<u64>,
}

impl Index {
    pub(crate) fn add(&mut self, timeline: &Timeline, settings: &RetentionSettings) {
        let seq = timeline.seq;
        self.seen += 1;
        if self.last_seq.is_some_and(|last| last >= seq) {
            return;
        }
        let hash = hash(timeline);
        let now = timeline.start_unix_ns.saturating_add(timeline.latency_ns);
        let horizon = now.saturating_sub(u64::try_from(settings.window.as_nanos()).unwrap_or(u64::MAX));
        let reasons = Reasons {
            recent: self.is_recent(now, settings),
            slow: false,
            error: failed(timeline) && settings.errors > 0,
            uniform: (settings.uniform > 0 && in_sample(hash, self.halvings)).then_some(self.halvings),
        };
        // At thousands of requests a second most are kept for no reason; those are not packed.
        let wanted = reasons.any()
            || (settings.slow_per_route > 0
                && self.slow.may_enter(&timeline.route, timeline.latency_ns, horizon, settings));
        self.last_seq = Some(seq);
        if !wanted {
            return;
        }
        self.packed.clear();
        pack(timeline, &mut self.dictionary, &mut self.packed);
        let Some(packed) = self.blocks.put(&self.packed) else { return };
        let trace = timeline.trace_id;
        let route = self.dictionary.number(&timeline.route);
        let entry = Entry { seq, trace, hash, end_unix_ns: now, route, packed, held: true, reasons };
        self.bytes += entry.size();
        let place = self.enter(entry);
        if reasons.recent {
            self.recent.push_back(place);
        }
        if reasons.error {
            self.errors.push_back(place);
        }
        if reasons.uniform.is_some() {
            self.uniform.push_back(place);
        }
        self.add_slow(
            &timeline.route,
            Slow { latency_ns: timeline.latency_ns, seq, end_unix_ns: now, place },
            horizon,
            settings,
        );

        while self.recent.len() > settings.recent {
            self.drop_recent();
        }
        while self.errors.len() > settings.errors {
            self.drop_error();
        }
        if self.uniform.len() > settings.uniform {
            self.expire_uniform(horizon, settings.uniform);
        }
        while self.uniform.len() > settings.uniform {
            self.halve();
        }
        self.let_go(place);
        while self.bytes > settings.bytes && self.len() > 0 {
            self.shrink();
        }
    }

    /// Whether a request that ended then is kept for being recent.
    fn is_recent(&mut self, end_unix_ns: u64, settings: &RetentionSettings) -> bool {
        let tenth = end_unix_ns / 100_000_000;
        if self.tenth != tenth {
            (self.tenth, self.of_tenth) = (tenth, 0);
        }
        self.of_tenth = self.of_tenth.saturating_add(1);
        settings.recent > 0 && self.of_tenth <= settings.recent_each
    }

    /// Gets to know what the recorder has interned.
    pub(crate) fn dictionary(&mut self) -> &mut Dictionary {
        &mut self.dictionary
    }

    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            seen: self.seen,
            timelines: self.len(),
            bytes: self.bytes,
            recent: self.recent.len(),
            uniform: self.uniform.len(),
            slow: self.slow.len(),
            errors: self.errors.len(),
            halvings: self.halvings,
            oldest_seq: self.order.front().map(|(seq, _)| *seq),
        }
    }

    /// Copies up to `limit` timelines with at least this `seq`, in order.
    pub(crate) fn since(&self, seq: u64, limit: usize) -> Copies {
        let from = self.order.partition_point(|(known, _)| *known < seq);
        let room = self.bytes.min(limit.saturating_mul(ROOM_EACH));
        self.copy(room, self.order.range(from..).filter_map(|at| self.held(at)).take(limit))
    }

    /// Copies the timelines of one trace, in order.
    pub(crate) fn by_trace(&self, trace: TraceId) -> Copies {
        self.copy(0, self.order.iter().filter_map(|at| self.held(at)).filter(|entry| entry.trace == trace))
    }

    /// Copies the timelines of one route, in order, and maybe some others.
    pub(crate) fn by_route(&self, route: &str) -> Copies {
        let number = self.dictionary.number(route);
        let wanted = |entry: &&Entry| entry.route.is_none() || entry.route == number;
        self.copy(0, self.order.iter().filter_map(|at| self.held(at)).filter(wanted))
    }

    fn copy<'a>(&'a self, room: usize, entries: impl Iterator<Item = &'a Entry>) -> Copies {
        let mut copies = Copies { bytes: Vec::with_capacity(room), each: Vec::new(), words: self.dictionary.words() };
        for entry in entries {
            self.blocks.read(&entry.packed, &mut copies.bytes);
            copies.each.push(Copied { end: copies.bytes.len(), reasons: entry.reasons });
        }
        copies
    }

    fn len(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }

    /// The entry that the order names, if it is still there.
    fn held(&self, (seq, place): &(u64, u32)) -> Option<&Entry> {
        self.entries.get(*place as usize).filter(|entry| entry.held && entry.seq == *seq)
    }

    fn enter(&mut self, entry: Entry) -> u32 {
        let seq = entry.seq;
        let place = match self.vacant.pop() {
            Some(place) => {
                self.entries[place as usize] = entry;
                place
            }
            None => {
                self.entries.push(entry);
                // Each holds a block at least, and blocks have numbers of 32 bits.
                self.entries.len() as u32 - 1
            }
        };
        self.order.push_back((seq, place));
        place
    }

    /// Enters a request among the slowest of its route, if it belongs there, and lets the fastest of them go.
    fn add_slow(&mut self, route: &Arc<str>, slow: Slow, horizon: u64, settings: &RetentionSettings) {
        if settings.slow_per_route == 0 {
            return;
        }
        if !self.slow.knows(route) && self.slow.len() >= settings.slow {
            // No room for one more route: what the window has left behind makes it, or nothing does.
            self.expire_slow(horizon);
            if self.slow.len() >= settings.slow {
                return;
            }
        }
        let (entered, out) = self.slow.add(route, slow, horizon, settings);
        self.entries[slow.place as usize].reasons.slow = entered;
        if let Some(out) = out {
            self.forget(out, |reasons| reasons.slow = false);
        }
    }

    fn expire_slow(&mut self, horizon: u64) {
        for place in self.slow.expire(horizon) {
            self.forget(place, |reasons| reasons.slow = false);
        }
    }

    /// Takes what is older than the window out of the sample. When that leaves it less than half full, later requests
    /// enter with the chance that would fill half of it; those inside keep theirs, and so their weight.
    fn expire_uniform(&mut self, horizon: u64, capacity: usize) {
        let mut expired = false;
        // In order of completion, so the old ones stand first.
        while let Some(place) = self.uniform.front().copied() {
            if self.entries[place as usize].end_unix_ns >= horizon {
                break;
            }
            self.uniform.pop_front();
            self.forget(place, |reasons| reasons.uniform = None);
            expired = true;
        }
        if expired {
            let room = capacity / 2 / self.uniform.len().max(1);
            self.halvings = self.halvings.saturating_sub(room.checked_ilog2().unwrap_or(0));
        }
    }

    /// Halves the chance of every request, those inside included.
    fn halve(&mut self) {
        self.halvings = (self.halvings + 1).min(64);
        let halvings = self.halvings;
        for _ in 0..self.uniform.len() {
            let Some(place) = self.uniform.pop_front() else { break };
            let stays = in_sample(self.entries[place as usize].hash, halvings) && halvings < 64;
            if stays {
                self.uniform.push_back(place);
            }
            self.forget(place, |reasons| {
                reasons.uniform = reasons.uniform.filter(|_| stays).map(|before| before.max(halvings));
            });
        }
    }

    fn drop_recent(&mut self) {
        if let Some(place) = self.recent.pop_front() {
            self.forget(place, |reasons| reasons.recent = false);
        }
    }

    fn drop_error(&mut self) {
        if let Some(place) = self.errors.pop_front() {
            self.forget(place, |reasons| reasons.error = false);
        }
    }

    /// Gives memory back: from the larger of sample and recent, then from the errors, then from the slow.
    fn shrink(&mut self) {
        if self.uniform.len() > self.recent.len() {
            self.halve();
        } else if !self.recent.is_empty() {
            self.drop_recent();
        } else if !self.errors.is_empty() {
            self.drop_error();
        } else {
            self.expire_slow(u64::MAX);
        }
    }

    fn forget(&mut self, place: u32, change: impl FnOnce(&mut Reasons)) {
        change(&mut self.entries[place as usize].reasons);
        self.let_go(place);
    }

    /// Drops a timeline that nothing keeps any more.
    fn let_go(&mut self, place: u32) {
        let entry = &mut self.entries[place as usize];
        if entry.reasons.any() || !entry.held {
            return;
        }
        self.bytes -= entry.size();
        entry.held = false;
        self.blocks.free(std::mem::take(&mut entry.packed));
        self.vacant.push(place);
        while self.order.front().is_some_and(|first| self.held(first).is_none()) {
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.len() + 1_024 {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|at| self.held(at).is_some());
            self.order = order;
        }
    }
}
