//! A call as a step builds it: method, target, headers, body, and what its answer's status means.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Serialize;
use smallvec::SmallVec;
use zerver_telemetry::clock::Ticks;
use zerver_telemetry::event::NodeId;
use zerver_telemetry::id::traceparent;

use super::Fx;
use super::flight::Flight;
use crate::adapter::{EffectError, HttpCall};
use crate::deadline::earlier;
use crate::request::Req;
use crate::run::Place;
use crate::upload::Upload;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

impl<'r> Fx<'r> {
    /// Begins a GET of `target:/path?query`.
    #[must_use = "a call is made when it is awaited"]
    pub fn get(&self, to: impl AsRef<str>) -> Call<'r> {
        self.call(Method::GET, to)
    }

    /// Begins a POST. An `Idempotency-Key`, the same for each attempt and each replay, is added.
    #[must_use = "a call is made when it is awaited"]
    pub fn post(&self, to: impl AsRef<str>) -> Call<'r> {
        self.call(Method::POST, to)
    }

    /// Begins a PUT.
    #[must_use = "a call is made when it is awaited"]
    pub fn put(&self, to: impl AsRef<str>) -> Call<'r> {
        self.call(Method::PUT, to)
    }

    /// Begins a PATCH. An `Idempotency-Key` is added, as for POST.
    #[must_use = "a call is made when it is awaited"]
    pub fn patch(&self, to: impl AsRef<str>) -> Call<'r> {
        self.call(Method::PATCH, to)
    }

    /// Begins a DELETE.
    #[must_use = "a call is made when it is awaited"]
    pub fn delete(&self, to: impl AsRef<str>) -> Call<'r> {
        self.call(Method::DELETE, to)
    }

    /// Begins a call with any method.
    #[must_use = "a call is made when it is awaited"]
    pub fn call(&self, method: Method, to: impl AsRef<str>) -> Call<'r> {
        Call(Flight::of(Asked {
            fx: *self,
            place: self.run.place(self.step),
            method,
            to: to.as_ref().to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            upload: None,
            timeout: None,
            judged: Judged::default(),
            fresh: false,
            wrong: None,
        }))
    }
}

/// Encodes a text as one segment of a path, or as a value in a query: everything but letters, digits and `-._~`.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(HEX[usize::from(byte >> 4)] as char);
            out.push(HEX[usize::from(byte & 15)] as char);
        }
    }
    // A segment of dots alone would walk up the path.
    if !out.is_empty() && out.bytes().all(|b| b == b'.') { out.replace('.', "%2E") } else { out }
}

/// A call that has not been made yet; awaiting it makes it.
#[derive(Debug)]
#[must_use = "a call is made when it is awaited"]
pub struct Call<'r>(pub(super) Box<Flight<'r>>);

/// What a call asks for.
#[derive(Debug)]
pub(super) struct Asked<'r> {
    pub(super) fx: Fx<'r>,
    pub(super) place: Place<'r>,
    method: Method,
    to: String,
    headers: HeaderMap,
    body: Bytes,
    pub(super) upload: Option<Upload>,
    pub(super) timeout: Option<Duration>,
    pub(super) judged: Judged,
    /// It does not take the answer of an identical call that is in the air.
    fresh: bool,
    wrong: Option<String>,
}

/// What becomes of an answer's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// All of them are answers.
    pub(super) any: bool,
    /// Those that fail the step with another status than 502, and what the client then reads.
    pub(super) mapped: SmallVec<[(u16, u16, &'static str); 1]>,
}

impl<'r> Call<'r> {
    fn asked(&mut self) -> &mut Asked<'r> {
        &mut self.0.asked
    }

    /// Sets a header.
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        match (name.parse::<HeaderName>(), HeaderValue::from_str(value.as_ref())) {
            (Ok(name), Ok(value)) => {
                self.asked().headers.insert(name, value);
            }
            _ => self.asked().wrong = Some(format!("HTTP does not allow this name or value of header `{name}`")),
        }
        self
    }

    /// Adds a query parameter, encoded.
    pub fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let to = &mut self.asked().to;
        to.push(if to.contains('?') { '&' } else { '?' });
        to.push_str(&segment(name));
        to.push('=');
        to.push_str(&segment(value.as_ref()));
        self
    }

    /// Sends `value` as JSON.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => {
                self.asked().headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                self.asked().body = body.into();
            }
            Err(error) => self.asked().wrong = Some(format!("the body cannot be written as JSON: {error}")),
        }
        self
    }

    /// Sends these bytes.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.asked().body = body.into();
        self
    }

    /// Sends the request's own body, what was looked at included, and its `Content-Type` and `Content-Encoding` unless the
    /// call has its own. In a flow with `body = "stream"` it is sent as it comes, as fast as the target takes it, and
    /// never held whole. It goes out once: with its first piece gone, the call is not tried again.
    pub fn pass(mut self, req: &Req) -> Self {
        for name in [CONTENT_TYPE, CONTENT_ENCODING] {
            if let Some(value) = req.headers.get(&name) {
                self.asked().headers.entry(name).or_insert_with(|| value.clone());
            }
        }
        self.asked().upload = Some(req.upload().clone());
        self
    }

    /// Gives the answer at most this long; the step's and the flow's own deadline hold all the same.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.asked().timeout = Some(time);
        self
    }

    /// Takes an answer of status 400 and above for an answer, not for a failure.
    pub fn any_status(mut self) -> Self {
        self.asked().judged.any = true;
        self
    }

    /// When the answer has this status, the step fails with status `becomes` and this text for the client, in place of
    /// 502: `fx.get(…).on_status(404, 404, "no such cart")`. A status outside 400..=599 becomes 500.
    pub fn on_status(mut self, status: u16, becomes: u16, message: &'static str) -> Self {
        self.asked().judged.mapped.push((status, becomes, message));
        self
    }

    /// Makes the call even when an identical GET of this request is in the air, whose answer it would share otherwise:
    /// for asking whether something has changed.
    pub fn fresh(mut self) -> Self {
        self.asked().fresh = true;
        self
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
        let trace = traceparent(log.trace_id(), log.span_id(node), log.sampled());
        headers.insert(TRACEPARENT, HeaderValue::from_bytes(&trace).expect("a traceparent is hex and dashes"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_cannot_leave_its_place() {
        for (text, encoded) in
            [("abc-1.2~_", "abc-1.2~_"), ("a/b?c", "a%2Fb%3Fc"), ("..", "%2E%2E"), ("ü", "%C3%BC"), ("", "")]
        {
            assert_eq!(segment(text), encoded);
        }
    }

    #[test]
    fn targets_are_taken_apart_and_bad_ones_refused() {
        assert_eq!(split("cart:/v1/carts/7?a=b"), Ok(("cart", "/v1/carts/7?a=b")));
        for bad in ["cart", "cart:", "cart:v1", ":/v1", "http://host/x", "cart:/a b", "ca rt:/", "cart:/a\r\nx"] {
            assert!(split(bad).is_err(), "{bad:?} was taken");
        }
    }
}
