//! The index of what is kept and why: each timeline once, under up to four reasons, let go when none is left.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::exemplars::retention::{RetentionSettings, failed};
use crate::id::mix;
use crate::timeline::{Kept, Node, State, Timeline, Value};

#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) by_seq: BTreeMap<u64, Entry>,
    pub(crate) recent: VecDeque<u64>,
    pub(crate) errors: VecDeque<u64>,
    pub(crate) uniform: BTreeSet<u64>,
    /// Per route, by latency; the first is the fastest of the slow.
    slow: HashMap<Arc<str>, BTreeSet<Slow>>,
    pub(crate) slow_len: usize,
    /// The sample's probability is 2 to the power of minus this.
    pub(crate) halvings: u32,
    pub(crate) bytes: usize,
    pub(crate) seen: u64,
}

/// One of the slowest of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slow {
    latency_ns: u64,
    seq: u64,
    end_unix_ns: u64,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) timeline: Arc<Timeline>,
    hash: u64,
    bytes: usize,
    end_unix_ns: u64,
    recent: bool,
    slow: bool,
    error: bool,
    /// While in the uniform sample: the most halvings since it entered.
    uniform: Option<u32>,
}

impl Entry {
    fn reasons(&self) -> usize {
        usize::from(self.recent)
            + usize::from(self.slow)
            + usize::from(self.error)
            + usize::from(self.uniform.is_some())
    }

    fn weight(&self) -> f32 {
        match self.uniform {
            _ if self.slow || self.error => 1.0,
            Some(halvings) => 2_f32.powi(halvings.cast_signed()),
            None => 0.0,
        }
    }

    fn is_kept(&self, why: Kept) -> bool {
        match why {
            Kept::Recent => self.recent,
            Kept::Uniform => self.uniform.is_some(),
            Kept::Slow => self.slow,
            Kept::Error => self.error,
        }
    }

    /// The timeline with its present weight and reasons. They are written into it only when they changed since it was
    /// last read, and it is copied only when an earlier reader still holds it.
    pub(crate) fn read(&mut self) -> Arc<Timeline> {
        const ALL: [Kept; 4] = [Kept::Recent, Kept::Uniform, Kept::Slow, Kept::Error];
        let weight = self.weight();
        let same = self.timeline.weight == weight
            && self.timeline.kept.len() == self.reasons()
            && self.timeline.kept.iter().all(|why| self.is_kept(*why));
        if !same {
            let kept = ALL.into_iter().filter(|why| self.is_kept(*why)).collect();
            let timeline = Arc::make_mut(&mut self.timeline);
            timeline.weight = weight;
            timeline.kept = kept;
        }
        Arc::clone(&self.timeline)
    }
}

/// The memory a timeline takes, by estimate: its nodes, states and attributes, and the texts that only it holds.
pub(crate) fn estimated_bytes(timeline: &Timeline) -> usize {
    let attr = size_of::<(Arc<str>, Value)>();
    let node = |node: &Node| {
        let texts: usize =
            node.attrs.iter().map(|(_, value)| if let Value::Text(t) = value { t.len() } else { 0 }).sum();
        size_of::<Node>() + node.states.capacity() * size_of::<State>() + node.attrs.capacity() * attr + texts
    };
    size_of::<Timeline>() + size_of::<Entry>() + timeline.nodes.iter().map(node).sum::<usize>()
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

impl Index {
    pub(crate) fn add(&mut self, timeline: Arc<Timeline>, settings: &RetentionSettings) {
        let seq = timeline.seq;
        self.seen += 1;
        if self.by_seq.last_key_value().is_some_and(|(last, _)| *last >= seq) {
            return;
        }
        let bytes = estimated_bytes(&timeline);
        let hash = hash(&timeline);
        let now = timeline.start_unix_ns.saturating_add(timeline.latency_ns);
        let horizon = now.saturating_sub(u64::try_from(settings.window.as_nanos()).unwrap_or(u64::MAX));
        let (route, latency, error) = (Arc::clone(&timeline.route), timeline.latency_ns, failed(&timeline));
        let uniform = (settings.uniform > 0 && in_sample(hash, self.halvings)).then_some(self.halvings);
        let entry = Entry {
            timeline,
            hash,
            bytes,
            end_unix_ns: now,
            recent: settings.recent > 0,
            slow: false,
            error: error && settings.errors > 0,
            uniform,
        };
        self.bytes += bytes;
        if entry.recent {
            self.recent.push_back(seq);
        }
        if entry.error {
            self.errors.push_back(seq);
        }
        if entry.uniform.is_some() {
            self.uniform.insert(seq);
        }
        self.by_seq.insert(seq, entry);
        self.add_slow(route, Slow { latency_ns: latency, seq, end_unix_ns: now }, horizon, settings);

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
        while self.bytes > settings.bytes && !self.by_seq.is_empty() {
            self.shrink();
        }
        self.let_go(seq);
    }

    /// Enters a request among the slowest of its route, if it belongs there, and lets the fastest of them go.
    fn add_slow(&mut self, route: Arc<str>, slow: Slow, horizon: u64, settings: &RetentionSettings) {
        if settings.slow_per_route == 0 {
            return;
        }
        if !self.slow.contains_key(&route) && self.slow_len >= settings.slow {
            // No room for one more route: what the window has left behind makes it, or nothing does.
            self.expire_slow(horizon);
            if self.slow_len >= settings.slow {
                return;
            }
        }
        let full = |len: usize, all: usize| len >= settings.slow_per_route || all >= settings.slow;
        let list = self.slow.entry(route).or_default();
        let mut out = None;
        if full(list.len(), self.slow_len) {
            let expired = list.iter().find(|old| old.end_unix_ns < horizon).copied();
            out = expired.or_else(|| list.first().copied().filter(|fastest| fastest.latency_ns < slow.latency_ns));
            if out.is_none() {
                return;
            }
        }
        if let Some(out) = &out {
            list.remove(out);
            self.slow_len -= 1;
        }
        list.insert(slow);
        self.slow_len += 1;
        if let Some(entry) = self.by_seq.get_mut(&slow.seq) {
            entry.slow = true;
        }
        if let Some(out) = out {
            self.forget(out.seq, |entry| entry.slow = false);
        }
    }

    fn expire_slow(&mut self, horizon: u64) {
        let mut out = Vec::new();
        self.slow.retain(|_, list| {
            list.retain(|slow| {
                let stays = slow.end_unix_ns >= horizon;
                if !stays {
                    out.push(slow.seq);
                }
                stays
            });
            !list.is_empty()
        });
        self.slow_len -= out.len();
        for seq in out {
            self.forget(seq, |entry| entry.slow = false);
        }
    }

    /// Takes what is older than the window out of the sample. When that leaves it less than half full, later requests
    /// enter with the chance that would fill half of it; those inside keep theirs, and so their weight.
    fn expire_uniform(&mut self, horizon: u64, capacity: usize) {
        let mut expired = false;
        // In order of completion, so the old ones stand first.
        while let Some(seq) = self.uniform.first().copied() {
            if self.by_seq.get(&seq).is_some_and(|entry| entry.end_unix_ns >= horizon) {
                break;
            }
            self.uniform.pop_first();
            self.forget(seq, |entry| entry.uniform = None);
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
        for seq in std::mem::take(&mut self.uniform) {
            let stays = self.by_seq.get(&seq).is_some_and(|entry| in_sample(entry.hash, halvings) && halvings < 64);
            if stays {
                self.uniform.insert(seq);
            }
            self.forget(seq, |entry| {
                entry.uniform = entry.uniform.filter(|_| stays).map(|before| before.max(halvings));
            });
        }
    }

    fn drop_recent(&mut self) {
        if let Some(seq) = self.recent.pop_front() {
            self.forget(seq, |entry| entry.recent = false);
        }
    }

    fn drop_error(&mut self) {
        if let Some(seq) = self.errors.pop_front() {
            self.forget(seq, |entry| entry.error = false);
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

    fn forget(&mut self, seq: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.by_seq.get_mut(&seq) {
            change(entry);
        }
        self.let_go(seq);
    }

    /// Drops a timeline that nothing keeps any more.
    fn let_go(&mut self, seq: u64) {
        if self.by_seq.get(&seq).is_some_and(|entry| entry.reasons() == 0)
            && let Some(entry) = self.by_seq.remove(&seq)
        {
            self.bytes -= entry.bytes;
        }
    }
}
