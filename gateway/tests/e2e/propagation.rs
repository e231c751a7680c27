//! What a request brings goes on as it should: the trace with the right flag, the states of vendors, the baggage.

use http::HeaderMap;
use zerver_telemetry::event::NodeKind;
use zerver_telemetry::id::TraceContext;
use zerver_telemetry::sampling;

use crate::binary::{Gateway, HEAD};
use crate::client::{Answer, Client, request};
use crate::origin::{Origin, answer};
use crate::support::eventually;

const PARENT: &str = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

/// A proxy route and a flow, once never sampled and once always.
fn page(telemetry: &str, origin: &Origin) -> String {
    format!(
        "{HEAD}telemetry: {{ {telemetry} }}
upstreams: {{ web: {{ peers: ['{}'] }} }}
flows:
  - flow: ask
    steps: {{ said: {{ get: 'web:/flow' }} }}
    respond: {{ text: '${{said}}' }}
routes:
  - {{ name: page, match: {{ path: '/page' }}, to: {{ upstream: web }} }}
  - {{ name: ask, match: {{ path: '/ask' }}, to: {{ flow: ask }} }}
  - {{ name: page-all, match: {{ path: '/all/page' }}, to: {{ upstream: web }}, sampling: {{ sample: 1 }} }}
  - {{ name: ask-all, match: {{ path: '/all/ask' }}, to: {{ flow: ask }}, sampling: {{ sample: 1 }} }}
",
        origin.address
    )
}

async fn origin() -> Origin {
    Origin::start(|_| async { answer(200, "\"said\"") }).await
}

/// Sends a request and gives its answer with the headers that the origin got for it.
async fn sent(
    client: &Client,
    gateway: &Gateway,
    origin: &Origin,
    path: &str,
    headers: &[(&str, &str)],
) -> (Answer, HeaderMap) {
    let before = origin.seen().len();
    let answer = client.send(request("GET", gateway.address, path, headers, "")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = origin.seen();
    assert_eq!(seen.len(), before + 1, "one call for one request");
    (answer, seen[before].headers.clone())
}

/// A header that stands at most once, as text.
fn one<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut all = headers.get_all(name).into_iter();
    let (first, second) = (all.next(), all.next());
    assert_eq!(second, None, "{name} stands twice");
    first.map(|value| value.to_str().expect("it is text"))
}

#[tokio::test]
async fn the_flag_that_leaves_is_the_decision_at_the_head() {
    let origin = origin().await;
    let gateway = Gateway::start(&page("sampling: { sample: 0 }", &origin)).await;
    // What comes in, with `T` for a trace and its span; with which flags that trace goes on, if it does.
    let parents: [(&[&str], Option<&str>); 10] = [
        (&["00-T-01"], Some("01")),
        (&["00-T-00"], Some("00")),
        (&["00-T-03"], Some("03")),
        (&["00-T-02"], Some("02")),
        // A later version, with flags and fields that we do not know.
        (&["01-T-ff-more"], Some("03")),
        (&[], None),
        (&["00-T-01", "00-T-01"], None),
        (&["ff-T-01"], None),
        (&["00-T-01-more"], None),
        (&["00-ABCD-T-01"], None),
    ];
    let mut count = 0;
    for client in [Client::http1(), Client::http2()] {
        for (path, share) in [("/page", 0), ("/ask", 0), ("/all/page", 1), ("/all/ask", 1)] {
            for (parents, goes_on) in &parents {
                count += 1;
                let trace = format!("a{count:031x}");
                let texts = parents.iter().map(|text| text.replace('T', &format!("{trace}-00f067aa0ba902b7")));
                let texts: Vec<String> = texts.collect();
                let headers: Vec<(&str, &str)> = texts.iter().map(|text| ("traceparent", text.as_str())).collect();
                let (answer, got) = sent(&client, &gateway, &origin, path, &headers).await;
                let text = one(&got, "traceparent").expect("a trace goes on");
                let context = TraceContext::parse(text).expect("it is sound");
                let timeline = gateway.timeline_of(&answer).await;
                let call = timeline.nodes.iter().find(|node| Some(node.span_id) == context.parent).expect("the call");
                assert_ne!(call.span_id, timeline.span_id);
                assert_eq!((context.trace_id, context.sampled), (timeline.trace_id, timeline.sampled));
                // A trace that begins here is random, and takes the share of its route.
                let flags = goes_on.map_or_else(|| format!("{:02x}", 2 + share), str::to_owned);
                assert!(text.starts_with("00-") && text.ends_with(&format!("-{flags}")), "{texts:?} {path}: {text}");
                assert_eq!(context.trace_id.to_string() == trace, goes_on.is_some(), "{texts:?}: {text}");
                // And where it is sampled, it says with what chance.
                let chance = (goes_on.is_none() && share == 1).then_some("ot=th:0");
                assert_eq!(one(&got, "tracestate"), chance, "{texts:?} {path}");
            }
        }
    }
}

#[tokio::test]
async fn states_and_baggage_go_on_and_chosen_members_are_noted() {
    let origin = origin().await;
    let telemetry = "baggage: [tenant, session_token, mood]";
    let redact = "redact: { fields: [zerver.baggage.mood] }\n";
    let gateway = Gateway::start(&format!("{redact}{}", page(telemetry, &origin))).await;
    let baggage = "tenant=shop%20one;p=1, mood=s3cret-mood,session_token=s3cret-token,bad member,other=x";
    for (n, client) in [Client::http1(), Client::http2()].iter().enumerate() {
        for path in ["/page", "/ask"] {
            let parent = format!("00-{n}{:031x}-00f067aa0ba902b7-01", path.len());
            let headers = [
                ("traceparent", parent.as_str()),
                ("tracestate", "a=1 , b@vendor=2"),
                ("tracestate", "c=3"),
                ("baggage", baggage),
                ("baggage", "last=1"),
            ];
            let (answer, got) = sent(client, &gateway, &origin, path, &headers).await;
            assert_eq!(one(&got, "tracestate"), Some("a=1,b@vendor=2,c=3"), "{path}");
            let expected = "tenant=shop%20one;p=1,mood=s3cret-mood,session_token=s3cret-token,other=x,last=1";
            assert_eq!(one(&got, "baggage"), Some(expected), "{path}");
            let timeline = gateway.timeline_of(&answer).await;
            let attr = |key: &str| timeline.root().attr(key).map(ToString::to_string);
            assert_eq!(attr("zerver.baggage.tenant").as_deref(), Some("shop one"));
            assert_eq!(attr("zerver.baggage_lost").as_deref(), Some("1"));
            let text = serde_json::to_string(&timeline).expect("it is JSON");
            assert!(!text.contains("s3cret") && attr("zerver.baggage.mood").is_some(), "{text}");
            assert!(!text.contains("zerver.baggage.other"), "{text}");
        }
    }
}

#[tokio::test]
async fn what_is_malformed_or_too_much_does_not_go_on() {
    let origin = origin().await;
    let gateway = Gateway::start(&page("sampling: { sample: 0 }", &origin)).await;
    let client = Client::http1();
    let parent = format!("00-{PARENT}-01");
    let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    let long = format!("long={}", "x".repeat(200));
    let big = format!("a=1,big={},b=2", "x".repeat(9_000));
    for path in ["/page", "/ask"] {
        for (parent, state, expected) in [
            (parent.as_str(), many(32), Some(many(32))),
            (parent.as_str(), many(33), None),
            (parent.as_str(), "a=1,Bad=2".into(), None),
            // 620 bytes: a long one goes first.
            (parent.as_str(), format!("a=1,{0},{0},{0},b=2", long), Some(format!("a=1,{0},{0},b=2", long))),
            // Without a sound trace there is nothing that they are states of.
            ("00-bad", "a=1".into(), None),
        ] {
            let headers = [("traceparent", parent), ("tracestate", state.as_str())];
            let (_, got) = sent(&client, &gateway, &origin, path, &headers).await;
            assert_eq!(one(&got, "tracestate"), expected.as_deref(), "{path} {state}");
        }
        for (baggage, expected) in
            [(many(200), many(180)), (big.clone(), "a=1,b=2".to_owned()), ("=,\"".to_owned(), String::new())]
        {
            let (_, got) = sent(&client, &gateway, &origin, path, &[("baggage", baggage.as_str())]).await;
            assert_eq!(one(&got, "baggage").unwrap_or_default(), expected, "{path}");
        }
    }
}

#[tokio::test]
async fn only_what_is_spoken_is_read_and_sent() {
    let origin = origin().await;
    let parent = format!("00-{PARENT}-01");
    let headers = [("traceparent", parent.as_str()), ("tracestate", "a=1"), ("baggage", "tenant=shop")];
    for (telemetry, env, expected) in [
        ("baggage: [tenant]", "", [true, true, true]),
        ("baggage: [tenant], propagators: [baggage]", "", [false, false, true]),
        ("baggage: [tenant]", "tracecontext", [true, true, false]),
        ("baggage: [tenant]", "none", [false, false, false]),
        // The variable goes before the page.
        ("propagators: []", "baggage,tracecontext", [true, true, true]),
    ] {
        let env = [("OTEL_PROPAGATORS", env)];
        let gateway = Gateway::start_with(&page(telemetry, &origin), &env).await;
        for path in ["/page", "/ask"] {
            let (answer, got) = sent(&Client::http1(), &gateway, &origin, path, &headers).await;
            let found = ["traceparent", "tracestate", "baggage"].map(|name| got.contains_key(name));
            assert_eq!(found, expected, "{telemetry} {env:?} {path}");
            let timeline = gateway.timeline_of(&answer).await;
            assert_eq!(PARENT.starts_with(&timeline.trace_id.to_string()), expected[0], "{telemetry} {env:?} {path}");
            let noted = timeline.root().attr("zerver.baggage.tenant").is_some();
            assert_eq!(noted, expected[2] && telemetry.contains("tenant"), "{telemetry} {env:?} {path}");
        }
    }
}

#[tokio::test]
async fn gateways_on_a_path_decide_alike() {
    let origin = origin().await;
    let last = Gateway::start(&page("sampling: { sample: 0.5 }", &origin)).await;
    let first = format!(
        "{HEAD}telemetry: {{ sampling: {{ sample: 0.5 }} }}
upstreams: {{ next: {{ peers: ['{}'] }} }}
routes: [{{ name: next, match: {{ path: '/{{*rest}}' }}, to: {{ upstream: next }} }}]
",
        last.address
    );
    let first = Gateway::start(&first).await;
    let client = Client::http1();
    let mut sampled = 0;
    for _ in 0..40 {
        let answer = client.get(first.address, "/page").await;
        assert_eq!(answer.status, 200);
        let here = first.timeline_of(&answer).await;
        let there = eventually("the other gateway has it", async || {
            last.timelines().await.into_iter().find(|timeline| timeline.trace_id == here.trace_id)
        })
        .await;
        assert_eq!(here.sampled, there.sampled);
        assert_eq!(here.sampled, sampling::head(0.5, here.trace_id), "by the trace alone");
        sampled += u32::from(here.sampled);
    }
    // Once in a hundred million runs it is not.
    assert!((2..=38).contains(&sampled), "{sampled} of 40");
}

#[tokio::test]
async fn each_try_hands_its_own_span_on() {
    let origin = Origin::start(|_| async { answer(503, "no") }).await;
    let gateway = Gateway::start(&page("sampling: { sample: 1 }", &origin)).await;
    for path in ["/page", "/ask"] {
        let before = origin.seen().len();
        let answer = Client::http1().get(gateway.address, path).await;
        let timeline = gateway.timeline_of(&answer).await;
        let calls = timeline.nodes.iter().filter(|node| node.kind == NodeKind::Effect);
        let calls: Vec<String> = calls.map(|node| format!("00-{}-{}-03", timeline.trace_id, node.span_id)).collect();
        let seen = origin.seen();
        let sent: Vec<&str> =
            seen[before..].iter().map(|seen| one(&seen.headers, "traceparent").expect("a trace goes on")).collect();
        assert_eq!(sent, calls, "{path}");
    }
    assert!(origin.seen().len() > 2, "a flow's read is tried again");
}

#[tokio::test]
async fn sampling_changes_with_the_page() {
    let origin = Origin::start(|_| async { answer(500, "no") }).await;
    let collector = Origin::echo().await;
    let page = |sampling: &str, own: &str| {
        format!(
            "{HEAD}telemetry: {{ otlp: {{ enabled: true, endpoint: 'http://{}' }}, sampling: {{ {sampling} }} }}
upstreams: {{ web: {{ peers: ['{}'], tries: 1 }} }}
routes: [{{ name: web, match: {{ path: '/{{*rest}}' }}, to: {{ upstream: web }}, sampling: {{ {own} }} }}]
",
            collector.address, origin.address
        )
    };
    let gateway = Gateway::start(&page("sample: 0, errors: false", "")).await;
    for (sampling, own, decision) in [
        ("sample: 0, errors: false", "", "not_exported"),
        ("sample: 0", "", "error"),
        ("sample: 0", "errors: false", "not_exported"),
        ("sample: 0, errors: false, baseline: 1", "", "baseline"),
        ("sample: 1", "", "sampled"),
        ("sample: 1", "sample: 0", "error"),
    ] {
        gateway.rewrite(&page(sampling, own));
        let labels = format!("decision=\"{decision}\"");
        // The new page is in force once its decision is taken; then no other is.
        eventually(decision, async || {
            let before = gateway.metric("zerver_traces_total", &[&labels]).await;
            let answer = Client::http1().get(gateway.address, "/x").await;
            gateway.timeline_of(&answer).await;
            (gateway.metric("zerver_traces_total", &[&labels]).await > before).then_some(())
        })
        .await;
        let flag = origin.seen().last().expect("it was asked").headers["traceparent"].clone();
        assert_eq!(flag.to_str().expect("text").ends_with("-03"), decision == "sampled", "{sampling} {own}");
    }
    let (_folder, file) = crate::binary::page(&page("sample: 2", "sample: -1"));
    let ran = crate::binary::zerver(&["check", &file.display().to_string()]).await;
    assert_eq!(ran.code, 2);
    for says in ["`telemetry.sampling.sample` is 2", "`sampling.sample` is -1", "a share lies between 0 and 1"] {
        assert!(ran.err.contains(says), "{}", ran.err);
    }
}
