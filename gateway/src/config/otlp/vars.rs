//! The `OTEL_*` variables of the OpenTelemetry specifications: each is obeyed, refused with a reason, or warned of.
//!
//! Sources: "OpenTelemetry environment variable specification", "OpenTelemetry protocol exporter", "Metrics exporter -
//! OTLP" (specification 1.50). An empty value is no value.

use zerver_telemetry::export::variables as otlp;

use super::value::{compression, exporter, headers, pairs, protocol};
use super::{OtlpExemplars, OtlpHistograms, OtlpTemporality};
use crate::config::document::Document;
use crate::config::placed::Placed;
use crate::config::propagation::Propagator;
use crate::config::variable::{Variable, millis, number, some, variable, yes_or_no};

type Set = Result<(), String>;

/// Those that hold for every signal, in the order of their application.
pub const GENERAL: &[Variable] = &[
    variable(
        otlp::OTEL_EXPORTER_OTLP_ENDPOINT,
        "a URL",
        "http://127.0.0.1:4318, for gRPC http://127.0.0.1:4317",
        "the collector's address; setting it switches sending on",
        |page, text| {
            page.telemetry.otlp.endpoint = Some(Placed::nowhere(text.to_owned()));
            page.telemetry.otlp.enabled = true;
            Ok(())
        },
    ),
    variable(otlp::OTEL_EXPORTER_OTLP_PROTOCOL, "grpc or http/protobuf", "http/protobuf", PROTOCOL, |page, text| {
        page.telemetry.otlp.protocol = protocol(text)?;
        Ok(())
    }),
    variable(otlp::OTEL_EXPORTER_OTLP_HEADERS, "key=value,key=value", "none", HEADERS, |page, text| {
        page.telemetry.otlp.headers = headers(text)?;
        Ok(())
    })
    .hidden(),
    variable(otlp::OTEL_EXPORTER_OTLP_TIMEOUT, "milliseconds", "10000", TIMEOUT, |page, text| {
        page.telemetry.otlp.timeout = millis(text)?;
        Ok(())
    }),
    variable(otlp::OTEL_EXPORTER_OTLP_COMPRESSION, "gzip or none", "none", COMPRESSION, |page, text| {
        page.telemetry.otlp.compression = compression(text)?;
        Ok(())
    }),
    variable("OTEL_EXPORTER_OTLP_CERTIFICATE", "a file", "the system's", CERTIFICATE, |page, text| {
        page.telemetry.otlp.certificate = Some(text.into());
        Ok(())
    }),
    variable("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "a file", "none", CLIENT_CERTIFICATE, |page, text| {
        page.telemetry.otlp.client_certificate = Some(text.into());
        Ok(())
    }),
    variable("OTEL_EXPORTER_OTLP_CLIENT_KEY", "a file", "none", CLIENT_KEY, |page, text| {
        page.telemetry.otlp.client_key = Some(text.into());
        Ok(())
    }),
    variable(otlp::OTEL_EXPORTER_OTLP_INSECURE, "true or false", "false", INSECURE, |page, text| {
        page.telemetry.otlp.insecure = yes_or_no(text)?;
        Ok(())
    }),
    variable(
        "OTEL_RESOURCE_ATTRIBUTES",
        "key=value,key=value",
        "none",
        "who sends: further attributes of the gateway",
        |page, text| {
            for (key, value) in pairs(text)? {
                match key.as_str() {
                    "service.name" => page.telemetry.otlp.service = value,
                    _ => _ = page.telemetry.otlp.resource.insert(key, value),
                }
            }
            Ok(())
        },
    ),
    variable("OTEL_SERVICE_NAME", "a text", "zerver", "who sends: the `service.name`", |page, text| {
        page.telemetry.otlp.service = text.to_owned();
        Ok(())
    }),
    variable(
        "OTEL_TRACES_SAMPLER_ARG",
        "a share, 0 to 1",
        "0.05",
        "the share of ordinary requests whose spans are sent",
        |page, text| {
            let share: f64 = text.parse().map_err(|_| "is no number".to_owned())?;
            if !(0.0..=1.0).contains(&share) {
                return Err("does not lie between 0 and 1".to_owned());
            }
            sample(page, share);
            Ok(())
        },
    ),
    variable(
        "OTEL_TRACES_SAMPLER",
        "parentbased_traceidratio, parentbased_always_on or parentbased_always_off",
        "parentbased_traceidratio",
        "how requests without a caller's decision are sampled; those that failed or were slow are sent all the same",
        sampler,
    ),
    variable(
        "OTEL_PROPAGATORS",
        "tracecontext, baggage, both, or none",
        "tracecontext,baggage",
        "the headers that carry the trace on (`telemetry.propagators`); there are no others, so anything else is refused",
        propagators,
    ),
    variable("OTEL_BSP_SCHEDULE_DELAY", "milliseconds", "1000", DELAY, |page, text| {
        page.telemetry.otlp.span_queue.delay = millis(text)?;
        Ok(())
    }),
    variable("OTEL_BSP_EXPORT_TIMEOUT", "milliseconds", "60000", RETRY, |page, text| {
        page.telemetry.otlp.span_queue.retry_for = millis(text)?;
        Ok(())
    }),
    variable("OTEL_BSP_MAX_QUEUE_SIZE", "a number", "65536", QUEUE, |page, text| {
        page.telemetry.otlp.span_queue.items = some(text)?;
        Ok(())
    }),
    variable("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "a number", "512", BATCH, |page, text| {
        page.telemetry.otlp.span_queue.batch = some(text)?;
        Ok(())
    }),
    variable("OTEL_BLRP_SCHEDULE_DELAY", "milliseconds", "1000", DELAY, |page, text| {
        page.telemetry.otlp.log_queue.delay = millis(text)?;
        Ok(())
    }),
    variable("OTEL_BLRP_EXPORT_TIMEOUT", "milliseconds", "60000", RETRY, |page, text| {
        page.telemetry.otlp.log_queue.retry_for = millis(text)?;
        Ok(())
    }),
    variable("OTEL_BLRP_MAX_QUEUE_SIZE", "a number", "65536", QUEUE, |page, text| {
        page.telemetry.otlp.log_queue.items = some(text)?;
        Ok(())
    }),
    variable("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "a number", "512", BATCH, |page, text| {
        page.telemetry.otlp.log_queue.batch = some(text)?;
        Ok(())
    }),
    variable(
        "OTEL_METRIC_EXPORT_INTERVAL",
        "milliseconds",
        "60000",
        "how often metrics are read and sent",
        |page, text| {
            let interval = millis(text)?;
            if interval.is_zero() {
                return Err("must be longer than nothing".to_owned());
            }
            page.telemetry.otlp.metric_reading.interval = interval;
            Ok(())
        },
    ),
    variable(
        "OTEL_METRIC_EXPORT_TIMEOUT",
        "milliseconds",
        "30000",
        "how long a reading is tried again",
        |page, text| {
            page.telemetry.otlp.metric_reading.timeout = millis(text)?;
            Ok(())
        },
    ),
    variable(
        "OTEL_METRICS_EXEMPLAR_FILTER",
        "trace_based, always_on or always_off",
        "trace_based",
        "which requests histograms carry the traces of: those that were sampled, any, none",
        |page, text| {
            page.telemetry.otlp.metric_reading.exemplars = match text {
                "trace_based" => OtlpExemplars::Sampled,
                "always_on" => OtlpExemplars::All,
                "always_off" => OtlpExemplars::None,
                _ => return Err("is no filter".into()),
            };
            Ok(())
        },
    ),
    variable(
        otlp::OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE,
        "cumulative or delta",
        "cumulative",
        "whether counters and histograms count from the start or from the reading before",
        |page, text| {
            page.telemetry.otlp.metric_reading.temporality = match text.to_ascii_lowercase().as_str() {
                "cumulative" => OtlpTemporality::Cumulative,
                "delta" => OtlpTemporality::Delta,
                "lowmemory" => return Err("is not spoken: neither of the two takes more memory here".into()),
                _ => return Err("is no temporality".into()),
            };
            Ok(())
        },
    ),
    variable(
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "explicit_bucket_histogram or base2_exponential_bucket_histogram",
        "explicit_bucket_histogram",
        "the buckets of histograms",
        |page, text| {
            page.telemetry.otlp.metric_reading.histograms = match text.to_ascii_lowercase().as_str() {
                "explicit_bucket_histogram" => OtlpHistograms::Explicit,
                "base2_exponential_bucket_histogram" => OtlpHistograms::Exponential,
                _ => return Err("is no aggregation of histograms".into()),
            };
            Ok(())
        },
    ),
    variable("OTEL_ATTRIBUTE_COUNT_LIMIT", "a number", "128", ATTRIBUTES, attributes),
    variable("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "a number", "128", ATTRIBUTES, attributes),
    variable("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "a number of characters", "none", VALUES, values),
    variable("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "a number of characters", "none", VALUES, values),
    variable("OTEL_SPAN_EVENT_COUNT_LIMIT", "a number", "128", "events of a span", |page, text| {
        page.telemetry.otlp.limits.events = number(text)?;
        Ok(())
    }),
    variable("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "a number", "128", "attributes of a span's event", |page, text| {
        page.telemetry.otlp.limits.event_attributes = number(text)?;
        Ok(())
    }),
];

/// The switches, which come last.
pub const SWITCHES: &[Variable] = &[
    variable("OTEL_TRACES_EXPORTER", "otlp or none", "otlp", "whether spans are sent", |page, text| {
        page.telemetry.otlp.traces.send = Some(exporter(text, false)?);
        Ok(())
    }),
    variable(
        "OTEL_METRICS_EXPORTER",
        "otlp, prometheus or none",
        "otlp",
        "whether metrics are sent; Prometheus can always fetch them from the admin listener",
        |page, text| {
            page.telemetry.otlp.metrics.send = Some(exporter(text, true)?);
            Ok(())
        },
    ),
    variable("OTEL_LOGS_EXPORTER", "otlp or none", "otlp", "whether log records are sent", |page, text| {
        page.telemetry.otlp.logs.send = Some(exporter(text, false)?);
        Ok(())
    }),
    variable("OTEL_SDK_DISABLED", "true or false", "false", "nothing is sent, whatever else is set", |page, text| {
        if yes_or_no(text)? {
            page.telemetry.otlp.switch_off();
        }
        Ok(())
    }),
];

/// The variables of one signal, each in place of the general one of the same end.
macro_rules! of_one_signal {
    ($signal:ident, $name:literal) => {
        &[
            variable(
                concat!("OTEL_EXPORTER_OTLP_", $name, "_ENDPOINT"),
                "a URL",
                "the general one with the signal's path",
                "where this signal goes; taken as it is, and switches its sending on",
                |page, text| {
                    page.telemetry.otlp.$signal.endpoint = Some(Placed::nowhere(text.to_owned()));
                    page.telemetry.otlp.$signal.send = Some(true);
                    Ok(())
                },
            ),
            variable(
                concat!("OTEL_EXPORTER_OTLP_", $name, "_PROTOCOL"),
                "grpc or http/protobuf",
                GENERALLY,
                PROTOCOL,
                |page, text| {
                    page.telemetry.otlp.$signal.protocol = Some(protocol(text)?);
                    Ok(())
                },
            ),
            variable(
                concat!("OTEL_EXPORTER_OTLP_", $name, "_HEADERS"),
                "key=value,key=value",
                GENERALLY,
                HEADERS,
                |page, text| {
                    page.telemetry.otlp.$signal.headers = Some(headers(text)?);
                    Ok(())
                },
            )
            .hidden(),
            variable(
                concat!("OTEL_EXPORTER_OTLP_", $name, "_TIMEOUT"),
                "milliseconds",
                GENERALLY,
                TIMEOUT,
                |page, text| {
                    page.telemetry.otlp.$signal.timeout = Some(millis(text)?);
                    Ok(())
                },
            ),
            variable(
                concat!("OTEL_EXPORTER_OTLP_", $name, "_COMPRESSION"),
                "gzip or none",
                GENERALLY,
                COMPRESSION,
                |page, text| {
                    page.telemetry.otlp.$signal.compression = Some(compression(text)?);
                    Ok(())
                },
            ),
            variable(
                concat!("OTEL_EXPORTER_OTLP_", $name, "_CERTIFICATE"),
                "a file",
                GENERALLY,
                CERTIFICATE,
                |page, text| {
                    page.telemetry.otlp.$signal.certificate = Some(text.into());
                    Ok(())
                },
            ),
            variable(
                concat!("OTEL_EXPORTER_OTLP_", $name, "_CLIENT_CERTIFICATE"),
                "a file",
                GENERALLY,
                CLIENT_CERTIFICATE,
                |page, text| {
                    page.telemetry.otlp.$signal.client_certificate = Some(text.into());
                    Ok(())
                },
            ),
            variable(
                concat!("OTEL_EXPORTER_OTLP_", $name, "_CLIENT_KEY"),
                "a file",
                GENERALLY,
                CLIENT_KEY,
                |page, text| {
                    page.telemetry.otlp.$signal.client_key = Some(text.into());
                    Ok(())
                },
            ),
            variable(
                concat!("OTEL_EXPORTER_OTLP_", $name, "_INSECURE"),
                "true or false",
                GENERALLY,
                INSECURE,
                |page, text| {
                    page.telemetry.otlp.$signal.insecure = Some(yes_or_no(text)?);
                    Ok(())
                },
            ),
        ]
    };
}

/// Those of spans alone.
pub const TRACES: &[Variable] = of_one_signal!(traces, "TRACES");
/// Those of metrics alone.
pub const METRICS: &[Variable] = of_one_signal!(metrics, "METRICS");
/// Those of log records alone.
pub const LOGS: &[Variable] = of_one_signal!(logs, "LOGS");

/// Variables of the specifications that change nothing here, and what does instead; a warning says so.
pub const NOT_OBEYED: &[(&str, &str)] = &[
    ("OTEL_LOG_LEVEL", "`ZER_LOG` says how much is logged"),
    ("OTEL_CONFIG_FILE", "the page `telemetry.otlp` sets up the export"),
    ("OTEL_EXPERIMENTAL_CONFIG_FILE", "the page `telemetry.otlp` sets up the export"),
    ("OTEL_SPAN_LINK_COUNT_LIMIT", "spans have no links"),
    ("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "spans have no links"),
    ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "`OTEL_ATTRIBUTE_COUNT_LIMIT` holds for log records too"),
    ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "`OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT` holds for log records too"),
    ("OTEL_EXPORTER_PROMETHEUS_HOST", "`admin.listen` says where Prometheus finds the metrics"),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", "`admin.listen` says where Prometheus finds the metrics"),
    ("OTEL_SEMCONV_STABILITY_OPT_IN", "only the stable names are spoken"),
];

const GENERALLY: &str = "the general one";
const PROTOCOL: &str = "how the collector is spoken to";
const HEADERS: &str = "headers of each request, values percent-encoded";
const TIMEOUT: &str = "how long one request may take";
const COMPRESSION: &str = "how batches are packed";
const CERTIFICATE: &str = "the authorities to trust, in PEM";
const CLIENT_CERTIFICATE: &str = "our own certificate, in PEM";
const CLIENT_KEY: &str = "its key, in PEM";
const INSECURE: &str = "whether a gRPC endpoint without `http://` or `https://` is spoken to without TLS";
const DELAY: &str = "how long one waits for its batch to fill";
const RETRY: &str = "how long a batch is tried again";
const QUEUE: &str = "how many may wait; the oldest go when there are more";
const BATCH: &str = "how many make a batch, about";
const ATTRIBUTES: &str = "attributes of a span or a log record";
const VALUES: &str = "length of a text among its attributes";

/// A variable goes before the page, wherever that says it.
fn sample(page: &mut Document, share: f64) {
    page.telemetry.otlp.sample = share;
    page.telemetry.sampling.sample = None;
}

fn sampler(page: &mut Document, text: &str) -> Set {
    match text {
        // With the share that `OTEL_TRACES_SAMPLER_ARG` or the page gives.
        "parentbased_traceidratio" => {}
        "parentbased_always_on" => sample(page, 1.0),
        "parentbased_always_off" => sample(page, 0.0),
        "always_on" | "always_off" | "traceidratio" => {
            return Err(format!(
                "would overrule the caller's decision, which always holds; write `parentbased_{text}`"
            ));
        }
        _ => return Err("is no sampler of ours".into()),
    }
    Ok(())
}

fn propagators(page: &mut Document, text: &str) -> Set {
    let mut list = Vec::new();
    for name in text.split(',').map(str::trim) {
        match name {
            "tracecontext" => list.push(Propagator::TraceContext),
            "baggage" => list.push(Propagator::Baggage),
            "none" => {}
            other => return Err(format!("names `{other}`, which is not spoken")),
        }
    }
    page.telemetry.propagators = list;
    Ok(())
}

fn attributes(page: &mut Document, text: &str) -> Set {
    page.telemetry.otlp.limits.attributes = number(text)?;
    Ok(())
}

fn values(page: &mut Document, text: &str) -> Set {
    page.telemetry.otlp.limits.value_chars = Some(number(text)?);
    Ok(())
}

#[cfg(test)]
mod tests;
