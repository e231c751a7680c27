//! Performs the effects of flows through the gateway's upstreams: a seat at the gate, a peer, tries while they may help.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use hashbrown::HashMap;
use http::{HeaderValue, Method, StatusCode};
use zerver_flows::Upload;
use zerver_flows::adapter::{Adapter, EffectError, HttpAnswer, HttpCall, Priority, Refusal, Traced};
use zerver_flows::policy::LONGEST_ASKED;
use zerver_telemetry::clock::{Clock, Ticks};
use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::{Log, Opening};

use crate::admission::{self, Ask, Class, Permit, TenantKey};
use crate::keys::Keys;
use crate::upstream::Upstream;
use crate::upstream::breaker::{self, Pass, Refused, Verdict};
use crate::upstream::peer::Picked;

/// Performs the effects of flows through the gateway's upstreams.
pub struct Effects {
    upstreams: HashMap<String, Arc<Upstream>>,
    keys: Keys,
}

impl Effects {
    /// Effects that reach these upstreams.
    #[must_use]
    pub fn new(upstreams: impl IntoIterator<Item = Arc<Upstream>>, keys: Keys) -> Self {
        Self { upstreams: upstreams.into_iter().map(|upstream| (upstream.name.clone(), upstream)).collect(), keys }
    }

    /// One call: a seat, a peer, and tries while they may help.
    async fn call(&self, call: HttpCall, traced: Traced<'_>) -> Result<HttpAnswer, EffectError> {
        let upstream =
            self.upstreams.get(&*call.target).ok_or_else(|| EffectError::UnknownTarget(call.target.to_string()))?;
        let Traced { log, node, .. } = &traced;
        let broken = |refused: Refused| {
            log.attr_text(*node, self.keys.breaker, refused.state.as_str());
            let retry_after = Duration::from_secs(refused.seconds().into());
            EffectError::Refused(Refusal { reason: breaker::REASON, retry_after })
        };
        // An upstream that is left alone is not waited for.
        upstream.look().map_err(broken)?;
        let class = match call.priority {
            Priority::Interactive => Class::Interactive,
            Priority::Batch => Class::Batch,
            Priority::Critical => Class::Critical,
        };
        let ask = || Ask { class, tenant: TenantKey::default(), deadline: call.deadline };
        let permit = match upstream.gate.try_enter(&ask()) {
            Some(permit) => permit,
            None => {
                log.attr_int(*node, self.keys.in_flight, i64::from(upstream.gate.in_use()));
                log.attr_int(*node, self.keys.waiting, upstream.gate.waiting() as i64);
                log.state(log.now(), *node, Cause::Permit, upstream.id, None);
                let permit = upstream.gate.enter(&ask()).await.map_err(|shed| {
                    EffectError::Refused(Refusal { reason: shed.reason.as_str(), retry_after: shed.retry_after })
                })?;
                log.state(log.now(), *node, Cause::Io, upstream.id, None);
                permit
            }
        };
        // It may have been closed to us during the wait.
        let pass = upstream.enter().map_err(broken)?;
        upstream.budget.earn();
        let seat = Seat { permit: Some(permit), deadline: call.deadline, clock: log.recorder().clock() };
        let answer = self.tries(upstream, &call, &traced, pass).await;
        seat.done(match &answer {
            Ok(answer) if answer.status.is_server_error() => admission::Outcome::Failed,
            Ok(_) => admission::Outcome::Good,
            Err(EffectError::Timeout) => admission::Outcome::Timeout,
            Err(_) => admission::Outcome::Failed,
        });
        answer
    }
}

/// The seat of a call. When nobody waits for the call any more (its time is up, its client left) the upstream still works
/// on it, so the seat stays taken until the answer should have come.
struct Seat<'c> {
    permit: Option<Permit>,
    deadline: Option<Ticks>,
    clock: &'c Clock,
}

impl Seat<'_> {
    fn done(mut self, outcome: admission::Outcome) {
        if let Some(permit) = self.permit.take() {
            permit.done(outcome);
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let late = self.deadline.is_some_and(|deadline| self.clock.now() >= deadline);
            permit.linger(if late { admission::Outcome::Timeout } else { admission::Outcome::ClientGone });
        }
    }
}

/// A try whose breaker is to be told how it went. When nobody waits for it any more because its time is up, it failed:
/// the deadline is the operator's word on how long is too long.
struct Judged<'c> {
    pass: Pass,
    deadline: Option<Ticks>,
    clock: &'c Clock,
}

impl Judged<'_> {
    fn by(mut self, answer: &Result<HttpAnswer, EffectError>) {
        let verdict = match answer {
            Ok(answer) => self.pass.verdict(answer.status.as_u16()),
            Err(EffectError::Connect(_) | EffectError::Broken(_) | EffectError::Timeout) => Verdict::Failure,
            Err(EffectError::TooLarge { .. }) => Verdict::Success,
            Err(EffectError::UnknownTarget(_) | EffectError::BadCall(_) | EffectError::Refused(_)) => Verdict::Unknown,
        };
        self.pass.settle(verdict);
    }
}

impl Drop for Judged<'_> {
    fn drop(&mut self) {
        let late = self.deadline.is_some_and(|deadline| self.clock.now() >= deadline);
        self.pass.settle(if late { Verdict::Failure } else { Verdict::Unknown });
    }
}

const TRACEPARENT: &str = "traceparent";

/// The longest first pause before a retry; each further one may be twice as long.
const BACK_OFF: Duration = Duration::from_millis(50);

impl Effects {
    /// Tries while another may help, the upstream's settings allow it, and its retry budget holds.
    ///
    /// The effect's node is the first try. Each further one is a node of its own, for which the first one waits.
    async fn tries(
        &self,
        upstream: &Upstream,
        call: &HttpCall,
        traced: &Traced<'_>,
        mut pass: Pass,
    ) -> Result<HttpAnswer, EffectError> {
        let Traced { log, node: first, parent, name, occurrence, attempt: begun, retries } = traced;
        let reads = matches!(call.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
        let mut tried: Option<Picked> = None;
        let mut node = *first;
        let mut attempt = 1;
        let mut call = Cow::Borrowed(call);
        loop {
            let Some(peer) = upstream.pick(tried.as_deref()) else {
                return Err(EffectError::Connect("no peer has an address".into()));
            };
            self.note(log, node, &call, &peer);
            if pass.is_probe() {
                log.attr_text(node, self.keys.breaker, "probe");
            }
            let judged = Judged { pass, deadline: call.deadline, clock: log.recorder().clock() };
            let clock = log.recorder().clock();
            let left = call.deadline.map(|deadline| clock.between(clock.now(), deadline));
            let answer = upstream.send(&call, left, &peer).await;
            judged.by(&answer);
            match &answer {
                Ok(_) => peer.connected(),
                Err(EffectError::Connect(_)) => peer.failed(log.recorder().clock()),
                Err(_) => {}
            }
            // A connection that could not be made carried nothing; everything else may have, so only reads go again.
            let unready = |status: StatusCode| matches!(status.as_u16(), 502..=504);
            let may_help = match &answer {
                // Of a body that is passed on nothing is left to be sent again.
                _ if call.upload.as_ref().is_some_and(Upload::is_begun) => false,
                Err(EffectError::Connect(_)) => true,
                Err(EffectError::Broken(_)) => reads,
                Ok(answer) => reads && unready(answer.status),
                Err(_) => false,
            };
            // A peer that asks for time gets it, where there is no other to go to.
            let asked = match &answer {
                Ok(answer) if !upstream.has_others() => answer.retry_after().unwrap_or_default(),
                _ => Duration::ZERO,
            };
            let in_time = asked <= LONGEST_ASKED && left.is_none_or(|left| asked < left);
            let leave =
                (may_help && in_time && attempt < upstream.settings.tries).then(|| upstream.enter().ok()).flatten();
            let again = leave.filter(|_| retries.spend() && upstream.budget.spend());
            if node != *first {
                let (outcome, status, error) = match &answer {
                    Ok(a) if a.status.is_server_error() => (Outcome::Error, a.status.as_u16(), "upstream_status"),
                    Ok(a) => (Outcome::Ok, a.status.as_u16(), ""),
                    Err(error) => (Outcome::Error, 0, error.code()),
                };
                let error = if error.is_empty() { Name::NONE } else { log.name(error) };
                let at = log.now();
                log.close(at, node, outcome, status, error);
                log.state(at, *first, Cause::Run, Name::NONE, Some(node));
            }
            let Some(leave) = again else { return answer };
            pass = leave;
            // Full jitter, so that those who failed together do not come back together.
            let longest = BACK_OFF * (1 << (attempt - 1).min(4));
            let share = log.recorder().ids().next_u64() as f64 / u64::MAX as f64;
            log.state(log.now(), *first, Cause::Timer, self.keys.back_off, None);
            tokio::time::sleep(longest.mul_f64(0.5 + 0.5 * share).max(asked)).await;
            attempt += 1;
            let at = log.now();
            let mut opening = Opening::running(*name, NodeKind::Effect, *parent).in_state(Cause::Io, upstream.id);
            opening.attempt = begun + attempt - 1;
            opening.occurrence = *occurrence;
            opening.after = Some(*first);
            node = log.open(at, opening);
            log.state(at, *first, Cause::Join, Name::NONE, None);
            // What the next one calls hangs below its own span, not below that of the first try.
            if let Some(parent) = call.to_mut().headers.get_mut(TRACEPARENT) {
                *parent = HeaderValue::from_bytes(&log.traceparent(node)).expect("a traceparent is hex and dashes");
            }
            tried = Some(peer);
        }
    }
}

impl Effects {
    /// What a span and the comparison need to know of a try.
    fn note(&self, log: &Log, node: NodeId, call: &HttpCall, peer: &Picked) {
        log.attr_text(node, self.keys.method, call.method.as_str());
        let path = call.path_and_query.split('?').next().unwrap_or("");
        log.attr_text(node, self.keys.path, &path[..path.floor_char_boundary(64)]);
        peer.note(log, node, &self.keys);
    }
}

impl Adapter for Effects {
    fn http<'a>(&'a self, call: HttpCall, traced: Traced<'a>) -> BoxFuture<'a, Result<HttpAnswer, EffectError>> {
        self.call(call, traced).boxed()
    }

    fn has_target(&self, name: &str) -> bool {
        self.upstreams.contains_key(name)
    }
}
