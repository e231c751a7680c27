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
    /// share `share`. What the caller wants carried on, as far as it is spoken, goes on with every call.
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
mod tests {
    use super::*;
    use zerver_telemetry::clock::Clock;

    fn open(headers: &HeaderMap) -> (Recorder, Exchange) {
        open_with(headers, Propagators::default(), 0.0)
    }

    fn open_with(headers: &HeaderMap, spoken: Propagators, sample: f64) -> (Recorder, Exchange) {
        let clock = Clock::manual();
        let recorder = Recorder::for_tests(clock.clone());
        let client = SocketAddr::from(([127, 0, 0, 1], 9));
        let exchange = Exchange::open(
            &recorder,
            Probe::new(clock.clone()),
            clock.now(),
            client,
            headers,
            spoken,
            &Share::new(sample),
        );
        (recorder, exchange)
    }

    #[test]
    fn a_dropped_exchange_is_a_client_that_left() {
        let (recorder, exchange) = open(&HeaderMap::new());
        drop(exchange);
        let timeline = recorder.timelines().remove(0);
        assert_eq!((timeline.outcome, timeline.error.as_deref()), (Outcome::Cancelled, Some("client_gone")));
    }

    #[test]
    fn the_callers_trace_and_request_id_go_on() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap());
        headers.insert("x-request-id", "abc-1".parse().unwrap());
        let (recorder, mut exchange) = open(&headers);
        assert_eq!(exchange.request_id, "abc-1");
        exchange.answered(200);
        drop(exchange);
        let timeline = recorder.timelines().remove(0);
        assert_eq!(timeline.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(timeline.sampled && timeline.parent_span_id.is_some());
    }

    #[test]
    fn a_callers_decision_stays_and_without_one_the_share_of_the_route_counts() {
        let parent = |flags: &str| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        for (parents, sample, route, expected) in [
            (vec![parent("01")], 0.0, Some(0.0), true),
            (vec![parent("00")], 1.0, Some(1.0), false),
            (vec![parent("02")], 1.0, None, false),
            (vec![], 0.0, Some(1.0), true),
            (vec![], 1.0, Some(0.0), false),
            (vec![], 1.0, None, true),
            // Two of them, or a malformed one, decide nothing.
            (vec![parent("00"), parent("00")], 1.0, None, true),
            (vec![parent("zz")], 0.0, None, false),
        ] {
            let mut headers = HeaderMap::new();
            for text in &parents {
                headers.append("traceparent", text.parse().unwrap());
            }
            let (recorder, mut exchange) = open_with(&headers, Propagators::default(), sample);
            exchange.settle(route.map(Share::new).as_ref(), recorder.names().intern(tracestate::NOTED));
            assert_eq!(exchange.log().sampled(), expected, "{parents:?} {sample} {route:?}");
        }
    }

    #[test]
    fn a_trace_that_begins_here_says_its_chance_and_a_callers_list_stays() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let none = Propagators { trace_context: false, ..Propagators::default() };
        for (parent, state, spoken, sample, route, expected) in [
            (None, None, Propagators::default(), 1.0, None, Some("ot=th:0")),
            (None, None, Propagators::default(), 0.0, Some(1.0), Some("ot=th:0")),
            (None, None, Propagators::default(), 0.0, None, None),
            (None, None, Propagators::default(), 1.0, Some(0.0), None),
            // Without a trace, what is noted along one means nothing.
            (None, Some("congo=t61,ot=th:c"), Propagators::default(), 1.0, None, Some("ot=th:0")),
            (None, None, none, 1.0, None, None),
            (Some(parent), Some("congo=t61,ot=th:c"), Propagators::default(), 1.0, None, Some("congo=t61,ot=th:c")),
            (Some(parent), None, Propagators::default(), 1.0, Some(1.0), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(parent.map(|text| (HeaderName::from_static("traceparent"), text.parse().unwrap())));
            headers.extend(state.map(|text| (HeaderName::from_static("tracestate"), text.parse().unwrap())));
            for routed in [true, false] {
                let (recorder, mut exchange) = open_with(&headers, spoken, sample);
                if routed {
                    exchange.settle(route.map(Share::new).as_ref(), recorder.names().intern(tracestate::NOTED));
                    let sent = exchange.log().carried().map(|carried| carried.tracestate.clone());
                    assert_eq!(
                        sent.as_deref().filter(|sent| !sent.is_empty()),
                        expected,
                        "{parent:?} {state:?} {sample}"
                    );
                } else if route.is_some() {
                    continue;
                }
                exchange.answered(200);
                drop(exchange);
                let timeline = recorder.timelines().remove(0);
                let noted = timeline.root().attr(tracestate::NOTED).map(ToString::to_string);
                assert_eq!(noted.as_deref(), expected, "{parent:?} {state:?} {sample} {routed}");
            }
        }
    }

    #[test]
    fn baggage_is_noted_where_asked_for_and_losses_are_counted() {
        let mut headers = HeaderMap::new();
        headers.append("baggage", format!("tenant=sh%C3%B6p, user={}", "x".repeat(80)).parse().unwrap());
        headers.append("baggage", "not baggage".parse().unwrap());
        headers.insert("tracestate", "a=1".parse().unwrap());
        let (recorder, mut exchange) = open(&headers);
        let key = |name: &str| (name.to_owned(), recorder.names().intern(&format!("zerver.baggage.{name}")));
        exchange.note_baggage(&[key("tenant"), key("user"), key("absent")]);
        exchange.settle(None, recorder.names().intern(tracestate::NOTED));
        let carried = exchange.log().carried().expect("there is baggage").clone();
        assert_eq!((carried.tracestate.as_str(), carried.baggage.len()), ("", "tenant=sh%C3%B6p,user=".len() + 80));
        exchange.answered(200);
        drop(exchange);
        let timeline = recorder.timelines().remove(0);
        let attr = |key: &str| timeline.root().attr(key).map(ToString::to_string);
        assert_eq!(attr("zerver.baggage.tenant").as_deref(), Some("shöp"));
        assert_eq!(attr("zerver.baggage.user"), Some("x".repeat(64)));
        assert_eq!(attr("zerver.baggage.absent"), None);
        assert_eq!(attr("zerver.baggage_lost").as_deref(), Some("1"));
    }

    #[test]
    fn an_unsound_request_id_is_replaced() {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", "a b".parse().unwrap());
        let (_recorder, exchange) = open(&headers);
        assert_eq!(exchange.request_id, exchange.log().trace_id().to_string());
    }
}
