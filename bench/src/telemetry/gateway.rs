//! zerver's telemetry as a gateway has it: recorder, collector, and an exporter where there is one.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use zerver_telemetry::clock::Clock;
use zerver_telemetry::collector::{Collector, CollectorSettings, Rules};
use zerver_telemetry::export::otlp::Exporter;
use zerver_telemetry::export::settings::{Destination, ExportSettings, Protocol};
use zerver_telemetry::export::{ExportCounters, Signal};
use zerver_telemetry::promote::PromotionSettings;
use zerver_telemetry::recorder::Recorder;

use crate::telemetry::request::{self, Stamps, Words};

/// Longer than any run: the collector looks when it is told to, so that no look falls into a measurement; and no wait is
/// long enough to become a span, so that a machine that stalls does not change how many there are.
const NEVER: Duration = Duration::from_secs(3_600 * 24);

/// What becomes of the requests' spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spans {
    /// No request is sampled and there is no exporter: each timeline is kept for a while, then dropped.
    Dropped,
    /// All are sent: 11 for each request, its waits as events on them.
    Sent(SocketAddr),
    /// All are sent, each wait as a span of its own.
    SentWithWaits(SocketAddr),
}

/// Recorder, collector and exporter, with their defaults but for times, and the request they note.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) recorder: Recorder,
    pub(crate) collector: Collector,
    exporter: Option<Exporter>,
    words: Words,
    sampled: bool,
}

impl Telemetry {
    /// Starts its threads.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(crate) fn start(spans: Spans) -> Result<Self, Box<dyn Error>> {
        let recorder = Recorder::for_tests(Clock::real());
        let promotion = PromotionSettings {
            queue: NEVER,
            park: NEVER,
            debug_jobs: matches!(spans, Spans::SentWithWaits(_)),
            ..PromotionSettings::default()
        };
        let exporter = match spans {
            Spans::Dropped => None,
            Spans::Sent(to) | Spans::SentWithWaits(to) => {
                let to = Destination::at(Signal::Traces, Protocol::Http, &format!("http://{to}"));
                Some(Exporter::start(&ExportSettings { traces: Some(to), ..ExportSettings::default() })?)
            }
        };
        let rules = Rules { promotion, ..Rules::default() };
        let settings = CollectorSettings { interval: NEVER, rules, ..CollectorSettings::default() };
        let sampled = exporter.is_some();
        let collector = Collector::start(recorder.clone(), settings, Arc::default(), exporter.clone(), Vec::new())?;
        let words = Words::new(recorder.names());
        Ok(Self { recorder, collector, exporter, words, sampled })
    }

    /// Notes that many requests, as the thread does that serves them.
    pub(crate) fn serve(&self, requests: u64) {
        for _ in 0..requests {
            request::record(&self.recorder, &self.words, Stamps::Shared, self.sampled);
        }
    }

    /// Until every request is a timeline, counted, kept or dropped, and its spans with the exporter.
    pub(crate) fn collect(&self) {
        self.collector.flush();
    }

    /// The same, and the spans sent.
    ///
    /// # Panics
    /// When the receiver does not take them within ten seconds: then there is nothing to measure.
    pub(crate) fn settle(&self) {
        self.collect();
        if let Some(exporter) = &self.exporter {
            assert!(exporter.flush(Duration::from_secs(10)), "the receiver is on this machine and answers at once");
        }
    }

    /// What became of the spans so far.
    pub(crate) fn spans(&self) -> ExportCounters {
        self.exporter.as_ref().map(|exporter| exporter.counters().traces).unwrap_or_default()
    }

    /// Ends both threads, and says what became of the spans.
    pub(crate) fn stop(&self, deadline: Duration) -> ExportCounters {
        self.collector.stop(deadline).export.map(|export| export.traces).unwrap_or_default()
    }
}
