//! The one driver: polls the nodes that may run, and writes to the timeline what they wait for.
//!
//! It performs nothing itself and knows no runtime: the present moment comes from the request's log, everything else
//! from the run's shell. Rust flows, flows from configuration, joins, undoing, tests and replays all use it.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use zerver_telemetry::clock::Ticks;
use zerver_telemetry::event::{Cause, NodeId, Outcome};
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::Opening;

use crate::exit::{Exit, Fail, Result};
use crate::join::{Join, Tally, Verdict, all};
use crate::node::{Node, Wrote};
use crate::run::Run;

mod time;

/// Runs the nodes of `run`'s graph, given in its order; fewer than the graph has when the last ones have no work. Ready
/// when the graph's join is: as a rule when every node has ended, or with the first thing that ends it (a required
/// node's failure, an early answer, the deadline). Everything else is given up then.
///
/// # Cancel safety
/// Dropping it gives every node up and closes it in the timeline as cancelled.
pub fn drive<'d, 'n>(run: &'d Run, nodes: &'d mut [Pin<&'n mut (dyn Node + Send + 'n)>]) -> Drive<'d, 'n> {
    let graph = &run.bound.graph;
    debug_assert!(graph.nodes().len() >= nodes.len(), "the graph and the flow are made from one list");
    let optional = graph.nodes()[..nodes.len()].iter().enumerate().filter(|(_, node)| node.optional);
    let optional = optional.fold(0, |bits, (n, _)| bits | 1 << n);
    if let Some(stamp) = &run.above {
        stamp.begin(false);
    }
    let join = graph.join();
    let mut tally = Tally::new(join.take, nodes.len(), optional);
    let mut ended = 0;
    if let Some(resumed) = run.shared.resumed.as_ref().filter(|_| run.is_root) {
        // What wrote nothing then does not run now.
        ended = all(nodes.len()) & !resumed.wrote;
        (0..nodes.len()).filter(|n| ended & (1 << n) != 0).for_each(|n| tally.ended(n, true));
    }
    Drive {
        run,
        join,
        tally,
        nodes,
        started: 0,
        ended,
        latest: (run.started, None),
        registered: None,
        timer: None,
        helper: None,
        granted: false,
    }
}

/// The future of [`drive`].
pub struct Drive<'d, 'n> {
    run: &'d Run,
    join: Join,
    tally: Tally,
    nodes: &'d mut [Pin<&'n mut (dyn Node + Send + 'n)>],
    started: u128,
    ended: u128,
    /// When the last node ended, and which: what made the nodes ready that are ready now.
    latest: (Ticks, Option<NodeId>),
    /// Who is woken when a node is.
    registered: Option<Waker>,
    timer: Option<(Ticks, BoxFuture<'static, ()>)>,
    /// When the next branch starts beside those that give nothing.
    helper: Option<Ticks>,
    /// It is due, and the budget allows it.
    granted: bool,
}

/// How driving ends before every node has.
enum Stop {
    /// Enough branches have done well.
    Won,
    /// With a failure or an early answer.
    Exit(Exit),
}

impl Future for Drive<'_, '_> {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let me = &mut *self;
        if me.registered.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            me.registered = Some(cx.waker().clone());
            me.run.cells.register(cx.waker());
        }
        let mut now = me.run.shared.log.now();
        let stop = match me.turn(cx, &mut now) {
            Ok(()) if me.is_over() => Stop::Won,
            Ok(()) => return Poll::Pending,
            Err(stop) => stop,
        };
        Poll::Ready(match stop {
            Stop::Won => {
                me.run.end(me.latest.0, me.latest.1);
                // A run that goes on with an undoing fails as it did, now that its slots are written again.
                let resumed = me.run.shared.resumed.as_ref().filter(|_| me.run.is_root);
                resumed.map_or(Ok(()), |resumed| Err(resumed.fail.clone().into()))
            }
            Stop::Exit(exit) => Err(exit),
        })
    }
}

impl Drive<'_, '_> {
    fn is_over(&self) -> bool {
        self.ended & all(self.nodes.len()) == all(self.nodes.len())
    }

    fn turn(&mut self, cx: &mut Context<'_>, now: &mut Ticks) -> Result<(), Stop> {
        self.obey(cx, *now)?;
        self.pass(now)?;
        if self.is_over() { Ok(()) } else { self.watch_time(cx, now) }
    }

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
                } else if self.may_start(step) {
                    if !self.start(step, *now)? {
                        progress = true;
                        continue;
                    }
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

    fn may_start(&self, step: usize) -> bool {
        self.run.bound.graph.nodes()[step].deps & !self.ended == 0
            && self.join.start.allows(step, self.started, self.ended, self.granted)
    }

    /// Opens the node of a step whose inputs are there. False when it is too late for it.
    fn start(&mut self, step: usize, now: Ticks) -> Result<bool, Stop> {
        let run = self.run;
        let node = &run.bound.graph.nodes()[step];
        let shown = run.bound.shown[step];
        let (ready, after) = self.readied(step, node.deps);
        let mut opening = Opening::running(shown.name, shown.kind, run.parent).after(after);
        opening.occurrence = shown.occurrence;
        let log = &run.shared.log;
        let id = log.open(ready, opening.in_state(Cause::Worker, Name::NONE));
        let cell = &run.cells[step];
        cell.stamp.open(id);
        self.started |= 1 << step;
        if node.optional && self.optional_until().is_some_and(|until| until <= now) {
            self.fail(step, now, too_late())?;
            return Ok(false);
        }
        log.state(now, id, Cause::Run, Name::NONE, None);
        if let Some(by) = node.timeout {
            cell.set_due(run.shared.clock.after(ready, by));
        }
        self.plan_help(step, now);
        Ok(true)
    }

    /// When a node that starts now became ready, and whose end made it so.
    fn readied(&self, step: usize, deps: u128) -> (Ticks, Option<NodeId>) {
        if deps != 0 {
            return self.latest_of(deps);
        }
        match (self.helper, self.latest) {
            // Nobody's end, but the time that passed without one.
            (Some(at), _) if self.granted => (at, None),
            (_, latest) if step > 0 && self.join.start != crate::join::Start::Together => latest,
            _ => (self.run.started, None),
        }
    }

    /// The end of the last of `deps` to end, and its node.
    fn latest_of(&self, deps: u128) -> (Ticks, Option<NodeId>) {
        let mut latest = (self.run.started, None);
        let mut left = deps;
        while left != 0 {
            let step = left.trailing_zeros() as usize;
            left &= left - 1;
            debug_assert!(self.ended & (1 << step) != 0, "a node starts when what it waits for has ended");
            let cell = &self.run.cells[step];
            if let Some(ended) = cell.stamp.ended().filter(|at| latest.1.is_none() || *at > latest.0) {
                latest = (ended, Some(cell.node()));
            }
        }
        latest
    }

    /// Writes that a woken node was parked until its wake, and queued from then on.
    fn resume(&mut self, step: usize, now: Ticks) {
        let (cell, log) = (&self.run.cells[step], &self.run.shared.log);
        let (at, by) = cell.stamp.take().unwrap_or((now, None));
        log.state(at.min(now), cell.node(), Cause::Worker, Name::NONE, by);
        log.state(now, cell.node(), Cause::Run, Name::NONE, None);
    }

    fn poll_node(&mut self, step: usize, now: &mut Ticks) -> Result<(), Stop> {
        let run = self.run;
        let cell = &run.cells[step];
        let mut cx = Context::from_waker(&cell.waker);
        let polled = catch_unwind(AssertUnwindSafe(|| self.nodes[step].as_mut().poll_node(&mut cx)));
        *now = run.shared.log.now();
        let at = *now;
        match polled {
            Ok(Poll::Pending) => {
                let (pending, timers) = cell.stamp.pending();
                if pending == 0 {
                    return self.fail(step, at, foreign_await());
                }
                let cause = if timers == pending { Cause::Timer } else { Cause::Join };
                run.shared.log.state(at, cell.node(), cause, Name::NONE, None);
                Ok(())
            }
            Ok(Poll::Ready(Ok(wrote))) => self.succeed(step, at, wrote),
            Ok(Poll::Ready(Err(Exit::Fail(fail)))) => self.fail(step, at, *fail),
            Ok(Poll::Ready(Err(exit))) => {
                let status = if let Exit::Done(response) = &exit { response.status.as_u16() } else { 0 };
                self.close(step, at, Outcome::Ok, status, Name::NONE);
                self.stop(at, Some(cell.node()));
                Err(Stop::Exit(exit))
            }
            Err(panic) => self.fail(step, at, panicked(&*panic)),
        }
    }

    fn succeed(&mut self, step: usize, at: Ticks, wrote: Wrote) -> Result<(), Stop> {
        let (run, cell) = (self.run, &self.run.cells[step]);
        let outcome = if wrote == Wrote::Slot { Outcome::Ok } else { Outcome::Skipped };
        if wrote == Wrote::Slot {
            // One task drives a run and all that is inside it: nobody else counts meanwhile.
            let place = run.shared.wrote.load(Relaxed) + 1;
            run.shared.wrote.store(place, Relaxed);
            cell.wrote.store(place, Relaxed);
        }
        self.close(step, at, outcome, 0, Name::NONE);
        self.tally.ended(step, true);
        if step == 0 && self.helper_is_planned() {
            run.bound.pace.took(run.shared.clock.between(run.started, at));
        }
        match self.tally.verdict() {
            Verdict::Won if !self.is_over() => {
                self.stop(at, Some(cell.node()));
                Err(Stop::Won)
            }
            _ => Ok(()),
        }
    }

    /// A node failed: an optional one leaves its slot empty, and a join may have other branches; else the run ends.
    fn fail(&mut self, step: usize, at: Ticks, mut fail: Fail) -> Result<(), Stop> {
        let run = self.run;
        let (node, cell) = (&run.bound.graph.nodes()[step], &run.cells[step]);
        cell.stamp.end(at);
        self.give_up(step);
        let outcome = match fail.code {
            _ if fail.refused.is_some() => Outcome::Refused,
            "step_timeout" | "optional_too_late" => Outcome::Timeout,
            _ => Outcome::Error,
        };
        self.close(step, at, outcome, fail.status.as_u16(), run.shared.log.name(fail.code));
        fail.step.get_or_insert_with(|| (*node.name).into());
        self.tally.ended(step, false);
        match self.tally.verdict() {
            Verdict::Lost => {
                run.fails_at(step);
                if self.tally.gathers_failures() {
                    fail = run.worst(fail);
                }
                self.stop(at, Some(cell.node()));
                Err(Stop::Exit(fail.into()))
            }
            Verdict::Won if !self.is_over() => {
                run.note_failure(step, fail);
                self.stop(at, Some(cell.node()));
                Err(Stop::Won)
            }
            _ => {
                run.note_failure(step, fail);
                Ok(())
            }
        }
    }

    fn close(&mut self, step: usize, at: Ticks, outcome: Outcome, status: u16, error: Name) {
        let cell = &self.run.cells[step];
        self.run.shared.log.close(at, cell.node(), outcome, status, error);
        cell.stamp.end(at);
        self.ended |= 1 << step;
        self.latest = (at, Some(cell.node()));
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
                let cell = &self.run.cells[step];
                cell.stamp.end(at);
                self.give_up(step);
                self.run.shared.log.close(at, cell.node(), Outcome::Cancelled, 0, Name::NONE);
                self.ended |= bit;
            }
        }
        // What never started is given up too: nothing is polled after this.
        self.ended = u128::MAX;
        self.latest = (at, last);
    }

    fn running(&self) -> impl Iterator<Item = usize> + use<> {
        let running = self.started & !self.ended;
        (0..self.nodes.len()).filter(move |step| running & (1 << step) != 0)
    }
}

impl Drop for Drive<'_, '_> {
    fn drop(&mut self) {
        if self.run.ended().is_none() {
            self.stop(self.run.now(), None);
        }
        if let Some(stamp) = &self.run.above {
            stamp.done(false);
        }
    }
}

impl std::fmt::Debug for Drive<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drive").field("run", self.run).finish_non_exhaustive()
    }
}

/// An optional step is not waited for any longer.
fn too_late() -> Fail {
    Fail::timeout("optional_too_late", "optional steps are not waited for any longer in this flow")
}

fn foreign_await() -> Fail {
    Fail::internal(
        "foreign_await",
        "the step waits for something that is not an effect; await only what `fx` gives (calls, `fx.sleep`), so that \
         it can be measured, cancelled and replayed",
    )
}

pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Fail {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Fail::internal("step_panicked", format!("the step panicked: {}", text.as_deref().unwrap_or("(no text)")))
}
