//! The waker that remembers: when it was first woken, and which node's progress did it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;
use zerver_telemetry::clock::{Clock, Ticks};
use zerver_telemetry::event::NodeId;

const NOBODY: u32 = u32::MAX;

/// A waker for one future: it notes the moment of the first wake since the last poll, then wakes whoever polls that
/// future. A wake that was noted already costs one load and no clock read.
#[derive(Debug)]
pub(crate) struct Stamp {
    clock: Clock,
    /// Ticks of the first wake since the last poll; 0 when there was none.
    at: AtomicU64,
    /// The node whose progress it was.
    by: AtomicU32,
    outer: AtomicWaker,
    /// For the stamp of an effect: its own node, and the stamp of the step it belongs to.
    tells: Option<(NodeId, Arc<Stamp>)>,
}

impl Stamp {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self::with(clock, None))
    }

    /// The stamp of an effect, which tells the step's stamp who woke it.
    pub(crate) fn of_effect(clock: Clock, node: NodeId, step: Arc<Stamp>) -> Arc<Self> {
        Arc::new(Self::with(clock, Some((node, step))))
    }

    fn with(clock: Clock, tells: Option<(NodeId, Arc<Stamp>)>) -> Self {
        Self { clock, at: AtomicU64::new(0), by: AtomicU32::new(NOBODY), outer: AtomicWaker::new(), tells }
    }

    /// Whose poll a wake leads to.
    pub(crate) fn register(&self, outer: &Waker) {
        self.outer.register(outer);
    }

    /// Whether it was woken since [`Stamp::take`].
    pub(crate) fn is_woken(&self) -> bool {
        self.at.load(Ordering::Acquire) != 0
    }

    /// The first wake since the last call, and forgets it.
    pub(crate) fn take(&self) -> Option<(Ticks, Option<NodeId>)> {
        let at = self.at.swap(0, Ordering::AcqRel);
        let by = self.by.swap(NOBODY, Ordering::AcqRel);
        (at != 0).then(|| (Ticks(at), u16::try_from(by).ok().map(NodeId)))
    }

    fn note(&self, at: Ticks, by: Option<NodeId>) {
        if let Some(NodeId(by)) = by {
            // Before the moment: whoever sees the moment sees who it was.
            let _ = self.by.compare_exchange(NOBODY, u32::from(by), Ordering::AcqRel, Ordering::Relaxed);
        }
        let _ = self.at.compare_exchange(0, at.0.max(1), Ordering::AcqRel, Ordering::Relaxed);
    }
}

impl Wake for Stamp {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken() {
            let now = self.clock.now();
            self.note(now, None);
            if let Some((node, step)) = &self.tells {
                step.note(now, Some(*node));
            }
        }
        self.outer.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_first_wake_counts_and_says_who() {
        let clock = Clock::manual();
        let step = Stamp::new(clock.clone());
        let effect = Stamp::of_effect(clock.clone(), NodeId(7), Arc::clone(&step));
        effect.register(&Waker::from(Arc::clone(&step)));
        assert_eq!(step.take(), None);
        let first = clock.now();
        Waker::from(Arc::clone(&effect)).wake();
        clock.advance(Duration::from_millis(1));
        Waker::from(Arc::clone(&effect)).wake();
        assert!(step.is_woken());
        assert_eq!(step.take(), Some((first, Some(NodeId(7)))));
        assert_eq!((effect.take(), effect.take()), (Some((first, None)), None));
    }
}
