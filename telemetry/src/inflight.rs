//! Who is still running: one fixed slot per request, written with relaxed stores, read by anyone at any time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crossbeam_queue::ArrayQueue;
use serde::Serialize;

use crate::clock::{Clock, Ticks};
use crate::event::Cause;
use crate::id::TraceId;
use crate::names::{Name, Names};

/// The table of requests that have not ended.
#[derive(Debug)]
pub(crate) struct InFlight {
    slots: Box<[Slot]>,
    free: ArrayQueue<u32>,
    untracked: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    /// Start of the request in ticks; 0 when the slot is free.
    started: AtomicU64,
    trace: [AtomicU64; 2],
    route: AtomicU32,
    step: AtomicU32,
    cause: AtomicU32,
    since: AtomicU64,
}

/// One request that has not ended, as it stood when the table was read.
#[derive(Clone, Debug, Serialize)]
pub struct Running {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its route, empty until one was found.
    pub route: String,
    /// The node opened last.
    pub at: String,
    /// The request's own state.
    pub cause: Cause,
    /// How long it has been in that state, in milliseconds.
    pub cause_ms: f64,
    /// Its age in milliseconds.
    pub age_ms: f64,
}

/// The number of a slot, or of none when the table was full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotId(u32);

impl SlotId {
    pub(crate) const NONE: Self = Self(u32::MAX);
}

impl InFlight {
    pub(crate) fn new(capacity: u32) -> Self {
        let free = ArrayQueue::new(capacity.max(1) as usize);
        for n in 0..capacity.max(1) {
            let _ = free.push(n);
        }
        Self { slots: (0..capacity.max(1)).map(|_| Slot::default()).collect(), free, untracked: AtomicU64::new(0) }
    }

    /// Takes a slot; when all are taken the request runs untracked and is counted.
    pub(crate) fn enter(&self, trace: TraceId, at: Ticks) -> SlotId {
        let Some(number) = self.free.pop() else {
            self.untracked.fetch_add(1, Relaxed);
            return SlotId::NONE;
        };
        let slot = &self.slots[number as usize];
        slot.trace[0].store((trace.0 >> 64) as u64, Relaxed);
        slot.trace[1].store(trace.0 as u64, Relaxed);
        slot.route.store(0, Relaxed);
        slot.step.store(0, Relaxed);
        slot.cause.store(Cause::Run as u32, Relaxed);
        slot.since.store(at.0, Relaxed);
        slot.started.store(at.0.max(1), Relaxed);
        SlotId(number)
    }

    fn slot(&self, id: SlotId) -> Option<&Slot> {
        self.slots.get(id.0 as usize)
    }

    pub(crate) fn route(&self, id: SlotId, route: Name) {
        if let Some(slot) = self.slot(id) {
            slot.route.store(route.0, Relaxed);
        }
    }

    pub(crate) fn step(&self, id: SlotId, step: Name) {
        if let Some(slot) = self.slot(id) {
            slot.step.store(step.0, Relaxed);
        }
    }

    #[inline]
    pub(crate) fn state(&self, id: SlotId, cause: Cause, at: Ticks) {
        if let Some(slot) = self.slot(id) {
            slot.cause.store(cause as u32, Relaxed);
            slot.since.store(at.0, Relaxed);
        }
    }

    pub(crate) fn leave(&self, id: SlotId) {
        if let Some(slot) = self.slot(id) {
            slot.started.store(0, Relaxed);
            let _ = self.free.push(id.0);
        }
    }

    /// Requests in a slot now.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Requests that found no slot since the start.
    pub(crate) fn untracked(&self) -> u64 {
        self.untracked.load(Relaxed)
    }

    /// What is running, the oldest first. A request that ends meanwhile may show a mix of two; it is gone at the next
    /// reading.
    pub(crate) fn read(&self, clock: &Clock, names: &Names) -> Vec<Running> {
        let now = clock.now();
        let ms = |from: u64| clock.nanos_between(Ticks(from), now) as f64 / 1e6;
        let mut running: Vec<Running> = self
            .slots
            .iter()
            .filter_map(|slot| {
                let started = slot.started.load(Relaxed);
                let cause = *Cause::ALL.get(slot.cause.load(Relaxed) as usize)?;
                (started != 0).then(|| Running {
                    trace_id: TraceId(
                        (u128::from(slot.trace[0].load(Relaxed)) << 64) | u128::from(slot.trace[1].load(Relaxed)),
                    ),
                    route: names.get(Name(slot.route.load(Relaxed))).to_string(),
                    at: names.get(Name(slot.step.load(Relaxed))).to_string(),
                    cause,
                    cause_ms: ms(slot.since.load(Relaxed)),
                    age_ms: ms(started),
                })
            })
            .collect();
        running.sort_by(|a, b| b.age_ms.total_cmp(&a.age_ms));
        running
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_request_is_seen_until_it_leaves() {
        let (clock, names) = (Clock::manual(), Names::new());
        let table = InFlight::new(1);
        let slot = table.enter(TraceId(9), clock.now());
        assert_eq!(table.enter(TraceId(10), clock.now()), SlotId::NONE);
        assert_eq!(table.untracked(), 1);
        table.route(slot, names.intern("checkout"));
        clock.advance(Duration::from_millis(4));
        table.state(slot, Cause::Io, clock.now());
        clock.advance(Duration::from_millis(6));
        let running = table.read(&clock, &names);
        assert_eq!((running.len(), &*running[0].route, running[0].cause), (1, "checkout", Cause::Io));
        assert!((running[0].age_ms - 10.0).abs() < 1e-9 && (running[0].cause_ms - 6.0).abs() < 1e-9);
        table.leave(slot);
        assert!(table.read(&clock, &names).is_empty());
        assert_eq!(table.len(), 0);
    }
}
