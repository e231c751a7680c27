//! Every way to a collector: both protocols, with and without TLS, packed; spans and metrics as it has read them.

use crate::binary::{Gateway, HEAD, command, page, run};
use crate::client::Client;
use crate::otlp_collector::{Rotel, certificate, tls_before};
use crate::support::eventually;

const PAGE: &str = "telemetry: { otlp: { sample: 1.0 } }
routes: [{ name: hi, match: { path: '/carts/{id}' }, to: { reply: { body: hi } } }]
";

/// A gateway that sends packed batches this way.
async fn gateway(protocol: &str, endpoint: &str, more: &[(&str, &str)]) -> Gateway {
    let files = ["ca.pem", "client.pem", "client.key"].map(certificate);
    let mut env = vec![
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", &files[0]),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &files[1]),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &files[2]),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
    ];
    env.extend(more);
    Gateway::start_with(&format!("{HEAD}{PAGE}"), &env).await
}

#[tokio::test]
async fn spans_arrive_over_both_protocols_with_and_without_tls() {
    let Some(rotel) = Rotel::start("traces").await else { return };
    for (protocol, plain) in [("grpc", rotel.grpc), ("http/protobuf", rotel.http)] {
        let guarded = tls_before(plain).await;
        for endpoint in [format!("http://{plain}"), format!("https://{guarded}")] {
            let gateway = gateway(protocol, &endpoint, &[]).await;
            let answer = Client::http1().get(gateway.address, "/carts/7").await;
            let spans = rotel.trace(answer.header("x-request-id"), 1).await;
            assert_eq!(spans[0].name, "GET /carts/{id}", "{protocol} {endpoint}");
            eventually("all spans are sent", async || {
                let sent = gateway.metric("zerver_export_sent_total", &["traces"]).await;
                (sent > 0.0 && sent >= gateway.metric("zerver_export_offered_total", &["traces"]).await).then_some(())
            })
            .await;
            for trouble in
                ["zerver_export_dropped_total", "zerver_export_failures_total", "zerver_export_odd_answers_total"]
            {
                assert_eq!(gateway.metric(trouble, &["traces"]).await as u64, 0, "{trouble} of {protocol} {endpoint}");
            }
        }
    }
}

#[tokio::test]
async fn a_collector_is_not_trusted_without_its_authority() {
    let Some(rotel) = Rotel::start("traces").await else { return };
    let endpoint = format!("https://{}", tls_before(rotel.grpc).await);
    // A certificate of somebody else in the place of the authority's.
    let other = certificate("client.pem");
    let gateway = gateway("grpc", &endpoint, &[("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", &other)]).await;
    Client::http1().get(gateway.address, "/carts/7").await;
    eventually("the collector is turned away", async || {
        (gateway.metric("zerver_export_failures_total", &["traces"]).await > 0.0).then_some(())
    })
    .await;
    assert_eq!(gateway.metric("zerver_export_sent_total", &["traces"]).await as u64, 0);
    // Metrics trust the right one.
    eventually("metrics are sent", async || {
        (gateway.metric("zerver_export_sent_total", &["metrics"]).await > 0.0).then_some(())
    })
    .await;
    assert!(rotel.read().1.is_empty());
}

#[tokio::test]
async fn metrics_arrive_under_the_names_of_the_conventions() {
    let Some(rotel) = Rotel::start("metrics").await else { return };
    for (protocol, address) in [("grpc", rotel.grpc), ("http/protobuf", rotel.http)] {
        let gateway = gateway(protocol, &format!("http://{address}"), &[]).await;
        let answer = Client::http1().get(gateway.address, "/carts/7").await;
        let trace = answer.header("x-request-id");
        let metric = eventually("the collector has read the request's duration", async || {
            let text = rotel.text();
            let mut metrics = text.split("Metric #");
            let found = metrics.find(|one| one.contains("Name: http.server.request.duration\n") && one.contains(trace));
            found.map(str::to_owned)
        })
        .await;
        for line in [
            "-> Unit: s",
            "-> DataType: Histogram",
            "-> AggregationTemporality: AGGREGATION_TEMPORALITY_CUMULATIVE",
            "-> http.request.method: Str(GET)",
            "-> http.response.status_code: Int(200)",
            "-> http.route: Str(/carts/{id})",
            "Count: 1",
            &format!("-> Trace ID: {trace}"),
        ] {
            assert!(metric.lines().any(|l| l.trim() == line), "no line `{line}` over {protocol} in\n{metric}");
        }
        for name in ["zerver.requests", "zerver.request.state", "zerver.timelines_kept", "zerver.export.sent"] {
            assert!(rotel.text().contains(&format!("-> Name: {name}\n")), "{name} did not come over {protocol}");
        }
        // Attributes belong to no metric, so each says itself whose it is.
        let text = rotel.text();
        let requests =
            text.split("Metric #").find(|one| one.contains("-> Name: zerver.requests\n")).unwrap_or_default();
        for line in ["-> zerver.outcome: Str(ok)", "-> http.response.status_code: Int(200)"] {
            assert!(requests.lines().any(|l| l.trim() == line), "no line `{line}` over {protocol} in\n{requests}");
        }
        assert!(requests.contains("-> zerver.route: Str(") && !requests.contains("-> route:"), "{requests}");
        assert_eq!(gateway.metric("zerver_export_dropped_total", &["metrics"]).await as u64, 0);
    }
}

#[tokio::test]
async fn deltas_hold_each_request_once() {
    let Some(rotel) = Rotel::start("metrics").await else { return };
    let delta = [("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")];
    let mut gateway = gateway("grpc", &format!("http://{}", rotel.grpc), &delta).await;
    for _ in 0..3 {
        let before = gateway.metric("zerver_export_sent_total", &["metrics"]).await;
        Client::http1().get(gateway.address, "/carts/7").await;
        eventually("a reading went out", async || {
            (gateway.metric("zerver_export_sent_total", &["metrics"]).await > before).then_some(())
        })
        .await;
    }
    gateway.signal("INT");
    assert_eq!(gateway.ended().await.code(), Some(0));
    let counted = eventually("the collector has read all of them", async || {
        let text = rotel.text();
        let deltas = text.split("Metric #").filter(|one| one.contains("-> Name: http.server.request.duration\n"));
        let count = |one: &str| one.lines().find_map(|line| line.strip_prefix("Count: ")?.parse::<u64>().ok());
        let counted: u64 = deltas.filter_map(count).sum();
        (counted >= 3).then_some(counted)
    })
    .await;
    assert_eq!(counted, 3);
    assert!(rotel.text().contains("AGGREGATION_TEMPORALITY_DELTA"));
}

#[tokio::test]
async fn histograms_come_in_exponential_buckets_where_asked_for() {
    let Some(rotel) = Rotel::start("metrics").await else { return };
    let aggregation =
        [("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram")];
    let gateway = gateway("grpc", &format!("http://{}", rotel.grpc), &aggregation).await;
    Client::http1().get(gateway.address, "/carts/7").await;
    let metric = eventually("the collector has read the request's duration", async || {
        let text = rotel.text();
        let mut metrics = text.split("Metric #");
        let found =
            metrics.find(|one| one.contains("Name: http.server.request.duration\n") && one.contains("Count: 1\n"));
        found.map(str::to_owned)
    })
    .await;
    assert!(metric.contains("DataType: ExponentialHistogram"), "{metric}");
    assert!(!rotel.text().contains("DataType: Histogram\n"));
    // What Prometheus is shown stays as it is.
    let buckets = gateway.metric("http_server_request_duration_seconds_count", &[]).await;
    assert_eq!(buckets as u64, 1);
}

#[tokio::test]
async fn the_command_line_knows_the_variables_and_keeps_their_secrets() {
    let mut env = command();
    env.arg("env").env("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-key=hunter2").env("OTEL_BSP_MAX_QUEUE_SIZE", "7");
    env.env("OTEL_LOG_LEVEL", "debug").env("OTEL_BSP_MAX_QUEUE", "8");
    let ran = run(env).await;
    for line in ["OTEL_EXPORTER_OTLP_LOGS_HEADERS = ***", "OTEL_BSP_MAX_QUEUE_SIZE = 7", "OTEL_SDK_DISABLED (not set)"]
    {
        assert!(ran.out.lines().any(|l| l == line), "no line `{line}` in\n{}", ran.out);
    }
    assert!(!ran.out.contains("hunter2") && !ran.err.contains("hunter2"), "{ran:?}");
    for warning in ["OTEL_LOG_LEVEL is not obeyed: `ZER_LOG`", "OTEL_BSP_MAX_QUEUE means nothing to zerver"] {
        assert!(ran.err.contains(warning), "{}", ran.err);
    }

    // What the exporter would refuse at the start, `check` refuses before.
    let (_folder, file) = page(&format!("{HEAD}{PAGE}"));
    for (variables, says) in [
        (
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c"), ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/ca.pem")],
            "/no/ca.pem",
        ),
        ([("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://c"), ("OTEL_BSP_SCHEDULE_DELAY", "1")], "`ftp://c` is no address"),
        ([("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_PROPAGATORS", "b3")], "names `b3`, which is not spoken"),
        (
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")],
            "is not `key=value`",
        ),
    ] {
        let mut check = command();
        check.arg("check").arg(&file).envs(variables);
        let ran = run(check).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains(says) && !ran.err.contains("hunter2"), "{}", ran.err);
    }
}
