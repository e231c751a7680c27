//! A call in the air and a pause: from the first poll to the end, each measured as a part of its step.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderValue, Method};
use zerver_telemetry::clock::Ticks;
use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::id::traceparent;
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::Opening;

use super::{Answer, Call, Fx};
use crate::adapter::{EffectError, HttpAnswer, HttpCall, Traced};
use crate::deadline::earlier;
use crate::exit::{Fail, Result};
use crate::journal::{Entry, Got, Key, hash, line};
use crate::wake::Stamp;

impl<'r> Fx<'r> {
    /// Waits for `time`. The step is parked on a timer meanwhile.
    #[must_use = "a pause is made when it is awaited"]
    pub fn sleep(&self, time: Duration) -> Sleep<'r> {
        Sleep { fx: *self, time, timer: None }
    }
}

impl<'r> IntoFuture for Call<'r> {
    type Output = Result<Answer>;
    type IntoFuture = Effect<'r>;

    fn into_future(self) -> Effect<'r> {
        Effect(State::Asked(Box::new(self)))
    }
}

/// A call in the air. It begins with its first poll and ends, cancelled, when it is dropped.
#[must_use = "a call is made when it is awaited"]
pub struct Effect<'r>(State<'r>);

enum State<'r> {
    Asked(Box<Call<'r>>),
    Flying(Box<Flight<'r>>),
    Ended,
}

struct Flight<'r> {
    fx: Fx<'r>,
    key: Key,
    asked: String,
    body_hash: u64,
    node: NodeId,
    began: Ticks,
    any_status: bool,
    /// It may have changed something.
    writes: bool,
    stamp: Arc<Stamp>,
    waker: Waker,
    answer: BoxFuture<'r, std::result::Result<HttpAnswer, EffectError>>,
    timer: Option<BoxFuture<'static, ()>>,
    over: bool,
}

impl<'r> Call<'r> {
    /// Opens the effect's node and asks the shell for the answer.
    fn launch(self) -> std::result::Result<Flight<'r>, EffectError> {
        let (run, cell) = (self.fx.run, self.fx.cell());
        if let Some(wrong) = self.wrong {
            return Err(EffectError::BadCall(wrong));
        }
        let (target, path) = split(&self.to)?;
        let shared = &run.shared;
        let log = &shared.log;
        let now = log.now();
        let name = log.name(target);
        let parent = cell.node();
        let (occurrence, attempt) = (cell.occurrence(name), cell.attempt.load(Relaxed));
        let node = log.open(
            now,
            Opening {
                occurrence,
                attempt,
                ..Opening::running(name, NodeKind::Effect, parent).in_state(Cause::Io, name)
            },
        );
        let mut headers = self.headers;
        let trace = traceparent(log.trace_id(), log.span_id(node), log.sampled());
        headers.insert("traceparent", HeaderValue::from_str(&trace).expect("a traceparent is hex and dashes"));
        let idempotency_key = (self.method == Method::POST || self.method == Method::PATCH).then(|| {
            let given = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
            given.unwrap_or_else(|| {
                let number = run.number(self.fx.step, self.key.seq);
                let text = format!("{:016x}-{number:016x}", run.seed);
                headers.insert("idempotency-key", HeaderValue::from_str(&text).expect("hex and a dash"));
                text
            })
        });
        let mut deadline = earlier(run.deadline, cell.due());
        deadline = earlier(deadline, self.timeout.map(|by| shared.clock.after(now, by)));
        let writes = self.method == Method::POST || self.method == Method::PATCH;
        let priority = run.bound.graph.nodes()[self.fx.step].priority.unwrap_or_default();
        let call = HttpCall {
            target: target.to_owned(),
            method: self.method,
            path_and_query: path.to_owned(),
            headers,
            body: self.body,
            deadline,
            idempotency_key,
            priority,
        };
        let (asked, body_hash) = (line(&call), hash(&call.body));
        let traced = Traced { log: log.clone(), node, parent, name, occurrence, attempt };
        let stamp = Stamp::of_effect(shared.clock.clone(), node, Arc::clone(&cell.stamp));
        cell.latest_call.store(node.0, Relaxed);
        cell.stamp.begin(false);
        cell.writes.fetch_add(u32::from(writes), Relaxed);
        Ok(Flight {
            writes,
            fx: self.fx,
            key: self.key.clone(),
            asked,
            body_hash,
            node,
            began: now,
            any_status: self.any_status,
            waker: Waker::from(Arc::clone(&stamp)),
            stamp,
            timer: self.timeout.map(|time| shared.shell.timer(time)),
            answer: shared.shell.http(self.key, call, traced),
            over: false,
        })
    }
}

/// `target:/path?query`, taken apart.
fn split(to: &str) -> std::result::Result<(&str, &str), EffectError> {
    let wrong = || EffectError::BadCall(format!("`{to}` is not of the form `target:/path`"));
    let (target, path) = to.split_once(':').ok_or_else(wrong)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let sound = !target.is_empty() && target.bytes().all(plain) && path.starts_with('/') && !path.starts_with("//");
    if sound && path.bytes().all(|b| b.is_ascii_graphic()) { Ok((target, path)) } else { Err(wrong()) }
}

impl Future for Effect<'_> {
    type Output = Result<Answer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if matches!(self.0, State::Asked(_)) {
            let State::Asked(call) = std::mem::replace(&mut self.0, State::Ended) else { unreachable!("just matched") };
            match call.launch() {
                Ok(flight) => self.0 = State::Flying(Box::new(flight)),
                Err(error) => return Poll::Ready(Err(Fail::from_effect(&error).into())),
            }
        }
        let State::Flying(flight) = &mut self.0 else {
            return Poll::Ready(Err(Fail::internal("polled_again", "an effect was polled after its end").into()));
        };
        flight.stamp.register(cx.waker());
        let woken = flight.stamp.take();
        let mut inner = Context::from_waker(&flight.waker);
        let got = match flight.answer.as_mut().poll(&mut inner) {
            Poll::Ready(got) => got,
            Poll::Pending => match flight.timer.as_mut().map(|timer| timer.as_mut().poll(&mut inner)) {
                Some(Poll::Ready(())) => Err(EffectError::Timeout),
                _ => return Poll::Pending,
            },
        };
        // What ended it is what woke it: its end is that moment, and not the later one at which a worker saw it.
        let at = woken.map_or_else(|| flight.fx.run.shared.log.now(), |(at, _)| at);
        let answer = flight.land(at, got);
        self.0 = State::Ended;
        Poll::Ready(answer)
    }
}

impl Flight<'_> {
    /// Closes the node and makes the step's answer.
    fn land(&mut self, at: Ticks, got: std::result::Result<HttpAnswer, EffectError>) -> Result<Answer> {
        let run = self.fx.run;
        let any_status = self.any_status;
        let refused = |answer: &HttpAnswer| !any_status && answer.status.as_u16() >= 400;
        let (outcome, status, error) = match &got {
            Ok(answer) if refused(answer) => (Outcome::Error, answer.status.as_u16(), Some("upstream_status")),
            Ok(answer) => (Outcome::Ok, answer.status.as_u16(), None),
            Err(EffectError::Timeout) => (Outcome::Timeout, 0, Some("upstream_timeout")),
            Err(error @ EffectError::Refused(_)) => (Outcome::Refused, 0, Some(error.code())),
            Err(error) => (Outcome::Error, 0, Some(error.code())),
        };
        self.end(at, outcome, status, error.map_or(Name::NONE, |error| run.shared.log.name(error)), || match &got {
            Ok(answer) => Got::Http(answer.clone()),
            Err(error) => Got::Failed(error.clone()),
        });
        if self.writes && matches!(got, Err(EffectError::Connect(_) | EffectError::Refused(_))) {
            // Nothing was sent, so nothing was changed.
            self.fx.cell().writes.fetch_sub(1, Relaxed);
        }
        let asked = std::mem::take(&mut self.asked);
        match got {
            Ok(answer) if refused(&answer) => {
                let detail = format!("{asked} answered {}", answer.status.as_u16());
                let fail = Fail::upstream("upstream_status", detail);
                Err(Fail { upstream_status: Some(answer.status), ..fail }.into())
            }
            Ok(HttpAnswer { status, headers, body }) => Ok(Answer { status, headers, body, asked }),
            Err(error) => {
                let fail = Fail::from_effect(&error);
                let detail = format!("{asked}: {error}");
                Err(fail.with_detail(detail).into())
            }
        }
    }

    fn end(&mut self, at: Ticks, outcome: Outcome, status: u16, error: Name, got: impl FnOnce() -> Got) {
        let run = self.fx.run;
        run.shared.log.close(at, self.node, outcome, status, error);
        self.fx.cell().stamp.done(false);
        self.over = true;
        if let Some(journal) = &run.shared.journal {
            journal.push(Entry {
                key: self.key.clone(),
                asked: self.asked.clone(),
                body_hash: self.body_hash,
                took_ns: run.shared.clock.nanos_between(self.began, at),
                got: got(),
            });
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.over {
            let at = self.fx.run.moment(self.fx.step);
            self.end(at, Outcome::Cancelled, 0, Name::NONE, || Got::Cancelled);
        }
    }
}

impl std::fmt::Debug for Effect<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            State::Asked(_) => "Effect(asked)",
            State::Flying(_) => "Effect(flying)",
            State::Ended => "Effect(ended)",
        })
    }
}

/// A pause; see [`Fx::sleep`].
#[must_use = "a pause is made when it is awaited"]
pub struct Sleep<'r> {
    pub(super) fx: Fx<'r>,
    pub(super) time: Duration,
    pub(super) timer: Option<BoxFuture<'static, ()>>,
}

impl Sleep<'_> {
    fn stop(&mut self) {
        if self.timer.take().is_some() {
            self.fx.cell().stamp.done(true);
        }
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = &mut *self;
        if me.timer.is_none() {
            me.timer = Some(me.fx.run.shared.shell.timer(me.time));
            me.fx.cell().stamp.begin(true);
        }
        let over = me.timer.as_mut().is_none_or(|timer| timer.as_mut().poll(cx).is_ready());
        if over {
            me.stop();
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Sleep<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sleep").field("time", &self.time).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_taken_apart_and_bad_ones_refused() {
        assert_eq!(split("cart:/v1/carts/7?a=b"), Ok(("cart", "/v1/carts/7?a=b")));
        for bad in ["cart", "cart:", "cart:v1", ":/v1", "http://host/x", "cart:/a b", "ca rt:/", "cart:/a\r\nx"] {
            assert!(split(bad).is_err(), "{bad:?} was taken");
        }
    }
}
