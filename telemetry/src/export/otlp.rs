//! Spans to an OpenTelemetry collector: OTLP over HTTP with protobuf, from a thread of its own.
//!
//! The thread runs its own small runtime, so no worker that serves requests ever waits for a receiver. Encoding and
//! transport are opentelemetry-otlp's; waiting, batching, trying again, counting and ending are ours.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter as Otlp, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::export::queue::Queue;
use crate::export::{DropCause, ExportCounters, ExportSettings, InvalidExport};
use crate::metrics::{Sink, Source};

/// The first pause before a batch is tried again; each later one is twice as long, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The pause while the gateway is ending, when there is little time left.
const PAUSE_LAST: Duration = Duration::from_millis(50);
/// How much longer than its deadline an ending exporter is waited for before it is left behind.
const GRACE: Duration = Duration::from_millis(500);

/// Sends spans. Cloning shares it.
///
/// Dropping the last one ends it without waiting; [`Exporter::stop`] gives it time.
#[derive(Clone, Debug)]
pub struct Exporter {
    shared: Arc<Shared>,
    stop: watch::Sender<Option<Duration>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    settled: Condvar,
    wake: Notify,
    batch_spans: usize,
}

impl Exporter {
    /// Starts the exporter's thread. It connects when it has something to send: a receiver that is away now is no error.
    ///
    /// # Errors
    /// When the settings cannot be used, or the thread or its runtime cannot be made.
    pub fn start(settings: &ExportSettings) -> Result<Self, InvalidExport> {
        settings.check()?;
        let failed = |error: &dyn std::fmt::Display| InvalidExport::Start(error.to_string());
        let mut otlp = Otlp::builder()
            .with_http()
            .with_endpoint(&settings.endpoint)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(settings.timeout)
            .with_headers(settings.headers.clone().into_iter().collect())
            // Short troubles, and what a receiver asks for in `Retry-After`; longer ones are ours.
            .with_retry_policy(RetryPolicy::recommended())
            .build()
            .map_err(|error| failed(&error))?;
        let attributes = settings.resource_attributes().into_iter().map(|(key, value)| KeyValue::new(key, value));
        otlp.set_resource(&Resource::builder_empty().with_attributes(attributes).build());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::new(settings.queue_spans, settings.queue_bytes)),
            settled: Condvar::new(),
            wake: Notify::new(),
            batch_spans: settings.batch_spans,
        });
        let (stop, stopped) = watch::channel(None);
        let sender = Sender {
            shared: Arc::clone(&shared),
            otlp,
            stopped,
            retry_for: settings.retry_for,
            batch_delay: settings.batch_delay,
        };
        thread::Builder::new()
            .name("zerver-export".into())
            .spawn(move || {
                let _end = End(Arc::clone(&sender.shared));
                runtime.block_on(sender.run_until_stopped());
                // A name that is being resolved cannot be interrupted; it must not hold up the end.
                runtime.shutdown_background();
            })
            .map_err(|error| failed(&error))?;
        Ok(Self { shared, stop })
    }

    /// Hands over the spans of one request. Never waits: when too many wait already, the oldest are dropped and counted.
    pub fn offer(&self, spans: Vec<SpanData>) {
        if spans.is_empty() {
            return;
        }
        let mut queue = self.shared.queue.lock();
        let before = queue.len();
        queue.push(spans);
        let (after, full) = (queue.len(), self.shared.batch_spans);
        drop(queue);
        if before == 0 || (before < full && after >= full) {
            self.shared.wake.notify_one();
        }
    }

    /// What became of the spans so far.
    #[must_use]
    pub fn counters(&self) -> ExportCounters {
        self.shared.queue.lock().counters()
    }

    /// Waits until everything offered so far was sent or given up, for `deadline` at most; says whether it was.
    pub fn flush(&self, deadline: Duration) -> bool {
        let mut queue = self.shared.queue.lock();
        let upto = queue.counters().offered;
        queue.flush_upto = queue.flush_upto.max(upto);
        self.shared.wake.notify_one();
        let pending = |queue: &mut Queue| !queue.ended && queue.settled() < upto;
        self.shared.settled.wait_while_for(&mut queue, pending, deadline);
        queue.settled() >= upto
    }

    /// Ends the exporter: it has `deadline` (2 s are plenty) to send what waits; the rest is counted as lost at
    /// shutdown. Returns soon after the deadline at the latest, whatever the receiver does.
    pub fn stop(&self, deadline: Duration) -> ExportCounters {
        self.stop.send_replace(Some(deadline));
        self.shared.wake.notify_one();
        let mut queue = self.shared.queue.lock();
        self.shared.settled.wait_while_for(&mut queue, |queue| !queue.ended, deadline + GRACE);
        // Ended or not: from here on nothing arrives.
        queue.end();
        queue.counters()
    }
}

impl Source for Exporter {
    fn collect(&self, out: &mut Sink) {
        self.counters().collect(out);
    }
}

/// Tells whoever waits that the thread is gone, whatever made it go.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.queue.lock().end();
        self.0.settled.notify_all();
    }
}

/// The exporter's own side.
struct Sender {
    shared: Arc<Shared>,
    otlp: Otlp,
    stopped: watch::Receiver<Option<Duration>>,
    retry_for: Duration,
    batch_delay: Duration,
}

impl Sender {
    async fn run_until_stopped(&self) {
        let mut stopped = self.stopped.clone();
        let deadline = async move {
            // The exporter was dropped without a deadline: there is nobody to wait for it.
            let left = stopped.wait_for(Option::is_some).await.map_or(None, |left| *left).unwrap_or_default();
            sleep(left).await;
        };
        tokio::select! {
            () = self.run() => {}
            () = deadline => {}
        }
    }

    fn stopping(&self) -> bool {
        self.stopped.borrow().is_some() || self.stopped.has_changed().is_err()
    }

    /// Spans that wait, and whether they should go at once.
    fn due(&self) -> (usize, bool) {
        let queue = self.shared.queue.lock();
        let hurry = self.stopping() || queue.settled() < queue.flush_upto;
        (queue.len(), hurry || queue.len() >= self.shared.batch_spans)
    }

    async fn run(&self) {
        loop {
            let (waiting, now) = self.due();
            if waiting == 0 {
                if self.stopping() {
                    return;
                }
                self.shared.wake.notified().await;
                continue;
            }
            if !now {
                let fills = async {
                    while !self.due().1 {
                        self.shared.wake.notified().await;
                    }
                };
                // Full or not, after the delay it goes.
                let _ = timeout(self.batch_delay, fills).await;
            }
            loop {
                let batch = self.shared.queue.lock().take(self.shared.batch_spans);
                if batch.is_empty() {
                    break;
                }
                let result = timeout(self.retry_for, self.deliver(batch)).await;
                self.shared.queue.lock().settle(result.unwrap_or(Err(DropCause::Unreachable)));
                self.shared.settled.notify_all();
            }
        }
    }

    /// Sends a batch until it arrives or is refused. The caller bounds the time.
    async fn deliver(&self, batch: Vec<SpanData>) -> Result<(), DropCause> {
        let mut pause = PAUSE;
        loop {
            // The transport takes the batch for good, so it gets a copy: texts and names in it are shared.
            let Err(error) = self.otlp.export(batch.clone()).await else { return Ok(()) };
            let again = worth_another_try(&error);
            self.shared.queue.lock().failed(error.to_string());
            if !again {
                return Err(DropCause::Rejected);
            }
            let mut stopped = self.stopped.clone();
            if self.stopping() {
                sleep(PAUSE_LAST).await;
            } else {
                let ending = async { stopped.wait_for(Option::is_some).await.is_ok() };
                // A stop cuts the pause short: one more try is worth more than waiting.
                let _ = timeout(pause, ending).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Whether a failure may pass: no answer, or a status that OTLP declares retryable (429, 502, 503, 504).
///
/// opentelemetry-otlp reports both as text only.
fn worth_another_try(error: &OTelSdkError) -> bool {
    match error {
        OTelSdkError::Timeout(_) => true,
        OTelSdkError::AlreadyShutdown => false,
        OTelSdkError::InternalFailure(message) => match message.rsplit_once("status code: ") {
            Some((_, status)) => matches!(status.trim(), "429" | "502" | "503" | "504"),
            None => message.contains("network error"),
        },
    }
}

#[cfg(test)]
mod tests;
