//! From a timeline to spans: the tree a tracing backend shows.
//!
//! | node | span | kind |
//! |---|---|---|
//! | the request | `{method} {http.route}` | server |
//! | a step | `zerver.step {name}` | internal |
//! | a station, a branch | `zerver.station {name}`, `zerver.branch {name}`: only when one of its waits was promoted, or it did not end well | internal |
//! | a call | `{method}` or `{method} {url.template}`; without a method the target's name | client |
//! | a promoted wait | `zerver.job.queue`, `zerver.job.park`, below the span of its node | internal |
//!
//! What has no span of its own hands its children to the next one above that has. Waits that were not promoted stay
//! as events on the node's span.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Event, SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, Key, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents};

use crate::event::{Cause, NodeId, NodeKind, Outcome, StateKind};
use crate::id::{SpanId, span_id};
use crate::sampling::Reason;
use crate::semconv;
use crate::timeline::{Node, PromotedBy, State, Timeline, Value};

/// What spans carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanSettings {
    /// Whether spans carry the node's lifecycle as events (default true).
    pub events: bool,
    /// The most events on one span (default 128, as in OpenTelemetry's SDKs); the rest is counted on the span.
    pub max_events: usize,
    /// Whether every station and branch has a span (default false).
    pub all_nodes: bool,
}

impl Default for SpanSettings {
    fn default() -> Self {
        Self { events: true, max_events: 128, all_nodes: false }
    }
}

/// The instrumentation scope of all spans.
#[must_use]
pub fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("zerver").with_version(env!("CARGO_PKG_VERSION")).build()
}

/// The spans of one request, its own first. `reason` says why they are exported.
#[must_use]
pub fn spans(timeline: &Timeline, reason: Reason, settings: &SpanSettings) -> Vec<SpanData> {
    let tree = Tree { timeline, settings, scope: scope() };
    let mut spans = Vec::with_capacity(timeline.nodes.len() + 4);
    // The span above each node's children: its own, or the one above it.
    let mut above: Vec<SpanId> = Vec::with_capacity(timeline.nodes.len());
    let mut steps = 0;
    for node in &timeline.nodes {
        let parent = node.parent.and_then(|parent| above.get(usize::from(parent.0)).copied());
        if node.kind == NodeKind::Step {
            steps += 1;
        }
        if !tree.has_span(node) {
            above.push(parent.unwrap_or(timeline.span_id));
            continue;
        }
        let id = tree.id(node);
        above.push(id);
        spans.push(tree.node_span(node, id, parent, steps, reason));
        for (place, state) in node.states.iter().enumerate() {
            if let Some(rule) = state.promoted {
                spans.push(tree.episode_span(node, id, place, state, rule));
            }
        }
    }
    spans
}

/// Memory that a span takes while it waits to be sent, by estimate.
#[must_use]
pub fn estimated_bytes(span: &SpanData) -> usize {
    let events: usize =
        span.events.iter().map(|e| size_of::<Event>() + e.attributes.len() * size_of::<KeyValue>()).sum();
    // Sixteen bytes for what an average attribute holds beyond its own size; texts known at load are shared.
    size_of::<SpanData>() + span.attributes.len() * (size_of::<KeyValue>() + 16) + events
}

struct Tree<'a> {
    timeline: &'a Timeline,
    settings: &'a SpanSettings,
    scope: InstrumentationScope,
}

impl Tree<'_> {
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

    fn time(&self, ns: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.timeline.start_unix_ns.saturating_add(ns))
    }

    fn span(&self, id: SpanId, parent: Option<SpanId>, name: Cow<'static, str>, from_ns: u64, to_ns: u64) -> SpanData {
        let flags = if self.timeline.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        let trace = opentelemetry::TraceId::from_bytes(self.timeline.trace_id.0.to_be_bytes());
        SpanData {
            span_context: SpanContext::new(trace, otel_id(id), flags, false, TraceState::NONE),
            parent_span_id: parent.map_or(opentelemetry::SpanId::INVALID, otel_id),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name,
            start_time: self.time(from_ns),
            end_time: self.time(to_ns),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: opentelemetry_sdk::trace::SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }

    fn node_span(&self, node: &Node, id: SpanId, parent: Option<SpanId>, step: i64, reason: Reason) -> SpanData {
        let request = node.kind == NodeKind::Request;
        let parent = if request { self.timeline.parent_span_id } else { parent };
        let mut span = self.span(id, parent, self.name(node), node.start_ns, node.end_ns);
        span.parent_span_is_remote = request && parent.is_some();
        span.span_kind = match node.kind {
            NodeKind::Request => SpanKind::Server,
            NodeKind::Effect => SpanKind::Client,
            NodeKind::Station | NodeKind::Step | NodeKind::Branch => SpanKind::Internal,
        };
        let attributes = &mut span.attributes;
        for (name, value) in &node.attrs {
            match (&**name, value) {
                ("peer", _) if node.kind == NodeKind::Effect => peer(attributes, value),
                (semconv::HTTP_METHOD, Value::Text(method)) => self::method(attributes, method),
                (key, value) => match key.strip_prefix("header.") {
                    Some(header) => put(attributes, format!("{}.{header}", semconv::HTTP_REQUEST_HEADER), one(value)),
                    None => put(attributes, semconv::key(name), otel_value(value)),
                },
            }
        }
        if node.kind == NodeKind::Effect
            && let Some(url) = self.url(node)
        {
            put(attributes, semconv::URL_FULL, url);
        }
        let error = if request { semconv::server_error(self.timeline) } else { semconv::node_error(node) };
        if node.status != 0 {
            put(attributes, semconv::HTTP_STATUS, i64::from(node.status));
        }
        match node.kind {
            NodeKind::Request => self.request_attributes(attributes, reason),
            NodeKind::Step => {
                put(attributes, semconv::STEP_NAME, node.name.clone());
                put(attributes, semconv::STEP_SEQUENCE, step);
            }
            NodeKind::Station => put(attributes, semconv::STATION_NAME, node.name.clone()),
            NodeKind::Branch => {}
            NodeKind::Effect => {
                put(attributes, semconv::EFFECT_TARGET, node.name.clone());
                put(attributes, semconv::EFFECT_ATTEMPT, i64::from(node.attempt));
                if node.attempt > 1 && node.attr(semconv::HTTP_METHOD).is_some() {
                    put(attributes, semconv::HTTP_RESEND, i64::from(node.attempt) - 1);
                }
            }
        }
        job(attributes, node);
        if let Some(error) = error {
            put(attributes, semconv::ERROR_TYPE, error);
            // No description: the code says it all.
            span.status = Status::Error { description: Cow::Borrowed("") };
        }
        if self.settings.events {
            span.events = self.events(node);
        }
        span
    }

    /// The address that a call went to, redacted as its parts are; none for what is no call over HTTP. A proxied request
    /// asks for what its client asked for.
    fn url(&self, node: &Node) -> Option<String> {
        node.attr(semconv::HTTP_METHOD)?;
        let (host, port) = (node.attr(semconv::SERVER_ADDRESS)?, node.attr(semconv::SERVER_PORT)?);
        let root = Some(self.timeline.root()).filter(|_| node.parent == Some(NodeId::ROOT));
        let path = node.attr(semconv::URL_PATH).or_else(|| root?.attr(semconv::URL_PATH))?;
        let query = root.and_then(|root| root.attr(semconv::URL_QUERY)).map(|query| format!("?{query}"));
        let host = host.to_string();
        let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
        Some(format!("http://{host}:{port}{path}{}", query.unwrap_or_default()))
    }

    fn name(&self, node: &Node) -> Cow<'static, str> {
        let text = |key: &str| match node.attr(key) {
            Some(Value::Text(text)) => Some(&**text),
            _ => None,
        };
        let method = text(semconv::HTTP_METHOD).map(semconv::method);
        match node.kind {
            NodeKind::Request => {
                // Never the raw path: names must be few.
                let route = text(semconv::HTTP_ROUTE).unwrap_or(&self.timeline.route);
                match (method.unwrap_or("HTTP"), route) {
                    (method, "(none)" | "") => Cow::Owned(method.to_owned()),
                    (method, route) => Cow::Owned(format!("{method} {route}")),
                }
            }
            NodeKind::Step => Cow::Owned(format!("zerver.step {}", node.name)),
            NodeKind::Station => Cow::Owned(format!("zerver.station {}", node.name)),
            NodeKind::Branch => Cow::Owned(format!("zerver.branch {}", node.name)),
            NodeKind::Effect => match (method, text(semconv::URL_TEMPLATE)) {
                (Some(method), Some(template)) => Cow::Owned(format!("{method} {template}")),
                (Some(method), None) => Cow::Owned(method.to_owned()),
                (None, _) => Cow::Owned(node.name.to_string()),
            },
        }
    }

    fn request_attributes(&self, attributes: &mut Vec<KeyValue>, reason: Reason) {
        let timeline = self.timeline;
        // The root node of a recorded timeline carries the same status; older ones only the timeline.
        if timeline.status != 0 && timeline.root().status == 0 {
            put(attributes, semconv::HTTP_STATUS, i64::from(timeline.status));
        }
        put(attributes, semconv::ROUTE, timeline.route.clone());
        if let Some(flow) = &timeline.flow {
            put(attributes, semconv::FLOW, flow.clone());
        }
        put(attributes, semconv::CONFIG_VERSION, i64::from(timeline.config_version));
        put(attributes, semconv::OUTCOME, timeline.outcome.as_str());
        put(attributes, semconv::RETAINED_REASON, reason.as_str());
        if timeline.lost_events > 0 {
            put(attributes, semconv::EVENTS_LOST, i64::from(timeline.lost_events));
        }
    }

    /// The span of one promoted wait: what led into it and out of it, back-filled from the timeline.
    fn episode_span(&self, node: &Node, above: SpanId, place: usize, state: &State, rule: PromotedBy) -> SpanData {
        // Numbers from the upper half, so that no episode shares an id with a node derived the same way.
        let id = span_id(above.0, u16::MAX - u16::try_from(place).unwrap_or(u16::MAX / 2));
        let queue = state.cause.kind() == StateKind::Queue;
        let name = if queue { "zerver.job.queue" } else { "zerver.job.park" };
        let mut span = self.span(id, Some(above), Cow::Borrowed(name), state.from_ns, state.to_ns);
        let path = self.timeline.path(node.id);
        put(&mut span.attributes, semconv::JOB_NODE, if path.is_empty() { "request".to_owned() } else { path });
        if queue {
            put(&mut span.attributes, semconv::JOB_QUEUE, waited_for(state));
            put(&mut span.attributes, semconv::JOB_QUEUE_WAIT, seconds(state.len_ns()));
        } else {
            put(&mut span.attributes, semconv::JOB_PARK_CAUSE, state.cause.as_str());
            put(&mut span.attributes, semconv::JOB_PARK_WAIT, seconds(state.len_ns()));
            if let Some(name) = &state.name {
                put(&mut span.attributes, semconv::JOB_WAITS_FOR, name.clone());
            }
        }
        if let Some(worker) = last_worker(node) {
            put(&mut span.attributes, semconv::JOB_WORKER, worker);
        }
        put(&mut span.attributes, semconv::JOB_PROMOTED_BY, rule.as_str());
        if self.settings.events {
            let mut events = SpanEvents::default();
            events.events.push(self.transition(state, node, place));
            if let Some(next) = node.states.get(place + 1) {
                events.events.push(self.transition(next, node, place + 1));
            }
            span.events = events;
        }
        span
    }

    /// The node's transitions in order, those into promoted episodes left to their own spans.
    fn events(&self, node: &Node) -> SpanEvents {
        let mut events = SpanEvents::default();
        if node.states.len() == 1 && node.states[0].cause == Cause::Run {
            return events;
        }
        let own = node.states.iter().enumerate().filter(|(_, state)| state.promoted.is_none());
        for (place, state) in own {
            if events.events.len() < self.settings.max_events {
                events.events.push(self.transition(state, node, place));
            } else {
                events.dropped_count += 1;
            }
        }
        events
    }

    fn transition(&self, state: &State, node: &Node, place: usize) -> Event {
        let name = match state.cause.kind() {
            StateKind::Queue => "zerver.job.enqueued",
            StateKind::Park => "zerver.job.parked",
            // After a wait for something else it goes on; after a mere queue it begins.
            StateKind::Run if node.states[..place].iter().any(|before| before.cause.kind() != StateKind::Queue) => {
                "zerver.job.resumed"
            }
            StateKind::Run => "zerver.job.started",
        };
        let mut attributes = Vec::with_capacity(3);
        match state.cause.kind() {
            StateKind::Queue => put(&mut attributes, semconv::JOB_QUEUE, waited_for(state)),
            StateKind::Park => put(&mut attributes, semconv::JOB_PARK_CAUSE, state.cause.as_str()),
            StateKind::Run => {}
        }
        if let (StateKind::Park, Some(name)) = (state.cause.kind(), &state.name) {
            put(&mut attributes, semconv::JOB_WAITS_FOR, name.clone());
        }
        if let Some(worker) = state.worker {
            put(&mut attributes, semconv::JOB_WORKER, i64::from(worker));
        }
        if let Some(waker) = state.woken_by.and_then(|id: NodeId| self.timeline.node(id)) {
            put(&mut attributes, semconv::JOB_WOKEN_BY, self.timeline.path(waker.id));
        }
        Event::new(name, self.time(state.from_ns), attributes, 0)
    }
}

/// The uniform attributes of a job: how long it was in each kind of state.
fn job(attributes: &mut Vec<KeyValue>, node: &Node) {
    let split = node.split();
    let longest = |kind: StateKind| {
        node.states.iter().filter(|state| state.cause.kind() == kind).max_by_key(|state| state.len_ns())
    };
    if let Some(queue) = longest(StateKind::Queue) {
        put(attributes, semconv::JOB_QUEUE, waited_for(queue));
    }
    put(attributes, semconv::JOB_QUEUE_WAIT, seconds(split.queue_ns));
    put(attributes, semconv::JOB_PARK_WAIT, seconds(split.park_ns));
    if let Some(park) = longest(StateKind::Park) {
        put(attributes, semconv::JOB_PARK_CAUSE, park.cause.as_str());
    }
    put(attributes, semconv::JOB_RUN, seconds(split.run_ns));
    if let Some(worker) = last_worker(node) {
        put(attributes, semconv::JOB_WORKER, worker);
    }
}

fn last_worker(node: &Node) -> Option<i64> {
    node.states.iter().rev().find_map(|state| state.worker).map(i64::from)
}

fn waited_for(state: &State) -> opentelemetry::Value {
    match &state.name {
        Some(name) => name.clone().into(),
        None => state.cause.as_str().into(),
    }
}

/// The method, or `_OTHER` and what it was.
fn method(attributes: &mut Vec<KeyValue>, method: &Arc<str>) {
    match semconv::known_method(method) {
        "_OTHER" => {
            put(attributes, semconv::HTTP_METHOD, "_OTHER");
            if &**method != "_OTHER" {
                put(attributes, semconv::HTTP_METHOD_ORIGINAL, Arc::clone(method));
            }
        }
        _ => put(attributes, semconv::HTTP_METHOD, Arc::clone(method)),
    }
}

/// A list of one: headers may stand several times.
fn one(value: &Value) -> opentelemetry::Value {
    opentelemetry::Value::Array(vec![opentelemetry::StringValue::from(value.to_string())].into())
}

/// `10.0.0.5:8081` or `[::1]:8081` as address and port; anything else is the address.
fn peer(attributes: &mut Vec<KeyValue>, value: &Value) {
    let text = value.to_string();
    let split = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match split {
        Some((host, port)) if !host.contains(':') || host.starts_with('[') => {
            let host = host.trim_matches(['[', ']']).to_owned();
            put(attributes, semconv::PEER_ADDRESS, host);
            put(attributes, semconv::PEER_PORT, i64::from(port));
        }
        _ => put(attributes, semconv::PEER_ADDRESS, text),
    }
}

/// Adds an attribute, unless it stands there already: a key must not stand twice, and what the gateway noted stands.
fn put(attributes: &mut Vec<KeyValue>, key: impl Into<Key>, value: impl Into<opentelemetry::Value>) {
    let key = key.into();
    if attributes.iter().all(|attribute| attribute.key != key) {
        attributes.push(KeyValue::new(key, value));
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn otel_id(id: SpanId) -> opentelemetry::SpanId {
    opentelemetry::SpanId::from_bytes(id.0.to_be_bytes())
}

fn otel_value(value: &Value) -> opentelemetry::Value {
    match value {
        Value::Bool(yes) => (*yes).into(),
        Value::Int(n) => (*n).into(),
        Value::Float(x) => (*x).into(),
        Value::Text(text) => text.clone().into(),
    }
}

#[cfg(test)]
mod tests;
