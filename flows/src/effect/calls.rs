//! Several calls as one: all, the first to end, the first success, some of them, or a second one when the first is slow.
//!
//! Each call keeps its own node in the timeline. Whoever is not needed any more is dropped, which ends its node as
//! cancelled. Where all fail, a refusal is told only when nothing worse happened: it says that there was no room, and must
//! not hide that another call broke. A winner is the same in a replay, because a cancelled call stays without answer there.

use std::collections::VecDeque;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::effect::{Answer, Call, Effect, Fx, Sleep};
use crate::exit::{Exit, Fail, Result};

impl<'r> Fx<'r> {
    /// Makes all calls side by side; the answers stand in the order of the calls.
    ///
    /// # Errors
    /// The first failure, at once; the other calls are cancelled.
    pub async fn all(&self, calls: impl IntoIterator<Item = Call<'r>>) -> Result<Vec<Answer>> {
        let calls: Vec<Call<'r>> = calls.into_iter().collect();
        let needed = calls.len();
        self.quorum(needed, calls).await
    }

    /// Makes all calls side by side and takes what ends first, be it a failure.
    ///
    /// # Errors
    /// The failure, when that came first; `no_calls` without any.
    pub async fn race(&self, calls: impl IntoIterator<Item = Call<'r>>) -> Result<Answer> {
        let mut flying = take_off(calls);
        if flying.is_empty() {
            return Err(no_calls());
        }
        poll_fn(|cx| first(&mut flying, cx).map(|(_, ended)| ended)).await
    }

    /// Makes all calls side by side and takes the first success.
    ///
    /// # Errors
    /// The last failure, when all failed, or the last refusal, when all were refused; `no_calls` without any.
    pub async fn first_ok(&self, calls: impl IntoIterator<Item = Call<'r>>) -> Result<Answer> {
        let mut answers = self.quorum(1, calls).await?;
        answers.pop().ok_or_else(no_calls)
    }

    /// Makes all calls side by side and takes the first `needed` successes, in the order of the calls.
    ///
    /// # Errors
    /// The last failure, when too few calls are left, or the last refusal, when nothing else failed; `no_calls` when there were too few to begin with.
    pub async fn quorum(&self, needed: usize, calls: impl IntoIterator<Item = Call<'r>>) -> Result<Vec<Answer>> {
        let mut flying = take_off(calls);
        if flying.len() < needed {
            return Err(no_calls());
        }
        let mut places: Vec<usize> = (0..flying.len()).collect();
        let mut answers: Vec<(usize, Answer)> = Vec::with_capacity(needed);
        let mut failed = None;
        while answers.len() < needed {
            let (at, ended) = poll_fn(|cx| first(&mut flying, cx)).await;
            let place = places.remove(at);
            drop(flying.remove(at));
            match ended {
                Ok(answer) => answers.push((place, answer)),
                Err(Exit::Fail(fail)) => {
                    let told = tell(failed.take(), fail);
                    if flying.len() + answers.len() < needed {
                        return Err(Exit::Fail(told));
                    }
                    failed = Some(told);
                }
                Err(exit) => return Err(exit),
            }
        }
        answers.sort_by_key(|(place, _)| *place);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Makes the first call, and each further one when those before gave nothing within `after`, or have all failed;
    /// takes the first success. For reads: a hedged write may happen twice.
    ///
    /// # Errors
    /// The last failure, when all failed, or the last refusal, when all were refused; `no_calls` without any.
    pub async fn hedge(&self, after: Duration, calls: impl IntoIterator<Item = Call<'r>>) -> Result<Answer> {
        let mut waiting: VecDeque<Effect<'r>> = calls.into_iter().map(IntoFuture::into_future).collect();
        let mut flying: Vec<Effect<'r>> = waiting.pop_front().into_iter().collect();
        let mut failed = None;
        let mut timer: Option<Sleep<'r>> = (!waiting.is_empty()).then(|| self.sleep(after));
        poll_fn(|cx| {
            loop {
                while let Poll::Ready((at, ended)) = first(&mut flying, cx) {
                    drop(flying.remove(at));
                    match ended {
                        Err(Exit::Fail(fail)) => failed = Some(tell(failed.take(), fail)),
                        other => return Poll::Ready(other),
                    }
                }
                let late = timer.as_mut().is_some_and(|timer| Pin::new(timer).poll(cx).is_ready());
                if !flying.is_empty() && !late {
                    return Poll::Pending;
                }
                let Some(next) = waiting.pop_front() else {
                    return Poll::Ready(Err(failed.take().map_or_else(no_calls, Exit::Fail)));
                };
                flying.push(next);
                timer = (!waiting.is_empty()).then(|| self.sleep(after));
            }
        })
        .await
    }
}

fn take_off<'r>(calls: impl IntoIterator<Item = Call<'r>>) -> Vec<Effect<'r>> {
    calls.into_iter().map(IntoFuture::into_future).collect()
}

/// Polls every call in order; the place and the end of the first that has ended.
fn first(flying: &mut [Effect<'_>], cx: &mut Context<'_>) -> Poll<(usize, Result<Answer>)> {
    let mut found = None;
    for (at, effect) in flying.iter_mut().enumerate() {
        if let Poll::Ready(ended) = Pin::new(effect).poll(cx) {
            found = Some((at, ended));
            break;
        }
    }
    found.map_or(Poll::Pending, Poll::Ready)
}

/// The failure that a join ends with, of the one kept so far and the next: the later one, but no refusal after a failure.
fn tell(kept: Option<Box<Fail>>, next: Box<Fail>) -> Box<Fail> {
    match kept {
        Some(kept) if next.refused.is_some() && kept.refused.is_none() => kept,
        _ => next,
    }
}

fn no_calls() -> Exit {
    Fail::internal("no_calls", "a join needs at least as many calls as it wants answers").into()
}
