//! What the driver does because time passed or the client left: deadlines, timeouts, the next branch of a hedge.

use std::task::Context;
use std::time::Duration;

use zerver_telemetry::clock::Ticks;
use zerver_telemetry::event::Cause;
use zerver_telemetry::names::Name;

use super::{Drive, Stop, too_late};
use crate::exit::{Fail, Result};
use crate::join::Start;

impl Drive<'_, '_> {
    /// Ends the run when its client has left.
    pub(super) fn obey(&mut self, cx: &mut Context<'_>, now: Ticks) -> Result<(), Stop> {
        let cancel = self.run.shared.cancel.as_ref().filter(|_| self.run.obeys);
        if cancel.is_some_and(|cancel| cancel.is_told(cx.waker())) {
            self.stop(now, None);
            return Err(Stop::Exit(client_left().into()));
        }
        Ok(())
    }

    /// When optional steps are not waited for any more.
    pub(super) fn optional_until(&self) -> Option<Ticks> {
        let run = self.run;
        run.bound.graph.optional_within().map(|by| run.shared.clock.after(run.started, by))
    }

    pub(super) fn helper_is_planned(&self) -> bool {
        matches!(self.join.start, Start::AfterPercentile(..))
    }

    /// A branch of a hedge started: notes when the next one is due.
    pub(super) fn plan_help(&mut self, step: usize, now: Ticks) {
        let run = self.run;
        let delay = match self.join.start {
            Start::After(delay) => delay,
            Start::AfterPercentile(percent, unknown) => {
                let asked = || run.bound.pace.percentile(percent).unwrap_or(unknown).as_nanos() as u64;
                Duration::from_nanos(run.observe(run.decision(step, "delay"), "hedge delay", asked))
            }
            _ => return,
        };
        if step == 0 {
            run.bound.pace.earn();
        }
        self.granted = false;
        self.helper = (step + 1 < self.nodes.len()).then(|| run.shared.clock.after(now, delay));
    }

    /// Whether the next branch may start although those before it may still answer; not more often than the budget says.
    fn help(&mut self, now: Ticks) -> bool {
        if self.helper.is_none_or(|at| at > now) {
            return false;
        }
        let (run, next) = (self.run, self.started.count_ones() as usize);
        let spend = || u64::from(run.bound.pace.spend());
        self.granted = run.observe(run.decision(next, "budget"), "hedge budget", spend) == 1;
        if self.granted {
            return true;
        }
        let log = &run.shared.log;
        log.attr_bool(run.parent, log.name("hedge_budget_spent"), true);
        self.helper = None;
        false
    }

    /// Notes that what a step waited for, when its time ran out, was the call it began last.
    fn blame(&self, step: usize, at: Ticks) {
        let cell = &self.run.cells[step];
        if let Some(call) = cell.latest_call().filter(|_| cell.stamp.pending().0 > 0) {
            self.run.shared.log.state(at, cell.node(), Cause::Run, Name::NONE, Some(call));
        }
    }

    /// Fails what ran out of time, starts what was waiting for time to pass, and keeps a timer for what comes next.
    pub(super) fn watch_time(&mut self, cx: &mut Context<'_>, now: &mut Ticks) -> Result<(), Stop> {
        loop {
            let run = self.run;
            // Inside a step, that step's driver sees to the deadline.
            let deadline = run.deadline.filter(|_| run.keeps_time);
            if deadline.is_some_and(|deadline| deadline <= *now) {
                return Err(self.out_of_time(*now));
            }
            let mut changed = self.fail_late(*now)?;
            changed |= self.help(*now);
            if changed {
                // A node ended, or another may start: what follows from that happens now.
                self.pass(now)?;
                if self.is_over() {
                    return Ok(());
                }
                continue;
            }
            let until = self.optional_until().filter(|_| self.optional_runs());
            let due = self.running().filter_map(|step| run.cells[step].due());
            let Some(next) = due.chain(deadline).chain(until).chain(self.helper).min() else {
                return Ok(());
            };
            if self.timer.as_ref().is_none_or(|(at, _)| *at > next || *at <= *now) {
                self.timer = Some((next, run.shared.shell.timer(run.shared.clock.between(*now, next))));
            }
            let Some((at, timer)) = &mut self.timer else {
                return Ok(());
            };
            if timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            // Runtimes round timers; what this one was for is due, whatever the clock says.
            *now = run.shared.log.now().max(*at);
            self.timer = None;
        }
    }

    fn out_of_time(&mut self, now: Ticks) -> Stop {
        let run = self.run;
        let waiting: Vec<&str> = self.running().map(|step| &*run.bound.graph.nodes()[step].name).collect();
        let last = self.running().next().map(|step| {
            self.blame(step, now);
            run.fails_at(step);
            run.cells[step].node()
        });
        let detail = format!("the deadline passed while waiting for {}", waiting.join(", "));
        self.stop(now, last);
        Stop::Exit(Fail::timeout("deadline_exceeded", detail).into())
    }

    fn optional_runs(&self) -> bool {
        self.running().any(|step| self.run.bound.graph.nodes()[step].optional)
    }

    /// Fails every node whose time is up. True when there was one.
    fn fail_late(&mut self, now: Ticks) -> Result<bool, Stop> {
        let mut failed = false;
        let no_more_optional = self.optional_until().is_some_and(|until| until <= now);
        for step in self.running().collect::<smallvec::SmallVec<[usize; 8]>>() {
            let node = &self.run.bound.graph.nodes()[step];
            let fail = if self.run.cells[step].due().is_some_and(|due| due <= now) {
                let time = node.timeout.unwrap_or_default();
                Fail::timeout("step_timeout", format!("no result within {time:?}"))
            } else if no_more_optional && node.optional {
                too_late()
            } else {
                continue;
            };
            self.blame(step, now);
            self.fail(step, now, fail)?;
            failed = true;
        }
        Ok(failed)
    }
}

fn client_left() -> Fail {
    let status = http::StatusCode::from_u16(499).unwrap_or(http::StatusCode::BAD_REQUEST);
    Fail::new(status, "the client left").with_code("client_gone")
}
