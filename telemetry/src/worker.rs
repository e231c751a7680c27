//! Which worker this thread is, and which thread: numbers that belong to threads and to nothing that is passed along.
//!
//! The worker's number is given by the runtime when it starts its threads: a future learns on which worker it runs only from
//! the thread that polls it. The thread's own number tells one writer of a logbook from another.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The number of the thread that was last seen for the first time. The one count of the whole process: threads are the
/// process's, and two with one number could take the same place of a logbook.
static THREADS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static WORKER: Cell<u16> = const { Cell::new(0) };
    static THREAD: Cell<u32> = const { Cell::new(0) };
}

/// Names this thread worker `number`. The runtime calls it once per thread.
pub fn set(number: u16) {
    WORKER.set(number);
}

/// The number of the worker this runs on; 0 on threads that were never named.
#[must_use]
#[inline]
pub fn current() -> u16 {
    WORKER.get()
}

/// The number of this thread, which no other one has; never 0.
#[inline]
pub(crate) fn thread() -> u32 {
    match THREAD.get() {
        0 => first_seen(),
        number => number,
    }
}

#[cold]
fn first_seen() -> u32 {
    let number = THREADS.fetch_add(1, Relaxed) + 1;
    THREAD.set(number);
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_its_number_and_shares_it_with_none() {
        let mine = thread();
        let other = std::thread::spawn(|| (thread(), thread())).join().expect("it does not panic");
        assert_eq!((thread(), other.0), (mine, other.1));
        assert!(mine != 0 && other.0 != 0 && other.0 != mine);
    }
}
