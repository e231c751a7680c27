//! The running sums of a request's own states once they are added up instead of written one by one.

use std::sync::atomic::Ordering::Relaxed;

use crate::clock::Ticks;
use crate::event::Cause;
use crate::names::Name;
use crate::sync::{AtomicU32, AtomicU64};

/// Time by cause, from one moment on.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    /// Ticks at which folding began; 0 while it has not.
    since: AtomicU64,
    /// Ticks of the latest transition.
    last: AtomicU64,
    /// The state since then.
    cause: AtomicU32,
    ticks: [AtomicU64; Cause::ALL.len()],
    names: [AtomicU32; Cause::ALL.len()],
}

impl Fold {
    pub(crate) fn reset(&self) {
        self.since.store(0, Relaxed);
        for sum in &self.ticks {
            sum.store(0, Relaxed);
        }
    }

    /// Whether states are added up.
    #[inline]
    pub(crate) fn on(&self) -> bool {
        self.since.load(Relaxed) != 0
    }

    /// The request passes into its next state; the first time, folding begins.
    pub(crate) fn pass(&self, at: Ticks, cause: Cause, name: Name) {
        if self.on() {
            self.until(at);
        } else {
            self.since.store(at.0, Relaxed);
            self.last.store(at.0, Relaxed);
        }
        self.cause.store(cause as u32, Relaxed);
        self.names[cause as usize].store(name.0, Relaxed);
    }

    fn until(&self, at: Ticks) {
        let last = self.last.swap(at.0, Relaxed);
        let cause = self.cause.load(Relaxed) as usize;
        self.ticks[cause].fetch_add(at.0.saturating_sub(last), Relaxed);
    }

    /// The present state and since when, while states are added up.
    pub(crate) fn present(&self) -> Option<(Cause, Ticks)> {
        let cause = *Cause::ALL.get(self.cause.load(Relaxed) as usize)?;
        self.on().then(|| (cause, Ticks(self.last.load(Relaxed))))
    }

    /// The sums up to `at`: since when, and for each cause its name and its ticks.
    pub(crate) fn close(&self, at: Ticks) -> (Ticks, impl Iterator<Item = (Cause, Name, u64)>) {
        self.until(at);
        let sums = Cause::ALL.into_iter().filter_map(|cause| {
            let ticks = self.ticks[cause as usize].load(Relaxed);
            (ticks > 0).then(|| (cause, Name(self.names[cause as usize].load(Relaxed)), ticks))
        });
        (Ticks(self.since.load(Relaxed)), sums)
    }
}
