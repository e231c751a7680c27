//! The one driver: polls the nodes whose inputs are there, and writes to the timeline what they wait for.
//!
//! It performs nothing itself and knows no runtime: the present moment comes from the request's log, everything else
//! from the run's shell. Rust flows, flows from configuration, tests and replays all use it.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use pin_project_lite::pin_project;
use zerver_telemetry::clock::Ticks;
use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::Opening;

use crate::exit::{Exit, Fail, Result};
use crate::run::Run;

/// Where a step's value lives while its flow runs: a local of the flow's own future.
#[derive(Debug)]
pub struct Slot<T>(OnceLock<T>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slot<T> {
    /// An empty slot.
    #[must_use]
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Writes it; a slot has one writer, which writes once.
    pub fn put(&self, value: T) {
        let _ = self.0.set(value);
    }

    /// Its value. Only for nodes that wait for its writer.
    ///
    /// # Panics
    /// When it was not written; the driver starts no reader before.
    #[must_use]
    pub fn get(&self) -> &T {
        self.0.get().expect("the driver starts a node only when the slots it reads are written")
    }

    /// Its value, if its step was not skipped and did not fail.
    #[must_use]
    pub fn maybe(&self) -> Option<&T> {
        self.0.get()
    }

    /// Takes the value out.
    #[must_use]
    pub fn take(self) -> Option<T> {
        self.0.into_inner()
    }
}

/// What a node that ended well did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// It wrote its slot.
    Slot,
    /// Its condition did not hold; the slot stays empty.
    Nothing,
}

/// A node of a running flow: a future that can be given up before the flow ends.
pub trait Node {
    /// Polls its future.
    fn poll_node(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Wrote>>;
    /// Drops its future, and with it whatever that waits for.
    fn give_up(self: Pin<&mut Self>);
}

pin_project! {
    /// See [`node`].
    #[derive(Debug)]
    pub struct NodeFuture<F> {
        #[pin]
        inner: Option<F>,
    }
}

/// Makes a node of a future.
pub fn node<F: Future<Output = Result<Wrote>>>(inner: F) -> NodeFuture<F> {
    NodeFuture { inner: Some(inner) }
}

impl<F: Future<Output = Result<Wrote>>> Node for NodeFuture<F> {
    fn poll_node(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Wrote>> {
        let Some(inner) = self.as_mut().project().inner.as_pin_mut() else {
            return Poll::Pending;
        };
        let polled = inner.poll(cx);
        if polled.is_ready() {
            self.project().inner.set(None);
        }
        polled
    }

    fn give_up(self: Pin<&mut Self>) {
        self.project().inner.set(None);
    }
}

/// Runs the nodes of `run`'s graph, given in its order. Ready when every node has ended, or with the first thing that
/// ends the flow: a required node's failure, an early answer, the deadline. Everything else is given up then.
///
/// # Cancel safety
/// Dropping it gives every node up and closes it in the timeline as cancelled.
pub fn drive<'d, 'n>(run: &'d Run, nodes: &'d mut [Pin<&'n mut (dyn Node + Send + 'n)>]) -> Drive<'d, 'n> {
    debug_assert_eq!(run.graph.nodes().len(), nodes.len(), "the graph and the flow are made from one list");
    let wakers = run.cells.iter().map(|cell| Waker::from(std::sync::Arc::clone(&cell.stamp))).collect();
    Drive { run, nodes, wakers, started: 0, ended: 0, latest: (run.started, None), timer: None }
}

/// The future of [`drive`].
pub struct Drive<'d, 'n> {
    run: &'d Run,
    nodes: &'d mut [Pin<&'n mut (dyn Node + Send + 'n)>],
    wakers: smallvec::SmallVec<[Waker; 8]>,
    started: u128,
    ended: u128,
    /// When the last node ended, and which: what made the nodes ready that are ready now.
    latest: (Ticks, Option<NodeId>),
    timer: Option<(Ticks, BoxFuture<'static, ()>)>,
}

/// How the flow ends early.
type Stop = Exit;

impl Future for Drive<'_, '_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let me = &mut *self;
        for cell in &me.run.cells {
            cell.stamp.register(cx.waker());
        }
        let mut now = me.run.log.now();
        if let Err(stop) = me.pass(&mut now) {
            return Poll::Ready(Err(stop));
        }
        if me.ended.count_ones() as usize == me.nodes.len() {
            me.run.end(me.latest.0, me.latest.1);
            return Poll::Ready(Ok(()));
        }
        match me.watch_time(cx, &mut now) {
            Err(stop) => Poll::Ready(Err(stop)),
            Ok(()) => Poll::Pending,
        }
    }
}

impl Drive<'_, '_> {
    /// Polls every node that was woken, and every node that is or becomes ready, each once: a node that wakes itself
    /// is polled in the next pass, after the runtime had its say.
    fn pass(&mut self, now: &mut Ticks) -> Result<(), Stop> {
        let mut polled = 0_u128;
        loop {
            let mut progress = false;
            for step in 0..self.nodes.len() {
                let bit = 1_u128 << step;
                if (self.ended | polled) & bit != 0 {
                    continue;
                }
                if self.started & bit != 0 {
                    if !self.run.cells[step].stamp.is_woken() {
                        continue;
                    }
                    self.resume(step, *now);
                } else if self.run.graph.nodes()[step].deps & !self.ended == 0 {
                    self.start(step, *now);
                } else {
                    continue;
                }
                polled |= bit;
                self.poll_node(step, now)?;
                progress |= self.ended & bit != 0;
            }
            if !progress {
                return Ok(());
            }
        }
    }

    /// Opens the node of a step whose inputs are there.
    fn start(&mut self, step: usize, now: Ticks) {
        let run = self.run;
        let node = &run.graph.nodes()[step];
        let (ready, after) = if node.deps == 0 { (run.started, None) } else { self.latest_of(node.deps) };
        let opening = Opening::running(run.names.steps[step], NodeKind::Step, run.parent)
            .after(after)
            .in_state(Cause::Worker, Name::NONE);
        let id = run.log.open(ready, opening);
        run.log.state(now, id, Cause::Run, Name::NONE, None);
        let cell = &run.cells[step];
        cell.node.store(id.0, Relaxed);
        if let Some(by) = node.timeout {
            cell.due.store(run.clock.after(ready, by).0, Relaxed);
        }
        self.started |= 1 << step;
    }

    /// The end of the last of `deps` to end, and its node.
    fn latest_of(&self, deps: u128) -> (Ticks, Option<NodeId>) {
        let mut latest = (self.run.started, None);
        for (step, cell) in self.run.cells.iter().enumerate() {
            let ended = Ticks(cell.ended.load(Relaxed));
            if deps & (1 << step) != 0 && (latest.1.is_none() || ended > latest.0) {
                latest = (ended, Some(NodeId(cell.node.load(Relaxed))));
            }
        }
        latest
    }

    /// Writes that a woken node was parked until its wake, and queued from then on.
    fn resume(&mut self, step: usize, now: Ticks) {
        let cell = &self.run.cells[step];
        let (at, by) = cell.stamp.take().unwrap_or((now, None));
        let id = NodeId(cell.node.load(Relaxed));
        self.run.log.state(at.min(now), id, Cause::Worker, Name::NONE, by);
        self.run.log.state(now, id, Cause::Run, Name::NONE, None);
    }

    fn poll_node(&mut self, step: usize, now: &mut Ticks) -> Result<(), Stop> {
        let run = self.run;
        let cell = &run.cells[step];
        let id = NodeId(cell.node.load(Relaxed));
        let mut cx = Context::from_waker(&self.wakers[step]);
        let polled = catch_unwind(AssertUnwindSafe(|| self.nodes[step].as_mut().poll_node(&mut cx)));
        *now = run.log.now();
        let at = *now;
        match polled {
            Ok(Poll::Pending) => {
                let in_flight = cell.in_flight.load(Relaxed);
                if in_flight == 0 {
                    return self.fail(step, at, foreign_await());
                }
                let only_timers = cell.timers.load(Relaxed) == in_flight;
                let cause = if only_timers { Cause::Timer } else { Cause::Join };
                run.log.state(at, id, cause, Name::NONE, None);
                Ok(())
            }
            Ok(Poll::Ready(Ok(Wrote::Slot))) => {
                self.close(step, at, Outcome::Ok, 0, Name::NONE);
                Ok(())
            }
            Ok(Poll::Ready(Ok(Wrote::Nothing))) => {
                self.close(step, at, Outcome::Skipped, 0, Name::NONE);
                Ok(())
            }
            Ok(Poll::Ready(Err(Exit::Done(response)))) => {
                self.close(step, at, Outcome::Ok, response.status.as_u16(), Name::NONE);
                self.stop(at, Some(id));
                Err(Exit::Done(response))
            }
            Ok(Poll::Ready(Err(Exit::Fail(fail)))) => self.fail(step, at, *fail),
            Err(panic) => self.fail(step, at, panicked(&*panic)),
        }
    }

    /// A node failed: an optional one leaves its slot empty, a required one ends the flow.
    fn fail(&mut self, step: usize, at: Ticks, mut fail: Fail) -> Result<(), Stop> {
        let run = self.run;
        let node = &run.graph.nodes()[step];
        let id = NodeId(run.cells[step].node.load(Relaxed));
        run.cells[step].ended.store(at.0, Relaxed);
        self.give_up(step);
        let outcome = match &fail {
            _ if fail.refused.is_some() => Outcome::Refused,
            _ if fail.code == "step_timeout" => Outcome::Timeout,
            _ => Outcome::Error,
        };
        self.close(step, at, outcome, fail.status.as_u16(), run.log.name(fail.code));
        fail.step.get_or_insert_with(|| (*node.name).into());
        if node.optional {
            run.note_failure(step, fail);
            return Ok(());
        }
        self.stop(at, Some(id));
        Err(fail.into())
    }

    fn close(&mut self, step: usize, at: Ticks, outcome: Outcome, status: u16, error: Name) {
        let cell = &self.run.cells[step];
        let id = NodeId(cell.node.load(Relaxed));
        self.run.log.close(at, id, outcome, status, error);
        cell.ended.store(at.0, Relaxed);
        self.ended |= 1 << step;
        self.latest = (at, Some(id));
    }

    /// Drops the future of a node. Its effects end with it.
    fn give_up(&mut self, step: usize) {
        // A destructor that panics has nobody left to tell; the node has failed or is not needed anyway.
        let _ = catch_unwind(AssertUnwindSafe(|| self.nodes[step].as_mut().give_up()));
    }

    /// Ends everything that still runs.
    fn stop(&mut self, at: Ticks, last: Option<NodeId>) {
        self.run.end(at, last);
        for step in 0..self.nodes.len() {
            let bit = 1_u128 << step;
            if self.started & !self.ended & bit != 0 {
                self.give_up(step);
                let id = NodeId(self.run.cells[step].node.load(Relaxed));
                self.run.log.close(at, id, Outcome::Cancelled, 0, Name::NONE);
                self.ended |= bit;
            }
        }
        // What never started is given up too: nothing is polled after this.
        self.ended = u128::MAX;
    }

    /// Notes that what a step waited for, when its time ran out, was the call it began last.
    fn blame(&self, step: usize, at: Ticks) {
        let cell = &self.run.cells[step];
        if let Some(call) = cell.latest_call().filter(|_| cell.in_flight.load(Relaxed) > 0) {
            let id = NodeId(cell.node.load(Relaxed));
            self.run.log.state(at, id, Cause::Run, Name::NONE, Some(call));
        }
    }

    /// Fails what ran out of time, and keeps a timer for what will run out of it next.
    fn watch_time(&mut self, cx: &mut Context<'_>, now: &mut Ticks) -> Result<(), Stop> {
        loop {
            let run = self.run;
            if run.deadline.is_some_and(|deadline| deadline <= *now) {
                let waiting: Vec<&str> = self.running().map(|step| &*run.graph.nodes()[step].name).collect();
                let last = self.running().next().map(|step| {
                    self.blame(step, *now);
                    NodeId(run.cells[step].node.load(Relaxed))
                });
                let detail = format!("the deadline passed while waiting for {}", waiting.join(", "));
                self.stop(*now, last);
                return Err(Fail::timeout("deadline_exceeded", detail).into());
            }
            let due = |step: usize| Some(run.cells[step].due.load(Relaxed)).filter(|due| *due != 0).map(Ticks);
            let mut failed = false;
            for step in self.running().collect::<smallvec::SmallVec<[usize; 8]>>() {
                if due(step).is_some_and(|due| due <= *now) {
                    self.blame(step, *now);
                    let time = run.graph.nodes()[step].timeout.unwrap_or_default();
                    self.fail(step, *now, Fail::timeout("step_timeout", format!("no result within {time:?}")))?;
                    failed = true;
                }
            }
            if failed {
                // An optional node ended: its readers may be ready now.
                self.pass(now)?;
                if self.ended.count_ones() as usize == self.nodes.len() {
                    // The next poll sees the end.
                    cx.waker().wake_by_ref();
                    return Ok(());
                }
                continue;
            }
            let next = self.running().filter_map(due).chain(run.deadline).min();
            let Some(next) = next else {
                return Ok(());
            };
            if self.timer.as_ref().is_none_or(|(at, _)| *at > next || *at <= *now) {
                self.timer = Some((next, run.shell.timer(run.clock.between(*now, next))));
            }
            let Some((at, timer)) = &mut self.timer else {
                return Ok(());
            };
            if timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            // Runtimes round timers; what this one was for is due, whatever the clock says.
            *now = run.log.now().max(*at);
            self.timer = None;
        }
    }

    fn running(&self) -> impl Iterator<Item = usize> + use<> {
        let running = self.started & !self.ended;
        (0..self.nodes.len()).filter(move |step| running & (1 << step) != 0)
    }
}

impl Drop for Drive<'_, '_> {
    fn drop(&mut self) {
        if self.run.ended().is_none() {
            let at = self.run.log.now();
            self.stop(at, None);
        }
    }
}

impl std::fmt::Debug for Drive<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drive").field("run", self.run).finish_non_exhaustive()
    }
}

fn foreign_await() -> Fail {
    Fail::internal(
        "foreign_await",
        "the step waits for something that is not an effect; await only what `fx` gives (calls, `fx.sleep`), so that \
         it can be measured, cancelled and replayed",
    )
}

fn panicked(panic: &(dyn Any + Send)) -> Fail {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Fail::internal("step_panicked", format!("the step panicked: {}", text.as_deref().unwrap_or("(no text)")))
}
