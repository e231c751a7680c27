//! The one walk over a timeline that decides what its spans are: which nodes have one, and what each of them says.
//!
//! It says so to a [`Sink`], from what the timeline holds: nothing is formatted, and no text is made that stands there.

use std::borrow::Cow;

use opentelemetry::trace::SpanKind;

use super::facts::{Job, Noted};
use super::settings::SpanSettings;
use super::sink::{Digits, Head, Key, Keys, Said, Sink};
use crate::event::{Cause, NodeId, NodeKind, Outcome, StateKind};
use crate::id::{SpanId, span_id};
use crate::propagation::tracestate;
use crate::sampling::Reason;
use crate::semconv;
use crate::timeline::{Node, PromotedBy, State, Timeline, Value};

/// Tells `sink` the spans of one request, its own first; gives how many there are: none of a timeline without nodes.
pub(crate) fn walk<S: Sink>(timeline: &Timeline, reason: Reason, settings: &SpanSettings, sink: &mut S) -> usize {
    let root = timeline.nodes.first().map(Noted::of).unwrap_or_default();
    let (keys, path) = (Keys::new(), Vec::new());
    let trace_state = trace_state(timeline);
    let mut walk = Walk { timeline, reason, settings, root, trace_state, keys, path, sink };
    let mut spans = 0;
    // The span above each node's children: its own, or the one above it.
    let mut above: Vec<SpanId> = Vec::with_capacity(timeline.nodes.len());
    let mut steps = 0;
    for node in &timeline.nodes {
        let parent = node.parent.and_then(|parent| above.get(usize::from(parent.0)).copied());
        if node.kind == NodeKind::Step {
            steps += 1;
        }
        if !walk.has_span(node) {
            above.push(parent.unwrap_or(timeline.span_id));
            continue;
        }
        let id = walk.id(node);
        above.push(id);
        let job = Job::of(node);
        walk.node_span(node, &job, id, parent, steps);
        spans += 1;
        for (place, state) in node.states.iter().enumerate() {
            if let Some(rule) = state.promoted {
                walk.episode_span(node, &job, id, place, state, rule);
                spans += 1;
            }
        }
    }
    spans
}

struct Walk<'t, 's, S> {
    timeline: &'t Timeline,
    reason: Reason,
    settings: &'t SpanSettings,
    root: Noted<'t>,
    trace_state: &'t str,
    keys: Keys<'t>,
    path: Vec<&'t str>,
    sink: &'s mut S,
}

impl<'t, S: Sink> Walk<'t, '_, S> {
    fn has_span(&self, node: &Node) -> bool {
        match node.kind {
            NodeKind::Request | NodeKind::Step => true,
            // A call that was never made leaves no trace elsewhere.
            NodeKind::Effect => node.outcome != Outcome::Skipped,
            NodeKind::Station | NodeKind::Branch => {
                self.settings.all_nodes
                    || node.states.iter().any(|state| state.promoted.is_some())
                    || semconv::node_error(node).is_some()
            }
        }
    }

    /// The node's span id as it was recorded; in timelines from elsewhere one that is at least its own.
    fn id(&self, node: &Node) -> SpanId {
        match (node.kind, node.span_id.0) {
            (NodeKind::Request, _) => self.timeline.span_id,
            (_, 0) => span_id(self.timeline.span_id.0, node.id.0),
            _ => node.span_id,
        }
    }

    fn unix_ns(&self, ns: u64) -> u64 {
        self.timeline.start_unix_ns.saturating_add(ns)
    }

    fn open(&mut self, kind: SpanKind, id: SpanId, parent: Option<SpanId>, name: [&str; 3], from_to_ns: (u64, u64)) {
        self.sink.open(&Head {
            trace_id: self.timeline.trace_id,
            span_id: id,
            parent,
            remote: kind == SpanKind::Server && parent.is_some(),
            trace_state: self.trace_state,
            sampled: self.timeline.sampled,
            kind,
            name,
            from_unix_ns: self.unix_ns(from_to_ns.0),
            to_unix_ns: self.unix_ns(from_to_ns.1),
        });
    }

    /// An attribute whose key may have been noted already: what was noted stands.
    #[inline(always)]
    fn put(&mut self, key: Key<'t>, said: Said<'_>) {
        if self.keys.add(key) {
            self.sink.attribute(key, said);
        }
    }

    #[inline(always)]
    fn text(&mut self, key: &'static str, text: &str) {
        self.put(Key::of(key), Said::Text(text));
    }

    #[inline(always)]
    fn int(&mut self, key: &'static str, number: impl Into<i64>) {
        self.put(Key::of(key), Said::Int(number.into()));
    }

    fn node_span(&mut self, node: &'t Node, job: &Job<'t>, id: SpanId, parent: Option<SpanId>, step: i64) {
        let request = node.kind == NodeKind::Request;
        let parent = if request { self.timeline.parent_span_id } else { parent };
        let kind = match node.kind {
            NodeKind::Request => SpanKind::Server,
            NodeKind::Effect => SpanKind::Client,
            NodeKind::Station | NodeKind::Step | NodeKind::Branch => SpanKind::Internal,
        };
        let noted = if request { self.root } else { Noted::of(node) };
        self.open(kind, id, parent, self.name(node, &noted), (node.start_ns, node.end_ns));
        self.keys.clear();
        self.noted(node);
        if node.kind == NodeKind::Effect {
            self.url(node, &noted);
        }
        let error = if request { semconv::server_error(self.timeline) } else { semconv::node_error(node) };
        if node.status != 0 {
            self.int(semconv::HTTP_STATUS, node.status);
        }
        match node.kind {
            NodeKind::Request => self.request_attributes(),
            NodeKind::Step => {
                self.text(semconv::STEP_NAME, &node.name);
                self.int(semconv::STEP_SEQUENCE, step);
            }
            NodeKind::Station => self.text(semconv::STATION_NAME, &node.name),
            NodeKind::Branch => {}
            NodeKind::Effect => {
                self.text(semconv::EFFECT_TARGET, &node.name);
                self.int(semconv::EFFECT_ATTEMPT, node.attempt);
                if node.attempt > 1 && noted.method.is_some() {
                    self.int(semconv::HTTP_RESEND, node.attempt - 1);
                }
            }
        }
        self.job_attributes(job);
        if let Some(error) = &error {
            self.text(semconv::ERROR_TYPE, error);
        }
        let left_out = if self.settings.events { self.events(node, job) } else { 0 };
        self.sink.close(left_out, error.is_some());
    }

    /// What was noted of the node, under its present names.
    fn noted(&mut self, node: &'t Node) {
        for (name, value) in &node.attrs {
            match (&**name, value) {
                ("peer", _) if node.kind == NodeKind::Effect => self.peer(value),
                // It belongs to the trace: each span has it in its own place.
                (tracestate::NOTED, _) if node.kind == NodeKind::Request => {}
                (semconv::HTTP_METHOD, Value::Text(method)) => self.method(method),
                (name, value) => match name.strip_prefix("header.") {
                    // A list of one: headers may stand several times.
                    Some(own) => self.put(Key { before: HEADER, own }, Said::List(&shown(value))),
                    None => {
                        let (before, own) = semconv::spelt(name);
                        self.put(Key { before, own }, said(value));
                    }
                },
            }
        }
    }

    /// The method, or `_OTHER` and what it was.
    fn method(&mut self, method: &str) {
        let known = semconv::known_method(method);
        self.text(semconv::HTTP_METHOD, known);
        if known != method {
            self.text(semconv::HTTP_METHOD_ORIGINAL, method);
        }
    }

    /// `10.0.0.5:8081` or `[::1]:8081` as address and port; anything else is the address.
    fn peer(&mut self, value: &Value) {
        let text = shown(value);
        let split = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        match split {
            Some((host, port)) if !host.contains(':') || host.starts_with('[') => {
                self.text(semconv::PEER_ADDRESS, host.trim_matches(['[', ']']));
                self.int(semconv::PEER_PORT, port);
            }
            _ => self.text(semconv::PEER_ADDRESS, &text),
        }
    }

    /// The address that a call went to, redacted as its parts are; none for what is no call over HTTP. A proxied request
    /// asks for what its client asked for.
    fn url(&mut self, node: &Node, noted: &Noted<'t>) {
        let (Some(_), Some(host), Some(port)) = (noted.method, noted.host, noted.port) else { return };
        let root = Some(self.root).filter(|_| node.parent == Some(NodeId::ROOT));
        let Some(path) = noted.path.or_else(|| root?.path) else { return };
        let query = root.and_then(|root| root.query);
        let (host, path, query) = (shown(host), shown(path), query.map(shown));
        let number = if let Value::Int(port) = port { u64::try_from(*port).ok().map(Digits::of) } else { None };
        let port = number.as_ref().map_or_else(|| shown(port), |digits| Cow::Borrowed(digits.as_str()));
        let bare = host.contains(':') && !host.starts_with('[');
        let (open, close) = if bare { ("http://[", "]:") } else { ("http://", ":") };
        let (mark, query) = query.as_deref().map_or(("", ""), |query| ("?", query));
        self.put(Key::of(semconv::URL_FULL), Said::Joined(&[open, &host, close, &port, &path, mark, query]));
    }

    fn name(&self, node: &'t Node, noted: &Noted<'t>) -> [&'t str; 3] {
        let text = |value: Option<&'t Value>| match value {
            Some(Value::Text(text)) => Some(&**text),
            _ => None,
        };
        let method = text(noted.method).map(semconv::method);
        match node.kind {
            NodeKind::Request => {
                // Never the raw path: names must be few.
                let route = text(noted.route).unwrap_or(&self.timeline.route);
                match (method.unwrap_or("HTTP"), route) {
                    (method, "(none)" | "") => [method, "", ""],
                    (method, route) => [method, " ", route],
                }
            }
            NodeKind::Step => ["zerver.step ", &node.name, ""],
            NodeKind::Station => ["zerver.station ", &node.name, ""],
            NodeKind::Branch => ["zerver.branch ", &node.name, ""],
            NodeKind::Effect => match (method, text(noted.template)) {
                (Some(method), Some(template)) => [method, " ", template],
                (Some(method), None) => [method, "", ""],
                (None, _) => [&node.name, "", ""],
            },
        }
    }

    fn request_attributes(&mut self) {
        let timeline = self.timeline;
        // The root node of a recorded timeline carries the same status; older ones only the timeline.
        if timeline.status != 0 && timeline.root().status == 0 {
            self.int(semconv::HTTP_STATUS, timeline.status);
        }
        self.text(semconv::ROUTE, &timeline.route);
        if let Some(flow) = &timeline.flow {
            self.text(semconv::FLOW, flow);
        }
        self.int(semconv::CONFIG_VERSION, timeline.config_version);
        self.text(semconv::OUTCOME, timeline.outcome.as_str());
        self.text(semconv::RETAINED_REASON, self.reason.as_str());
        if timeline.lost_events > 0 {
            self.int(semconv::EVENTS_LOST, timeline.lost_events);
        }
    }

    /// The uniform attributes of a job: how long it was in each kind of state.
    fn job_attributes(&mut self, job: &Job<'t>) {
        if let Some(queue) = job.queue {
            self.text(semconv::JOB_QUEUE, waited_for(queue));
        }
        self.put(Key::of(semconv::JOB_QUEUE_WAIT), seconds(job.split.queue_ns));
        self.put(Key::of(semconv::JOB_PARK_WAIT), seconds(job.split.park_ns));
        if let Some(park) = job.park {
            self.text(semconv::JOB_PARK_CAUSE, park.cause.as_str());
        }
        self.put(Key::of(semconv::JOB_RUN), seconds(job.split.run_ns));
        if let Some(worker) = job.worker {
            self.int(semconv::JOB_WORKER, worker);
        }
    }

    /// The span of one promoted wait: what led into it and out of it, back-filled from the timeline. None of its keys
    /// comes from elsewhere, so each stands once.
    fn episode_span(
        &mut self,
        node: &'t Node,
        job: &Job<'t>,
        above: SpanId,
        place: usize,
        state: &State,
        by: PromotedBy,
    ) {
        // Numbers from the upper half, so that no episode shares an id with a node derived the same way.
        let id = span_id(above.0, u16::MAX - u16::try_from(place).unwrap_or(u16::MAX / 2));
        let queue = state.cause.kind() == StateKind::Queue;
        let name = if queue { "zerver.job.queue" } else { "zerver.job.park" };
        self.open(SpanKind::Internal, id, Some(above), [name, "", ""], (state.from_ns, state.to_ns));
        self.path_of(node.id, semconv::JOB_NODE, "request");
        if queue {
            self.tell(semconv::JOB_QUEUE, Said::Text(waited_for(state)));
            self.tell(semconv::JOB_QUEUE_WAIT, seconds(state.len_ns()));
        } else {
            self.tell(semconv::JOB_PARK_CAUSE, Said::Text(state.cause.as_str()));
            self.tell(semconv::JOB_PARK_WAIT, seconds(state.len_ns()));
            if let Some(name) = &state.name {
                self.tell(semconv::JOB_WAITS_FOR, Said::Text(name));
            }
        }
        if let Some(worker) = job.worker {
            self.tell(semconv::JOB_WORKER, Said::Int(worker.into()));
        }
        self.tell(semconv::JOB_PROMOTED_BY, Said::Text(by.as_str()));
        if self.settings.events {
            self.transition(state, job, place);
            if let Some(next) = node.states.get(place + 1) {
                self.transition(next, job, place + 1);
            }
        }
        self.sink.close(0, false);
    }

    /// The node's transitions in order, those into promoted episodes left to their own spans; gives how many were too many.
    fn events(&mut self, node: &'t Node, job: &Job<'t>) -> u32 {
        if let [only] = &*node.states
            && only.cause == Cause::Run
        {
            return 0;
        }
        let own = node.states.iter().enumerate().filter(|(_, state)| state.promoted.is_none());
        let mut left_out = 0;
        for (n, (place, state)) in own.enumerate() {
            if n < self.settings.max_events {
                self.transition(state, job, place);
            } else {
                left_out += 1;
            }
        }
        left_out
    }

    /// One event; each of its keys stands once by how it is made.
    fn transition(&mut self, state: &State, job: &Job<'t>, place: usize) {
        let kind = state.cause.kind();
        let name = match kind {
            StateKind::Queue => "zerver.job.enqueued",
            StateKind::Park => "zerver.job.parked",
            // After a wait for something else it goes on; after a mere queue it begins.
            StateKind::Run if job.began < place => "zerver.job.resumed",
            StateKind::Run => "zerver.job.started",
        };
        self.sink.event(name, self.unix_ns(state.from_ns));
        match (kind, &state.name) {
            (StateKind::Queue, _) => self.tell(semconv::JOB_QUEUE, Said::Text(waited_for(state))),
            (StateKind::Park, name) => {
                self.tell(semconv::JOB_PARK_CAUSE, Said::Text(state.cause.as_str()));
                if let Some(name) = name {
                    self.tell(semconv::JOB_WAITS_FOR, Said::Text(name));
                }
            }
            (StateKind::Run, _) => {}
        }
        if let Some(worker) = state.worker {
            self.tell(semconv::JOB_WORKER, Said::Int(worker.into()));
        }
        if let Some(waker) = state.woken_by.and_then(|id: NodeId| self.timeline.node(id)) {
            self.path_of(waker.id, semconv::JOB_WOKEN_BY, "");
        }
    }

    #[inline(always)]
    fn tell(&mut self, key: &'static str, said: Said<'_>) {
        self.sink.attribute(Key::of(key), said);
    }

    /// [`Timeline::path`], in pieces; for the request, whose path is empty, another word.
    fn path_of(&mut self, id: NodeId, key: &'static str, request: &'static str) {
        let timeline = self.timeline;
        self.path.clear();
        let mut at = Some(id);
        while let Some(node) = at.and_then(|id| timeline.node(id)) {
            if node.parent.is_some() {
                if !self.path.is_empty() {
                    self.path.push(".");
                }
                self.path.push(&node.name);
            }
            // A parent always opens before its child, which bounds the walk.
            at = node.parent.filter(|parent| *parent < node.id);
        }
        self.path.reverse();
        let empty = self.path.iter().all(|piece| piece.is_empty());
        let said = if empty { Said::Text(request) } else { Said::Joined(&self.path) };
        self.sink.attribute(Key::of(key), said);
    }
}

/// What stands before the name of a header.
const HEADER: &str = "http.request.header.";

/// What went out with the request's calls. A list that was cut or redacted is none: its members are not what they were.
fn trace_state(timeline: &Timeline) -> &str {
    match timeline.nodes.first().and_then(|root| root.attr(tracestate::NOTED)) {
        Some(Value::Text(list)) if timeline.lost_events == 0 && list.bytes().all(|b| (b' '..=b'~').contains(&b)) => {
            list
        }
        _ => "",
    }
}

fn waited_for(state: &State) -> &str {
    state.name.as_deref().unwrap_or(state.cause.as_str())
}

fn seconds(ns: u64) -> Said<'static> {
    Said::Float(ns as f64 / 1e9)
}

fn said(value: &Value) -> Said<'_> {
    match value {
        Value::Bool(yes) => Said::Bool(*yes),
        Value::Int(n) => Said::Int(*n),
        Value::Float(x) => Said::Float(*x),
        Value::Text(text) => Said::Text(text),
    }
}

/// A value as text; what is a text already is not copied.
fn shown(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Text(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}
