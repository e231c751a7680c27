//! What a call asks for, and what its answer's status means: all that is known of it before it flies.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use smallvec::SmallVec;
use zerver_telemetry::clock::Ticks;
use zerver_telemetry::event::NodeId;
use zerver_telemetry::recorder::Log;

use super::Fx;
use crate::adapter::{EffectError, HttpAnswer, HttpCall};
use crate::deadline::earlier;
use crate::exit::Fail;
use crate::run::Place;
use crate::upload::Upload;

/// What a call asks for.
#[derive(Debug)]
pub(super) struct Asked<'r> {
    pub(super) fx: Fx<'r>,
    pub(super) place: Place<'r>,
    pub(super) method: Method,
    pub(super) to: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) upload: Option<Upload>,
    pub(super) timeout: Option<Duration>,
    pub(super) judged: Judged,
    /// It does not take the answer of an identical call that is in the air.
    pub(super) fresh: bool,
    pub(super) wrong: Option<String>,
}

/// What becomes of an answer's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// All of them are answers.
    pub(super) any: bool,
    /// Those that fail the step with another status than 502, and what the client then reads.
    pub(super) mapped: SmallVec<[(u16, u16, &'static str); 1]>,
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// Adds to a call what goes on with every call of its request: the trace with the call as its parent, the states of
/// vendors, and the baggage, unless the step sends one of its own.
fn carry_on(log: &Log, node: NodeId, headers: &mut HeaderMap) {
    let carried = log.carried();
    // What a step copied from its request names another parent.
    headers.remove(TRACEPARENT);
    headers.remove(TRACESTATE);
    if carried.as_ref().is_none_or(|carried| carried.trace) {
        let trace = log.traceparent(node);
        headers.insert(TRACEPARENT, HeaderValue::from_bytes(&trace).expect("a traceparent is hex and dashes"));
    }
    let Some(carried) = carried else { return };
    for (name, text) in [(TRACESTATE, &carried.tracestate), (BAGGAGE, &carried.baggage)] {
        if let (false, Ok(value)) = (text.is_empty() || headers.contains_key(&name), HeaderValue::from_str(text)) {
            headers.insert(name, value);
        }
    }
}

impl Asked<'_> {
    /// The call with everything that goes with it, for the adapter; its effect's node is `node`.
    pub(super) fn prepare(&mut self, node: NodeId, now: Ticks) -> HttpCall {
        let (run, cell, log) = (self.fx.run, self.fx.cell(), &self.fx.run.shared.log);
        let mut headers = std::mem::take(&mut self.headers);
        let idempotency_key = self.writes().then(|| {
            let given = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
            given.unwrap_or_else(|| {
                let number = run.number(self.fx.step, self.place.seq);
                let text = format!("{:016x}-{number:016x}", run.seed);
                headers.insert("idempotency-key", HeaderValue::from_str(&text).expect("hex and a dash"));
                text
            })
        });
        carry_on(log, node, &mut headers);
        let own = self.timeout.map(|by| run.shared.clock.after(now, by));
        let (target, path) = self.to.split_once(':').unwrap_or_default();
        HttpCall {
            target: run.bound.target(target).map_or_else(|| target.into(), |(text, _)| Arc::clone(text)),
            path_and_query: path.to_owned(),
            method: self.method.clone(),
            headers,
            body: std::mem::take(&mut self.body),
            upload: self.upload.clone(),
            deadline: earlier(earlier(run.deadline, cell.due()), own),
            idempotency_key,
            priority: run.bound.graph.nodes()[self.fx.step].priority.unwrap_or_default(),
        }
    }

    /// Method and `target:/path`, taken out of a call that was made.
    pub(super) fn take_asked(&mut self) -> (Method, String) {
        (std::mem::take(&mut self.method), std::mem::take(&mut self.to))
    }

    /// What it asks for, in one line, as journals have it.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method, self.to)
    }

    /// The target it goes to.
    pub(super) fn target(&self) -> std::result::Result<&str, EffectError> {
        match &self.wrong {
            Some(wrong) => Err(EffectError::BadCall(wrong.clone())),
            None if self.upload.as_ref().is_some_and(Upload::is_begun) => {
                Err(EffectError::BadCall("the request's body was passed on before, and is gone".to_owned()))
            }
            None => split(&self.to).map(|(target, _)| target),
        }
    }

    /// Whether it changes something each time it arrives.
    pub(super) fn writes(&self) -> bool {
        self.method == Method::POST || self.method == Method::PATCH
    }

    /// Whether it may share the answer of an identical call.
    pub(super) fn is_shared(&self) -> bool {
        self.method == Method::GET && self.body.is_empty() && self.upload.is_none() && !self.fresh
    }
}

/// What identical calls have in common.
impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.method, &self.to).hash(state);
        for (name, value) in &self.headers {
            (name, value).hash(state);
        }
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

impl Judged {
    /// The failure that this answer is for the step.
    pub(super) fn fail(&self, asked: &str, answer: &HttpAnswer) -> Fail {
        let detail = format!("{asked} answered {}", answer.status.as_u16());
        let seconds = answer.retry_after().and_then(|wait| u16::try_from(wait.as_secs()).ok());
        let mapped = self.mapped.iter().find(|(status, ..)| *status == answer.status.as_u16());
        let fail = match mapped {
            Some((_, becomes, message)) => {
                let status = http::StatusCode::from_u16(*becomes).ok().filter(|s| s.as_u16() >= 400);
                Fail::new(status.unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR), *message).with_detail(detail)
            }
            None => Fail::upstream("upstream_status", detail),
        };
        Fail { upstream_status: Some(answer.status), retry_after_s: seconds, ..fail }
    }
}

#[cfg(test)]
mod tests {
    use zerver_telemetry::clock::Clock;
    use zerver_telemetry::id::{TraceContext, TraceId};
    use zerver_telemetry::propagation::Carried;
    use zerver_telemetry::recorder::Recorder;

    use super::*;

    #[test]
    fn what_is_carried_goes_with_each_call() {
        let clock = Clock::manual();
        let recorder = Recorder::for_tests(clock.clone());
        let context = TraceContext::begin(TraceId(0x5a), true);
        let own = |headers: &[(&'static str, &'static str)]| -> HeaderMap {
            headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect()
        };
        let sent = |carried: Option<Carried>, given: &[(&'static str, &'static str)]| {
            let log = recorder.start(clock.now(), Some(context), false);
            carried.into_iter().for_each(|carried| log.carry(carried));
            let mut headers = own(given);
            carry_on(&log, NodeId(3), &mut headers);
            let text = |name| headers.get(name).map(|value| value.to_str().expect("it is text").to_owned());
            let trace = format!("00-{}-{}-03", context.trace_id, log.span_id(NodeId(3)));
            assert!(text(TRACEPARENT).is_none_or(|sent| sent == trace), "{headers:?}");
            (text(TRACEPARENT).is_some(), text(TRACESTATE), text(BAGGAGE))
        };
        let some = |text: &str| Some(text.to_owned());
        let both = Carried { tracestate: "a=1".into(), baggage: "tenant=shop".into(), ..Carried::default() };
        let copied = [("traceparent", "00-old"), ("tracestate", "old=1")];
        assert_eq!(sent(None, &copied), (true, None, None));
        assert_eq!(sent(Some(both.clone()), &copied), (true, some("a=1"), some("tenant=shop")));
        assert_eq!(sent(Some(both), &[("baggage", "mine=1")]), (true, some("a=1"), some("mine=1")));
        assert_eq!(sent(Some(Carried { trace: false, ..Carried::default() }), &copied), (false, None, None));
    }

    #[test]
    fn targets_are_taken_apart_and_bad_ones_refused() {
        assert_eq!(split("cart:/v1/carts/7?a=b"), Ok(("cart", "/v1/carts/7?a=b")));
        for bad in ["cart", "cart:", "cart:v1", ":/v1", "http://host/x", "cart:/a b", "ca rt:/", "cart:/a\r\nx"] {
            assert!(split(bad).is_err(), "{bad:?} was taken");
        }
    }
}
