//! Recording: a [`Recorder`] opens a [`Recording`] per request; whoever works on the request writes through its [`Log`].
//!
//! Nothing here formats, allocates (in steady state), locks or looks up a name: names are interned at load, events
//! carry numbers, logbooks are pooled. An event costs a load and three stores, plus the clock where a new moment is read
//! (10 to 17 ns).

mod settings;
mod opening;
mod carrying;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, fence};

use crossbeam_queue::ArrayQueue;
use parking_lot::RwLock;

use crate::assemble::Assembler;
use crate::clock::{Clock, Ticks};
use crate::event::{Cause, Event, NodeId, NodeKind, Outcome, RawValue};
use crate::id::{IdSource, SpanId, TraceContext, TraceId, mix, span_id};
use crate::inflight::{Running, Shelf};
use crate::logbook::{Logbook, RANDOM, SAMPLED};
use crate::names::{Name, Names};
use crate::redact::Redaction;
use crate::ring::Ring;
use crate::timeline::Timeline;
use crate::worker;

pub use crate::logbook::RECORDING;
pub use opening::Opening;
pub use settings::{RecorderCounters, RecorderSettings};

/// The recorder of one gateway. A value, not a global: cloning shares it, two gateways in a process have two.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    names: Arc<Names>,
    ids: IdSource,
    pool: ArrayQueue<Arc<Logbook>>,
    ring: Ring,
    shelf: Shelf,
    redaction: RwLock<Arc<Redaction>>,
    made: AtomicU32,
}

impl Recorder {
    /// A recorder with its own pool, ring and in-flight table.
    #[must_use]
    pub fn new(clock: Clock, names: Arc<Names>, ids: IdSource, settings: &RecorderSettings) -> Self {
        Self(Arc::new(Inner {
            clock,
            names,
            ids,
            pool: ArrayQueue::new(settings.ring.max(1)),
            ring: Ring::new(settings.shards, settings.ring),
            shelf: Shelf::default(),
            redaction: RwLock::default(),
            made: AtomicU32::new(0),
        }))
    }

    /// A recorder on `clock` with default sizes and a fixed seed, for tests.
    #[must_use]
    pub fn for_tests(clock: Clock) -> Self {
        Self::new(clock, Arc::default(), IdSource::new(1), &RecorderSettings::default())
    }

    /// The clock all its moments are of.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The names its events use.
    #[must_use]
    pub fn names(&self) -> &Arc<Names> {
        &self.0.names
    }

    /// The source of its trace identities.
    #[must_use]
    pub fn ids(&self) -> &IdSource {
        &self.0.ids
    }

    /// What is not shown of what its requests note.
    #[must_use]
    pub fn redaction(&self) -> Arc<Redaction> {
        Arc::clone(&self.0.redaction.read())
    }

    /// From the next timeline on these rules hold. A collector's store holds what it kept before to them too.
    pub fn redact_by(&self, rules: Arc<Redaction>) {
        *self.0.redaction.write() = rules;
    }

    /// Opens the recording of a request that began at `at`, running. `context` is what its `traceparent` said; without
    /// one a new trace begins, sampled when `sample` says so.
    #[must_use]
    pub fn start(&self, at: Ticks, context: Option<TraceContext>, sample: bool) -> Recording {
        let inner = &self.0;
        let book = inner.pool.pop().unwrap_or_else(|| self.make());
        let turn = book.turn();
        let seed = inner.ids.nth((u64::from(book.number) << 32) | (turn & 0xffff_ffff));
        let context = context.unwrap_or_else(|| TraceContext {
            trace_id: TraceId((u128::from(mix(seed ^ 0xa5a5)) << 64) | u128::from(mix(seed ^ 0x5a5a).max(1))),
            parent: None,
            sampled: sample,
            random: true,
        });
        book.trace[0].store((context.trace_id.0 >> 64) as u64, Relaxed);
        book.trace[1].store(context.trace_id.0 as u64, Relaxed);
        book.seed.store(seed, Relaxed);
        book.parent.store(context.parent.map_or(0, |s| s.0), Relaxed);
        book.flags.store((u32::from(context.sampled) * SAMPLED) | (u32::from(context.random) * RANDOM), Relaxed);
        book.open(
            at,
            Event::Open {
                node: NodeId::ROOT,
                name: Name::NONE,
                kind: NodeKind::Request,
                parent: None,
                after: None,
                attempt: 1,
                occurrence: 1,
                cause: Cause::Run,
                cause_name: Name::NONE,
            },
        );
        Recording { log: Some(Log { book, recorder: self.clone() }) }
    }

    /// A logbook more.
    #[cold]
    fn make(&self) -> Arc<Logbook> {
        let book = Arc::new(Logbook::new(self.0.made.fetch_add(1, Relaxed)));
        if RECORDING {
            self.0.shelf.add(Arc::clone(&book));
        }
        book
    }

    /// Requests that have not ended, the oldest first, and of those the first 4,096.
    #[must_use]
    pub fn running(&self) -> Vec<Running> {
        self.0.shelf.running(&self.0.clock, &self.0.names)
    }

    /// What was counted so far. Adds up what each logbook counts: some ten microseconds for a thousand of them.
    #[must_use]
    pub fn counters(&self) -> RecorderCounters {
        let inner = &self.0;
        let turns = inner.shelf.turns();
        RecorderCounters {
            started: turns.started,
            finished: turns.finished,
            in_flight: turns.started.saturating_sub(turns.finished),
            lost_timelines: inner.ring.lost(),
            logbooks: u64::from(inner.made.load(Relaxed)),
        }
    }

    /// Takes every finished request and reads it back, oldest first: for tests and for programs that embed zerver
    /// without its collector. What is taken here the collector does not see.
    #[must_use]
    pub fn timelines(&self) -> Vec<Timeline> {
        let mut timelines = Vec::new();
        let mut assembler = self.assembler();
        self.drain(&mut Vec::new(), |book| timelines.extend(assembler.timeline(book)));
        timelines
    }

    /// What reads its logbooks, by the present rules of redaction.
    pub(crate) fn assembler(&self) -> Assembler {
        Assembler::new(self.clock().clone(), Arc::clone(self.names()), self.redaction())
    }

    /// Takes every finished logbook, shows it to `read` and puts it back into the pool: in the order in which their
    /// requests ended. `taken` is room for them, empty before and after.
    pub(crate) fn drain(&self, taken: &mut Vec<Arc<Logbook>>, mut read: impl FnMut(&Logbook)) {
        self.0.ring.drain(|book| taken.push(book));
        taken.sort_by_key(|book| book.ended.load(Relaxed));
        for book in taken.drain(..) {
            read(&book);
            self.recycle(book);
        }
    }

    /// Back into the pool, unless some late task still holds it: then a write of that task could land in another
    /// request's timeline, so this one is given up instead.
    fn recycle(&self, book: Arc<Logbook>) {
        let inner = &self.0;
        // One is ours, one the shelf's, which lends it to nobody.
        if Arc::strong_count(&book) == 2 {
            // What others wrote before they let go of it comes before what follows.
            fence(Acquire);
            book.reset();
            if let Err(book) = inner.pool.push(book) {
                inner.shelf.remove(&book);
            }
        } else {
            inner.shelf.remove(&book);
        }
    }
}

/// The one owner of a request's recording. Ending it hands the logbook over; dropping it unended records a
/// cancellation.
#[derive(Debug)]
pub struct Recording {
    log: Option<Log>,
}

impl Recording {
    /// Ends the request: its answer carried `status` (0 when none was sent).
    pub fn finish(mut self, at: Ticks, outcome: Outcome, status: u16, error: Name) {
        if let Some(log) = self.log.take() {
            log.end(at, outcome, status, error);
        }
    }
}

impl Deref for Recording {
    type Target = Log;

    fn deref(&self) -> &Log {
        self.log.as_ref().expect("a recording holds its log until it is finished, which takes it")
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(log) = self.log.take() {
            let at = log.now();
            log.end(at, Outcome::Cancelled, 0, Name::NONE);
        }
    }
}

/// Writes to one request's logbook. Cheap to clone; usable from any thread.
#[derive(Clone, Debug)]
pub struct Log {
    book: Arc<Logbook>,
    recorder: Recorder,
}

impl Log {
    /// The present moment, of the recorder's clock.
    #[must_use]
    #[inline]
    pub fn now(&self) -> Ticks {
        self.recorder.0.clock.now()
    }

    /// The request's timeline up to now, as if it ended well this moment: for showing a request its own. Reads the whole
    /// logbook, some microseconds.
    #[must_use]
    pub fn so_far(&self) -> Option<Timeline> {
        self.recorder.assembler().so_far(&self.book, self.now())
    }

    /// The recorder it belongs to.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The number of `text` in the recorder's names. Takes a lock: for load time and rare paths.
    #[must_use]
    pub fn name(&self, text: &str) -> Name {
        self.recorder.0.names.intern(text)
    }

    /// The trace this request belongs to.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        let half = |n: usize| u128::from(self.book.trace[n].load(Relaxed));
        TraceId((half(0) << 64) | half(1))
    }

    /// The span identity of one of its nodes.
    #[must_use]
    pub fn span_id(&self, node: NodeId) -> SpanId {
        span_id(self.book.seed.load(Relaxed), node.0)
    }

    /// The logbook it writes to.
    #[cfg(test)]
    pub(crate) fn book(&self) -> &Logbook {
        &self.book
    }

    /// Takes a place without writing an opening, as a task does that ends between the two.
    #[cfg(test)]
    pub(crate) fn skip_node_number(&self) {
        self.book.skip();
    }

    /// Says which route, flow and version of the configuration serve the request.
    pub fn route(&self, route: Name, flow: Name, config_version: u32) {
        self.book.route.store(route.0, Relaxed);
        self.book.flow.store(flow.0, Relaxed);
        self.book.config_version.store(config_version, Relaxed);
    }

    /// Begins a node's life.
    pub fn open(&self, at: Ticks, opening: Opening) -> NodeId {
        let Opening { name, kind, parent, after, attempt, occurrence, cause, cause_name } = opening;
        let (node, parent) = (NodeId::ROOT, Some(parent));
        self.book.open(at, Event::Open { node, name, kind, parent, after, attempt, occurrence, cause, cause_name })
    }

    /// Passes a node into its next state; the one before ends at the same moment. `woken_by` is the node whose end
    /// ended a park, where it was one.
    pub fn state(&self, at: Ticks, node: NodeId, cause: Cause, name: Name, woken_by: Option<NodeId>) {
        let worker = if cause == Cause::Run { worker::current() } else { 0 };
        self.book.transition(at, node, cause, name, woken_by, worker);
    }

    /// From now on adds the request's own states up by cause: for streaming, where they come by the thousand.
    pub fn fold(&self, at: Ticks, cause: Cause, name: Name) {
        self.book.fold_from(at, cause, name);
    }

    /// Ends a node's life. `status` is the HTTP status it ended with, or 0; `error` names the error, or none.
    pub fn close(&self, at: Ticks, node: NodeId, outcome: Outcome, status: u16, error: Name) {
        self.book.write(at, Event::Close { node, outcome, status, error });
    }

    /// Notes a number about a node.
    pub fn attr_int(&self, node: NodeId, key: Name, value: i64) {
        self.attr(node, key, RawValue::Int(value));
    }

    /// Notes a real number about a node.
    pub fn attr_float(&self, node: NodeId, key: Name, value: f64) {
        self.attr(node, key, RawValue::Float(value));
    }

    /// Notes a yes or no about a node.
    pub fn attr_bool(&self, node: NodeId, key: Name, value: bool) {
        self.attr(node, key, RawValue::Bool(value));
    }

    /// Notes an interned name about a node: for values known at load, such as peers.
    pub fn attr_name(&self, node: NodeId, key: Name, value: Name) {
        self.attr(node, key, RawValue::Name(value));
    }

    /// Notes a text about a node. A request holds 1.9 KiB of them; what does not fit is cut and counted.
    /// What must not be shown is redacted when the timeline is read, not here.
    pub fn attr_text(&self, node: NodeId, key: Name, value: &str) {
        self.book.note(node, key, value);
    }

    fn attr(&self, node: NodeId, key: Name, value: RawValue) {
        self.book.write(Ticks(0), Event::Attr { node, key, value });
    }

    fn end(self, at: Ticks, outcome: Outcome, status: u16, error: Name) {
        let Self { book, recorder } = self;
        book.close_folds(at);
        book.write(at, Event::Close { node: NodeId::ROOT, outcome, status, error });
        let inner = &recorder.0;
        book.ended.store(at.0, Relaxed);
        book.turn();
        if !RECORDING {
            // It is small then, and somebody may hold it still: nothing is cheaper than to let it go.
            return;
        }
        if let Some(displaced) = inner.ring.push(book) {
            recorder.recycle(displaced);
        }
    }
}
