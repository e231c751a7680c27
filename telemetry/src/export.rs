//! The contract of export: where spans go, how much may wait, and what became of each one.
//!
//! Every span offered is, at any moment, exactly one of: sent, dropped by a named cause, waiting, or under way.

pub mod prometheus;
mod queue;
pub mod otlp;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::metrics::{Sink, Source, catalog};

/// Where and how spans are sent. The names of the standard variables that give each are in parentheses.
#[derive(Clone, PartialEq, Eq)]
pub struct ExportSettings {
    /// The full URL that batches are posted to, `http` only (default `http://127.0.0.1:4318/v1/traces`)
    /// (`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, or `OTEL_EXPORTER_OTLP_ENDPOINT` with `/v1/traces` added).
    pub endpoint: String,
    /// Headers of each request (`OTEL_EXPORTER_OTLP_TRACES_HEADERS`, `OTEL_EXPORTER_OTLP_HEADERS`).
    pub headers: BTreeMap<String, String>,
    /// How long one request may take (default 10 s) (`OTEL_EXPORTER_OTLP_TRACES_TIMEOUT`, `OTEL_EXPORTER_OTLP_TIMEOUT`).
    pub timeout: Duration,
    /// How long a batch is tried again while the receiver is away (default 60 s).
    pub retry_for: Duration,
    /// Spans in a batch, about: a request's spans are not torn apart (default 512) (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
    pub batch_spans: usize,
    /// How long a span waits for its batch to fill (default 1 s) (`OTEL_BSP_SCHEDULE_DELAY`).
    pub batch_delay: Duration,
    /// Spans that may wait (default 65,536) (`OTEL_BSP_MAX_QUEUE_SIZE`). Beyond it the oldest are dropped.
    pub queue_spans: usize,
    /// Memory that waiting spans may take, by estimate, in bytes (default 64 MiB). Beyond it the oldest are dropped.
    pub queue_bytes: usize,
    /// What sends: `service.name` is `zerver` and `service.version` the build's unless given here
    /// (`OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`).
    pub resource: BTreeMap<String, String>,
}

impl fmt::Debug for ExportSettings {
    /// Without the headers' values, which are often keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportSettings")
            .field("endpoint", &self.endpoint)
            .field("headers", &self.headers.keys())
            .field("timeout", &self.timeout)
            .field("retry_for", &self.retry_for)
            .field("batch_spans", &self.batch_spans)
            .field("batch_delay", &self.batch_delay)
            .field("queue_spans", &self.queue_spans)
            .field("queue_bytes", &self.queue_bytes)
            .field("resource", &self.resource)
            .finish()
    }
}

impl Default for ExportSettings {
    fn default() -> Self {
        Self {
            endpoint: "http://127.0.0.1:4318/v1/traces".into(),
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(10),
            retry_for: Duration::from_secs(60),
            batch_spans: 512,
            batch_delay: Duration::from_secs(1),
            queue_spans: 65_536,
            queue_bytes: 64 << 20,
            resource: BTreeMap::new(),
        }
    }
}

/// Why export cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExport {
    /// A variable or setting has a value that cannot be used.
    #[error("{name} is `{value}`: {why}")]
    Value {
        /// Which.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The exporter's thread or client could not be made.
    #[error("failed to start the span exporter: {0}")]
    Start(String),
}

impl ExportSettings {
    /// Reads the standard variables through `get`. None when they ask for no export: no endpoint is given,
    /// `OTEL_SDK_DISABLED` is true or `OTEL_TRACES_EXPORTER` is `none`.
    ///
    /// # Errors
    /// When a value cannot be used: not a number, a protocol other than `http/protobuf`, a compression, `https`.
    pub fn from_vars(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, InvalidExport> {
        let get = |name: &str| get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        // The variable of the signal goes before the general one.
        let either = |what: &str| {
            let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
            names.into_iter().find_map(|name| get(&name).map(|value| (name, value)))
        };
        let exporter = get("OTEL_TRACES_EXPORTER");
        let disabled = get("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        if disabled || exporter.as_deref() == Some("none") {
            return Ok(None);
        }
        if let Some(value) = exporter.as_ref().filter(|name| *name != "otlp") {
            return Err(invalid("OTEL_TRACES_EXPORTER", value, "only `otlp` and `none` are known"));
        }
        let mut settings = Self::default();
        match either("ENDPOINT") {
            Some((name, url)) if name.contains("TRACES") => settings.endpoint = url,
            Some((_, url)) => settings.endpoint = format!("{}/v1/traces", url.trim_end_matches('/')),
            None if exporter.is_none() => return Ok(None),
            None => {}
        }
        if let Some((name, value)) = either("PROTOCOL").filter(|(_, value)| value != "http/protobuf") {
            return Err(invalid(&name, &value, "only `http/protobuf` is spoken"));
        }
        if let Some((name, value)) = either("COMPRESSION").filter(|(_, value)| value != "none") {
            return Err(invalid(&name, &value, "this build sends without compression"));
        }
        if let Some((name, value)) = either("HEADERS") {
            settings.headers = pairs(&name, &value)?;
        }
        if let Some((name, value)) = either("TIMEOUT") {
            settings.timeout = Duration::from_millis(number(&name, &value)?);
        }
        let count = |name: &str| get(name).map(|value| number(name, &value)).transpose();
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        if let Some(n) = count("OTEL_BSP_MAX_QUEUE_SIZE")? {
            settings.queue_spans = size(n);
        }
        if let Some(n) = count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE")? {
            settings.batch_spans = size(n);
        }
        if let Some(ms) = count("OTEL_BSP_SCHEDULE_DELAY")? {
            settings.batch_delay = Duration::from_millis(ms);
        }
        if let Some(value) = get("OTEL_RESOURCE_ATTRIBUTES") {
            settings.resource = pairs("OTEL_RESOURCE_ATTRIBUTES", &value)?;
        }
        if let Some(name) = get("OTEL_SERVICE_NAME") {
            settings.resource.insert("service.name".into(), name);
        }
        settings.check()?;
        Ok(Some(settings))
    }

    /// Checks what the exporter relies on.
    ///
    /// # Errors
    /// When the endpoint is not an `http` URL, or a bound is zero.
    pub fn check(&self) -> Result<(), InvalidExport> {
        if !self.endpoint.starts_with("http://") {
            let why = "only `http://` is spoken; put a collector on this host or network that forwards with TLS";
            return Err(invalid("endpoint", &self.endpoint, why));
        }
        for (name, n) in [("batch_spans", self.batch_spans), ("queue_spans", self.queue_spans)] {
            if n == 0 {
                return Err(invalid(name, "0", "must be at least 1"));
            }
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

fn invalid(name: &str, value: &str, why: &'static str) -> InvalidExport {
    InvalidExport::Value { name: name.into(), value: value.into(), why }
}

fn number(name: &str, value: &str) -> Result<u64, InvalidExport> {
    value.parse().map_err(|_| invalid(name, value, "is not a whole number"))
}

/// `key=value,key=value`, values percent-encoded (W3C Baggage, as the OpenTelemetry specification prescribes).
fn pairs(name: &str, text: &str) -> Result<BTreeMap<String, String>, InvalidExport> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').ok_or_else(|| invalid(name, pair, "is not `key=value`"))?;
        Ok((key.trim().to_owned(), percent_decoded(value.trim())))
    };
    text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(pair).collect()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Why spans were not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropCause {
    /// Too many waited; these were the oldest.
    QueueFull = 0,
    /// The receiver refused them (a status that is not to be tried again).
    Rejected = 1,
    /// The receiver did not answer, or asked to wait, for as long as a batch is tried.
    Unreachable = 2,
    /// The gateway ended before they could be sent.
    Shutdown = 3,
}

impl DropCause {
    /// Every cause, in the order of its number.
    pub const ALL: [Self; 4] = [Self::QueueFull, Self::Rejected, Self::Unreachable, Self::Shutdown];

    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::Unreachable => "unreachable",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What became of the spans: `offered = sent + dropped + waiting`, to the span, at any moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportCounters {
    /// Spans handed to the exporter.
    pub offered: u64,
    /// Spans the receiver has taken.
    pub sent: u64,
    /// Spans not delivered, by [`DropCause`] in the order of [`DropCause::ALL`].
    pub dropped: [u64; 4],
    /// Spans that wait or are under way.
    pub waiting: u64,
    /// Their memory in bytes, by estimate.
    pub waiting_bytes: u64,
    /// Attempts to send that failed.
    pub failures: u64,
    /// What the last failed attempt said; kept after later ones succeed.
    pub last_error: Option<String>,
}

impl ExportCounters {
    /// Spans not delivered for one cause.
    #[must_use]
    pub const fn dropped_for(&self, cause: DropCause) -> u64 {
        self.dropped[cause as usize]
    }

    /// Spans not delivered for any cause.
    #[must_use]
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }
}

impl Source for ExportCounters {
    fn collect(&self, out: &mut Sink) {
        out.put(catalog::SPANS_OFFERED, &[], self.offered as f64);
        out.put(catalog::SPANS_SENT, &[], self.sent as f64);
        for cause in DropCause::ALL {
            out.put(catalog::SPANS_DROPPED, &[cause.as_str()], self.dropped_for(cause) as f64);
        }
        out.put(catalog::EXPORT_QUEUE, &[], self.waiting as f64);
        out.put(catalog::EXPORT_QUEUE_BYTES, &[], self.waiting_bytes as f64);
        out.put(catalog::EXPORT_FAILURES, &[], self.failures as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Option<ExportSettings>, InvalidExport> {
        ExportSettings::from_vars(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).into()))
    }

    #[test]
    fn no_endpoint_means_no_export() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
        assert_eq!(read(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
        assert_eq!(read(&[("OTEL_TRACES_EXPORTER", "otlp")]), Ok(Some(ExportSettings::default())));
    }

    #[test]
    fn the_standard_variables_are_read() {
        let settings = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b, x-other = c=d"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_SCHEDULE_DELAY", "250"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=edge,deployment.environment.name=test"),
            ("OTEL_SERVICE_NAME", "shop-edge"),
        ]);
        let settings = settings.unwrap().unwrap();
        assert_eq!(settings.endpoint, "http://collector:4318/v1/traces");
        assert_eq!(settings.headers["x-key"], "a b");
        let shown = format!("{settings:?}");
        assert!(shown.contains("x-key") && !shown.contains("a b"), "{shown}");
        assert_eq!(settings.headers["x-other"], "c=d");
        assert_eq!((settings.timeout.as_millis(), settings.queue_spans), (2_500, 100));
        let resource = settings.resource_attributes();
        assert_eq!(resource["service.name"], "shop-edge");
        assert_eq!(resource["deployment.environment.name"], "test");
        assert!(resource.contains_key("service.version"));
        let own = read(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/x")]).unwrap().unwrap();
        assert_eq!(own.endpoint, "http://c/x");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        for bad in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "novalue"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
        ] {
            assert!(read(&[endpoint, bad]).is_err(), "{bad:?} was taken");
        }
        let error = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318")]).unwrap_err();
        assert!(error.to_string().contains("https://collector:4318"), "{error}");
    }

    #[test]
    fn percent_encoding_is_forgiving() {
        for (text, expected) in [("a%20b", "a b"), ("100%", "100%"), ("%zz%41", "%zzA"), ("%C3%BC", "ü")] {
            assert_eq!(percent_decoded(text), expected);
        }
    }
}
