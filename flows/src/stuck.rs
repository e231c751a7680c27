//! Runs whose undoing failed: what was done and not undone, kept so that somebody can see it and go on with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use zerver_telemetry::id::TraceId;

use crate::exit::Fail;
use crate::journal::Record;

/// A run that failed, and whose undoing failed too.
#[derive(Clone, Debug)]
pub struct Stuck {
    /// The flow.
    pub flow: String,
    /// Its version then.
    pub version: u32,
    /// The request's trace.
    pub trace_id: TraceId,
    /// When, in nanoseconds since the Unix epoch.
    pub unix_ns: u64,
    /// Why the flow failed.
    pub failed: Fail,
    /// Why the undoing did.
    pub why: Fail,
    /// The steps that are done and not undone, in the order in which they are to be undone.
    pub rest: Vec<String>,
    /// Every step that wrote its slot.
    pub(crate) wrote: Vec<String>,
    /// The request, the effects and their answers.
    pub(crate) record: Record,
}

/// What a run that goes on with an undoing knows of the one before.
#[derive(Debug)]
pub(crate) struct Resumed {
    /// Bits of the steps that wrote their slot then, and do so again from the journal.
    pub(crate) wrote: u128,
    /// The steps to undo, in order.
    pub(crate) rest: Vec<usize>,
    /// Why the flow failed.
    pub(crate) fail: Fail,
}

/// How far a failed run's undoing is.
#[derive(Debug, Default)]
pub(crate) struct Unwinding {
    pub(crate) failed: Option<Fail>,
    pub(crate) undone: Vec<usize>,
    pub(crate) stuck: Option<Fail>,
}

/// The runs of one engine that are stuck. Bounded: beyond [`StuckRuns::LIMIT`] the oldest is forgotten, and counted.
#[derive(Debug, Default)]
pub struct StuckRuns {
    runs: Mutex<VecDeque<(u64, Arc<Stuck>)>>,
    next: AtomicU64,
    forgotten: AtomicU64,
    tell: Option<fn(&Stuck)>,
}

impl StuckRuns {
    /// The most stuck runs that are kept.
    pub const LIMIT: usize = 1_000;

    /// A list that tells of each run that gets stuck as it happens, perhaps from a destructor: `tell` must not block.
    #[must_use]
    pub fn telling(tell: fn(&Stuck)) -> Self {
        Self { tell: Some(tell), ..Self::default() }
    }

    pub(crate) fn add(&self, stuck: &Arc<Stuck>) {
        if let Some(tell) = self.tell {
            tell(stuck);
        }
        let mut runs = self.runs.lock();
        runs.push_back((self.next.fetch_add(1, Relaxed) + 1, Arc::clone(stuck)));
        self.bound(&mut runs);
    }

    fn bound(&self, runs: &mut VecDeque<(u64, Arc<Stuck>)>) {
        if runs.len() > Self::LIMIT {
            runs.pop_front();
            self.forgotten.fetch_add(1, Relaxed);
        }
    }

    /// Every stuck run with its number, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<(u64, Arc<Stuck>)> {
        self.runs.lock().iter().cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.lock().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there have been, and how many of them were forgotten for want of room.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.next.load(Relaxed), self.forgotten.load(Relaxed))
    }

    /// Takes a run off the list: somebody has seen to it by hand, or goes on with it now.
    #[must_use]
    pub fn take(&self, number: u64) -> Option<Arc<Stuck>> {
        let mut runs = self.runs.lock();
        let at = runs.iter().position(|(n, _)| *n == number)?;
        runs.remove(at).map(|(_, stuck)| stuck)
    }

    /// Puts back what [`StuckRuns::take`] took, or what is left of it, under its old number.
    pub fn put_back(&self, number: u64, stuck: Arc<Stuck>) {
        let mut runs = self.runs.lock();
        let at = runs.partition_point(|(n, _)| *n < number);
        runs.insert(at, (number, stuck));
        self.bound(&mut runs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuck() -> Arc<Stuck> {
        let fail = Fail::internal("abandoned", "dropped");
        let names = Vec::new;
        Arc::new(Stuck {
            flow: "trip".into(),
            version: 1,
            trace_id: TraceId(1),
            unix_ns: 0,
            failed: fail.clone(),
            why: fail,
            rest: names(),
            wrote: names(),
            record: Record::default(),
        })
    }

    #[test]
    fn the_list_is_bounded_also_for_what_is_put_back() {
        static TOLD: AtomicU64 = AtomicU64::new(0);
        let runs = StuckRuns::telling(|stuck| _ = TOLD.fetch_add(stuck.trace_id.0 as u64, Relaxed));
        runs.add(&stuck());
        let first = runs.take(1).unwrap();
        assert!(runs.take(1).is_none() && runs.is_empty(), "it is taken once");
        for _ in 0..StuckRuns::LIMIT {
            runs.add(&stuck());
        }
        runs.put_back(1, first);
        assert_eq!((runs.len(), runs.counts()), (StuckRuns::LIMIT, (1_001, 1)));
        assert_eq!(runs.list()[0].0, 2, "the oldest gives way");
        runs.add(&stuck());
        assert_eq!((runs.len(), runs.list()[0].0, runs.counts()), (StuckRuns::LIMIT, 3, (1_002, 2)));
        assert_eq!(TOLD.load(Relaxed), 1_002, "each was told of as it came, and not as it came back");
    }
}
