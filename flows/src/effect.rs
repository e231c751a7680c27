//! What a step may ask of the world: calls to named targets, time, randomness, a pause, an early answer.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bound::Bound;
use crate::cells::StepCell;
use crate::deadline::earlier;
use crate::exit::{Exit, Fail, Result};
use crate::meta::FlowMeta;
use crate::response::Response;
use crate::run::Run;

mod answer;
mod asked;
mod call;
mod flight;
mod pause;
mod peek;
mod scratch;
mod calls;

pub use answer::Answer;
pub use call::{Call, segment};
pub use flight::Effect;
pub use pause::Sleep;
pub use peek::Peek;

impl Run {
    /// The hands of one of its steps.
    #[must_use]
    pub fn fx(&self, step: usize) -> Fx<'_> {
        Fx::new(self, step)
    }
}

/// A step's hands: everything outside the process goes through it, so that it can be measured, faked and replayed.
#[derive(Clone, Copy, Debug)]
pub struct Fx<'r> {
    pub(crate) run: &'r Run,
    pub(crate) step: usize,
}

impl<'r> Fx<'r> {
    pub(crate) fn new(run: &'r Run, step: usize) -> Self {
        Self { run, step }
    }

    fn cell(&self) -> &'r StepCell {
        &self.run.cells[self.step]
    }

    /// A number from 0 to 1, fixed by the run, the step and `place`; apart from those that [`Fx::random`] gives.
    pub(crate) fn chance(&self, place: u32) -> f64 {
        self.run.number(self.step, u32::MAX - place) as f64 / u64::MAX as f64
    }

    /// Whether `wait` ends before the step's and the flow's own time is up.
    pub(crate) fn has_time_for(&self, wait: Duration) -> bool {
        let shared = &self.run.shared;
        let end = earlier(self.run.deadline, self.cell().due());
        end.is_none_or(|end| shared.clock.after(shared.log.now(), wait) < end)
    }

    /// Whether the step may be tried again: what its calls changed may be changed twice, or they changed nothing, and the
    /// request's body is still there if they need it.
    pub(crate) fn may_repeat(&self) -> bool {
        let stamp = &self.cell().stamp;
        (stamp.writes() == 0 || self.is_idempotent()) && !stamp.is_spent()
    }

    /// Whether a gate's refusal is tried again, because the step has to be done in the end.
    pub(crate) fn insists_after(&self, fail: &Fail) -> bool {
        self.run.insists && fail.refused.is_some()
    }

    /// Whether what its calls change may be changed twice without harm.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.run.bound.graph.nodes()[self.step].idempotent
    }

    /// Takes one of the request's retries.
    pub(crate) fn spend_retry(&self) -> bool {
        self.run.shared.retries.spend()
    }

    /// From now on the step's effects are those of another try: counted from the start, so that their keys stay.
    pub(crate) fn next_try(&self) {
        let cell = self.cell();
        cell.attempt.fetch_add(1, Relaxed);
        cell.asked.store(0, Relaxed);
        cell.forget_calls();
    }

    /// Keeps what the step gave, for a run that shows it.
    #[doc(hidden)]
    pub fn show(&self, is_sensitive: bool, value: impl FnOnce() -> serde_json::Value) {
        if let Some(values) = &self.run.shared.values {
            values.keep(self.run.path(self.step), is_sensitive, value());
        }
    }

    /// A run of the graph inside this step, for the code that `#[flow]` writes.
    ///
    /// # Panics
    /// When there is none; the macro writes it for steps that have one.
    #[doc(hidden)]
    #[must_use]
    pub fn inside(&self) -> Run {
        let inner = self.run.bound.inner[self.step].as_ref();
        self.run.below(self.step, inner.expect("only a step with a graph inside runs it"))
    }

    /// The same for a sub-flow, which may also be called as a plain step, outside of a flow that knows its graph.
    #[doc(hidden)]
    #[must_use]
    pub fn inside_of(&self, meta: &FlowMeta) -> Run {
        match &self.run.bound.inner[self.step] {
            Some(inner) => self.run.below(self.step, inner),
            None => {
                let names = self.run.shared.log.recorder().names();
                self.run.below(self.step, &Bound::new(&Arc::new(meta.inner_graph()), names))
            }
        }
    }

    /// The wall-clock moment. Recorded, so that a replay reads the same.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        let shared = &self.run.shared;
        let now = || shared.clock.unix_ns(shared.log.now());
        let ns = self.run.observe(self.run.place(self.step).key(), "now", now);
        UNIX_EPOCH + Duration::from_nanos(ns)
    }

    /// A number that looks random, fixed by the request's trace and the place of this call in the flow: the same when
    /// the run is replayed. Not for secrets.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.run.number(self.step, self.run.place(self.step).seq)
    }

    /// Why optional step `name` failed; none when it did not, or has not ended yet. Read it in a step that also takes
    /// the slot, so that the slot's step has ended.
    #[must_use]
    pub fn failure(&self, name: &str) -> Option<Fail> {
        self.run.failure(name)
    }

    /// Ends the flow with this answer: `return fx.done(response)`. What still runs is cancelled.
    ///
    /// # Errors
    /// Always [`Exit::Done`], which the driver takes for the answer.
    pub fn done<T>(&self, response: Response) -> Result<T> {
        Err(Exit::Done(Box::new(response)))
    }

    /// Notes something about the step in the request's timeline: `fx.note("items", cart.items.len())`. Texts share
    /// what is left of 1.5 KiB per request. `key` should be a literal: keys are kept for ever.
    pub fn note(&self, key: &'static str, value: impl Into<Note>) {
        let log = &self.run.shared.log;
        let node = self.cell().node();
        let key = log.name(key);
        match value.into() {
            Note::Int(value) => log.attr_int(node, key, value),
            Note::Float(value) => log.attr_float(node, key, value),
            Note::Bool(value) => log.attr_bool(node, key, value),
            Note::Text(value) => log.attr_text(node, key, &value),
        }
    }
}

/// A value that [`Fx::note`] takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// A text.
    Text(String),
}

macro_rules! note_from {
    ($($from:ty => $variant:ident),*) => {
        $(impl From<$from> for Note {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}
note_from!(i32 => Int, u32 => Int, i64 => Int, f64 => Float, bool => Bool, &str => Text, String => Text);

impl From<usize> for Note {
    fn from(value: usize) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}
