//! Point 7: spans as a real collector has read them, and metrics as Prometheus' own tool judges them.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::sleep;
use zerver_telemetry::event::NodeKind;
use zerver_telemetry::timeline::Timeline;

use crate::binary::{Gateway, HEAD, run};
use crate::client::{Client, request};
use crate::origin::{Origin, answer};
use crate::otlp_collector::{Rotel, Span};
use crate::support::{eventually, need};

/// Names that newer ones have taken the place of, in the conventions for HTTP and networks.
const SUPERSEDED: [&str; 18] = [
    "http.method",
    "http.url",
    "http.target",
    "http.host",
    "http.scheme",
    "http.flavor",
    "http.status_code",
    "http.user_agent",
    "http.client_ip",
    "http.server_name",
    "http.request_content_length",
    "http.response_content_length",
    "http.retry_count",
    "net.peer.name",
    "net.peer.ip",
    "net.peer.port",
    "net.host.name",
    "net.protocol.version",
];

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

async fn setup(rotel: &Rotel) -> (Origin, Gateway) {
    let origin = Origin::start(|_| async {
        sleep(Duration::from_millis(20)).await;
        answer(200, "\"said\"")
    })
    .await;
    let page = format!(
        "{HEAD}telemetry: {{ promote_park: 2ms, baggage: [tenant], otlp: {{ sample: 1.0, service: shop-edge }} }}
upstreams: {{ web: {{ peers: ['{}'] }} }}
flows:
  - flow: ask
    steps: {{ said: {{ get: 'web:/flow' }} }}
    respond: {{ text: '${{said}}' }}
routes:
  - {{ name: web, match: {{ path: '/{{*rest}}' }}, to: {{ upstream: web }} }}
  - {{ name: ask, match: {{ path: '/ask' }}, to: {{ flow: ask }}, note_headers: [x-tier] }}
",
        origin.address
    );
    let endpoint = format!("http://{}", rotel.http);
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let gateway = Gateway::start_with(&page, &env).await;
    (origin, gateway)
}

#[tokio::test]
async fn a_collector_reads_the_whole_trace() {
    let Some(rotel) = Rotel::start("traces").await else { return };
    let (origin, gateway) = setup(&rotel).await;
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let headers =
        [("traceparent", parent.as_str()), ("tracestate", "vendor=1"), ("baggage", "tenant=acme"), ("x-tier", "gold")];
    let answer = Client::http1().send(request("GET", gateway.address, "/ask", &headers, "")).await;
    assert_eq!(answer.status, 200);
    let spans = rotel.trace(TRACE, 4).await;
    let one = |what: &str, fits: &dyn Fn(&Span) -> bool| {
        let found: Vec<&Span> = spans.iter().filter(|span| fits(span)).collect();
        assert_eq!(found.len(), 1, "{what}: {spans:#?}");
        found[0].clone()
    };
    let server = one("one server span", &|span| span.kind == "SPAN_KIND_SERVER");
    let step = one("one step", &|span| span.name == "zerver.step said");
    let call = one("one call", &|span| span.kind == "SPAN_KIND_CLIENT");
    let wait = one("one promoted wait of the call", &|span| span.name == "zerver.job.park" && span.parent == call.id);
    assert_eq!([&server.parent, &step.parent, &call.parent], [CALLER, &server.id, &step.id]);
    assert!(server.name.starts_with("GET "), "{server:?}");
    let attr = |span: &Span, key: &str| span.attrs.get(key).cloned().unwrap_or_default();
    for (span, key, value) in [
        (&server, "http.request.method", "GET"),
        (&server, "http.response.status_code", "200"),
        (&server, "url.path", "/ask"),
        (&server, "url.scheme", "http"),
        (&server, "network.protocol.version", "1.1"),
        (&server, "zerver.route", "ask"),
        (&server, "zerver.flow.name", "ask"),
        (&server, "zerver.baggage.tenant", "acme"),
        (&call, "url.full", &format!("http://{}/flow", origin.address)),
        (&step, "zerver.step.name", "said"),
        (&call, "http.response.status_code", "200"),
        (&call, "zerver.effect.target", "web"),
        (&wait, "zerver.job.park_cause", "io"),
        (&wait, "zerver.job.promoted_by", "threshold"),
    ] {
        assert_eq!(attr(span, key), value, "{key} of {span:#?}");
    }
    assert!(attr(&server, "http.request.header.x-tier").contains("gold"), "{server:#?}");
    let (resource, _) = rotel.read();
    assert!(resource.contains("-> service.name: Str(shop-edge)"), "{resource}");
    assert_eq!(origin.seen()[0].headers["traceparent"], format!("00-{TRACE}-{}-01", call.id));

    // The timeline tells of the same spans.
    let page = gateway.ask(&format!("/timelines/{TRACE}")).await.json();
    let timelines: Vec<Timeline> = serde_json::from_value(page["timelines"].clone()).expect("timelines");
    let node = timelines[0].nodes.iter().find(|node| node.kind == NodeKind::Effect).expect("the call");
    assert_eq!((node.span_id.to_string(), timelines[0].span_id.to_string()), (call.id, server.id));
    assert_eq!(timelines[0].parent_span_id.map(|id| id.to_string()).as_deref(), Some(CALLER));
    for span in &spans {
        let old = span.attrs.keys().find(|key| SUPERSEDED.contains(&key.as_str()));
        assert_eq!(old, None, "{span:#?}");
    }
}

#[tokio::test]
async fn a_proxied_call_hands_its_own_span_on() {
    let Some(rotel) = Rotel::start("traces").await else { return };
    let (origin, gateway) = setup(&rotel).await;
    let answer = Client::http2().get(gateway.address, "/page").await;
    let trace = answer.header("x-request-id");
    let spans = rotel.trace(trace, 3).await;
    let server = spans.iter().find(|span| span.kind == "SPAN_KIND_SERVER").expect("a server span");
    let call = spans.iter().find(|span| span.kind == "SPAN_KIND_CLIENT").expect("a client span");
    assert_eq!((server.parent.as_str(), &call.parent), ("", &server.id));
    assert_eq!(server.attrs["network.protocol.version"], "2");
    assert_eq!(call.attrs["http.request.method"], "GET");
    assert_eq!(call.attrs["server.port"], origin.address.port().to_string());
    assert_eq!(origin.seen()[0].headers["traceparent"], format!("00-{trace}-{}-03", call.id));
    assert_eq!(origin.seen()[0].headers.get_all("traceparent").iter().count(), 1);
    // Spans are counted: what was offered is sent, waiting or dropped, and nothing was dropped.
    eventually("all spans are sent", async || {
        let sent = gateway.metric("zerver_export_sent_total", &["traces"]).await;
        (sent > 0.0 && sent >= gateway.metric("zerver_export_offered_total", &["traces"]).await).then_some(())
    })
    .await;
    assert_eq!(gateway.metric("zerver_export_dropped_total", &[]).await as u64, 0);
}

#[tokio::test]
async fn what_waits_is_sent_before_the_end() {
    let Some(rotel) = Rotel::start("traces").await else { return };
    let origin = Origin::echo().await;
    let page = format!(
        "{HEAD}telemetry: {{ otlp: {{ enabled: true, endpoint: 'http://{}', sample: 1.0 }} }}
upstreams: {{ web: {{ peers: ['{}'] }} }}
routes: [{{ name: web, match: {{ path: '/{{*rest}}' }}, to: {{ upstream: web }} }}]
",
        rotel.http, origin.address
    );
    // With half a minute to fill a batch, only the end of the program sends this one.
    let mut gateway = Gateway::start_with(&page, &[("OTEL_BSP_SCHEDULE_DELAY", "60000")]).await;
    let answer = Client::http1().get(gateway.address, "/last").await;
    gateway.signal("INT");
    assert_eq!(gateway.ended().await.code(), Some(0));
    let spans = rotel.trace(answer.header("x-request-id"), 2).await;
    for kind in ["SPAN_KIND_SERVER", "SPAN_KIND_CLIENT"] {
        assert!(spans.iter().any(|span| span.kind == kind), "{spans:#?}");
    }
}

#[tokio::test]
async fn prometheus_accepts_the_metrics() {
    let Some(promtool) = need("promtool") else { return };
    let origin = Origin::echo().await;
    let page = format!(
        "{HEAD}upstreams: {{ web: {{ peers: ['{}'] }} }}
rate_limits: [{{ name: few, requests: 1, window: 1h }}]
routes:
  - {{ name: web, match: {{ path: '/{{*rest}}' }}, to: {{ upstream: web }} }}
  - {{ name: few, match: {{ path: '/few' }}, to: {{ reply: {{ body: \"\" }} }}, rate_limit: [few] }}
",
        origin.address
    );
    let gateway = Gateway::start(&page).await;
    for path in ["/a", "/few", "/few", "/b"] {
        Client::http1().get(gateway.address, path).await;
    }
    eventually("the requests are counted", async || {
        (gateway.metric("zerver_requests_total", &[]).await as u64 == 4).then_some(())
    })
    .await;
    let metrics = gateway.ask("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"), "{metrics:?}");
    let file = tempfile::NamedTempFile::new().expect("the temporary folder can be written");
    file.as_file().write_all(&metrics.body).expect("it is written");
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).stdin(Stdio::from(file.reopen().expect("it is there")));
    let judged = run(command).await;
    assert_eq!((judged.code, judged.out.as_str(), judged.err.as_str()), (0, "", ""), "{}", metrics.text());
}
