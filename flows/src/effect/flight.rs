//! A call in the air: from the first poll to the end, measured as a part of its step.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use zerver_telemetry::clock::Ticks;
use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::Opening;

use super::Answer;
use super::asked::Asked;
use crate::adapter::{EffectError, HttpAnswer, Traced};
use crate::air::Ticket;
use crate::exit::{Fail, Result};
use crate::journal::{Entry, Got, hash};
use crate::reads::{Found, Role};
use crate::upload::Upload;
use crate::wake::Stamp;

/// A call in the air. It begins with its first poll and ends, cancelled, when it is dropped.
#[must_use = "a call is made when it is awaited"]
pub struct Effect<'r>(pub(super) Option<Box<Flight<'r>>>);

/// A call from its making to its end: one allocation, which does not move.
pub(super) struct Flight<'r> {
    pub(super) asked: Asked<'r>,
    body_hash: u64,
    node: NodeId,
    name: Name,
    place: (u16, u16),
    /// When the adapter got it.
    began: Ticks,
    stamp: Arc<Stamp>,
    waker: Waker,
    stage: Stage<'r>,
    /// Others may share its answer.
    leads: bool,
    timer: Option<BoxFuture<'static, ()>>,
}

/// Where a call is on its way.
enum Stage<'r> {
    /// Nobody has awaited it yet.
    Asked,
    /// It waits for an identical call's answer.
    Following,
    /// It waits until the request has fewer calls in the air.
    Queued(Ticket),
    /// The adapter has it.
    Flying(BoxFuture<'r, std::result::Result<HttpAnswer, EffectError>>),
    Over,
}

impl<'r> Flight<'r> {
    pub(super) fn of(asked: Asked<'r>) -> Box<Self> {
        let stamp = Stamp::of_effect(asked.fx.run.shared.clock.clone(), Arc::clone(&asked.fx.cell().stamp));
        Box::new(Self {
            asked,
            body_hash: 0,
            node: NodeId::ROOT,
            name: Name::NONE,
            place: (1, 1),
            began: Ticks(0),
            waker: Waker::from(Arc::clone(&stamp)),
            stamp,
            stage: Stage::Asked,
            leads: false,
            timer: None,
        })
    }

    /// Opens the effect's node and sends the call on its way.
    fn launch(&mut self) -> std::result::Result<(), EffectError> {
        let fx = self.asked.fx;
        let (run, shared, cell) = (fx.run, &fx.run.shared, fx.cell());
        let log = &shared.log;
        let target = self.asked.target()?;
        let name = run.bound.target(target).map_or_else(|| log.name(target), |(_, name)| *name);
        let now = log.now();
        let (occurrence, attempt) = (cell.occurrence(name), cell.attempt.load(Relaxed));
        let opening = Opening::running(name, NodeKind::Effect, cell.node()).in_state(Cause::Io, name);
        let node = log.open(now, Opening { occurrence, attempt, ..opening });
        self.stamp.open(node);
        cell.latest_call.store(node.0, Relaxed);
        cell.stamp.begin(false);
        (self.node, self.name, self.place) = (node, name, (occurrence, attempt));
        self.timer = self.asked.timeout.map(|time| shared.shell.timer(time));
        self.stage = Stage::Following;
        let mut calls = shared.calls.lock();
        if self.asked.is_shared() {
            match calls.reads.join(&self.asked, node, &self.waker) {
                Role::Leads => self.leads = true,
                Role::Follows(leader) => {
                    drop(calls);
                    log.state(now, node, Cause::Lock, name, Some(leader));
                    log.attr_bool(node, log.name("shared"), true);
                    return Ok(());
                }
            }
        }
        let room = calls.air.enter(&self.waker);
        drop(calls);
        self.queue(now, room);
        Ok(())
    }

    /// Goes into the air, or waits for room there.
    fn queue(&mut self, now: Ticks, room: std::result::Result<(), Ticket>) {
        match room {
            Ok(()) => self.fly(now),
            Err(ticket) => {
                let log = &self.asked.fx.run.shared.log;
                log.state(now, self.node, Cause::Permit, log.name("calls_at_once"), None);
                self.stage = Stage::Queued(ticket);
            }
        }
    }

    /// Hands the call to the adapter.
    fn fly(&mut self, now: Ticks) {
        let fx = self.asked.fx;
        let (shared, cell) = (&fx.run.shared, fx.cell());
        self.began = now;
        let call = self.asked.prepare(self.node, now);
        if let Some(upload) = &call.upload {
            upload.measure(&shared.clock);
        }
        if shared.journal.is_some() {
            self.body_hash = hash(&call.body);
        }
        let (occurrence, attempt) = self.place;
        let (log, retries, node, name, parent) = (&shared.log, &shared.retries, self.node, self.name, cell.node());
        let traced = Traced { log, node, parent, name, occurrence, attempt, retries };
        if self.asked.writes() {
            cell.stamp.count_write(true, fx.is_idempotent());
        }
        self.stage = Stage::Flying(shared.shell.http(self.asked.place, call, traced));
    }

    /// Waits for what it waits for.
    fn poll(&mut self) -> Poll<std::result::Result<HttpAnswer, EffectError>> {
        let shared = &self.asked.fx.run.shared;
        let mut cx = Context::from_waker(&self.waker);
        match &mut self.stage {
            Stage::Following => {
                let mut calls = shared.calls.lock();
                match calls.reads.poll(self.node) {
                    Found::Nothing => {}
                    Found::Answer(got) => return Poll::Ready(got),
                    Found::Lead => {
                        let room = calls.air.enter(&self.waker);
                        drop(calls);
                        self.leads = true;
                        let now = shared.log.now();
                        shared.log.state(now, self.node, Cause::Io, self.name, None);
                        self.queue(now, room);
                        return self.poll();
                    }
                }
            }
            Stage::Queued(ticket) => {
                if shared.calls.lock().air.try_enter(*ticket) {
                    let now = shared.log.now();
                    shared.log.state(now, self.node, Cause::Io, self.name, None);
                    self.fly(now);
                    return self.poll();
                }
            }
            Stage::Flying(answer) => {
                if let Poll::Ready(got) = answer.as_mut().poll(&mut cx) {
                    return Poll::Ready(got);
                }
            }
            Stage::Asked | Stage::Over => {}
        }
        match self.timer.as_mut().map(|timer| timer.as_mut().poll(&mut cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(EffectError::Timeout)),
            _ => Poll::Pending,
        }
    }
}

impl Future for Effect<'_> {
    type Output = Result<Answer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(flight) = &mut self.0 else {
            return Poll::Ready(Err(Fail::internal("polled_again", "an effect was polled after its end").into()));
        };
        let woken = flight.stamp.take();
        if matches!(flight.stage, Stage::Asked)
            && let Err(error) = flight.launch()
        {
            self.0 = None;
            return Poll::Ready(Err(Fail::from_effect(&error).into()));
        }
        let Poll::Ready(got) = flight.poll() else {
            flight.stamp.register(cx.waker());
            if flight.stamp.is_woken() {
                // It was woken before it was known whom to wake.
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        };
        // What ended it is what woke it: its end is that moment, and not the later one at which a worker saw it.
        let at = woken.map_or_else(|| flight.asked.fx.run.shared.log.now(), |(at, _)| at);
        let answer = flight.land(at, got);
        self.0 = None;
        Poll::Ready(answer)
    }
}

impl Flight<'_> {
    /// Closes the node and makes the step's answer.
    fn land(&mut self, at: Ticks, got: std::result::Result<HttpAnswer, EffectError>) -> Result<Answer> {
        let log = &self.asked.fx.run.shared.log;
        let is_failure = |answer: &HttpAnswer| !self.asked.judged.any && answer.status.as_u16() >= 400;
        let (outcome, status, error) = match &got {
            Ok(answer) if is_failure(answer) => (Outcome::Error, answer.status.as_u16(), Some("upstream_status")),
            Ok(answer) => (Outcome::Ok, answer.status.as_u16(), None),
            Err(EffectError::Timeout) => (Outcome::Timeout, 0, Some("upstream_timeout")),
            Err(error @ EffectError::Refused(_)) => (Outcome::Refused, 0, Some(error.code())),
            Err(error) => (Outcome::Error, 0, Some(error.code())),
        };
        if let Some(upload) = &self.asked.upload {
            if upload.is_begun() {
                self.stamp.spend();
            }
            log.attr_float(self.node, log.name("request_body_wait"), upload.waited().as_secs_f64());
        }
        // Whoever waits longer than this one did makes the call anew, as when this one had been cancelled.
        let impatient = || self.asked.timeout.is_some() || self.asked.fx.cell().due().is_some();
        let share = self.leads && !(matches!(got, Err(EffectError::Timeout)) && impatient());
        if self.asked.writes() && matches!(got, Err(EffectError::Connect(_) | EffectError::Refused(_))) {
            // Nothing was sent, so nothing was changed.
            self.asked.fx.cell().stamp.count_write(false, self.asked.fx.is_idempotent());
        }
        let error = error.map_or(Name::NONE, |error| log.name(error));
        self.end(at, outcome, status, error, share.then_some(&got), || match &got {
            Ok(answer) => Got::Http(answer.clone()),
            Err(error) => Got::Failed(error.clone()),
        });
        match got {
            Ok(answer) if !self.asked.judged.any && answer.status.as_u16() >= 400 => {
                Err(self.asked.judged.fail(&self.asked.line(), &answer).into())
            }
            Ok(HttpAnswer { status, headers, body }) => {
                let (method, to) = self.asked.take_asked();
                Ok(Answer { status, headers, body, method, to })
            }
            Err(error) => {
                // A body that did not arrive is the client's doing, whatever the target made of it.
                let broke = self.asked.upload.as_ref().and_then(Upload::error);
                let fail = broke.map_or_else(|| Fail::from_effect(&error), Fail::from);
                let detail = format!("{}: {error}", self.asked.line());
                Err(fail.with_detail(detail).into())
            }
        }
    }

    /// `share` is what others who wait for the same answer get.
    fn end(
        &mut self,
        at: Ticks,
        outcome: Outcome,
        status: u16,
        error: Name,
        share: Option<&std::result::Result<HttpAnswer, EffectError>>,
        got: impl FnOnce() -> Got,
    ) {
        let shared = &self.asked.fx.run.shared;
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let mut calls = shared.calls.lock();
        match &stage {
            Stage::Queued(ticket) => calls.air.give_up(*ticket),
            Stage::Flying(_) => calls.air.leave(),
            Stage::Asked | Stage::Following | Stage::Over => {}
        }
        match share {
            Some(got) => calls.reads.land(self.node, got),
            None if self.leads || matches!(stage, Stage::Following) => calls.reads.leave(self.node),
            None => {}
        }
        drop(calls);
        shared.log.close(at, self.node, outcome, status, error);
        self.asked.fx.cell().stamp.done(false);
        // What was never sent, because another call's answer was there for it, is not in the journal either.
        if let (Some(journal), Stage::Flying(_)) = (&shared.journal, &stage) {
            journal.push(Entry {
                key: self.asked.place.key(),
                asked: self.asked.line(),
                body_hash: self.body_hash,
                took_ns: shared.clock.nanos_between(self.began, at),
                got: got(),
            });
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Asked | Stage::Over) {
            let at = self.asked.fx.run.moment(self.asked.fx.step);
            self.end(at, Outcome::Cancelled, 0, Name::NONE, None, || Got::Cancelled);
        }
    }
}

impl std::fmt::Debug for Effect<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Effect").field(&self.0.as_ref().map(|flight| &flight.stage)).finish()
    }
}

impl std::fmt::Debug for Flight<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flight").field("asked", &self.asked).field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Stage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Asked => "asked",
            Self::Following => "following",
            Self::Queued(_) => "queued",
            Self::Flying(_) => "flying",
            Self::Over => "over",
        })
    }
}
