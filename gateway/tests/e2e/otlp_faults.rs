//! A collector that is killed, slowed, refuses, lies or is not there: requests go on, every loss is counted by its cause,
//! memory stays bounded, and the end comes on time.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;

use crate::binary::{Gateway, HEAD};
use crate::client::Client;
use crate::otlp_collector::{Rotel, Toll, toll_before};
use crate::support::eventually;

async fn gateway(endpoint: &str, more: &[(&str, &str)]) -> Gateway {
    let page = format!(
        "{HEAD}telemetry: {{ otlp: {{ sample: 1.0 }} }}
routes: [{{ name: hi, match: {{ path: '/{{*rest}}' }}, to: {{ reply: {{ body: hi }} }} }}]
"
    );
    let mut env = vec![("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "10")];
    env.extend(more);
    Gateway::start_with(&page, &env).await
}

/// What became of the spans.
#[derive(Clone, Copy, Debug)]
struct Books {
    offered: u64,
    sent: u64,
    waiting: u64,
    failures: u64,
    odd: u64,
    rejected: u64,
    partial: u64,
    queue_full: u64,
    unreachable: u64,
}

impl Books {
    async fn of(gateway: &Gateway) -> Self {
        // One reading, so that the sums belong together.
        let text = gateway.ask("/metrics").await.text();
        let read = |name: &str, label: &str| {
            let lines = text.lines().filter(|line| line.starts_with(&format!("zerver_export_{name}{{")));
            let lines = lines.filter(|line| line.contains("\"traces\"") && line.contains(label));
            lines.map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a sample")).sum()
        };
        let dropped = |cause: &str| read("dropped_total", &format!("\"{cause}\""));
        let books = Self {
            offered: read("offered_total", ""),
            sent: read("sent_total", ""),
            waiting: read("queue_items", ""),
            failures: read("failures_total", ""),
            odd: read("odd_answers_total", ""),
            rejected: dropped("rejected"),
            partial: dropped("partial"),
            queue_full: dropped("queue_full"),
            unreachable: dropped("unreachable"),
        };
        let lost = books.rejected + books.partial + books.queue_full + books.unreachable;
        assert_eq!(books.offered, books.sent + books.waiting + lost, "{books:?}");
        books
    }
}

/// The books once they look like this.
async fn books(gateway: &Gateway, what: &str, fit: impl Fn(&Books) -> bool) -> Books {
    eventually(what, async || Some(Books::of(gateway).await).filter(&fit)).await
}

/// A request that is answered; its trace.
async fn ask(gateway: &Gateway) -> String {
    let answer = Client::http1().get(gateway.address, "/x").await;
    assert_eq!(answer.status, 200);
    answer.header("x-request-id").to_owned()
}

#[tokio::test]
async fn a_collector_that_dies_and_comes_back_gets_what_waited() {
    let Some(mut rotel) = Rotel::start("traces").await else { return };
    for (protocol, endpoint) in
        [("grpc", format!("http://{}", rotel.grpc)), ("http/protobuf", format!("http://{}/v1/traces", rotel.http))]
    {
        let gateway = gateway(&endpoint, &[("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)]).await;
        let before = ask(&gateway).await;
        rotel.trace(&before, 1).await;
        books(&gateway, "its answer has come", |books| books.sent == 1).await;
        rotel.kill();
        let during = ask(&gateway).await;
        let dead = books(&gateway, "sending fails", |books| books.failures > 0).await;
        assert_eq!((dead.sent, dead.waiting), (1, 1), "{protocol} {dead:?}");
        rotel.restart().await;
        rotel.trace(&during, 1).await;
        let after = books(&gateway, "nothing waits", |books| books.waiting == 0).await;
        assert_eq!((after.offered, after.sent), (2, 2), "{protocol} {after:?}");
        let log = eventually("both are in the log", async || {
            Some(gateway.log()).filter(|log| log.contains("telemetry is delivered again"))
        })
        .await;
        assert_eq!(log.matches("telemetry is not delivered").count(), 1, "{log}");
    }
}

#[tokio::test]
async fn a_collector_that_stands_still_holds_nobody_up() {
    let Some(rotel) = Rotel::start("traces").await else { return };
    let timeout = [("OTEL_EXPORTER_OTLP_TIMEOUT", "100"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let gateway = gateway(&format!("http://{}", rotel.grpc), &timeout).await;
    rotel.send("STOP");
    let traces = [ask(&gateway).await, ask(&gateway).await, ask(&gateway).await];
    // It takes connections, or its kernel does, and says nothing.
    let slow = books(&gateway, "sending fails", |books| books.failures > 1 && books.waiting == 3).await;
    assert_eq!(slow.sent, 0, "{slow:?}");
    rotel.send("CONT");
    for trace in traces {
        rotel.trace(&trace, 1).await;
    }
    let after = books(&gateway, "nothing waits", |books| books.waiting == 0).await;
    assert_eq!(after.sent, 3, "{after:?}");
}

#[tokio::test]
async fn a_collector_that_refuses_or_lies_is_believed_as_far_as_it_goes() {
    let Some(rotel) = Rotel::start("traces").await else { return };
    let list = Arc::new(Mutex::new(VecDeque::new()));
    let toll = toll_before(rotel.http, &list).await;
    let endpoint = format!("http://{}/v1/traces", toll.address);
    let gateway = gateway(&endpoint, &[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]).await;
    let none = ("x-none", "");
    let then = |tolls: &[Toll]| list.lock().expect("nobody panics with it").extend(tolls.iter().cloned());

    // Busy: it gets the batch again.
    then(&[Toll::Answer(429, ("retry-after", "0"), b""), Toll::Answer(503, none, b"")]);
    let trace = ask(&gateway).await;
    rotel.trace(&trace, 1).await;
    let busy = books(&gateway, "the span is sent", |books| books.sent == 1).await;
    assert_eq!((busy.failures, toll.seen().len()), (2, 3), "{busy:?}");

    // Refused: once, and for good.
    then(&[Toll::Answer(400, none, b"")]);
    ask(&gateway).await;
    let refused = books(&gateway, "the span is refused", |books| books.rejected == 1).await;
    assert_eq!((refused.sent, refused.failures, toll.seen().len()), (1, 3, 4), "{refused:?}");

    // Taken, but for one span; then for a million of them, which is one.
    then(&[Toll::Answer(200, none, b"\x0a\x02\x08\x01"), Toll::Answer(200, none, b"\x0a\x04\x08\xc0\x84\x3d")]);
    for partial in 1..=2 {
        ask(&gateway).await;
        let taken = books(&gateway, "the span is refused in part", |books| books.partial == partial).await;
        assert_eq!((taken.sent, taken.odd), (1, 0), "{taken:?}");
    }

    // No collector at all: the status is believed, the answer is not.
    then(&[Toll::Answer(200, ("content-type", "text/html"), b"<html>Please log in</html>")]);
    ask(&gateway).await;
    let odd = books(&gateway, "the answer is odd", |books| books.odd == 1).await;
    assert_eq!((odd.sent, odd.rejected, odd.partial), (2, 1, 2), "{odd:?}");

    // And what comes then arrives.
    let trace = ask(&gateway).await;
    rotel.trace(&trace, 1).await;
}

/// An address where nobody listens.
fn nowhere() -> SocketAddr {
    let probe = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    probe.local_addr().expect("a bound socket has an address")
}

#[tokio::test]
async fn what_waits_for_a_dead_collector_is_bounded_and_the_end_comes() {
    // One is away; the other accepts (its kernel does) and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let hangs = hanging.local_addr().expect("a bound socket has an address");
    let ways = [("grpc", nowhere()), ("grpc", hangs), ("http/protobuf", hangs)];
    join_all(ways.map(async |(protocol, address)| {
        let queue = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &*format!("http://{address}")),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "20"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5"),
        ];
        let mut gateway = gateway(&format!("http://{address}"), &queue).await;
        let client = Client::http1();
        for _ in 0..100 {
            assert_eq!(client.get(gateway.address, "/x").await.status, 200);
        }
        let full = books(&gateway, "all spans are offered", |books| books.offered == 100).await;
        assert_eq!((full.sent, full.waiting, full.queue_full), (0, 20, 80), "{protocol} {address} {full:?}");
        // It has two seconds for what waits; the test's patience is all that is longer.
        gateway.signal("INT");
        assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
        eventually("its last words", async || {
            gateway.log().contains("telemetry was not delivered before the end").then_some(())
        })
        .await;
    }))
    .await;
}

#[tokio::test]
async fn what_nobody_takes_in_time_is_given_up_and_counted() {
    let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_BSP_EXPORT_TIMEOUT", "50")];
    let gateway = gateway(&format!("http://{}", nowhere()), &variables).await;
    ask(&gateway).await;
    let lost = books(&gateway, "the span is given up", |books| books.unreachable == 1).await;
    assert!(lost.failures > 0 && lost.waiting == 0, "{lost:?}");
}
