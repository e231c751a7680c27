//! How an exchange begins, what goes on from it, and how it ends.

use super::*;
use zerver_telemetry::clock::Clock;

fn open(headers: &HeaderMap) -> (Recorder, Exchange) {
    open_with(headers, Propagators::default(), 0.0)
}

fn open_with(headers: &HeaderMap, spoken: Propagators, sample: f64) -> (Recorder, Exchange) {
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    let client = SocketAddr::from(([127, 0, 0, 1], 9));
    let exchange =
        Exchange::open(&recorder, Probe::new(clock.clone()), clock.now(), client, headers, spoken, &Share::new(sample));
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
                assert_eq!(sent.as_deref().filter(|sent| !sent.is_empty()), expected, "{parent:?} {state:?} {sample}");
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
