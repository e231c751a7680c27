//! Where each signal is sent and how: protocol, compression, TLS, time, and how much may wait.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::export::variables::OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT;

use crate::export::{InvalidExport, Signal};

/// What an exporter sends, where to, and what it keeps meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportSettings {
    /// Where spans go; none when they are not sent.
    pub traces: Option<Destination>,
    /// Where metrics go; none when they are not sent.
    pub metrics: Option<Destination>,
    /// Where log records go; none when they are not sent.
    pub logs: Option<Destination>,
    /// How spans wait.
    pub spans: Waiting,
    /// How log records wait.
    pub records: Waiting,
    /// How metrics are read.
    pub readings: Readings,
    /// How much one span or log record may carry.
    pub limits: ItemLimits,
    /// What sends: `service.name` is `zerver` and `service.version` the build's unless given here.
    pub resource: BTreeMap<String, String>,
}

impl Default for ExportSettings {
    /// Nothing is sent.
    fn default() -> Self {
        Self {
            traces: None,
            metrics: None,
            logs: None,
            spans: Waiting::default(),
            records: Waiting::default(),
            readings: Readings::default(),
            limits: ItemLimits::default(),
            resource: BTreeMap::new(),
        }
    }
}

/// Where one signal is sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    /// The full URL, `http` or `https`: over HTTP the path that batches are posted to, over gRPC what stands before the
    /// service's name, most often nothing.
    pub endpoint: String,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Headers (gRPC: metadata) of each request.
    pub headers: BTreeMap<String, String>,
    /// How long one request may take, the connection's making included (default 10 s).
    pub timeout: Duration,
    /// How batches are packed.
    pub compression: Compression,
    /// Whom to trust and who we are, for `https`.
    pub tls: Tls,
}

impl Destination {
    /// A receiver at its standard place on this host, with the standard settings.
    #[must_use]
    pub fn local(signal: Signal, protocol: Protocol) -> Self {
        Self::at(signal, protocol, protocol.default_endpoint())
    }

    /// The receiver with this base URL: over HTTP the signal's own path is added, over gRPC nothing is.
    #[must_use]
    pub fn at(signal: Signal, protocol: Protocol, base: &str) -> Self {
        let base = base.trim_end_matches('/');
        let endpoint = match protocol {
            Protocol::Http => format!("{base}{}", signal.path()),
            Protocol::Grpc => base.to_owned(),
        };
        Self {
            endpoint,
            protocol,
            headers: BTreeMap::new(),
            timeout: OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT,
            compression: Compression::None,
            tls: Tls::default(),
        }
    }
}

impl fmt::Debug for Destination {
    /// Without the headers' values, which are often keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destination")
            .field("endpoint", &self.endpoint)
            .field("protocol", &self.protocol)
            .field("headers", &self.headers.keys())
            .field("timeout", &self.timeout)
            .field("compression", &self.compression)
            .field("tls", &self.tls)
            .finish()
    }
}

/// How a receiver is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP over HTTP/1.1 with protobuf, `http/protobuf`.
    #[default]
    Http,
    /// OTLP over gRPC, `grpc`.
    Grpc,
}

impl Protocol {
    /// Where a receiver of this protocol stands when nobody says otherwise.
    #[must_use]
    pub const fn default_endpoint(self) -> &'static str {
        match self {
            Self::Http => "http://127.0.0.1:4318",
            Self::Grpc => "http://127.0.0.1:4317",
        }
    }
}

/// How batches are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// With gzip at level 1: a tenth to a twentieth of the bytes, some 0.2 µs of processor time per span.
    Gzip,
}

/// Whom to trust and who we are. Files are PEM and are read when the exporter starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities to trust; the system's when none is given.
    pub certificate: Option<PathBuf>,
    /// Our own certificate, with those between it and its authority, for receivers that ask who calls.
    pub client_certificate: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
}

/// How items wait to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Items in a batch, about: what was offered together is not torn apart (default 512).
    pub batch: usize,
    /// How long an item waits for its batch to fill (default 1 s).
    pub delay: Duration,
    /// Items that may wait (default 65,536). Beyond it the oldest are dropped.
    pub items: usize,
    /// Bytes that waiting items may take (default 64 MiB): spans as they are sent, before gzip; log records by estimate.
    /// Beyond it the oldest are dropped.
    pub bytes: usize,
    /// How long a batch is tried again while the receiver is away (default 60 s).
    pub retry_for: Duration,
}

impl Default for Waiting {
    fn default() -> Self {
        let (delay, retry_for) = (Duration::from_secs(1), Duration::from_secs(60));
        Self { batch: 512, delay, items: 65_536, bytes: 64 << 20, retry_for }
    }
}

/// How much one span or log record may carry over the wire. What is cut is counted on the item, where OTLP has a place
/// for the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemLimits {
    /// Attributes of a span or of a log record (default 128).
    pub attributes: usize,
    /// Characters of a text among its attributes (default: no limit of the exporter's).
    pub value_chars: Option<usize>,
    /// Events of a span (default 128).
    pub events: usize,
    /// Attributes of one event (default 128).
    pub event_attributes: usize,
}

impl Default for ItemLimits {
    fn default() -> Self {
        Self { attributes: 128, value_chars: None, events: 128, event_attributes: 128 }
    }
}

/// How metrics are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readings {
    /// How often (default 60 s).
    pub interval: Duration,
    /// How long a reading is tried to be delivered (default 30 s).
    pub timeout: Duration,
    /// What a reading counts.
    pub temporality: Temporality,
    /// Which requests histograms carry the traces of, one per bucket.
    pub exemplars: Exemplars,
    /// The buckets of histograms.
    pub histograms: Histograms,
}

impl Default for Readings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(30),
            temporality: Temporality::Cumulative,
            exemplars: Exemplars::Sampled,
            histograms: Histograms::Explicit,
        }
    }
}

/// Which requests histograms carry the traces of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exemplars {
    /// Those that were sampled: their traces can be found where spans are sent.
    #[default]
    Sampled,
    /// Any.
    All,
    /// None.
    None,
}

/// The buckets of the histograms of a reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Histograms {
    /// Those that Prometheus is shown, sixteen from 250 us to 30 s.
    #[default]
    Explicit,
    /// Sixteen for each doubling. Costs some 20 ns more for each duration that is counted, and 1 to 5 KiB for each series.
    Exponential,
}

/// What the counters and histograms of a reading count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temporality {
    /// From the start of the gateway: a reading that is lost costs nothing but its moment.
    #[default]
    Cumulative,
    /// From the reading before.
    Delta,
}

impl ExportSettings {
    /// Where a signal goes.
    #[must_use]
    pub fn destination(&self, signal: Signal) -> Option<&Destination> {
        match signal {
            Signal::Traces => self.traces.as_ref(),
            Signal::Metrics => self.metrics.as_ref(),
            Signal::Logs => self.logs.as_ref(),
        }
    }

    /// Whether nothing is sent at all.
    #[must_use]
    pub fn is_off(&self) -> bool {
        Signal::ALL.iter().all(|signal| self.destination(*signal).is_none())
    }

    /// Checks the bounds; destinations are checked where the exporter reads them.
    ///
    /// # Errors
    /// When a bound is zero, or a time is.
    pub fn check(&self) -> Result<(), InvalidExport> {
        for (name, n) in [
            ("the spans of a batch", self.spans.batch),
            ("the spans that may wait", self.spans.items),
            ("the log records of a batch", self.records.batch),
            ("the log records that may wait", self.records.items),
        ] {
            if n == 0 {
                return Err(InvalidExport::value(name, "0", "must be at least 1"));
            }
        }
        if self.readings.interval.is_zero() {
            return Err(InvalidExport::value("the interval of metrics", "0", "must be longer than nothing"));
        }
        Ok(())
    }

    /// The attributes that say who sends.
    #[must_use]
    pub fn resource_attributes(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::from([
            ("service.name".to_owned(), "zerver".to_owned()),
            ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ]);
        all.extend(self.resource.clone());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_http_each_signal_has_its_path() {
        for (signal, protocol, base, expected) in [
            (Signal::Traces, Protocol::Http, "http://c:4318/", "http://c:4318/v1/traces"),
            (Signal::Metrics, Protocol::Http, "https://c/otlp", "https://c/otlp/v1/metrics"),
            (Signal::Logs, Protocol::Grpc, "http://c:4317/", "http://c:4317"),
        ] {
            assert_eq!(Destination::at(signal, protocol, base).endpoint, expected);
        }
        assert_eq!(Destination::local(Signal::Logs, Protocol::Http).endpoint, "http://127.0.0.1:4318/v1/logs");
    }

    #[test]
    fn keys_in_headers_are_not_printed() {
        let mut to = Destination::local(Signal::Traces, Protocol::Grpc);
        to.headers.insert("x-key".into(), "hunter2".into());
        let shown = format!("{to:?}");
        assert!(shown.contains("x-key") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn who_sends_has_a_name() {
        let mut settings = ExportSettings::default();
        assert!(settings.is_off() && settings.check().is_ok());
        assert_eq!(settings.resource_attributes()["service.name"], "zerver");
        settings.resource.insert("service.name".into(), "edge".into());
        assert_eq!(settings.resource_attributes()["service.name"], "edge");
        settings.spans.items = 0;
        assert!(settings.check().unwrap_err().to_string().contains("the spans that may wait"));
    }
}
