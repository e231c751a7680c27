//! The waker that remembers: when it was first woken, which node's progress did it, and what its future waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Wake, Waker};

use parking_lot::Mutex;
use zerver_telemetry::clock::{Clock, Ticks};
use zerver_telemetry::event::NodeId;

const NOBODY: u32 = u32::MAX;

/// A waker for the future of one node: it notes the moment of the first wake since the last poll, then wakes whoever
/// polls that future. A wake that was noted already reads no clock.
#[derive(Debug)]
pub(crate) struct Stamp {
    clock: Clock,
    /// Ticks of the first wake since the last poll; 0 when there was none.
    at: AtomicU64,
    /// The node whose progress it was.
    by: AtomicU32,
    /// Whom a wake leads to. A wake does not use it up: one that comes late, between the poll that it caused and the
    /// next, would otherwise take away what the next one needs.
    outer: Mutex<Option<Waker>>,
    /// The node it belongs to, once that is open.
    node: AtomicU32,
    /// The stamp of the step that this node is a part of: it is told who woke it.
    tells: Option<Arc<Stamp>>,
    /// What the node's future has begun and not ended: calls, pauses, runs inside it.
    pending: AtomicU32,
    /// Those of them that are pauses.
    timers: AtomicU32,
    /// Calls of the node, or of a part of it, that change something and may have reached their target.
    writes: AtomicU32,
    /// Ticks of the node's end; 0 before.
    ended: AtomicU64,
}

impl Stamp {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self::with(clock, NOBODY, None))
    }

    /// A new one with the same clock.
    pub(crate) fn another(&self) -> Arc<Self> {
        Self::new(self.clock.clone())
    }

    /// The stamp of an effect, which tells the step's stamp who woke it.
    pub(crate) fn of_effect(clock: Clock, node: NodeId, step: Arc<Stamp>) -> Arc<Self> {
        Arc::new(Self::with(clock, u32::from(node.0), Some(step)))
    }

    fn with(clock: Clock, node: u32, tells: Option<Arc<Stamp>>) -> Self {
        Self {
            clock,
            at: AtomicU64::new(0),
            by: AtomicU32::new(NOBODY),
            outer: Mutex::new(None),
            node: AtomicU32::new(node),
            tells,
            pending: AtomicU32::new(0),
            timers: AtomicU32::new(0),
            writes: AtomicU32::new(0),
            ended: AtomicU64::new(0),
        }
    }

    /// As if it were new. Nobody else holds it.
    pub(crate) fn renew(&mut self) {
        *self.at.get_mut() = 0;
        *self.by.get_mut() = NOBODY;
        *self.outer.get_mut() = None;
        *self.node.get_mut() = NOBODY;
        self.tells = None;
        *self.pending.get_mut() = 0;
        *self.timers.get_mut() = 0;
        *self.writes.get_mut() = 0;
        *self.ended.get_mut() = 0;
    }

    /// From now on it is that of a part of `step`. Nobody else holds it.
    pub(crate) fn belong_to(&mut self, step: &Arc<Stamp>) {
        self.tells = Some(Arc::clone(step));
    }

    /// Whose poll a wake leads to.
    pub(crate) fn register(&self, outer: &Waker) {
        let mut known = self.outer.lock();
        if known.as_ref().is_none_or(|known| !known.will_wake(outer)) {
            let before = known.replace(outer.clone());
            // What goes with the last waker of a task may be anything: not under the lock.
            drop(known);
            drop(before);
        }
    }

    /// From now on a wake leads to nobody.
    pub(crate) fn forget(&self) {
        let before = self.outer.lock().take();
        drop(before);
    }

    /// Whether it was woken since [`Stamp::take`].
    pub(crate) fn is_woken(&self) -> bool {
        self.at.load(Ordering::Acquire) != 0
    }

    /// The first wake since the last call, and forgets it.
    pub(crate) fn take(&self) -> Option<(Ticks, Option<NodeId>)> {
        let at = self.at.swap(0, Ordering::AcqRel);
        let by = self.by.swap(NOBODY, Ordering::AcqRel);
        (at != 0).then(|| (Ticks(at), node(by)))
    }

    /// The node it belongs to; none before that is open.
    pub(crate) fn node(&self) -> Option<NodeId> {
        node(self.node.load(Ordering::Relaxed))
    }

    pub(crate) fn open(&self, node: NodeId) {
        self.node.store(u32::from(node.0), Ordering::Relaxed);
    }

    /// When the node ended.
    pub(crate) fn ended(&self) -> Option<Ticks> {
        Some(self.ended.load(Ordering::Relaxed)).filter(|at| *at != 0).map(Ticks)
    }

    pub(crate) fn end(&self, at: Ticks) {
        self.ended.store(at.0.max(1), Ordering::Relaxed);
    }

    /// How much its future waits for, and how much of that is pauses.
    pub(crate) fn pending(&self) -> (u32, u32) {
        (self.pending.load(Ordering::Relaxed), self.timers.load(Ordering::Relaxed))
    }

    /// Its future waits for one thing more.
    pub(crate) fn begin(&self, timer: bool) {
        self.pending.fetch_add(1, Ordering::Relaxed);
        self.timers.fetch_add(u32::from(timer), Ordering::Relaxed);
    }

    /// Its future waits for one thing less.
    pub(crate) fn done(&self, timer: bool) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
        self.timers.fetch_sub(u32::from(timer), Ordering::Relaxed);
    }

    /// Calls that change something and may have reached their target.
    pub(crate) fn writes(&self) -> u32 {
        self.writes.load(Ordering::Relaxed)
    }

    /// One more of them, or one less: for this node and, when to make its calls twice does harm, for those it is a part of.
    pub(crate) fn count_write(&self, sent: bool, harmless: bool) {
        let mut stamp = Some(self);
        while let Some(this) = stamp {
            if sent {
                this.writes.fetch_add(1, Ordering::Relaxed);
            } else {
                this.writes.fetch_sub(1, Ordering::Relaxed);
            }
            stamp = this.tells.as_deref().filter(|_| !harmless);
        }
    }

    fn note(&self, at: Ticks, by: Option<NodeId>) {
        if let Some(NodeId(by)) = by {
            // Before the moment: whoever sees the moment sees who it was.
            let _ = self.by.compare_exchange(NOBODY, u32::from(by), Ordering::AcqRel, Ordering::Relaxed);
        }
        let _ = self.at.compare_exchange(0, at.0.max(1), Ordering::AcqRel, Ordering::Relaxed);
    }
}

fn node(number: u32) -> Option<NodeId> {
    u16::try_from(number).ok().map(NodeId)
}

impl Wake for Stamp {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A read that writes: whoever takes the note away afterwards sees all that led to this wake.
        if self.at.fetch_or(0, Ordering::AcqRel) == 0 {
            let now = self.clock.now();
            self.note(now, None);
            // The step above learns which of its parts it was; its own waker, called below, then finds itself woken.
            let mut below = self;
            while let Some(above) = &below.tells {
                above.note(now, below.node());
                below = above;
            }
        }
        let outer = self.outer.lock().clone();
        if let Some(outer) = outer {
            outer.wake();
        }
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

    #[test]
    fn a_wake_that_comes_late_does_not_take_the_next_one_with_it() {
        #[derive(Default)]
        struct Count(AtomicU32);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let task = Arc::new(Count::default());
        let wakes = || task.0.load(Ordering::Relaxed);
        let step = Stamp::new(Clock::manual());
        step.register(&Waker::from(Arc::clone(&task)));
        Waker::from(Arc::clone(&step)).wake();
        assert!(step.take().is_some());
        // Another thread noted that wake, and only now gets to wake the task, for nothing.
        step.outer.lock().clone().unwrap().wake();
        assert_eq!((step.take(), wakes()), (None, 2));
        Waker::from(Arc::clone(&step)).wake();
        assert_eq!((step.is_woken(), wakes()), (true, 3), "the next wake gets through");
        step.forget();
        Waker::from(Arc::clone(&step)).wake();
        assert_eq!(wakes(), 3, "a wake of a run that is over leads nowhere");
    }
}
