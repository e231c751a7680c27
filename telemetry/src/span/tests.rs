//! The span tree of the documented example, as text, and the rules that hold for every tree.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanKind, Status};

use super::data::otel_id;
use super::*;
use crate::clock::Clock;
use crate::event::{Cause, NodeId, NodeKind, Outcome};
use crate::id::SpanId;
use crate::names::Name;
use crate::recorder::{Opening, Recorder};
use crate::semconv;
use crate::timeline::{PromotedBy, Value, sample};

/// The spans as an indented tree: kind, name, status, times in microseconds, attributes, events.
fn tree(timeline: &Timeline, spans: &[SpanData]) -> String {
    fn below(out: &mut String, timeline: &Timeline, spans: &[SpanData], parent: opentelemetry::SpanId, depth: usize) {
        for span in spans.iter().filter(|span| span.parent_span_id == parent) {
            let us = |time: SystemTime| {
                let ns = time.duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
                (ns as u64 - timeline.start_unix_ns) / 1_000
            };
            let pad = "  ".repeat(depth);
            let kind = format!("{:?}", span.span_kind).to_lowercase();
            let error = if matches!(span.status, Status::Error { .. }) { " ERROR" } else { "" };
            let _ = writeln!(out, "{pad}{kind} {}{error} {}..{}", span.name, us(span.start_time), us(span.end_time));
            for attribute in &span.attributes {
                let _ = writeln!(out, "{pad}  . {} = {}", attribute.key, attribute.value);
            }
            for event in span.events.iter() {
                let _ = writeln!(out, "{pad}  @ {} {}", us(event.timestamp), event.name);
            }
            below(out, timeline, spans, span.span_context.span_id(), depth + 1);
        }
    }
    let mut out = String::new();
    below(&mut out, timeline, spans, otel_id(timeline.parent_span_id.unwrap_or_default()), 0);
    out
}

#[test]
fn the_example_becomes_this_tree() {
    let timeline = sample();
    let spans = spans(&timeline, Reason::Sampled, &SpanSettings::default());
    let expected = include_str!("example.txt");
    let found = tree(&timeline, &spans);
    assert_eq!(found, expected, "span/example.txt should be:\n{found}");
    assert!(spans[0].parent_span_is_remote && spans.iter().skip(1).all(|span| !span.parent_span_is_remote));
}

#[test]
fn ids_differ_and_every_parent_is_there() {
    let mut timeline = sample();
    for node in &mut timeline.nodes {
        for state in node.states.iter_mut().filter(|state| state.cause != Cause::Run) {
            state.promoted = Some(PromotedBy::Debug);
        }
    }
    // As in a timeline from elsewhere, which has no ids of its nodes.
    for bare in [false, true] {
        if bare {
            timeline.nodes.iter_mut().for_each(|node| node.span_id = SpanId(0));
        }
        let settings = SpanSettings { all_nodes: true, ..SpanSettings::default() };
        let spans = spans(&timeline, Reason::Error, &settings);
        let ids: HashSet<_> = spans.iter().map(|span| span.span_context.span_id()).collect();
        assert_eq!(ids.len(), spans.len());
        assert!(spans.iter().skip(1).all(|span| ids.contains(&span.parent_span_id)));
        let keys = |span: &SpanData| span.attributes.iter().map(|a| a.key.to_string()).collect::<Vec<_>>();
        let registry = semconv::registry::Registry::read();
        for span in &spans {
            registry.hold(span);
            let unique: HashSet<_> = keys(span).into_iter().collect();
            assert_eq!(unique.len(), span.attributes.len(), "{}: a key stands twice", span.name);
            assert!(semconv::SUPERSEDED.iter().all(|(old, _)| !unique.contains(*old)));
            assert!(span.end_time >= span.start_time);
        }
    }
}

#[test]
fn a_call_has_the_span_id_that_was_sent_with_it() {
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    let rec = recorder.start(clock.now(), None, true);
    let name = recorder.names().intern("quotes");
    rec.skip_node_number();
    let step = rec.open(clock.now(), Opening::running(name, NodeKind::Step, NodeId::ROOT));
    let effect = rec.open(clock.now(), Opening::running(name, NodeKind::Effect, step));
    let (sent, above) = (rec.span_id(effect), rec.span_id(step));
    clock.advance(Duration::from_millis(1));
    rec.close(clock.now(), effect, Outcome::Ok, 200, Name::NONE);
    rec.finish(clock.now(), Outcome::Ok, 200, Name::NONE);
    let mut spans_found = Vec::new();
    let mut assembler = recorder.assembler();
    recorder.drain(&mut Vec::new(), |book| {
        let timeline = assembler.timeline(book).expect("it was recorded");
        spans_found = spans(&timeline, Reason::Sampled, &SpanSettings::default());
    });
    let call = spans_found.iter().find(|span| span.span_kind == SpanKind::Client).expect("there is one call");
    assert_eq!(call.span_context.span_id(), otel_id(sent));
    assert_eq!(call.parent_span_id, otel_id(above));
}

#[test]
fn names_are_few_and_never_the_raw_path() {
    for (method, template, route, expected) in [
        ("GET", Some("/users/{id}"), "users", "GET /users/{id}"),
        ("GET", None, "users", "GET users"),
        ("POST", None, "(none)", "POST"),
        ("_OTHER", Some("/x"), "x", "HTTP /x"),
    ] {
        let mut timeline = sample();
        timeline.route = route.into();
        timeline.nodes[0].attrs = vec![(semconv::HTTP_METHOD.into(), Value::Text(method.into()))];
        if let Some(template) = template {
            timeline.nodes[0].attrs.push((semconv::HTTP_ROUTE.into(), Value::Text(template.into())));
        }
        assert_eq!(spans(&timeline, Reason::Sampled, &SpanSettings::default())[0].name, expected);
    }
}

/// What the gateway and the flows note, whatever it is called in a timeline, has its name and type in the registry.
#[test]
fn every_span_is_as_the_registry_says() {
    let registry = semconv::registry::Registry::read();
    let text = |text: &str| Value::Text(text.into());
    let mut timeline = sample();
    timeline.lost_events = 3;
    timeline.parent_span_id = Some(SpanId(9));
    (timeline.status, timeline.nodes[0].status) = (502, 0);
    timeline.nodes[0].attrs.extend([
        ("header.x-tier".into(), text("gold")),
        ("zerver.baggage.tenant".into(), text("acme")),
        ("zerver.baggage_lost".into(), Value::Int(1)),
        ("zerver.limit.name".into(), text("few")),
        ("zerver.breaker.decision".into(), text("open")),
        ("zerver.request.id".into(), text("abc-1")),
        ("url.query".into(), text("a=1")),
        ("http.response.body.size".into(), Value::Int(7)),
    ]);
    let call = timeline.nodes.iter_mut().find(|node| node.kind == NodeKind::Effect).expect("the example has calls");
    call.attempt = 2;
    call.attrs = vec![
        (semconv::HTTP_METHOD.into(), text("GET")),
        ("peer".into(), text("10.0.0.5:8081")),
        ("server.address".into(), text("carts.internal")),
        ("server.port".into(), Value::Int(8081)),
        ("url.path".into(), text("/v1/carts")),
        ("zerver.connection.reused".into(), Value::Bool(true)),
        ("shared".into(), Value::Bool(true)),
        ("request_body_wait".into(), Value::Float(0.5)),
    ];
    let settings = SpanSettings { all_nodes: true, ..SpanSettings::default() };
    for reason in [Reason::Sampled, Reason::Error, Reason::Slow, Reason::Promoted, Reason::Baseline] {
        let spans = spans(&timeline, reason, &settings);
        spans.iter().for_each(|span| registry.hold(span));
        let attr = |span: &SpanData, key: &str| {
            span.attributes.iter().find(|one| one.key.as_str() == key).map(|one| one.value.to_string())
        };
        assert_eq!(attr(&spans[0], "http.request.header.x-tier").as_deref(), Some("[\"gold\"]"));
        let call = spans.iter().find(|span| span.span_kind == SpanKind::Client).expect("there is a call");
        assert_eq!(attr(call, "url.full").as_deref(), Some("http://carts.internal:8081/v1/carts"));
    }
}

#[test]
fn a_proxied_call_asks_for_what_its_client_asked_for() {
    let mut timeline = sample();
    timeline.nodes[0].attrs.push(("url.query".into(), Value::Text("a=‹x›".into())));
    let mut call = timeline.nodes.remove(3);
    (call.id, call.parent) = (NodeId(1), Some(NodeId::ROOT));
    call.attrs = vec![
        (semconv::HTTP_METHOD.into(), Value::Text("BREW".into())),
        ("server.address".into(), Value::Text("web".into())),
        ("server.port".into(), Value::Int(80)),
    ];
    timeline.nodes.truncate(1);
    timeline.nodes.push(call);
    let spans = spans(&timeline, Reason::Sampled, &SpanSettings::default());
    let attr =
        |key: &str| spans[1].attributes.iter().find(|one| one.key.as_str() == key).map(|one| one.value.to_string());
    assert_eq!(attr("url.full").as_deref(), Some("http://web:80/checkout/42?a=‹x›"));
    // A method of the client's own making names no span and no series.
    assert_eq!((&*spans[1].name, attr("http.request.method").as_deref()), ("HTTP", Some("_OTHER")));
    assert_eq!(attr("http.request.method_original").as_deref(), Some("BREW"));
}

#[test]
fn every_span_has_what_went_out_along_the_trace_if_it_is_known_whole() {
    let noted = |list: &str, lost: u32| {
        let mut timeline = sample();
        timeline.lost_events = lost;
        timeline.nodes[0].attrs.push((crate::propagation::tracestate::NOTED.into(), Value::Text(list.into())));
        let spans = spans(&timeline, Reason::Sampled, &SpanSettings::default());
        assert!(spans[0].attributes.iter().all(|attribute| !attribute.key.as_str().contains("tracestate")));
        let states: HashSet<String> = spans.iter().map(|span| span.span_context.trace_state().header()).collect();
        states.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(noted("ot=th:c,congo=t61rcWkgMzE", 0), ["ot=th:c,congo=t61rcWkgMzE"]);
    // Cut for want of room, or redacted.
    assert_eq!(noted("ot=th:c,congo=t61rc", 1), [""]);
    assert_eq!(noted("ot=th:c,congo=‹masked›", 0), [""]);
}

#[test]
fn a_timeline_without_nodes_has_no_spans() {
    let mut timeline = sample();
    timeline.nodes.clear();
    assert!(spans(&timeline, Reason::Sampled, &SpanSettings::default()).is_empty());
}

#[test]
fn what_never_ran_has_no_span_and_what_failed_has() {
    let mut timeline = sample();
    timeline.nodes[1].states[0].promoted = None;
    timeline.nodes[3].outcome = Outcome::Skipped;
    let names = |timeline: &Timeline| -> Vec<String> {
        let spans = spans(timeline, Reason::Sampled, &SpanSettings::default());
        spans.iter().map(|span| span.name.to_string()).collect()
    };
    assert_eq!(names(&timeline), ["GET /checkout/{cart}", "zerver.step price", "GET", "zerver.job.park"]);
    timeline.nodes[1].outcome = Outcome::Refused;
    assert_eq!(names(&timeline)[1], "zerver.station admission");
}

#[test]
fn events_are_bounded_and_the_rest_counted() {
    let timeline = sample();
    let settings = SpanSettings { max_events: 1, ..SpanSettings::default() };
    let root = spans(&timeline, Reason::Sampled, &settings).remove(0);
    assert_eq!((root.events.len(), root.events.dropped_count), (1, 2));
    let none = SpanSettings { events: false, ..SpanSettings::default() };
    assert!(spans(&timeline, Reason::Sampled, &none).iter().all(|span| span.events.is_empty()));
}

#[test]
fn a_peer_is_address_and_port() {
    for (text, address, port) in [
        ("10.0.0.5:8081", "10.0.0.5", Some(8081)),
        ("[::1]:80", "::1", Some(80)),
        ("::1", "::1", None),
        ("db", "db", None),
    ] {
        let mut timeline = sample();
        timeline.nodes[3].attrs = vec![("peer".into(), Value::Text(text.into()))];
        let spans = spans(&timeline, Reason::Sampled, &SpanSettings::default());
        let call = spans.iter().find(|span| span.span_kind == SpanKind::Client).expect("there is a call");
        let attr = |key: &str| call.attributes.iter().find(|one| one.key.as_str() == key).map(|one| one.value.clone());
        assert_eq!(attr("network.peer.address"), Some(address.into()));
        assert_eq!(attr("network.peer.port"), port.map(opentelemetry::Value::I64), "{text}");
    }
}
