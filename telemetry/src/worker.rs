//! Which worker this thread is: a number that the runtime gives its threads when they start.
//!
//! It is the one value bound to a thread rather than passed along: a future learns on which worker it runs only from
//! the thread that polls it.

use std::cell::Cell;

thread_local! {
    static WORKER: Cell<u16> = const { Cell::new(0) };
}

/// Names this thread worker `number`. The runtime calls it once per thread.
pub fn set(number: u16) {
    WORKER.set(number);
}

/// The number of the worker this runs on; 0 on threads that were never named.
#[must_use]
pub fn current() -> u16 {
    WORKER.get()
}
