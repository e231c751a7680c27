//! Retention: which timelines stay in memory, so that slow requests can always be compared with ordinary ones.
//!
//! A timeline may be kept for several reasons at once:
//!
//! - **recent**: it is among the last ones;
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
mod index;

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::exemplars::index::{Entry, Index};
use crate::id::TraceId;
use crate::timeline::Timeline;

pub use retention::{RetentionSettings, failed};

/// What the store holds and what passed through it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Retained {
    /// Timelines seen since the start.
    pub seen: u64,
    /// Timelines held now, each once however many reasons keep it.
    pub timelines: usize,
    /// Their size in bytes, by estimate.
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
/// Readers get shared pointers; the lock is held for as long as it takes to copy those, never while one is written out.
#[derive(Debug)]
pub struct Store {
    settings: RetentionSettings,
    index: Mutex<Index>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(settings: RetentionSettings) -> Self {
        Self { settings, index: Mutex::default() }
    }

    /// Takes a timeline in. Its `seq` must be larger than that of any before; one that is not is not kept.
    pub fn add(&self, timeline: Arc<Timeline>) {
        self.index.lock().add(timeline, &self.settings);
    }

    /// Up to `limit` kept timelines with a `seq` above `seq`, in order: what came since a reader last asked.
    #[must_use]
    pub fn since(&self, seq: u64, limit: usize) -> Vec<Arc<Timeline>> {
        let from = seq.saturating_add(1);
        self.index.lock().by_seq.range_mut(from..).take(limit).map(|(_, entry)| entry.read()).collect()
    }

    /// The kept timelines of one trace, oldest first. Looks at every kept timeline: well below a millisecond.
    #[must_use]
    pub fn by_trace(&self, trace: TraceId) -> Vec<Arc<Timeline>> {
        let mut index = self.index.lock();
        index.by_seq.values_mut().filter(|e| e.timeline.trace_id == trace).map(Entry::read).collect()
    }

    /// Everything kept, oldest first.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Arc<Timeline>> {
        self.since(0, usize::MAX)
    }

    /// What it holds.
    #[must_use]
    pub fn retained(&self) -> Retained {
        let index = self.index.lock();
        Retained {
            seen: index.seen,
            timelines: index.by_seq.len(),
            bytes: index.bytes,
            recent: index.recent.len(),
            uniform: index.uniform.len(),
            slow: index.slow_len,
            errors: index.errors.len(),
            probability: 0.5_f64.powi(index.halvings.cast_signed()),
            oldest_seq: index.by_seq.keys().next().copied(),
        }
    }
}

#[cfg(test)]
mod tests;
