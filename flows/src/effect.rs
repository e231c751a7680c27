//! What a step may ask of the world: calls to named targets, time, randomness, a pause, an early answer.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bound::Bound;
use crate::cells::StepCell;
use crate::deadline::earlier;
use crate::exit::{Exit, Fail, Result};
use crate::journal::Key;
use crate::meta::FlowMeta;
use crate::response::Response;
use crate::run::Run;

mod flight;
mod calls;

pub use flight::{Effect, Sleep};

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

    /// Whether the step may be tried again: what its calls changed may be changed twice, or they changed nothing.
    pub(crate) fn may_repeat(&self) -> bool {
        self.cell().writes.load(Relaxed) == 0 || self.run.bound.graph.nodes()[self.step].idempotent
    }

    /// From now on the step's effects are those of another try: counted from the start, so that their keys stay.
    pub(crate) fn next_try(&self) {
        let cell = self.cell();
        cell.attempt.fetch_add(1, Relaxed);
        cell.asked.store(0, Relaxed);
        cell.calls.lock().clear();
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
        Call {
            fx: *self,
            key: self.run.key(self.step),
            method,
            to: to.as_ref().to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: None,
            any_status: false,
            wrong: None,
        }
    }

    /// The wall-clock moment. Recorded, so that a replay reads the same.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        let shared = &self.run.shared;
        let now = || shared.clock.unix_ns(shared.log.now());
        let ns = self.run.observe(self.run.key(self.step), "now", now);
        UNIX_EPOCH + Duration::from_nanos(ns)
    }

    /// A number that looks random, fixed by the request's trace and the place of this call in the flow: the same when
    /// the run is replayed. Not for secrets.
    #[must_use]
    pub fn random(&self) -> u64 {
        let key = self.run.key(self.step);
        self.run.number(self.step, key.seq)
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
    /// 512 bytes per request. `key` should be a literal: keys are kept for ever.
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
pub struct Call<'r> {
    fx: Fx<'r>,
    key: Key,
    method: Method,
    to: String,
    headers: HeaderMap,
    body: Bytes,
    timeout: Option<Duration>,
    any_status: bool,
    wrong: Option<String>,
}

impl<'r> Call<'r> {
    /// Sets a header.
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        match (name.parse::<HeaderName>(), HeaderValue::from_str(value.as_ref())) {
            (Ok(name), Ok(value)) => {
                self.headers.insert(name, value);
            }
            _ => self.wrong = Some(format!("HTTP does not allow this name or value of header `{name}`")),
        }
        self
    }

    /// Adds a query parameter, encoded.
    pub fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.to.push(if self.to.contains('?') { '&' } else { '?' });
        self.to.push_str(&segment(name));
        self.to.push('=');
        self.to.push_str(&segment(value.as_ref()));
        self
    }

    /// Sends `value` as JSON.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => {
                self.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                self.body = body.into();
            }
            Err(error) => self.wrong = Some(format!("the body cannot be written as JSON: {error}")),
        }
        self
    }

    /// Sends these bytes.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Gives the answer at most this long; the step's and the flow's own deadline hold all the same.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// Takes an answer of status 400 and above for an answer, not for a failure.
    pub fn any_status(mut self) -> Self {
        self.any_status = true;
        self
    }
}

/// What a call gave.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status: below 400, unless the call was made with [`Call::any_status`].
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
    asked: String,
}

impl Answer {
    /// The body read as JSON.
    ///
    /// # Errors
    /// An upstream failure, status 502, when it is not.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Fail::upstream("upstream_not_json", format!("{}: the answer is not the expected JSON: {error}", self.asked))
                .into()
        })
    }

    /// The body read as text.
    ///
    /// # Errors
    /// An upstream failure, status 502, when it is not UTF-8.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.body)
            .map_err(|_| Fail::upstream("upstream_not_text", format!("{}: the answer is not UTF-8", self.asked)).into())
    }

    /// The first value of a header; none when it is missing or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Forgets the answer: its status was good, which is all there is to know.
    ///
    /// # Errors
    /// None; it is a `Result` so that a step can end with it.
    pub fn ok(self) -> Result<()> {
        Ok(())
    }
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
}
