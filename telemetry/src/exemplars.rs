//! Retention: which timelines stay in memory, so that slow requests can always be compared with ordinary ones.
//!
//! A timeline may be kept for several reasons at once:
//!
//! - **recent**: it is among the last ones, of a rush the first of each tenth of a second;
//! - **slow**: it is among the slowest of its route;
//! - **error**: it failed;
//! - **uniform**: it is in a sample over the whole window, drawn by a hash of trace and span, in which every request has the
//!   same chance, also when a caller sends one trace id again and again. When the sample is full its probability is halved, and what no longer belongs is let go.
//!
//! Slow and failed requests are kept for certain, so each stands for itself (weight 1). One that only the sample holds
//! stands for 1 / probability requests. One that is only recent weighs 0: it is shown, not counted. The weights of all
//! kept timelines then add up, in expectation, to the number of requests of the window (Horvitz and Thompson, 1952).
//!
//! Old timelines stay while there is room; once there is none, those older than the window go first.

mod retention;
mod blocks;
mod slow;
mod index;

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::exemplars::index::{Index, Sizes};
use crate::id::TraceId;
use crate::names::Names;
use crate::redact::{Redaction, Redactor};
use crate::timeline::Timeline;

pub use retention::{RetentionSettings, failed};

/// What the store holds and what passed through it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Retained {
    /// Timelines seen since the start.
    pub seen: u64,
    /// Timelines held now, each once however many reasons keep it.
    pub timelines: usize,
    /// The memory they take, in bytes: packed, with what is known of each.
    pub bytes: usize,
    /// Held as recent.
    pub recent: usize,
    /// Held in the uniform sample.
    pub uniform: usize,
    /// Held as slow.
    pub slow: usize,
    /// Held as failed.
    pub errors: usize,
    /// The chance a request has now to enter the uniform sample.
    pub probability: f64,
    /// The smallest `seq` held; a reader that asks for older ones has missed some.
    pub oldest_seq: Option<u64>,
}

/// The kept timelines of one gateway: written by its collector, read by anyone.
///
/// It holds them packed ([`crate::packed`]), at some 330 bytes for one of ten nodes, beside a dictionary of their names of at
/// most 4 MiB of text. Readers get timelines of their own: the lock is held for as long as it takes to copy the bytes, never
/// while they are unpacked, which takes 2 to 4 µs each.
#[derive(Debug)]
pub struct Store {
    settings: RetentionSettings,
    index: Mutex<Index>,
    shown: Mutex<Shown>,
}

/// What of the kept timelines must be redacted again when it is read.
#[derive(Debug, Default)]
struct Shown {
    rules: Arc<Redaction>,
    /// Timelines up to this number were read from their logbooks by other rules.
    upto: u64,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(settings: RetentionSettings) -> Self {
        Self { settings, index: Mutex::default(), shown: Mutex::default() }
    }

    /// Takes a timeline in. Its `seq` must be larger than that of any before; one that is not is not kept.
    ///
    /// Packs it into memory that others left: it allocates only while the store grows.
    pub fn add(&self, timeline: &Timeline) {
        self.index.lock().add(timeline, &self.settings);
    }

    /// Gets to know the recorder's names, so that attributes with such a name as value take no room for its text.
    pub(crate) fn follow(&self, names: &Names) {
        self.index.lock().dictionary().follow(names);
    }

    /// From now on these rules of redaction hold, also for what was kept before and is read again: rules that hide more
    /// hide it there too. What was hidden when a timeline was kept is gone for good. `last` is the `seq` of the timeline
    /// added last.
    pub fn redact_by(&self, rules: Arc<Redaction>, last: u64) {
        let mut shown = self.shown.lock();
        if shown.rules != rules {
            *shown = Shown { rules, upto: last };
        }
    }

    /// Timelines as they may be shown now.
    fn shown(&self, mut timelines: Vec<Arc<Timeline>>) -> Vec<Arc<Timeline>> {
        let (rules, upto) = {
            let shown = self.shown.lock();
            (Arc::clone(&shown.rules), shown.upto)
        };
        let mut redactor = Redactor::new(rules);
        for timeline in timelines.iter_mut().filter(|timeline| timeline.seq <= upto) {
            redactor.redact(&mut Arc::make_mut(timeline).nodes);
        }
        timelines
    }

    /// Up to `limit` kept timelines with a `seq` above `seq`, in order: what came since a reader last asked.
    #[must_use]
    pub fn since(&self, seq: u64, limit: usize) -> Vec<Arc<Timeline>> {
        let Some(from) = seq.checked_add(1) else { return Vec::new() };
        let copies = self.index.lock().since(from, limit);
        self.shown(copies.unpack())
    }

    /// The kept timelines of one trace, oldest first. Looks at every kept timeline: well below a millisecond.
    #[must_use]
    pub fn by_trace(&self, trace: TraceId) -> Vec<Arc<Timeline>> {
        let copies = self.index.lock().by_trace(trace);
        self.shown(copies.unpack())
    }

    /// Everything kept, oldest first: 20,000 timelines of ten nodes take some 60 ms and 60 MiB.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Arc<Timeline>> {
        self.since(0, usize::MAX)
    }

    /// The kept timelines of one route, oldest first; those of others are not unpacked.
    #[must_use]
    pub fn by_route(&self, route: &str) -> Vec<Arc<Timeline>> {
        let copies = self.index.lock().by_route(route);
        let mut timelines = copies.unpack();
        timelines.retain(|timeline| &*timeline.route == route);
        self.shown(timelines)
    }

    /// What it holds.
    #[must_use]
    pub fn retained(&self) -> Retained {
        let Sizes { seen, timelines, bytes, recent, uniform, slow, errors, halvings, oldest_seq } =
            self.index.lock().sizes();
        let probability = 0.5_f64.powi(halvings.cast_signed());
        Retained { seen, timelines, bytes, recent, uniform, slow, errors, probability, oldest_seq }
    }
}

#[cfg(test)]
mod tests;
