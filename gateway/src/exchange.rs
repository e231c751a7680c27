//! One request and its answer, first byte to last: its identity, its recording, its deadline, and how it ends.
//!
//! A leaf: it holds no station's type. Whatever way the request goes, dropping the exchange ends its recording.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use zerver_telemetry::clock::Ticks;
use zerver_telemetry::event::{Cause, NodeId, Outcome};
use zerver_telemetry::id::TraceContext;
use zerver_telemetry::names::Name;
use zerver_telemetry::propagation::{Brought, Carried, Propagators, Share, baggage, tracestate};
use zerver_telemetry::recorder::{Log, Recorder, Recording};

use crate::error::Error;
use crate::probe::Probe;

/// One request and its answer.
#[derive(Debug)]
pub struct Exchange {
    recording: Option<Recording>,
    probe: Arc<Probe>,
    /// The request's identity: the client's, when it sent a sound one, else the trace's.
    pub request_id: String,
    is_named: bool,
    /// Of a trace that begins here: the share it was drawn with, and what goes on with its calls, until its route has its say.
    begins: Option<(Share, Carried)>,
    /// What goes on with its calls is final, and noted.
    is_settled: bool,
    /// Where the client is.
    pub client: SocketAddr,
    /// When the request began.
    pub started: Ticks,
    /// When its time is over.
    pub deadline: Option<Ticks>,
    /// Headers that the answer carries, whoever gives it.
    headers: Vec<(HeaderName, HeaderValue)>,
    ended: Option<Ended>,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    outcome: Outcome,
    status: u16,
    error: Name,
}

impl Exchange {
    /// Opens the exchange of a request whose first byte came at `started`.
    ///
    /// The W3C trace context of `headers` is continued; without a sound one a new trace begins, sampled when it is in the
    /// share. What the caller wants carried on, as far as it is spoken, goes on with every call.
    #[must_use]
    pub fn open(
        recorder: &Recorder,
        probe: Arc<Probe>,
        started: Ticks,
        client: SocketAddr,
        headers: &HeaderMap,
        spoken: Propagators,
        share: &Share,
    ) -> Self {
        let Brought { context, carried, lost } =
            Brought::read(spoken, |name| headers.get_all(name).into_iter().map(HeaderValue::as_bytes));
        let is_called = context.is_some();
        let context = context.unwrap_or_else(|| {
            let trace = recorder.ids().trace_id();
            TraceContext::begin(trace, share.takes(trace))
        });
        let recording = recorder.start(started, Some(context), context.sampled);
        for (what, lost) in ["zerver.tracestate_lost", "zerver.baggage_lost"].into_iter().zip(lost) {
            if lost > 0 {
                recording.attr_int(NodeId::ROOT, recording.name(what), lost.into());
            }
        }
        let begins = if is_called {
            carry(&recording, carried);
            None
        } else {
            Some((share.clone(), carried))
        };
        probe.attach((*recording).clone());
        let given = headers.get(crate::reply::REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|id| sound(id));
        if let Some(id) = given {
            probe.named(id);
        }
        let request_id = given.map_or_else(|| recording.trace_id().to_string(), str::to_owned);
        Self {
            is_named: given.is_some(),
            begins,
            is_settled: false,
            recording: Some(recording),
            probe,
            request_id,
            client,
            started,
            deadline: None,
            headers: Vec::new(),
            ended: None,
        }
    }

    /// The request's log.
    ///
    /// # Panics
    /// Never: the recording is taken only when the exchange is dropped.
    #[must_use]
    pub fn log(&self) -> &Log {
        self.recording.as_deref().expect("the recording is taken only on drop")
    }

    /// Settles what goes on with the request's calls, before the first of them; once. A trace that begins here is drawn with
    /// the share of its route, where it has one, and says in its `tracestate` with what chance it was sampled; what a
    /// caller decided and noted stays. What goes out is noted under `key`.
    pub fn settle(&mut self, share: Option<&Share>, key: Name) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        let begins = self.begins.take();
        let log = self.log();
        if let Some((own, brought)) = begins {
            let share = share.unwrap_or(&own);
            let sampled = share.takes(log.trace_id());
            log.set_sampled(sampled);
            if sampled {
                log.carry(share.carried(brought));
            } else {
                carry(log, brought);
            }
        }
        if let Some(carried) = log.carried().filter(|carried| !carried.tracestate.is_empty()) {
            log.attr_text(NodeId::ROOT, key, &carried.tracestate);
        }
    }

    /// Notes members of the baggage, each under its attribute's name, in their first 64 characters.
    pub fn note_baggage(&self, members: &[(String, Name)]) {
        let log = self.log();
        if members.is_empty() {
            return;
        }
        let settled = log.carried();
        let Some(carried) = self.begins.as_ref().map(|(_, carried)| carried).or(settled.as_deref()) else { return };
        for (name, key) in members {
            if let Some(value) = baggage::value(&carried.baggage, name) {
                let end = value.char_indices().nth(64).map_or(value.len(), |(end, _)| end);
                log.attr_text(NodeId::ROOT, *key, &value[..end]);
            }
        }
    }

    /// The identity that its client gave the request; none where it has that of its trace.
    #[must_use]
    pub fn given_id(&self) -> Option<&str> {
        self.is_named.then_some(self.request_id.as_str())
    }

    /// Says what the request waits for from now on; see [`Probe::waiting`].
    pub fn waiting(&self, cause: Cause, name: Name, child: Option<NodeId>) {
        self.probe.waiting(cause, name, child);
    }

    /// See [`Probe::watch_client`].
    pub fn watch_client(&self, full: Arc<AtomicBool>, client: Name) {
        self.probe.watch_client(full, client);
    }

    /// Leaves the request's states to a flow, or takes them back; see [`Probe::delegate`].
    pub fn delegate(&self, to_other: bool) {
        self.probe.delegate(to_other);
    }

    /// Sets the time of the whole request, counted from its first byte.
    pub fn set_timeout(&mut self, timeout: Duration) {
        let clock = self.log().recorder().clock().clone();
        let left = timeout.saturating_sub(clock.since(self.started));
        self.deadline = Some(clock.after(clock.now(), left));
    }

    /// Time left until the deadline; none when there is no deadline.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let clock = self.log().recorder().clock();
        self.deadline.map(|deadline| clock.between(clock.now(), deadline))
    }

    /// Adds headers to the answer. A name or value that HTTP does not allow is left out.
    pub fn add_headers(&mut self, fields: impl IntoIterator<Item = (&'static str, String)>) {
        self.headers.extend(fields.into_iter().filter_map(|(name, value)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(&value).ok()?))
        }));
    }

    /// The headers to add to the answer, the request's identity among them.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let id = HeaderValue::from_str(&self.request_id).ok().map(|id| (crate::reply::REQUEST_ID, id));
        self.headers.iter().cloned().chain(id)
    }

    /// Notes that the answer of an upstream or of a flow was given with this status.
    pub fn answered(&mut self, status: u16) {
        let outcome = if status >= 500 { Outcome::Error } else { Outcome::Ok };
        self.ended = Some(Ended { outcome, status, error: Name::NONE });
    }

    /// Notes that the request failed and was answered with this status (0 for none). An error noted before stays.
    pub fn failed(&mut self, error: &Error, status: u16) {
        if self.ended.is_some_and(|ended| ended.error != Name::NONE) {
            return;
        }
        let outcome = match error {
            _ if error.is_refusal() => Outcome::Refused,
            Error::ClientGone => Outcome::Cancelled,
            Error::Deadline | Error::UpstreamTimeout | Error::BodyTimeout => Outcome::Timeout,
            _ => Outcome::Error,
        };
        let name = self.log().name(error.name());
        self.ended = Some(Ended { outcome, status, error: name });
    }

    /// Notes the status of an answer, unless a failure was noted before.
    pub fn answered_unless_failed(&mut self, status: u16) {
        if !self.has_failed() {
            self.answered(status);
        }
    }

    /// How it ended, as far as that is known.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.ended.map(|ended| ended.outcome)
    }

    /// Whether the client left before its answer.
    #[must_use]
    pub fn is_client_gone(&self) -> bool {
        self.ended.is_some_and(|ended| ended.outcome == Outcome::Cancelled)
    }

    /// Whether the request failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.ended.is_some_and(|ended| ended.error != Name::NONE)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // It never came to a route: nothing went out, and its own spans are counted all the same.
        if !self.is_settled
            && let Some(recording) = &self.recording
        {
            let key = recording.name(tracestate::NOTED);
            self.settle(None, key);
        }
        let Some(recording) = self.recording.take() else { return };
        // A request that was dropped before it ended was given up by its client.
        let ended = self.ended.unwrap_or_else(|| Ended {
            outcome: Outcome::Cancelled,
            status: 0,
            error: recording.name(Error::ClientGone.name()),
        });
        let at = recording.now();
        recording.finish(at, ended.outcome, ended.status, ended.error);
    }
}

/// Says what goes on with the request's calls, where that is more than the trace.
fn carry(log: &Log, carried: Carried) {
    if carried != Carried::default() {
        log.carry(carried);
    }
}

/// Whether a client's request id may stand in our logs and headers: 1 to 128 visible ASCII characters.
fn sound(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
