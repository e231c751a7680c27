//! Who is still running: every logbook there is stands on a shelf, and those of running requests say so themselves.
//!
//! A request pays nothing for being seen: what it writes anyway, its logbook, is read.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crossbeam_queue::SegQueue;
use parking_lot::Mutex;
use serde::Serialize;

use crate::clock::{Clock, Ticks};
use crate::event::{Cause, Event, NodeId};
use crate::id::TraceId;
use crate::logbook::Logbook;
use crate::names::{Name, Names};

/// The most requests that are shown at once.
const SHOWN: usize = 4_096;

/// Every logbook of a recorder.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// Those that were made and not yet looked at, so that making one takes no lock. Each goes through once.
    made: SegQueue<Arc<Logbook>>,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    all: HashMap<u32, Arc<Logbook>>,
    /// Turns of those that are gone.
    gone: Turns,
}

/// Requests that began and that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    pub(crate) started: u64,
    pub(crate) finished: u64,
}

impl Turns {
    fn add(&mut self, book: &Logbook) {
        let turns = book.turns.load(Acquire);
        self.started += turns.div_ceil(2);
        self.finished += turns / 2;
    }
}

/// One request that has not ended, as it stood when it was read.
#[derive(Clone, Debug, Serialize)]
pub struct Running {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its route, empty until one was found.
    pub route: String,
    /// The node that was opened last of those that have not ended: the step or call it is in. Empty where there is none.
    pub at: String,
    /// That node's state; the request's own where there is none.
    pub at_cause: Cause,
    /// The permit, upstream or timer of that state, if it has a name.
    pub at_name: String,
    /// How long it has been in that state, in milliseconds.
    pub at_ms: f64,
    /// The request's own state.
    pub cause: Cause,
    /// How long it has been in that state, in milliseconds.
    pub cause_ms: f64,
    /// Its age in milliseconds.
    pub age_ms: f64,
}

impl Shelf {
    /// Takes a new logbook in.
    pub(crate) fn add(&self, book: Arc<Logbook>) {
        self.made.push(book);
    }

    /// Lets one go that will not be used again.
    pub(crate) fn remove(&self, book: &Logbook) {
        let mut books = self.lock();
        if books.all.remove(&book.number).is_some() {
            books.gone.add(book);
        }
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, Books> {
        let mut books = self.books.lock();
        while let Some(book) = self.made.pop() {
            books.all.insert(book.number, book);
        }
        books
    }

    /// Requests that began and that ended since the start. Looks at every logbook: some ten microseconds a thousand.
    pub(crate) fn turns(&self) -> Turns {
        let books = self.lock();
        let mut turns = books.gone;
        books.all.values().for_each(|book| turns.add(book));
        turns
    }

    /// What is running, the oldest first, and of those the first [`SHOWN`]. One that ends while it is read is left out.
    pub(crate) fn running(&self, clock: &Clock, names: &Names) -> Vec<Running> {
        let now = clock.now();
        let mut running: Vec<Running> =
            self.lock().all.values().filter_map(|book| read(book, now, clock, names)).collect();
        running.sort_by(|a, b| b.age_ms.total_cmp(&a.age_ms));
        running.truncate(SHOWN);
        running
    }
}

/// A node that has not ended.
struct Node {
    id: NodeId,
    name: Name,
    cause: Cause,
    cause_name: Name,
    since: Ticks,
}

fn read(book: &Logbook, now: Ticks, clock: &Clock, names: &Names) -> Option<Running> {
    let turn = book.turns.load(Acquire);
    if turn.is_multiple_of(2) {
        return None;
    }
    let mut open: Vec<Node> = Vec::new();
    let mut started = None;
    book.each(|at, event| match event {
        Event::Open { node, name, cause, cause_name, .. } => {
            started = started.or(Some(at));
            open.push(Node { id: node, name, cause, cause_name, since: at });
        }
        Event::State { node, cause, name, .. } => {
            if let Some(node) = open.iter_mut().find(|open| open.id == node) {
                (node.cause, node.cause_name, node.since) = (cause, name, at);
            }
        }
        Event::Close { node, .. } => open.retain(|open| open.id != node || node == NodeId::ROOT),
        Event::Attr { .. } | Event::Fold { .. } => {}
    });
    let folded = book.folded_state();
    let (trace, route) = (book.trace.each_ref().map(|half| half.load(Relaxed)), book.route.load(Relaxed));
    let root = open.first()?;
    let (cause, since) = folded.unwrap_or((root.cause, root.since));
    let leaf = open.last().filter(|leaf| leaf.id != NodeId::ROOT);
    let (at_cause, at_since) = leaf.map_or((cause, since), |leaf| (leaf.cause, leaf.since));
    let ms = |from: Ticks| clock.nanos_between(from, now) as f64 / 1e6;
    let running = Running {
        trace_id: TraceId((u128::from(trace[0]) << 64) | u128::from(trace[1])),
        route: names.get(Name(route)).to_string(),
        at: leaf.map(|leaf| names.get(leaf.name).to_string()).unwrap_or_default(),
        at_cause,
        at_name: names.get(leaf.unwrap_or(root).cause_name).to_string(),
        at_ms: ms(at_since),
        cause,
        cause_ms: ms(since),
        age_ms: ms(started?),
    };
    // It may have ended meanwhile, and another one begun.
    (book.turns.load(Acquire) == turn).then_some(running)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::{NodeKind, Outcome};
    use crate::recorder::{Opening, Recorder};

    #[test]
    fn a_request_is_seen_until_it_ends_and_so_is_what_it_is_stuck_in() {
        let clock = Clock::manual();
        let recorder = Recorder::for_tests(clock.clone());
        let name = |text: &str| recorder.names().intern(text);
        let rec = recorder.start(clock.now(), None, false);
        rec.route(name("checkout"), Name::NONE, 1);
        clock.advance(Duration::from_millis(4));
        rec.state(clock.now(), NodeId::ROOT, Cause::Join, Name::NONE, None);
        let step = rec.open(clock.now(), Opening::running(name("price"), NodeKind::Step, NodeId::ROOT));
        let done = rec.open(clock.now(), Opening::running(name("tax"), NodeKind::Effect, step));
        let stuck = rec.open(clock.now(), Opening::running(name("quotes"), NodeKind::Effect, step));
        rec.close(clock.now(), done, Outcome::Ok, 200, Name::NONE);
        clock.advance(Duration::from_millis(1));
        rec.state(clock.now(), stuck, Cause::Io, name("quotes-b"), None);
        clock.advance(Duration::from_millis(5));
        let young = recorder.start(clock.now(), None, false);

        let running = recorder.running();
        let seen = &running[0];
        assert_eq!((running.len(), &*seen.route, seen.trace_id), (2, "checkout", rec.trace_id()));
        assert_eq!((seen.cause, seen.cause_ms.round(), seen.age_ms.round()), (Cause::Join, 6.0, 10.0));
        assert_eq!(
            (&*seen.at, seen.at_cause, &*seen.at_name, seen.at_ms.round()),
            ("quotes", Cause::Io, "quotes-b", 5.0)
        );
        assert_eq!((&*running[1].at, running[1].at_cause, running[1].at_ms), ("", Cause::Run, 0.0));
        rec.finish(clock.now(), Outcome::Ok, 200, Name::NONE);
        assert_eq!(recorder.running().len(), 1);
        young.fold(clock.now(), Cause::Write, Name::NONE);
        clock.advance(Duration::from_millis(3));
        let running = recorder.running();
        assert_eq!((running[0].cause, running[0].cause_ms.round()), (Cause::Write, 3.0));
        drop(young);
        assert!(recorder.running().is_empty());
        assert_eq!((recorder.counters().started, recorder.counters().finished), (2, 2));
    }
}
