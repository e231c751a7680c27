//! The thread that compares: it does the newest job only, so that a moved edge never waits for the one before.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use zerver_telemetry::explain::{Cohorts, Comparison};
use zerver_telemetry::timeline::Timeline;

use crate::engine::Engine;

/// One comparison to do.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Tells an answer that is still wanted from one that is not.
    pub(crate) generation: u64,
    pub(crate) timelines: Vec<Arc<Timeline>>,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) cohorts: Cohorts,
}

impl Job {
    pub(crate) fn run(&self, engine: &Engine) -> Comparison {
        engine.compare(&self.timelines, self.route.as_deref(), &self.cohorts)
    }
}

/// A place for one job; a newer job replaces one that was not begun.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    slot: Mutex<Slot>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    job: Option<Job>,
    closed: bool,
}

impl Desk {
    pub(crate) fn put(&self, job: Job) {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).job = Some(job);
        self.changed.notify_one();
    }

    pub(crate) fn close(&self) {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }

    /// Waits for a job; none when the desk is closed.
    fn take(&self) -> Option<Job> {
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slot = self
            .changed
            .wait_while(slot, |slot| slot.job.is_none() && !slot.closed)
            .unwrap_or_else(PoisonError::into_inner);
        if slot.closed { None } else { slot.job.take() }
    }

    /// Does jobs until the desk is closed, or `tell` says that nobody listens.
    pub(crate) fn work(&self, engine: &Engine, mut tell: impl FnMut(u64, Comparison) -> bool) {
        while let Some(job) = self.take() {
            if !tell(job.generation, job.run(engine)) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::engine;

    #[test]
    fn only_the_newest_job_is_done() {
        let desk = Arc::new(Desk::default());
        for generation in 1..=3 {
            let job = Job { generation, timelines: Vec::new(), route: None, cohorts: Cohorts::SlowVersusFast };
            desk.put(job);
        }
        let (out, answers) = std::sync::mpsc::sync_channel(1);
        let worker = std::thread::spawn({
            let desk = Arc::clone(&desk);
            move || desk.work(&engine(), |generation, _| out.send(generation).is_ok())
        });
        assert_eq!(answers.recv(), Ok(3));
        desk.close();
        worker.join().unwrap();
        assert!(answers.recv().is_err(), "no other job was done");
    }
}
