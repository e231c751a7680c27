//! Telling a run that nobody waits for its answer any more, without taking it apart: it may have something to undo.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;

/// A run is told once; it then ends as a failure does, its undo steps included. Cheap to clone through its `Arc`.
#[derive(Debug, Default)]
pub struct Cancel {
    told: AtomicBool,
    driver: AtomicWaker,
}

impl Cancel {
    /// For [`Env::cancel`](crate::Env::cancel).
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The client left. The run gives up what it waits for, undoes what has to be undone, and ends.
    pub fn client_left(&self) {
        self.told.store(true, Ordering::Release);
        self.driver.wake();
    }

    /// Whether it was told; if not yet, `waker` is woken when it is.
    pub(crate) fn is_told(&self, waker: &Waker) -> bool {
        self.driver.register(waker);
        self.told.load(Ordering::Acquire)
    }
}
