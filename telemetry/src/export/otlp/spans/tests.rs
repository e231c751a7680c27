//! The bytes against what they stand for: the same spans made as data, and written by opentelemetry-proto.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use parking_lot::Mutex;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::event::{Cause, NodeId, NodeKind, Outcome};
use crate::export::otlp::message::{self, Frame};
use crate::id::{SpanId, TraceId};
use crate::propagation::tracestate;
use crate::span::spans;
use crate::timeline::{Node, PromotedBy, State, Value, sample};

fn frame() -> Frame {
    let resource = message::resource(BTreeMap::from([("service.name".into(), "edge".into())]));
    Frame { resource, limits: ItemLimits::default() }
}

fn batch(parts: Vec<Box<[u8]>>) -> BytesMut {
    let mut message = BytesMut::new();
    message::spans(parts, &frame(), &mut message);
    message
}

fn data(timeline: &Timeline) -> Vec<SpanData> {
    spans(timeline, Reason::Sampled, &SpanSettings::default())
}

fn bytes(timeline: &Timeline) -> Group<Box<[u8]>> {
    Encoder::default().spans(timeline, Reason::Sampled, &SpanSettings::default())
}

#[test]
fn a_batch_reads_back_as_it_was() {
    let message = batch(vec![bytes(&sample()).part, bytes(&sample()).part]);
    let whole = ExportTraceServiceRequest::decode(&*message).expect("it is a message");
    let [first] = &*whole.resource_spans else { panic!("{whole:?}") };
    assert_eq!(first.resource, Some(frame().resource));
    let [of_scope] = &*first.scope_spans else { panic!("{first:?}") };
    assert_eq!(of_scope.scope.as_ref().map(|scope| &*scope.name), Some("zerver"));
    let expected: Vec<Span> = [data(&sample()), data(&sample())].concat().into_iter().map(Into::into).collect();
    assert_eq!(of_scope.spans, expected);
    assert_eq!(whole.encode_to_vec(), message);
}

/// Keeps what it is to send.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Bytes>>);

#[async_trait::async_trait]
impl HttpClient for Kept {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        *self.0.lock() = request.into_body();
        Ok(http::Response::default())
    }
}

#[test]
fn a_batch_is_what_the_official_exporter_sends() {
    let kept = Kept::default();
    let mut official = SpanExporter::builder().with_http().with_http_client(kept.clone()).build().unwrap();
    let service = opentelemetry::KeyValue::new("service.name", "edge");
    official.set_resource(&opentelemetry_sdk::Resource::builder_empty().with_attribute(service).build());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(official.export([data(&sample()), data(&sample())].concat())).unwrap();
    assert_eq!(*kept.0.lock(), batch(vec![bytes(&sample()).part, bytes(&sample()).part]));
}

/// What the limits leave of a span; whole spans are limited one by one here, as they are read.
fn cut(mut span: Span, limits: &ItemLimits) -> Span {
    fn attributes(list: &mut Vec<KeyValue>, most: usize, chars: Option<usize>) -> u32 {
        let gone = list.len().saturating_sub(most);
        list.truncate(most);
        for value in list.iter_mut().flat_map(|one| &mut one.value).flat_map(|value| &mut value.value) {
            let texts: Vec<&mut String> = match value {
                AnyValue::StringValue(text) => vec![text],
                AnyValue::ArrayValue(ArrayValue { values }) => {
                    let inner = values.iter_mut().flat_map(|value| &mut value.value);
                    inner
                        .filter_map(|value| if let AnyValue::StringValue(text) = value { Some(text) } else { None })
                        .collect()
                }
                _ => Vec::new(),
            };
            texts.into_iter().for_each(|text| *text = text.chars().take(chars.unwrap_or(usize::MAX)).collect());
        }
        gone as u32
    }
    span.dropped_attributes_count += attributes(&mut span.attributes, limits.attributes, limits.value_chars);
    let gone = span.events.len().saturating_sub(limits.events);
    span.events.truncate(limits.events);
    span.dropped_events_count += gone as u32;
    for event in &mut span.events {
        event.dropped_attributes_count +=
            attributes(&mut event.attributes, limits.event_attributes, limits.value_chars);
    }
    span
}

/// The bytes are those that opentelemetry-proto writes of the same spans, made as data and then cut.
fn hold(timeline: &Timeline, reason: Reason, settings: &SpanSettings, limits: ItemLimits) {
    let made = spans(timeline, reason, settings);
    for span in &made {
        let keys: std::collections::HashSet<_> = span.attributes.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys.len(), span.attributes.len(), "{}: a key stands twice", span.name);
    }
    let expected: Vec<Span> = made.into_iter().map(|span| cut(span.into(), &limits)).collect();
    let written = Encoder::new(limits).spans(timeline, reason, settings);
    assert_eq!((written.items, written.bytes), (expected.len(), written.part.len()));
    let read = ScopeSpans::decode(&*written.part).expect("it is a message").spans;
    // Debug's text, because a number that is none is equal to nothing.
    assert_eq!(format!("{read:?}"), format!("{expected:?}"));
    let whole = ScopeSpans { spans: expected, ..ScopeSpans::default() };
    assert!(whole.encode_to_vec() == *written.part, "the same spans, in other bytes");
}

#[test]
fn what_is_cut_is_counted() {
    let limits = ItemLimits { attributes: 2, value_chars: Some(3), events: 1, event_attributes: 1 };
    let settings = SpanSettings { max_events: 2, ..SpanSettings::default() };
    hold(&sample(), Reason::Sampled, &settings, limits);
    let read = ScopeSpans::decode(&*Encoder::new(limits).spans(&sample(), Reason::Sampled, &settings).part);
    let root = read.expect("it is a message").spans.remove(0);
    assert_eq!((root.attributes.len(), root.dropped_attributes_count), (2, 18));
    assert_eq!((root.events.len(), root.dropped_events_count), (1, 2));
    assert_eq!(root.events[0].dropped_attributes_count, 0);
    let Some(AnyValue::StringValue(route)) = root.attributes[1].value.as_ref().and_then(|value| value.value.as_ref())
    else {
        panic!("{root:?}")
    };
    assert_eq!(route, "/ch");
}

#[test]
fn long_spans_and_events_find_room_for_their_lengths() {
    for len in [0, 100, 127, 128, 200, 16_000, 17_000, 3_000_000] {
        let mut timeline = sample();
        timeline.nodes[0].attrs.push(("x.long".into(), Value::Text("x".repeat(len).into())));
        timeline.nodes[2].states[1].name = Some("y".repeat(len).into());
        timeline.nodes[3].attrs.push((format!("header.{}", "k".repeat(len)).into(), Value::Text("z".into())));
        hold(&timeline, Reason::Slow, &SpanSettings::default(), ItemLimits::default());
    }
}

/// Texts that are hard to cut and to measure, keys that the walk knows, and keys that mean the same as another.
fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof!["[a-c]{0,3}", "\\PC{0,6}", "[ä😀]{60,70}", Just(String::new()), "[0-9.:\\[\\]]{1,9}"]
        .prop_map(|text| text.as_str().into())
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::Text),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        any::<bool>().prop_map(Value::Bool),
    ]
}

fn attribute() -> impl Strategy<Value = (Arc<str>, Value)> {
    let known = prop::sample::select(vec![
        "http.request.method",
        "http.method",
        "http.route",
        "url.path",
        "url.query",
        "url.template",
        "server.address",
        "server.port",
        "peer",
        "network.peer.address",
        "header.x-tier",
        "http.request.header.x-tier",
        "tenant",
        "zerver.tenant",
        "zerver.route",
        "zerver.job.run",
        "http.response.status_code",
    ]);
    let key = prop_oneof![known.prop_map(Arc::from), text()];
    let method = prop::sample::select(vec!["GET", "BREW", "_OTHER", ""]).prop_map(|method| Value::Text(method.into()));
    (key, prop_oneof![value(), method])
}

fn state(nodes: u16) -> impl Strategy<Value = State> {
    let rule = prop::sample::select(vec![PromotedBy::Threshold, PromotedBy::Adaptive, PromotedBy::Debug]);
    let woken = prop::option::of((0..nodes + 1).prop_map(NodeId));
    let [from, to] = [any::<u64>(), any::<u64>()];
    let cause = prop::sample::select(Cause::ALL.to_vec());
    (from, to, cause, prop::option::of(text()), woken, any::<Option<u16>>(), prop::option::weighted(0.2, rule))
        .prop_map(|(from_ns, to_ns, cause, name, woken_by, worker, promoted)| State {
            from_ns: from_ns >> 1,
            // A life is no longer than a clock can tell.
            to_ns: (from_ns >> 1) + (to_ns >> (4 + to_ns % 60)),
            cause,
            name,
            woken_by,
            worker,
            promoted,
            folded: false,
        })
}

fn node(place: u16, nodes: u16) -> impl Strategy<Value = Node> {
    let kinds = [NodeKind::Station, NodeKind::Step, NodeKind::Effect, NodeKind::Branch];
    let what = (
        prop::sample::select(kinds.to_vec()),
        prop::sample::select(Outcome::ALL.to_vec()),
        text(),
        prop::option::weighted(0.2, text()),
        prop::sample::select(vec![0, 200, 404, 503]),
    );
    let rest = (
        0..place.max(1),
        any::<u64>(),
        prop::sample::select(vec![0, 7]),
        1..3_u16,
        prop::collection::vec(state(nodes), 0..6),
        prop::collection::vec(attribute(), 0..8),
    );
    (what, rest).prop_map(
        move |((kind, outcome, name, error, status), (parent, end_ns, span_id, attempt, states, attrs))| Node {
            id: NodeId(place),
            span_id: SpanId(span_id),
            parent: (place > 0).then_some(NodeId(parent)),
            after: None,
            name,
            kind: if place == 0 { NodeKind::Request } else { kind },
            attempt,
            occurrence: 1,
            start_ns: end_ns / 3,
            end_ns,
            outcome,
            status,
            error,
            states,
            attrs,
        },
    )
}

/// What went out along the trace; what the SDK would not take is none of these.
fn trace_state() -> impl Strategy<Value = Option<Arc<str>>> {
    let sound = ["ot=th:0", "ot=th:c,congo=t61rcWkgMzE,0tenant@vendor=a b", "a*/_-=~!"];
    let other = ["", "k=‹masked›"];
    prop::option::of(prop::sample::select([&sound[..], &other].concat()).prop_map(Arc::from))
}

fn timeline() -> impl Strategy<Value = Timeline> {
    let nodes = (1..7_u16).prop_flat_map(|nodes| (0..nodes).map(|place| node(place, nodes)).collect::<Vec<_>>());
    let parent = prop::option::of(prop::sample::select(vec![0, 9]).prop_map(SpanId));
    let of_it = (any::<u128>(), any::<u64>(), parent, any::<bool>(), prop_oneof![Just("(none)".into()), text()]);
    let lost = prop_oneof![Just(0), any::<u32>()];
    let rest = (prop::option::of(text()), any::<u64>(), lost, prop::sample::select(vec![0, 200, 504]), trace_state());
    (nodes, of_it, rest).prop_map(
        |(mut nodes, (trace, span, parent, sampled, route), (flow, start, lost, status, state))| {
            nodes[0].attrs.extend(state.map(|state| (tracestate::NOTED.into(), Value::Text(state))));
            Timeline {
                trace_id: TraceId(trace),
                span_id: SpanId(span),
                parent_span_id: parent,
                sampled,
                route,
                flow,
                config_version: lost / 3,
                start_unix_ns: start,
                outcome: nodes[0].outcome,
                error: nodes[0].error.clone(),
                status,
                lost_events: lost,
                nodes,
                ..sample()
            }
        },
    )
}

fn limits() -> impl Strategy<Value = ItemLimits> {
    let few = || prop_oneof![0..4_usize, Just(128)];
    (few(), prop::option::of(0..70_usize), few(), few()).prop_map(
        |(attributes, value_chars, events, event_attributes)| ItemLimits {
            attributes,
            value_chars,
            events,
            event_attributes,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_bytes_are_those_of_the_spans(
        timeline in timeline(),
        limits in limits(),
        events in any::<bool>(),
        max_events in prop_oneof![0..4_usize, Just(128)],
        all_nodes in any::<bool>(),
    ) {
        hold(&timeline, Reason::Baseline, &SpanSettings { events, max_events, all_nodes }, limits);
    }
}
