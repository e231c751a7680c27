//! What each step of a run and its effects share: kept from run to run, so that a step allocates nothing.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::Waker;

use parking_lot::Mutex;
use smallvec::SmallVec;
use zerver_telemetry::clock::{Clock, Ticks};
use zerver_telemetry::event::NodeId;
use zerver_telemetry::names::Name;

use crate::wake::Stamp;

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
    /// How often each target was called.
    pub(crate) calls: Mutex<SmallVec<[(Name, u16); 4]>>,
}

/// Stands for no node.
const NO_CALL: u16 = u16::MAX;

impl StepCell {
    fn new(clock: &Clock) -> Self {
        Self {
            stamp: Stamp::new(clock.clone()),
            waker: Waker::noop().clone(),
            latest_call: AtomicU16::new(NO_CALL),
            attempt: AtomicU16::new(1),
            asked: AtomicU32::new(0),
            due: AtomicU64::new(0),
            wrote: AtomicU32::new(0),
            calls: Mutex::default(),
        }
    }

    /// Makes it ready for a run: it is new, or was released.
    fn ready(&mut self, above: Option<&Arc<Stamp>>, attempt: u16) {
        if let (Some(above), Some(stamp)) = (above, Arc::get_mut(&mut self.stamp)) {
            stamp.belong_to(above);
        }
        self.waker = Waker::from(Arc::clone(&self.stamp));
        *self.attempt.get_mut() = attempt;
    }

    /// Lets go of what belongs to the run that ended: nothing of it is left for the next one.
    fn release(&mut self) {
        self.waker = Waker::noop().clone();
        match Arc::get_mut(&mut self.stamp) {
            Some(stamp) => stamp.renew(),
            // Somebody keeps a waker of this run: it must not wake, nor keep alive, the task that has gone on.
            None => {
                self.stamp.forget();
                self.stamp = self.stamp.another();
            }
        }
        *self.latest_call.get_mut() = NO_CALL;
        *self.attempt.get_mut() = 1;
        *self.asked.get_mut() = 0;
        *self.due.get_mut() = 0;
        *self.wrote.get_mut() = 0;
        self.calls.get_mut().clear();
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
        let mut calls = self.calls.lock();
        match calls.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => {
                *count = count.saturating_add(1);
                *count
            }
            None => {
                calls.push((name, 1));
                1
            }
        }
    }
}

/// Blocks of cells that wait for a run.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Vec<Box<[StepCell]>>>);

/// The cells of one run; they go back to their flow when it is over.
#[derive(Debug)]
pub(crate) struct Cells {
    cells: Box<[StepCell]>,
    home: Arc<Pool>,
}

impl Cells {
    /// So many cells, of a graph's own pool, as parts of the step `above` in its try `attempt`.
    pub(crate) fn new(pool: &Arc<Pool>, nodes: usize, clock: &Clock, above: Option<&Arc<Stamp>>, attempt: u16) -> Self {
        let kept = pool.0.lock().pop();
        let mut cells = kept.unwrap_or_else(|| (0..nodes).map(|_| StepCell::new(clock)).collect::<Box<[_]>>());
        for cell in &mut cells {
            cell.ready(above, attempt);
        }
        Self { cells, home: Arc::clone(pool) }
    }
}

impl Deref for Cells {
    type Target = [StepCell];

    fn deref(&self) -> &[StepCell] {
        &self.cells
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        let mut cells = std::mem::take(&mut self.cells);
        for cell in &mut cells {
            cell.release();
        }
        let mut kept = self.home.0.lock();
        if kept.len() < KEPT_MAX {
            kept.push(cells);
        }
    }
}
