//! Each variable of the specifications has an effect, a reason, or a warning, and stands in the documentation.

use zerver_telemetry::export::settings::{Compression, Exemplars, ExportSettings, Histograms, Protocol, Temporality};

use super::*;
use crate::config::env;
use crate::config::file::parse;

fn read(vars: &[(&str, &str)]) -> Result<Document, String> {
    let mut page = parse("listen: 127.0.0.1:0\nroutes: []\n").expect("a page");
    let lookup = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    env::apply(&mut page, &lookup).map_err(|problems| problems[0].message.clone())?;
    Ok(page)
}

fn settings(vars: &[(&str, &str)]) -> ExportSettings {
    read(vars).expect("they are fit").telemetry.otlp.settings()
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

#[test]
fn an_endpoint_or_an_exporter_switches_on_and_the_switches_off() {
    assert!(settings(&[]).is_off() && settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).is_off());
    let all = settings(&[ENDPOINT]);
    assert!(all.traces.is_some() && all.metrics.is_some() && all.logs.is_some());
    assert!(settings(&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "otlp")]).is_off());
    let none =
        [("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "prometheus"), ("OTEL_LOGS_EXPORTER", "none")];
    assert!(settings(&[&none[..], &[ENDPOINT]].concat()).is_off());
    let spans = settings(&[("OTEL_TRACES_EXPORTER", "otlp")]);
    assert_eq!(spans.traces.expect("spans are sent").endpoint, "http://127.0.0.1:4318/v1/traces");
    assert_eq!(spans.metrics, None);
    let metrics = settings(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m/x")]);
    assert_eq!((metrics.traces, metrics.metrics.expect("metrics are sent").endpoint.as_str()), (None, "http://m/x"));
    assert!(settings(&[("OTEL_METRICS_EXPORTER", "otlp,prometheus")]).metrics.is_some());
}

#[test]
fn what_holds_for_all_may_be_replaced_for_one() {
    let all = settings(&[
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b, x-other = c=d"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/me.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/me.key"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "logs:4317"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-key=e"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "1"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", "/other.pem"),
        ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE", "/other-me.pem"),
        ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "/other-me.key"),
        ("OTEL_EXPORTER_OTLP_LOGS_INSECURE", "true"),
    ]);
    let (spans, logs) = (all.traces.expect("spans"), all.logs.expect("logs"));
    assert_eq!(spans.endpoint, "http://collector:4318/v1/traces");
    assert_eq!(
        (&*spans.headers["x-key"], &*spans.headers["x-other"], spans.timeout.as_millis()),
        ("a b", "c=d", 2_500)
    );
    assert_eq!((spans.compression, spans.protocol), (Compression::Gzip, Protocol::Http));
    assert_eq!((&*logs.endpoint, logs.protocol, logs.headers.len()), ("http://logs:4317", Protocol::Grpc, 1));
    assert_eq!((logs.timeout.as_millis(), logs.compression), (1, Compression::None));
    let files = |tls: &zerver_telemetry::export::settings::Tls| {
        let name = |path: &Option<std::path::PathBuf>| path.as_ref().expect("it is set").display().to_string();
        [name(&tls.certificate), name(&tls.client_certificate), name(&tls.client_key)]
    };
    assert_eq!(files(&spans.tls), ["/ca.pem", "/me.pem", "/me.key"]);
    assert_eq!(files(&logs.tls), ["/other.pem", "/other-me.pem", "/other-me.key"]);
    let grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317")];
    assert_eq!(settings(&grpc).traces.expect("spans").endpoint, "https://c:4317");
    let plain = [&grpc[..], &[("OTEL_EXPORTER_OTLP_INSECURE", "true")]].concat();
    assert_eq!(settings(&plain).metrics.expect("metrics").endpoint, "http://c:4317");
}

#[test]
fn queues_readings_limits_and_names_are_obeyed() {
    let all = settings(&[
        ("OTEL_BSP_SCHEDULE_DELAY", "250"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "1000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "251"),
        ("OTEL_BLRP_EXPORT_TIMEOUT", "1001"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "101"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "11"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "2000"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_off"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "DELTA"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "Base2_Exponential_Bucket_Histogram"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "9"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "8"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "70"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "6"),
        ("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "5"),
        ("OTEL_PROPAGATORS", "baggage, tracecontext"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=edge,deployment.environment.name=test"),
        ("OTEL_SERVICE_NAME", "shop-edge"),
    ]);
    for (queue, one) in [(all.spans, 0), (all.records, 1)] {
        assert_eq!((queue.delay.as_millis(), queue.retry_for.as_millis()), (250 + one, 1_000 + one));
        assert_eq!((queue.items as u128, queue.batch as u128), (100 + one, 10 + one));
    }
    assert_eq!((all.readings.interval.as_secs(), all.readings.timeout.as_secs()), (5, 2));
    assert_eq!((all.readings.temporality, all.readings.exemplars), (Temporality::Delta, Exemplars::None));
    assert_eq!(all.readings.histograms, Histograms::Exponential);
    let limits = all.limits;
    assert_eq!((limits.attributes, limits.value_chars, limits.events, limits.event_attributes), (8, Some(70), 6, 5));
    assert_eq!(all.resource["service.name"], "shop-edge");
    assert_eq!(all.resource["deployment.environment.name"], "test");
    let edge = settings(&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=edge")]);
    assert_eq!(edge.resource["service.name"], "edge");
}

#[test]
fn the_sampler_may_take_a_share() {
    let share = |vars: &[(&str, &str)]| read(vars).expect("they are fit").telemetry.head();
    let (sampler, arg) = ("OTEL_TRACES_SAMPLER", ("OTEL_TRACES_SAMPLER_ARG", "0.3"));
    for (name, expected) in
        [("parentbased_traceidratio", 0.3), ("parentbased_always_on", 1.0), ("parentbased_always_off", 0.0)]
    {
        assert!((share(&[arg, (sampler, name)]) - expected).abs() < f64::EPSILON, "{name}");
    }
    assert!((share(&[arg]) - 0.3).abs() < f64::EPSILON);
}

#[test]
fn what_cannot_be_obeyed_is_refused_with_a_reason() {
    for (name, value, says) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "takes protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd", "no compression"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "no number of milliseconds"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "novalue", "is not `key=value`"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "`zipkin`"),
        ("OTEL_METRICS_EXPORTER", "otlp,console", "`console`"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "no whole number"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0", "at least 1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "longer than nothing"),
        ("OTEL_TRACES_SAMPLER", "always_on", "write `parentbased_always_on`"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "no sampler"),
        ("OTEL_TRACES_SAMPLER_ARG", "7", "between 0 and 1"),
        ("OTEL_PROPAGATORS", "tracecontext,b3", "`b3`"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "sometimes", "is no filter"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "lowmemory", "is not spoken"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "summary", "is no aggregation of histograms"),
    ] {
        let message = read(&[(name, value)]).err().unwrap_or_else(|| panic!("{name}={value} was taken"));
        assert!(message.contains(name) && message.contains(says), "{message}");
    }
    let message = read(&[("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")]).expect_err("it is no pair");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn each_signal_has_the_same_variables() {
    for (signal, list) in [("TRACES_", TRACES), ("METRICS_", METRICS), ("LOGS_", LOGS)] {
        let general: Vec<String> = list.iter().map(|variable| variable.name.replacen(signal, "", 1)).collect();
        let known = |name: &String| GENERAL.iter().any(|variable| variable.name == name);
        assert!(general.len() == 9 && general.iter().all(known), "{general:?}");
    }
}

#[test]
fn the_documentation_lists_exactly_these() {
    let row = |v: &Variable| format!("| `{}` | {} | {} | {} |", v.name, v.takes, v.default, v.about);
    let mut rows: Vec<String> = GENERAL.iter().chain(SWITCHES).map(row).collect();
    rows.extend(NOT_OBEYED.iter().map(|(name, instead)| format!("| `{name}` | – | – | not obeyed: {instead} |")));
    let document = include_str!("../../../../../docs/telemetry.md");
    let listed: Vec<&str> = document.lines().filter(|line| line.starts_with("| `OTEL_")).collect();
    assert_eq!(listed, rows, "docs/telemetry.md should hold:\n{}", rows.join("\n"));
}
