//! What one run of a flow shares among its driver, its steps and their effects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use smallvec::SmallVec;
use zerver_telemetry::clock::{Clock, Ticks};
use zerver_telemetry::event::NodeId;
use zerver_telemetry::id::mix;
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::Log;

use crate::adapter::{EffectError, HttpAnswer, HttpCall, Traced};
use crate::deadline::earlier;
use crate::exit::Fail;
use crate::graph::Graph;
use crate::journal::{Journal, Key};
use crate::wake::Stamp;

/// What the driver needs of the world: the engine, the fake and the replay are three of them.
pub(crate) trait Shell: Send + Sync {
    /// Ready after `wait`.
    fn timer(&self, wait: Duration) -> BoxFuture<'static, ()>;

    /// Performs a call; `key` says which of the run's effects it is.
    fn http<'a>(&'a self, key: Key, call: HttpCall, traced: Traced) -> BoxFuture<'a, Result<HttpAnswer, EffectError>>;

    /// The wall-clock moment that effect `key` reads, for shells that do not read the clock for it.
    fn unix_ns(&self, key: &Key) -> Option<u64> {
        let _ = key;
        None
    }
}

/// One run of a flow. The macros hand it from the flow to the driver and the steps.
pub struct Run {
    pub(crate) graph: Arc<Graph>,
    pub(crate) names: Arc<BoundNames>,
    pub(crate) log: Log,
    pub(crate) clock: Clock,
    pub(crate) parent: NodeId,
    pub(crate) shell: Arc<dyn Shell>,
    pub(crate) journal: Option<Arc<Journal>>,
    pub(crate) started: Ticks,
    pub(crate) deadline: Option<Ticks>,
    /// What random numbers and idempotency keys are made from.
    pub(crate) seed: u64,
    pub(crate) cells: SmallVec<[StepCell; 8]>,
    /// Why optional steps failed; rarely holds any.
    failures: Mutex<Vec<(usize, Fail)>>,
    /// Ticks of the run's end, once its outcome is known; 0 before.
    ended: AtomicU64,
    /// The node whose end ended the run.
    last: AtomicU32,
}

/// The names of a flow's nodes in a recorder.
#[derive(Debug)]
pub(crate) struct BoundNames {
    pub(crate) flow: Name,
    pub(crate) steps: Box<[Name]>,
}

/// What a step and its effects share.
#[derive(Debug)]
pub(crate) struct StepCell {
    pub(crate) stamp: Arc<Stamp>,
    /// Its node in the timeline, once it was started.
    pub(crate) node: AtomicU16,
    /// Effects that were begun and have not ended, timers included.
    pub(crate) in_flight: AtomicU32,
    /// The node of the call it began last; [`NO_CALL`] before the first.
    pub(crate) latest_call: AtomicU16,
    /// Those of them that are timers.
    pub(crate) timers: AtomicU32,
    /// Its current try, from 1.
    pub(crate) attempt: AtomicU16,
    /// Effects this try has asked for, in the order of its code.
    pub(crate) asked: AtomicU32,
    /// Ticks of its end; 0 before.
    pub(crate) ended: AtomicU64,
    /// Ticks at which its time is up; 0 for never.
    pub(crate) due: AtomicU64,
    /// How often each target was called.
    pub(crate) calls: Mutex<SmallVec<[(Name, u16); 4]>>,
}

/// What [`Run::new`] takes.
pub(crate) struct Opening {
    pub(crate) graph: Arc<Graph>,
    pub(crate) names: Arc<BoundNames>,
    pub(crate) log: Log,
    pub(crate) parent: NodeId,
    pub(crate) shell: Arc<dyn Shell>,
    pub(crate) journal: Option<Arc<Journal>>,
    pub(crate) deadline: Option<Ticks>,
    pub(crate) seed: u64,
}

impl Run {
    pub(crate) fn new(opening: Opening) -> Self {
        let Opening { graph, names, log, parent, shell, journal, deadline, seed } = opening;
        let clock = log.recorder().clock().clone();
        let started = log.now();
        let own = graph.deadline().map(|by| clock.after(started, by));
        let cells = graph.nodes().iter().map(|_| StepCell::new(&clock)).collect();
        Self {
            graph,
            names,
            log,
            parent,
            shell,
            journal,
            started,
            deadline: earlier(own, deadline),
            seed,
            cells,
            failures: Mutex::default(),
            ended: AtomicU64::new(0),
            last: AtomicU32::new(u32::MAX),
            clock,
        }
    }

    /// Why step `name` failed, if it was optional and did.
    pub(crate) fn failure(&self, name: &str) -> Option<Fail> {
        let step = self.graph.position(name)?;
        self.failures.lock().iter().find(|(n, _)| *n == step).map(|(_, fail)| fail.clone())
    }

    pub(crate) fn note_failure(&self, step: usize, fail: Fail) {
        self.failures.lock().push((step, fail));
    }

    /// Every optional step that failed, by name.
    pub(crate) fn failures(&self) -> Vec<(String, Fail)> {
        let name = |n: usize| self.graph.nodes()[n].name.to_string();
        self.failures.lock().iter().map(|(n, fail)| (name(*n), fail.clone())).collect()
    }

    /// Says that the run's outcome is known.
    pub(crate) fn end(&self, at: Ticks, last: Option<NodeId>) {
        self.ended.store(at.0, Relaxed);
        self.last.store(last.map_or(u32::MAX, |n| u32::from(n.0)), Relaxed);
    }

    /// When it ended and which node ended it.
    pub(crate) fn ended(&self) -> Option<(Ticks, Option<NodeId>)> {
        let at = self.ended.load(Relaxed);
        (at != 0).then(|| (Ticks(at), u16::try_from(self.last.load(Relaxed)).ok().map(NodeId)))
    }

    /// The present moment for what belongs to `step`; once that or the run has ended, the moment of that end, so that
    /// what is dropped then ends with it.
    pub(crate) fn moment(&self, step: usize) -> Ticks {
        match (self.cells[step].ended.load(Relaxed), self.ended()) {
            (0, Some((at, _))) => at,
            (0, None) => self.log.now(),
            (at, _) => Ticks(at),
        }
    }

    /// A number fixed by the run's seed, the step and the effect's place in it.
    pub(crate) fn number(&self, step: usize, seq: u32) -> u64 {
        let name = self.graph.nodes()[step]
            .name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        mix(self.seed ^ mix(name ^ u64::from(seq)))
    }

    pub(crate) fn key(&self, step: usize) -> Key {
        let cell = &self.cells[step];
        let (seq, attempt) = (cell.asked.fetch_add(1, Relaxed), cell.attempt.load(Relaxed));
        Key { slot: Arc::clone(&self.graph.nodes()[step].name), seq, attempt }
    }
}

/// Stands for no node.
const NO_CALL: u16 = u16::MAX;

impl StepCell {
    /// The node of the call it began last.
    pub(crate) fn latest_call(&self) -> Option<NodeId> {
        let node = self.latest_call.load(Relaxed);
        (node != NO_CALL).then_some(NodeId(node))
    }

    fn new(clock: &Clock) -> Self {
        Self {
            stamp: Stamp::new(clock.clone()),
            node: AtomicU16::new(0),
            in_flight: AtomicU32::new(0),
            latest_call: AtomicU16::new(NO_CALL),
            timers: AtomicU32::new(0),
            attempt: AtomicU16::new(1),
            asked: AtomicU32::new(0),
            ended: AtomicU64::new(0),
            due: AtomicU64::new(0),
            calls: Mutex::default(),
        }
    }

    /// The number of this call among the step's calls of `name`, from 1.
    pub(crate) fn occurrence(&self, name: Name) -> u16 {
        let mut calls = self.calls.lock();
        match calls.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => {
                *count = count.saturating_add(1);
                *count
            }
            None => {
                calls.push((name, 1));
                1
            }
        }
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("flow", &self.graph.slug()).finish_non_exhaustive()
    }
}
