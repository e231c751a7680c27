//! What one run of a graph shares among its driver, its steps and their effects; runs inside steps have runs of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use zerver_telemetry::clock::{Clock, Ticks};
use zerver_telemetry::event::NodeId;
use zerver_telemetry::id::mix;
use zerver_telemetry::recorder::Log;

use crate::adapter::{EffectError, HttpAnswer, HttpCall, Retries, Traced};
use crate::air::Air;
use crate::arena::Arena;
use crate::bound::Bound;
use crate::cancel::Cancel;
use crate::cells::Cells;
use crate::deadline::earlier;
use crate::exit::{self, Fail};
use crate::graph::Head;
use crate::journal::{Entry, Got, Journal, Key};
use crate::reads::Reads;
use crate::request::Req;
use crate::response::Response;
use crate::stuck::{Resumed, Stuck, Unwinding};
use crate::values::Values;
use crate::wake::Stamp;

/// What the driver needs of the world: the engine, the fake and the replay are three of them.
pub(crate) trait Shell: Send + Sync {
    /// Ready after `wait`.
    fn timer(&self, wait: Duration) -> BoxFuture<'static, ()>;

    /// Performs a call; `place` says which of the run's effects it is.
    fn http<'a>(
        &'a self,
        place: Place<'_>,
        call: HttpCall,
        traced: Traced<'a>,
    ) -> BoxFuture<'a, Result<HttpAnswer, EffectError>>;

    /// What effect `key` gave when it was recorded, for shells that do not ask the world for it: a moment in
    /// nanoseconds since the Unix epoch, or a decision.
    fn recorded(&self, key: &Key) -> Option<u64> {
        let _ = key;
        None
    }

    /// A run's undoing failed.
    fn stuck(&self, stuck: &Arc<Stuck>) {
        let _ = stuck;
    }

    /// The flow of this name, for steps that run another one.
    fn flow(&self, slug: &str) -> Option<Arc<dyn Runnable>> {
        let _ = slug;
        None
    }
}

/// A flow as those see it who run it inside another.
pub(crate) trait Runnable: Send + Sync {
    /// Its graph.
    fn bound(&self) -> &Arc<Bound>;
    /// Its steps as `run`, up to the answer.
    fn body<'a>(&self, req: &'a Req, run: &'a Run) -> BoxFuture<'a, exit::Result<Response>>;
}

/// One run of a graph: of a flow, or of what is inside one of its steps. The macros hand it to the driver and the steps.
pub struct Run {
    pub(crate) shared: Arc<Shared>,
    pub(crate) bound: Arc<Bound>,
    pub(crate) parent: NodeId,
    pub(crate) started: Ticks,
    pub(crate) deadline: Option<Ticks>,
    /// What random numbers and idempotency keys are made from.
    pub(crate) seed: u64,
    pub(crate) cells: Cells,
    /// What the names of its steps begin with in the journal, where it is inside another run: the path of the step, and
    /// `~2` when that is in its second try.
    pub(crate) within: Option<Arc<str>>,
    /// The try of the step it is inside of, at which its own steps begin to count theirs.
    attempt: u16,
    /// The stamp of the step it is inside of.
    pub(crate) above: Option<Arc<Stamp>>,
    /// It is the request's own run, and not a part of one.
    pub(crate) is_root: bool,
    /// It ends when the client leaves: the request's own run, or the one in its place.
    pub(crate) obeys: bool,
    /// What a gate refuses to its steps is tried again, too.
    pub(crate) insists: bool,
    /// It sees to its deadline itself.
    pub(crate) keeps_time: bool,
    /// Runs it is inside of.
    pub(crate) depth: u8,
    /// Why branches failed without ending the run; rarely holds any.
    failures: Mutex<Vec<(usize, Fail)>>,
    /// Ticks of the run's end, once its outcome is known; 0 before.
    ended: AtomicU64,
    /// The node whose end ended the run.
    last: AtomicU32,
    /// The step that made it fail; none before.
    failed_at: AtomicU32,
}

/// What a run shares with those inside it.
pub(crate) struct Shared {
    pub(crate) log: Log,
    pub(crate) clock: Clock,
    pub(crate) shell: Arc<dyn Shell>,
    pub(crate) journal: Option<Arc<Journal>>,
    pub(crate) values: Option<Arc<Values>>,
    pub(crate) cancel: Option<Arc<Cancel>>,
    /// For a run that goes on with the undoing of an earlier one: what that one did.
    pub(crate) resumed: Option<Resumed>,
    pub(crate) unwinding: Mutex<Unwinding>,
    /// One task polls all of them, so the lock is never contended.
    pub(crate) calls: Mutex<Calls>,
    pub(crate) retries: Retries,
    pub(crate) arena: Arena,
    /// The failures to be told with the outcome, by the names of their steps and of those they are inside of.
    pub(crate) told: Mutex<Vec<(String, Fail)>>,
    /// Steps that wrote their slot, so far.
    pub(crate) wrote: AtomicU32,
    /// Flows that steps have run inside this one, so far.
    pub(crate) inserted: AtomicU32,
}

/// The calls of a request.
#[derive(Debug)]
pub(crate) struct Calls {
    /// Those in the air.
    pub(crate) air: Air,
    /// Those of them that are reads.
    pub(crate) reads: Reads,
}

impl Calls {
    fn new(at_once: u32) -> Mutex<Self> {
        Mutex::new(Self { air: Air::new(at_once), reads: Reads::default() })
    }
}

/// Which effect of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'r> {
    run: &'r Run,
    step: usize,
    /// Its place among the effects of one try of the step.
    pub(crate) seq: u32,
    attempt: u16,
}

impl Place<'_> {
    /// Its address in journals.
    pub(crate) fn key(&self) -> Key {
        Key { slot: self.run.path(self.step), seq: self.seq, attempt: self.attempt }
    }
}

/// What [`Run::new`] takes.
pub(crate) struct Opening {
    pub(crate) bound: Arc<Bound>,
    pub(crate) log: Log,
    pub(crate) parent: NodeId,
    pub(crate) shell: Arc<dyn Shell>,
    pub(crate) journal: Option<Arc<Journal>>,
    pub(crate) values: Option<Arc<Values>>,
    pub(crate) cancel: Option<Arc<Cancel>>,
    pub(crate) resumed: Option<Resumed>,
    pub(crate) deadline: Option<Ticks>,
    pub(crate) seed: u64,
}

impl Run {
    pub(crate) fn new(opening: Opening) -> Self {
        let Opening { bound, log, parent, shell, journal, values, cancel, resumed, deadline, seed } = opening;
        let clock = log.recorder().clock().clone();
        let at_once = bound.graph.head().calls_at_once.unwrap_or(Head::CALLS_AT_ONCE);
        let shared = Arc::new(Shared {
            log,
            clock,
            shell,
            journal,
            values,
            cancel,
            resumed,
            unwinding: Mutex::default(),
            calls: Calls::new(at_once),
            retries: Retries::default(),
            arena: Arena::default(),
            told: Mutex::default(),
            wrote: AtomicU32::new(0),
            inserted: AtomicU32::new(0),
        });
        Self { is_root: true, obeys: true, ..Self::part(shared, bound, parent, deadline, seed, None, 1) }
    }

    fn part(
        shared: Arc<Shared>,
        bound: Arc<Bound>,
        parent: NodeId,
        deadline: Option<Ticks>,
        seed: u64,
        above: Option<&Arc<Stamp>>,
        attempt: u16,
    ) -> Self {
        let started = shared.log.now();
        let own = bound.graph.deadline().map(|by| shared.clock.after(started, by));
        Self {
            cells: Cells::new(&bound.pool, bound.graph.nodes().len(), &shared.clock, above, attempt),
            above: above.cloned(),
            deadline: earlier(own, deadline),
            shared,
            bound,
            parent,
            started,
            seed,
            within: None,
            attempt,
            is_root: false,
            obeys: false,
            insists: false,
            keeps_time: true,
            depth: 0,
            failures: Mutex::default(),
            ended: AtomicU64::new(0),
            last: AtomicU32::new(u32::MAX),
            failed_at: AtomicU32::new(u32::MAX),
        }
    }

    /// A run of what is inside step `step`, whose node it goes under. That step's driver sees to its time.
    pub(crate) fn below(&self, step: usize, bound: &Arc<Bound>) -> Self {
        let run = self.inserted(step, bound, self.cells[step].node(), self.path(step));
        Self { keeps_time: false, depth: self.depth, ..run }
    }

    /// A run of another flow inside step `step`, under a node of its own.
    pub(crate) fn inserted(&self, step: usize, bound: &Arc<Bound>, parent: NodeId, within: Arc<str>) -> Self {
        let cell = &self.cells[step];
        // The seed is the same for each try, so that idempotency keys stay.
        let own = self.within.as_deref().and_then(|outer| within.strip_prefix(outer)).unwrap_or(&within);
        let (deadline, seed) = (earlier(self.deadline, cell.due()), mix(self.seed ^ fnv(own)));
        let (shared, attempt) = (Arc::clone(&self.shared), cell.attempt.load(Relaxed));
        // The places in the journal are not: parts have tries of their own, which would meet those of the next try there.
        let within = if attempt == self.attempt { within } else { format!("{within}~{attempt}").into() };
        let run = Self::part(shared, Arc::clone(bound), parent, deadline, seed, Some(&cell.stamp), attempt);
        Self { within: Some(within), depth: self.depth.saturating_add(1), ..run }
    }

    /// A run of steps that come when its own are over; the deadline does not hold for them.
    pub(crate) fn afterwards(&self, bound: &Arc<Bound>) -> Self {
        let (shared, bound) = (Arc::clone(&self.shared), Arc::clone(bound));
        let run = Self::part(shared, bound, self.parent, None, self.seed, self.above.as_ref(), 1);
        Self { within: self.within.clone(), depth: self.depth, ..run }
    }

    /// A run of another flow in the place of this one.
    pub(crate) fn instead(&self, bound: &Arc<Bound>, within: Arc<str>) -> Self {
        let seed = mix(self.seed ^ fnv(&within));
        let shared = match &self.shared.journal {
            None if bound.graph.has_undo() => Arc::new(self.shared.with_journal()),
            _ => Arc::clone(&self.shared),
        };
        let run = Self::part(shared, Arc::clone(bound), self.parent, self.deadline, seed, self.above.as_ref(), 1);
        Self { within: Some(within), obeys: true, ..run }
    }

    /// What the names of its steps begin with in the journal.
    pub(crate) fn within(&self) -> Option<&str> {
        self.within.as_deref()
    }

    /// The name of a step, with those of the steps it is inside of before it.
    pub(crate) fn path(&self, step: usize) -> Arc<str> {
        let name = &self.bound.graph.nodes()[step].name;
        match &self.within {
            None => Arc::clone(name),
            Some(within) => format!("{within}.{name}").into(),
        }
    }

    /// Why step `name` failed, if it did without ending the run.
    pub(crate) fn failure(&self, name: &str) -> Option<Fail> {
        let step = self.bound.graph.position(name)?;
        self.failures.lock().iter().find(|(n, _)| *n == step).map(|(_, fail)| fail.clone())
    }

    /// Which of the failures of a join to tell of: a refusal only when nothing worse happened, for it must not hide that
    /// another branch broke.
    pub(crate) fn worst(&self, last: Fail) -> Fail {
        let worse =
            || self.failures.lock().iter().rev().find(|(_, fail)| fail.refused.is_none()).map(|(_, f)| f.clone());
        if last.refused.is_some() { worse().unwrap_or(last) } else { last }
    }

    /// Notes a failure that does not end the run. That of an optional step, wherever it is, is told with the outcome.
    pub(crate) fn note_failure(&self, step: usize, fail: Fail) {
        if self.bound.graph.nodes()[step].optional {
            self.tell(step, fail.clone());
        }
        self.failures.lock().push((step, fail));
    }

    /// Tells of a step's failure with the outcome.
    pub(crate) fn tell(&self, step: usize, fail: Fail) {
        self.shared.told.lock().push((self.path(step).to_string(), fail));
    }

    /// Notes which step makes the run fail.
    pub(crate) fn fails_at(&self, step: usize) {
        self.failed_at.store(u32::try_from(step).unwrap_or(u32::MAX), Relaxed);
    }

    /// Which of its own steps made it fail, whatever failed inside that one.
    pub(crate) fn failed_at(&self) -> Option<usize> {
        usize::try_from(self.failed_at.load(Relaxed)).ok().filter(|step| *step < self.cells.len())
    }

    /// Says that the run's outcome is known.
    pub(crate) fn end(&self, at: Ticks, last: Option<NodeId>) {
        self.ended.store(at.0.max(1), Relaxed);
        self.last.store(last.map_or(u32::MAX, |n| u32::from(n.0)), Relaxed);
    }

    /// When it ended and which node ended it.
    pub(crate) fn ended(&self) -> Option<(Ticks, Option<NodeId>)> {
        let at = self.ended.load(Relaxed);
        (at != 0).then(|| (Ticks(at), u16::try_from(self.last.load(Relaxed)).ok().map(NodeId)))
    }

    /// The present moment for what belongs to `step`; once that, the run, or the step it is inside of has ended, the
    /// moment of that end, so that what is dropped then ends with it.
    pub(crate) fn moment(&self, step: usize) -> Ticks {
        self.cells[step].stamp.ended().unwrap_or_else(|| self.now())
    }

    /// The present moment for the run as a whole.
    pub(crate) fn now(&self) -> Ticks {
        let above = || self.above.as_ref().and_then(|stamp| stamp.ended());
        self.ended().map(|(at, _)| at).or_else(above).unwrap_or_else(|| self.shared.log.now())
    }

    /// A number fixed by the run's seed, the step and the effect's place in it.
    pub(crate) fn number(&self, step: usize, seq: u32) -> u64 {
        let name = fnv(&self.bound.graph.nodes()[step].name);
        mix(self.seed ^ mix(name ^ u64::from(seq)))
    }

    /// The place of the step's next effect.
    pub(crate) fn place(&self, step: usize) -> Place<'_> {
        let cell = &self.cells[step];
        let (seq, attempt) = (cell.asked.load(Relaxed), cell.attempt.load(Relaxed));
        // A step is polled by one task: nobody else counts meanwhile.
        cell.asked.store(seq + 1, Relaxed);
        Place { run: self, step, seq, attempt }
    }

    /// The place of a decision that the engine makes for a step.
    pub(crate) fn decision(&self, step: usize, what: &str) -> Key {
        let slot = format!("{}!{what}", self.path(step)).into();
        Key { slot, seq: 0, attempt: self.cells[step].attempt.load(Relaxed) }
    }

    /// A number of the outside world, which a replay finds in the journal.
    pub(crate) fn observe(&self, key: Key, asked: &str, ask: impl FnOnce() -> u64) -> u64 {
        let shared = &self.shared;
        let number = shared.shell.recorded(&key).unwrap_or_else(ask);
        if let Some(journal) = &shared.journal {
            journal.push(Entry { key, asked: asked.to_owned(), body_hash: 0, took_ns: 0, got: Got::Number(number) });
        }
        number
    }
}

impl Shared {
    /// The same with a journal, for what comes when nothing of it is in the air any more.
    fn with_journal(&self) -> Self {
        Self {
            log: self.log.clone(),
            clock: self.clock.clone(),
            shell: Arc::clone(&self.shell),
            journal: Some(Journal::new()),
            values: self.values.clone(),
            cancel: self.cancel.clone(),
            resumed: None,
            unwinding: Mutex::default(),
            calls: Calls::new(self.calls.lock().air.at_once()),
            retries: self.retries.rest(),
            arena: Arena::default(),
            told: Mutex::new(std::mem::take(&mut *self.told.lock())),
            wrote: AtomicU32::new(0),
            inserted: AtomicU32::new(self.inserted.load(Relaxed)),
        }
    }
}

fn fnv(text: &str) -> u64 {
    crate::journal::hash(text.as_bytes())
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("flow", &self.bound.graph.slug()).finish_non_exhaustive()
    }
}
