//! A flag that a thread can wait on for a while, so that it neither sleeps through the end nor spins.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Set once, seen by all.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn set(&self) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the flag, at most this long.
    pub(crate) fn wait(&self, at_most: Duration) {
        let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether it was the flag or the time is asked by the loop that waits.
        drop(self.changed.wait_timeout_while(set, at_most, |set| !*set));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn setting_wakes_a_waiter() {
        let stop = Arc::new(Stop::default());
        assert!(!stop.is_set());
        let waiter = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.is_set() {
                    stop.wait(Duration::from_secs(60));
                }
            }
        });
        stop.set();
        waiter.join().unwrap();
    }
}
