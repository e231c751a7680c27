//! The contract of export: what is sent, how much may wait, and what became of each piece.
//!
//! Every item offered (a span, a data point, a log record) is, at any moment, exactly one of: sent, dropped by a named
//! cause, waiting, or under way.

pub mod prometheus;
pub mod variables;
pub mod settings;
mod queue;
pub mod otlp;

use serde::{Deserialize, Serialize};

use crate::metrics::{Sink, catalog};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Data points of metrics.
    Metrics,
    /// Log records.
    Logs,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// The word for it in metrics, variables and settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// Where OTLP over HTTP posts it, below the receiver's base URL.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }
}

/// Why export cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExport {
    /// A setting has a value that cannot be used.
    #[error("failed to set up the export of telemetry: {name} is `{value}`: {why}")]
    Value {
        /// Which.
        name: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// The exporter's thread could not be made.
    #[error("failed to start the exporter: {0}")]
    Start(String),
}

impl InvalidExport {
    pub(crate) fn value(name: &str, value: &str, why: impl Into<String>) -> Self {
        Self::Value { name: name.into(), value: value.into(), why: why.into() }
    }
}

/// What an exporter tells whoever runs the gateway: a change, not each attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News<'a> {
    /// From now on a signal is not, or not all of it, delivered. Told once a minute at most.
    Failing {
        /// Which.
        signal: Signal,
        /// What the last attempt said.
        why: &'a str,
    },
    /// It is delivered again.
    Delivered {
        /// Which.
        signal: Signal,
    },
}

/// Why items were not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropCause {
    /// Too many waited; these were the oldest.
    QueueFull = 0,
    /// The receiver refused the batch (a status that is not to be tried again).
    Rejected = 1,
    /// The receiver took the batch, but not all of it (`partial_success`).
    Partial = 2,
    /// The receiver did not answer, or asked to wait, for as long as a batch is tried.
    Unreachable = 3,
    /// The gateway ended before they could be sent.
    Shutdown = 4,
}

impl DropCause {
    /// Every cause, in the order of its number.
    pub const ALL: [Self; 5] = [Self::QueueFull, Self::Rejected, Self::Partial, Self::Unreachable, Self::Shutdown];

    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::Partial => "partial",
            Self::Unreachable => "unreachable",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What became of one signal's items: `offered = sent + dropped + waiting`, to the item, at any moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportCounters {
    /// Items handed to the exporter.
    pub offered: u64,
    /// Items the receiver has taken.
    pub sent: u64,
    /// Items not delivered, by [`DropCause`] in the order of [`DropCause::ALL`].
    pub dropped: [u64; 5],
    /// Items that wait or are under way.
    pub waiting: u64,
    /// Their bytes: of spans as they are sent, before gzip; of the others their memory by estimate.
    pub waiting_bytes: u64,
    /// Attempts to send that failed.
    pub failures: u64,
    /// Answers that said yes, but not in OTLP: what was sent counts as sent, yet who answered may be no receiver.
    pub odd_answers: u64,
    /// What the last failed attempt, refusal or odd answer said; kept after later ones succeed.
    pub last_error: Option<String>,
}

impl ExportCounters {
    /// Items not delivered for one cause.
    #[must_use]
    pub const fn dropped_for(&self, cause: DropCause) -> u64 {
        self.dropped[cause as usize]
    }

    /// Items not delivered for any cause.
    #[must_use]
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }

    pub(crate) fn collect(&self, signal: Signal, out: &mut Sink) {
        let signal = signal.as_str();
        out.put(catalog::EXPORT_OFFERED, &[signal], self.offered as f64);
        out.put(catalog::EXPORT_SENT, &[signal], self.sent as f64);
        for cause in DropCause::ALL {
            out.put(catalog::EXPORT_DROPPED, &[signal, cause.as_str()], self.dropped_for(cause) as f64);
        }
        out.put(catalog::EXPORT_QUEUE, &[signal], self.waiting as f64);
        out.put(catalog::EXPORT_QUEUE_BYTES, &[signal], self.waiting_bytes as f64);
        out.put(catalog::EXPORT_FAILURES, &[signal], self.failures as f64);
        out.put(catalog::EXPORT_ODD_ANSWERS, &[signal], self.odd_answers as f64);
    }
}

/// What became of each signal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// Spans.
    pub traces: ExportCounters,
    /// Data points of metrics.
    pub metrics: ExportCounters,
    /// Log records.
    pub logs: ExportCounters,
}

impl Exported {
    /// Each signal with its counters.
    #[must_use]
    pub fn each(&self) -> [(Signal, &ExportCounters); 3] {
        [(Signal::Traces, &self.traces), (Signal::Metrics, &self.metrics), (Signal::Logs, &self.logs)]
    }
}
