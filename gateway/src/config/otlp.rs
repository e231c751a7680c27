//! The settings of the export to an OpenTelemetry collector, and what the exporter makes of them.

mod value;
pub mod vars;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zerver_telemetry::export::Signal;
use zerver_telemetry::export::settings::{
    Compression, Destination, Exemplars, ExportSettings, Histograms, ItemLimits, Protocol, Readings, Temporality, Tls,
    Waiting,
};

use super::duration;
use super::placed::Placed;
use super::secret::Secret;

/// The export of spans, metrics and logs to an OpenTelemetry collector.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    /// Whether anything is sent (default false); single signals may say otherwise.
    pub enabled: bool,
    /// The collector's address (default `http://127.0.0.1:4318`, for gRPC `http://127.0.0.1:4317`). Over HTTP `/v1/traces`
    /// and so on are added.
    pub endpoint: Option<Placed<String>>,
    /// How the collector is spoken to (default `http/protobuf`).
    pub protocol: OtlpProtocol,
    /// Headers of each request; `${NAME}` takes a value from the environment.
    pub headers: BTreeMap<String, Placed<Secret>>,
    /// How batches are packed (default `none`).
    pub compression: OtlpCompression,
    /// How long one request may take (default 10s).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub timeout: Duration,
    /// A file with the certificates of the authorities to trust (default: the system's).
    pub certificate: Option<PathBuf>,
    /// A file with our own certificate, for a collector that asks who calls.
    pub client_certificate: Option<PathBuf>,
    /// A file with its key.
    pub client_key: Option<PathBuf>,
    /// Whether a gRPC endpoint without `http://` or `https://` is spoken to without TLS (default false).
    pub insecure: bool,
    /// The share of ordinary requests whose spans are sent, 0 to 1 (default 0.05); `telemetry.sampling.sample` goes before it.
    pub sample: f64,
    /// The `service.name` of all that is sent (default `zerver`).
    pub service: String,
    /// Further attributes of the sender, such as `deployment.environment.name`.
    pub resource: BTreeMap<String, String>,
    /// What differs for spans.
    pub traces: OtlpSignal,
    /// What differs for metrics.
    pub metrics: OtlpSignal,
    /// What differs for log records.
    pub logs: OtlpSignal,
    /// How spans wait.
    pub span_queue: OtlpQueue,
    /// How log records wait.
    pub log_queue: OtlpQueue,
    /// How metrics are read.
    pub metric_reading: OtlpReading,
    /// How much one span or log record may carry.
    pub limits: OtlpLimits,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            enabled: false,
            endpoint: None,
            protocol: OtlpProtocol::Http,
            headers: BTreeMap::new(),
            compression: OtlpCompression::None,
            timeout: Duration::from_secs(10),
            certificate: None,
            client_certificate: None,
            client_key: None,
            insecure: false,
            sample: 0.05,
            service: "zerver".into(),
            resource: BTreeMap::new(),
            traces: OtlpSignal::default(),
            metrics: OtlpSignal::default(),
            logs: OtlpSignal::default(),
            span_queue: OtlpQueue::default(),
            log_queue: OtlpQueue::default(),
            metric_reading: OtlpReading::default(),
            limits: OtlpLimits::default(),
        }
    }
}

/// What differs for one signal.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpSignal {
    /// Whether it is sent (default: as `enabled` says).
    pub send: Option<bool>,
    /// Where to; over HTTP this is the whole URL, to which nothing is added.
    pub endpoint: Option<Placed<String>>,
    /// How the collector is spoken to.
    pub protocol: Option<OtlpProtocol>,
    /// Headers of each request, in place of the general ones.
    pub headers: Option<BTreeMap<String, Placed<Secret>>>,
    /// How batches are packed.
    pub compression: Option<OtlpCompression>,
    /// How long one request may take.
    #[serde(with = "duration::optional")]
    #[schemars(schema_with = "duration::schema")]
    pub timeout: Option<Duration>,
    /// A file with the certificates of the authorities to trust.
    pub certificate: Option<PathBuf>,
    /// A file with our own certificate.
    pub client_certificate: Option<PathBuf>,
    /// A file with its key.
    pub client_key: Option<PathBuf>,
    /// Whether a gRPC endpoint without `http://` or `https://` is spoken to without TLS.
    pub insecure: Option<bool>,
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum OtlpProtocol {
    /// OTLP over HTTP/1.1 with protobuf.
    #[default]
    #[serde(rename = "http/protobuf")]
    Http,
    /// OTLP over gRPC.
    #[serde(rename = "grpc")]
    Grpc,
}

/// How batches are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtlpCompression {
    /// As they are.
    #[default]
    None,
    /// With gzip.
    Gzip,
}

/// How spans or log records wait to be sent.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpQueue {
    /// How many make a batch, about (default 512): those of one request stay together.
    pub batch: usize,
    /// How long one waits for its batch to fill (default 1s).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub delay: Duration,
    /// How many may wait (default 65,536); beyond it the oldest are dropped.
    pub items: usize,
    /// Bytes they may take (default 67,108,864): spans as they are sent, before gzip; log records by estimate. Beyond it
    /// the oldest are dropped.
    pub bytes: usize,
    /// How long a batch is tried again while the collector is away (default 60s).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub retry_for: Duration,
}

impl Default for OtlpQueue {
    fn default() -> Self {
        let Waiting { batch, delay, items, bytes, retry_for } = Waiting::default();
        Self { batch, delay, items, bytes, retry_for }
    }
}

/// How metrics are read.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpReading {
    /// How often (default 60s).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub interval: Duration,
    /// How long a reading is tried to be delivered (default 30s).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub timeout: Duration,
    /// Whether counters and histograms count from the start or from the reading before (default `cumulative`).
    pub temporality: OtlpTemporality,
    /// Which requests histograms carry the traces of, one per bucket (default `sampled`).
    pub exemplars: OtlpExemplars,
    /// The buckets of histograms (default `explicit`).
    pub histograms: OtlpHistograms,
}

impl Default for OtlpReading {
    fn default() -> Self {
        let Readings { interval, timeout, .. } = Readings::default();
        let (temporality, exemplars) = (OtlpTemporality::default(), OtlpExemplars::default());
        Self { interval, timeout, temporality, exemplars, histograms: OtlpHistograms::default() }
    }
}

/// The buckets of histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtlpHistograms {
    /// Those that Prometheus is shown, sixteen from 250 us to 30 s.
    #[default]
    Explicit,
    /// Sixteen for each doubling (base-2 exponential, scale 4).
    Exponential,
}

/// Where counters and histograms begin to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtlpTemporality {
    /// At the start of the gateway.
    #[default]
    Cumulative,
    /// At the reading before.
    Delta,
}

/// Which requests histograms carry the traces of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtlpExemplars {
    /// Those that were sampled.
    #[default]
    Sampled,
    /// Any.
    All,
    /// None.
    None,
}

/// How much one span or log record may carry.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpLimits {
    /// Attributes of a span or log record (default 128).
    pub attributes: usize,
    /// Characters of a text among its attributes (default: no limit).
    pub value_chars: Option<usize>,
    /// Events of a span (default 128).
    pub events: usize,
    /// Attributes of one event (default 128).
    pub event_attributes: usize,
}

impl Default for OtlpLimits {
    fn default() -> Self {
        let ItemLimits { attributes, value_chars, events, event_attributes } = ItemLimits::default();
        Self { attributes, value_chars, events, event_attributes }
    }
}

impl Otlp {
    /// What differs for one signal.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> &OtlpSignal {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }

    /// Whether a signal is sent.
    #[must_use]
    pub fn sends(&self, signal: Signal) -> bool {
        self.signal(signal).send.unwrap_or(self.enabled)
    }

    /// Switches everything off, whatever single signals say.
    pub fn switch_off(&mut self) {
        self.enabled = false;
        for signal in [&mut self.traces, &mut self.metrics, &mut self.logs] {
            signal.send = None;
        }
    }

    /// All endpoints that are written down.
    pub fn endpoints(&self) -> impl Iterator<Item = &Placed<String>> {
        [&self.endpoint, &self.traces.endpoint, &self.metrics.endpoint, &self.logs.endpoint].into_iter().flatten()
    }

    /// All headers that are written down, to be revealed.
    pub fn headers_mut(&mut self) -> impl Iterator<Item = &mut Placed<Secret>> {
        let single = [&mut self.traces, &mut self.metrics, &mut self.logs].into_iter();
        let single = single.filter_map(|signal| signal.headers.as_mut()).flat_map(BTreeMap::values_mut);
        self.headers.values_mut().chain(single)
    }

    /// The same for the exporter.
    #[must_use]
    pub fn settings(&self) -> ExportSettings {
        let mut resource = self.resource.clone();
        resource.insert("service.name".into(), self.service.clone());
        let OtlpLimits { attributes, value_chars, events, event_attributes } = self.limits;
        ExportSettings {
            traces: self.destination(Signal::Traces),
            metrics: self.destination(Signal::Metrics),
            logs: self.destination(Signal::Logs),
            spans: self.span_queue.waiting(),
            records: self.log_queue.waiting(),
            readings: Readings {
                interval: self.metric_reading.interval,
                timeout: self.metric_reading.timeout,
                temporality: match self.metric_reading.temporality {
                    OtlpTemporality::Cumulative => Temporality::Cumulative,
                    OtlpTemporality::Delta => Temporality::Delta,
                },
                exemplars: match self.metric_reading.exemplars {
                    OtlpExemplars::Sampled => Exemplars::Sampled,
                    OtlpExemplars::All => Exemplars::All,
                    OtlpExemplars::None => Exemplars::None,
                },
                histograms: match self.metric_reading.histograms {
                    OtlpHistograms::Explicit => Histograms::Explicit,
                    OtlpHistograms::Exponential => Histograms::Exponential,
                },
            },
            limits: ItemLimits { attributes, value_chars, events, event_attributes },
            resource,
        }
    }

    fn destination(&self, signal: Signal) -> Option<Destination> {
        if !self.sends(signal) {
            return None;
        }
        let own = self.signal(signal);
        let protocol = match own.protocol.unwrap_or(self.protocol) {
            OtlpProtocol::Http => Protocol::Http,
            OtlpProtocol::Grpc => Protocol::Grpc,
        };
        // Only gRPC has targets without a scheme.
        let whole = |endpoint: &str| match protocol {
            Protocol::Grpc if !endpoint.contains("://") => {
                let insecure = own.insecure.unwrap_or(self.insecure);
                format!("{}{endpoint}", if insecure { "http://" } else { "https://" })
            }
            _ => endpoint.to_owned(),
        };
        let to = match (&own.endpoint, &self.endpoint) {
            (Some(own), _) => Destination { endpoint: whole(own), ..Destination::local(signal, protocol) },
            (None, Some(base)) => Destination::at(signal, protocol, &whole(base)),
            (None, None) => Destination::local(signal, protocol),
        };
        let headers = own.headers.as_ref().unwrap_or(&self.headers);
        Some(Destination {
            headers: headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect(),
            timeout: own.timeout.unwrap_or(self.timeout),
            compression: match own.compression.unwrap_or(self.compression) {
                OtlpCompression::None => Compression::None,
                OtlpCompression::Gzip => Compression::Gzip,
            },
            tls: Tls {
                certificate: own.certificate.clone().or_else(|| self.certificate.clone()),
                client_certificate: own.client_certificate.clone().or_else(|| self.client_certificate.clone()),
                client_key: own.client_key.clone().or_else(|| self.client_key.clone()),
            },
            ..to
        })
    }
}

impl OtlpQueue {
    fn waiting(&self) -> Waiting {
        let Self { batch, delay, items, bytes, retry_for } = *self;
        Waiting { batch, delay, items, bytes, retry_for }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::parse;

    fn settings(otlp: &str) -> ExportSettings {
        let page = parse(&format!("listen: 127.0.0.1:0\nroutes: []\ntelemetry: {{ otlp: {otlp} }}\n")).expect(otlp);
        page.telemetry.otlp.settings()
    }

    #[test]
    fn nothing_is_sent_until_it_is_asked_for() {
        assert!(settings("{}").is_off());
        assert!(settings("{ endpoint: 'http://c:4318' }").is_off());
        let all = settings("{ enabled: true }");
        assert_eq!(all.traces.expect("spans are sent").endpoint, "http://127.0.0.1:4318/v1/traces");
        assert_eq!(all.metrics.expect("metrics are sent").endpoint, "http://127.0.0.1:4318/v1/metrics");
        let one = settings("{ protocol: grpc, metrics: { send: true } }");
        assert_eq!(one.metrics.expect("metrics are sent").endpoint, "http://127.0.0.1:4317");
        assert_eq!((one.traces, one.logs), (None, None));
        assert_eq!(settings("{ enabled: true, logs: { send: false } }").logs, None);
    }

    #[test]
    fn a_signal_may_differ_in_everything() {
        let both = settings(
            "{ enabled: true, endpoint: 'https://c/otlp', compression: gzip, headers: { x-key: a }, certificate: /ca.pem, \
             traces: { endpoint: 'c:4317', protocol: grpc, compression: none, headers: {}, timeout: 2s }, \
             span_queue: { items: 9 }, metric_reading: { temporality: delta }, limits: { value_chars: 7 }, \
             resource: { deployment.environment.name: test } }",
        );
        let (traces, metrics) = (both.traces.expect("spans"), both.metrics.expect("metrics"));
        assert_eq!((&*traces.endpoint, traces.protocol), ("https://c:4317", Protocol::Grpc));
        assert_eq!((traces.compression, traces.headers.len(), traces.timeout.as_secs()), (Compression::None, 0, 2));
        assert_eq!((&*metrics.endpoint, metrics.protocol), ("https://c/otlp/v1/metrics", Protocol::Http));
        assert_eq!((metrics.compression, &*metrics.headers["x-key"]), (Compression::Gzip, "a"));
        assert_eq!(traces.tls, metrics.tls);
        assert_eq!((both.spans.items, both.records.items), (9, 65_536));
        assert_eq!((both.readings.temporality, both.limits.value_chars), (Temporality::Delta, Some(7)));
        assert_eq!(
            (&*both.resource["service.name"], &*both.resource["deployment.environment.name"]),
            ("zerver", "test")
        );
        let plain = settings("{ traces: { send: true, protocol: grpc, endpoint: 'c:4317', insecure: true } }");
        assert_eq!(plain.traces.expect("spans").endpoint, "http://c:4317");
    }
}
