//! What each step of a run and its effects share: kept from run to run, so that a step allocates nothing.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, Ordering::Relaxed, fence};
use std::task::Waker;

use parking_lot::Mutex;
use smallvec::SmallVec;
use zerver_telemetry::clock::{Clock, Ticks};
use zerver_telemetry::event::NodeId;
use zerver_telemetry::names::Name;

use crate::wake::{Driver, Stamp};

/// The most blocks of cells that one flow keeps for its next runs.
const KEPT_MAX: usize = 256;

/// What a step and its effects share.
#[derive(Debug)]
pub(crate) struct StepCell {
    pub(crate) stamp: Arc<Stamp>,
    /// The stamp as a waker.
    pub(crate) waker: Waker,
    /// The node of the call it began last; [`NO_CALL`] before the first.
    pub(crate) latest_call: AtomicU16,
    /// Its current try, from 1.
    pub(crate) attempt: AtomicU16,
    /// Effects this try has asked for, in the order of its code.
    pub(crate) asked: AtomicU32,
    /// Ticks at which its time is up; 0 for never.
    due: AtomicU64,
    /// Its place among the steps that wrote their slot, from 1 in the order of their ends; 0 before.
    pub(crate) wrote: AtomicU32,
    /// How often the target was called that was called first: its name, then 16 bits of count. Nearly every step has but
    /// one, so that the list below is rarely locked.
    first: AtomicU64,
    /// How often each other target was called.
    others: Mutex<SmallVec<[(Name, u16); 2]>>,
}

/// Stands for no node.
const NO_CALL: u16 = u16::MAX;

impl StepCell {
    fn new(clock: &Clock, driver: &Arc<Driver>) -> Self {
        let stamp = Stamp::of_step(clock.clone(), driver);
        Self {
            waker: Waker::from(Arc::clone(&stamp)),
            stamp,
            latest_call: AtomicU16::new(NO_CALL),
            attempt: AtomicU16::new(1),
            asked: AtomicU32::new(0),
            due: AtomicU64::new(0),
            wrote: AtomicU32::new(0),
            first: AtomicU64::new(0),
            others: Mutex::default(),
        }
    }

    /// Lets go of what belongs to the run that ended: nothing of it is left for the next one.
    fn release(&mut self) {
        self.stamp.renew();
        *self.latest_call.get_mut() = NO_CALL;
        *self.attempt.get_mut() = 1;
        *self.asked.get_mut() = 0;
        *self.due.get_mut() = 0;
        *self.wrote.get_mut() = 0;
        *self.first.get_mut() = 0;
        self.others.get_mut().clear();
    }

    /// Whether somebody keeps a waker of the run that ended. Who keeps none can get none, so a "no" stays true.
    fn is_held(&self) -> bool {
        // The cell itself holds two: the stamp, and the stamp as a waker.
        Arc::strong_count(&self.stamp) > 2
    }

    /// Its node in the timeline, once it was started.
    pub(crate) fn node(&self) -> NodeId {
        self.stamp.node().unwrap_or(NodeId::ROOT)
    }

    /// When its time is up.
    pub(crate) fn due(&self) -> Option<Ticks> {
        Some(self.due.load(Relaxed)).filter(|due| *due != 0).map(Ticks)
    }

    pub(crate) fn set_due(&self, due: Ticks) {
        self.due.store(due.0.max(1), Relaxed);
    }

    /// The node of the call it began last.
    pub(crate) fn latest_call(&self) -> Option<NodeId> {
        let node = self.latest_call.load(Relaxed);
        (node != NO_CALL).then_some(NodeId(node))
    }

    /// The number of this call among the step's calls of `name`, from 1.
    pub(crate) fn occurrence(&self, name: Name) -> u16 {
        let first = self.first.load(Relaxed);
        if first == 0 || first >> 16 == u64::from(name.0) {
            let count = (first as u16).saturating_add(1);
            self.first.store(u64::from(name.0) << 16 | u64::from(count), Relaxed);
            return count;
        }
        let mut others = self.others.lock();
        match others.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => {
                *count = count.saturating_add(1);
                *count
            }
            None => {
                others.push((name, 1));
                1
            }
        }
    }

    /// From now on no target has been called.
    pub(crate) fn forget_calls(&self) {
        self.first.store(0, Relaxed);
        self.others.lock().clear();
    }
}

/// Blocks of cells that wait for a run.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Vec<Block>>);

/// The cells of all steps of a graph, and whom their wakes lead to.
#[derive(Debug)]
struct Block {
    cells: Box<[StepCell]>,
    driver: Arc<Driver>,
}

/// The cells of one run; they go back to their flow when it is over.
#[derive(Debug)]
pub(crate) struct Cells {
    /// There until the drop.
    block: Option<Block>,
    home: Arc<Pool>,
}

impl Cells {
    /// So many cells, of a graph's own pool, as parts of the step `above` in its try `attempt`.
    pub(crate) fn new(pool: &Arc<Pool>, nodes: usize, clock: &Clock, above: Option<&Arc<Stamp>>, attempt: u16) -> Self {
        let kept = pool.0.lock().pop();
        let mut block = kept.unwrap_or_else(|| {
            let driver = Arc::default();
            Block { cells: (0..nodes).map(|_| StepCell::new(clock, &driver)).collect(), driver }
        });
        if let Some(above) = above {
            block.driver.belong_to(above);
        }
        block.cells.iter_mut().for_each(|cell| *cell.attempt.get_mut() = attempt);
        Self { block: Some(block), home: Arc::clone(pool) }
    }

    /// Whose poll the wakes of the steps lead to.
    pub(crate) fn register(&self, waker: &Waker) {
        self.block().driver.register(waker);
    }

    fn block(&self) -> &Block {
        self.block.as_ref().expect("only the drop takes it")
    }
}

impl Deref for Cells {
    type Target = [StepCell];

    fn deref(&self) -> &[StepCell] {
        &self.block().cells
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        let Some(mut block) = self.block.take() else { return };
        block.driver.forget();
        if block.cells.iter().any(StepCell::is_held) {
            // A waker that somebody keeps must not wake a later run: it goes with its block.
            return;
        }
        // Whoever held one has let go of it, and all they wrote before is seen here.
        fence(Ordering::Acquire);
        block.cells.iter_mut().for_each(StepCell::release);
        let mut kept = self.home.0.lock();
        if kept.len() < KEPT_MAX {
            kept.push(block);
        }
    }
}
