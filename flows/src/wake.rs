//! The waker that remembers: when it was first woken, which node's progress did it, and what its future waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Wake, Waker};

use parking_lot::Mutex;
use zerver_telemetry::clock::{Clock, Ticks};
use zerver_telemetry::event::NodeId;

const NOBODY: u32 = u32::MAX;

/// A waker for the future of one node: it notes the moment of the first wake since the last poll, then wakes whoever
/// polls that future. A wake that was noted already reads no clock.
///
/// Wakes come from any thread. All else is done by the one task that polls the run, so its counters need no locked adds.
#[derive(Debug)]
pub(crate) struct Stamp {
    clock: Clock,
    /// Ticks of the first wake since the last poll; 0 when there was none.
    at: AtomicU64,
    /// The node whose progress it was.
    by: AtomicU32,
    /// Whom a wake leads to.
    leads: Leads,
    /// The node it belongs to, once that is open.
    node: AtomicU32,
    /// What the node's future has begun and not ended: calls, pauses, runs inside it.
    pending: AtomicU32,
    /// Those of them that are pauses.
    timers: AtomicU32,
    /// Calls of the node, or of a part of it, that change something and may have reached their target.
    writes: AtomicU32,
    /// The node, or a part of it, has passed the request's body on: it cannot do so again.
    spent: AtomicBool,
    /// Ticks of the node's end; 0 before.
    ended: AtomicU64,
}

/// Whom the wakes of a stamp lead to.
#[derive(Debug)]
enum Leads {
    /// The stamp of a run's step: to whoever drives the run.
    Run(Arc<Driver>),
    /// The stamp of a call: to whoever polls it; the step it is a part of is told who it was.
    Call { polled_by: Mutex<Option<Waker>>, step: Arc<Stamp> },
}

/// Whoever drives a run, as its steps' stamps know it.
///
/// A wake does not use the waker up: one that comes late, between the poll that it caused and the next, would otherwise
/// take away what the next one needs.
#[derive(Debug, Default)]
pub(crate) struct Driver(Mutex<Driving>);

#[derive(Debug, Default)]
struct Driving {
    waker: Option<Waker>,
    /// The stamp of the step that the run is inside of: it is told who woke it.
    above: Option<Arc<Stamp>>,
}

impl Driver {
    /// From now on the run is inside of the step that `above` belongs to.
    pub(crate) fn belong_to(&self, above: &Arc<Stamp>) {
        self.0.lock().above = Some(Arc::clone(above));
    }

    /// Whose poll a wake leads to.
    pub(crate) fn register(&self, waker: &Waker) {
        let before = self.0.lock().waker.replace(waker.clone());
        // What goes with the last waker of a task may be anything: not under the lock.
        drop(before);
    }

    /// From now on a wake leads to nobody.
    pub(crate) fn forget(&self) {
        let before = std::mem::take(&mut *self.0.lock());
        drop(before);
    }
}

impl Stamp {
    /// The stamp of a step of a run.
    pub(crate) fn of_step(clock: Clock, driver: &Arc<Driver>) -> Arc<Self> {
        Arc::new(Self::with(clock, Leads::Run(Arc::clone(driver))))
    }

    /// The stamp of an effect, which tells the step's stamp who woke it.
    pub(crate) fn of_effect(clock: Clock, step: Arc<Stamp>) -> Arc<Self> {
        Arc::new(Self::with(clock, Leads::Call { polled_by: Mutex::new(None), step }))
    }

    fn with(clock: Clock, leads: Leads) -> Self {
        Self {
            clock,
            at: AtomicU64::new(0),
            by: AtomicU32::new(NOBODY),
            leads,
            node: AtomicU32::new(NOBODY),
            pending: AtomicU32::new(0),
            timers: AtomicU32::new(0),
            writes: AtomicU32::new(0),
            spent: AtomicBool::new(false),
            ended: AtomicU64::new(0),
        }
    }

    /// As if it were new. Nobody else holds it.
    pub(crate) fn renew(&self) {
        self.at.store(0, Ordering::Relaxed);
        self.by.store(NOBODY, Ordering::Relaxed);
        self.node.store(NOBODY, Ordering::Relaxed);
        self.pending.store(0, Ordering::Relaxed);
        self.timers.store(0, Ordering::Relaxed);
        self.writes.store(0, Ordering::Relaxed);
        self.spent.store(false, Ordering::Relaxed);
        self.ended.store(0, Ordering::Relaxed);
    }

    /// Whose poll a wake leads to, for the stamp of a call; the steps of a run have their driver.
    pub(crate) fn register(&self, outer: &Waker) {
        let Leads::Call { polled_by, .. } = &self.leads else { return };
        let mut known = polled_by.lock();
        if known.as_ref().is_none_or(|known| !known.will_wake(outer)) {
            let before = known.replace(outer.clone());
            drop(known);
            drop(before);
        }
    }

    /// The waker that wakes lead to, and the stamp that is told.
    fn leads(&self) -> (Option<Waker>, Option<Arc<Stamp>>) {
        match &self.leads {
            Leads::Run(driver) => {
                let driving = driver.0.lock();
                (driving.waker.clone(), driving.above.clone())
            }
            Leads::Call { polled_by, step } => (polled_by.lock().clone(), Some(Arc::clone(step))),
        }
    }

    /// The stamp of what it is a part of.
    fn above(&self) -> Option<Arc<Stamp>> {
        match &self.leads {
            Leads::Run(driver) => driver.0.lock().above.clone(),
            Leads::Call { step, .. } => Some(Arc::clone(step)),
        }
    }

    /// Whether it was woken since [`Stamp::take`].
    pub(crate) fn is_woken(&self) -> bool {
        self.at.load(Ordering::Acquire) != 0
    }

    /// The first wake since the last call, and forgets it.
    pub(crate) fn take(&self) -> Option<(Ticks, Option<NodeId>)> {
        if !self.is_woken() {
            return None;
        }
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
        add(&self.pending, 1);
        add(&self.timers, u32::from(timer));
    }

    /// Its future waits for one thing less.
    pub(crate) fn done(&self, timer: bool) {
        take_off(&self.pending, 1);
        take_off(&self.timers, u32::from(timer));
    }

    /// Calls that change something and may have reached their target.
    pub(crate) fn writes(&self) -> u32 {
        self.writes.load(Ordering::Relaxed)
    }

    /// One more of them, or one less: for this node and, when to make its calls twice does harm, for those it is a part of.
    pub(crate) fn count_write(&self, sent: bool, harmless: bool) {
        let count = if sent { add } else { take_off };
        count(&self.writes, 1);
        let mut above = if harmless { None } else { self.above() };
        while let Some(stamp) = above {
            count(&stamp.writes, 1);
            above = stamp.above();
        }
    }

    /// Whether another try has no body to pass on.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    /// The node has passed the request's body on, and so has what it is a part of.
    pub(crate) fn spend(&self) {
        self.spent.store(true, Ordering::Relaxed);
        let mut above = self.above();
        while let Some(stamp) = above {
            stamp.spent.store(true, Ordering::Relaxed);
            above = stamp.above();
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
        let first = (self.at.fetch_or(0, Ordering::AcqRel) == 0).then(|| self.clock.now());
        if let Some(now) = first {
            self.note(now, None);
        }
        // Only now: whoever is registered from here on finds the note.
        let (waker, mut above) = self.leads();
        if let Some(now) = first {
            let mut below = self.node();
            while let Some(stamp) = above {
                stamp.note(now, below);
                (below, above) = (stamp.node(), stamp.above());
            }
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Counts of the one task that polls a run.
fn add(count: &AtomicU32, by: u32) {
    count.store(count.load(Ordering::Relaxed) + by, Ordering::Relaxed);
}

fn take_off(count: &AtomicU32, by: u32) {
    count.store(count.load(Ordering::Relaxed) - by, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_first_wake_counts_and_says_who() {
        let clock = Clock::manual();
        let step = Stamp::of_step(clock.clone(), &Arc::default());
        let effect = Stamp::of_effect(clock.clone(), Arc::clone(&step));
        effect.open(NodeId(7));
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
        let driver = Arc::new(Driver::default());
        let step = Stamp::of_step(Clock::manual(), &driver);
        driver.register(&Waker::from(Arc::clone(&task)));
        Waker::from(Arc::clone(&step)).wake();
        assert!(step.take().is_some());
        // Another thread noted that wake, and only now gets to wake the task, for nothing.
        step.leads().0.unwrap().wake();
        assert_eq!((step.take(), wakes()), (None, 2));
        Waker::from(Arc::clone(&step)).wake();
        assert_eq!((step.is_woken(), wakes()), (true, 3), "the next wake gets through");
        driver.forget();
        Waker::from(Arc::clone(&step)).wake();
        assert_eq!(wakes(), 3, "a wake of a run that is over leads nowhere");
    }
}
