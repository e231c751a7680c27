//! Spans, metrics and log records to an OpenTelemetry collector, from a thread of its own.
//!
//! The thread runs its own small runtime, so no worker that serves requests ever waits for a receiver. The messages are
//! opentelemetry-proto's; waiting, batching, transport, trying again, counting and ending are ours, so that nothing is
//! lost unseen and nothing hangs.

mod protobuf;
mod spans;
mod message;
mod transport;
mod lane;
mod reading;

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clock::Clock;
use crate::export::otlp::lane::{Lane, Sender, Teller};
use crate::export::otlp::reading::Reader;
use crate::export::otlp::spans::Encoder;
use crate::export::otlp::transport::Transport;
use crate::export::queue::Group;
use crate::export::settings::{ExportSettings, Waiting};
use crate::export::{Exported, InvalidExport, News, Signal};
use crate::id::IdSource;
use crate::logs::{Entry, Sink as LogSink};
use crate::metrics::{Metrics, Sink, Source};
use crate::sampling::Reason;
use crate::span::SpanSettings;
use crate::timeline::Timeline;

/// How much longer than its deadline an ending exporter is waited for before it is left behind.
const GRACE: Duration = Duration::from_millis(500);
/// Memory that readings of the metrics may take while they wait, by estimate.
const READINGS_BYTES: usize = 16 << 20;

/// Sends what it is given. Cloning shares it.
///
/// Dropping the last one ends it without waiting; [`Exporter::stop`] gives it time.
#[derive(Clone, Debug)]
pub struct Exporter {
    lanes: Arc<Lanes>,
    stop: watch::Sender<Option<Duration>>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Lanes {
    spans: Option<Arc<Lane<Box<[u8]>>>>,
    metrics: Option<Arc<Lane<Vec<Metric>>>>,
    logs: Option<Arc<Lane<Entry>>>,
    encoder: Mutex<Encoder>,
    reader: Mutex<Option<Reader>>,
}

impl Exporter {
    /// Checks settings as [`Exporter::start`] would: bounds, URLs, headers, and the files with certificates and keys.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn check(settings: &ExportSettings) -> Result<(), InvalidExport> {
        settings.check()?;
        let given = Signal::ALL.into_iter().filter_map(|signal| Some((signal, settings.destination(signal)?)));
        given.into_iter().try_for_each(|(signal, to)| Transport::new(signal, to).map(drop))
    }

    /// Starts the exporter's thread. It connects when it has something to send: a receiver that is away now is no error.
    ///
    /// # Errors
    /// When the settings cannot be used, or the thread or its runtime cannot be made.
    pub fn start(settings: &ExportSettings) -> Result<Self, InvalidExport> {
        Self::start_telling(settings, |_| {})
    }

    /// The same, with someone to tell when deliveries begin to fail and when they work again. It is called on the
    /// exporter's thread, so it must not block.
    ///
    /// # Errors
    /// When the settings cannot be used, or the thread or its runtime cannot be made.
    pub fn start_telling(
        settings: &ExportSettings,
        tell: impl Fn(News<'_>) + Send + Sync + 'static,
    ) -> Result<Self, InvalidExport> {
        settings.check()?;
        let clock = Clock::real();
        let failed = |error: &dyn std::fmt::Display| InvalidExport::Start(error.to_string());
        let (stop, stopped) = watch::channel(None);
        let readings = settings.readings;
        let (delay, retry_for) = (Duration::ZERO, readings.timeout);
        let whole = Waiting { batch: 1, delay, items: usize::MAX, bytes: READINGS_BYTES, retry_for };
        let make = Making { settings, stopped: &stopped, clock: &clock, tell: Arc::new(tell) };
        let spans = make.sender(Signal::Traces, settings.spans, message::spans)?;
        let metrics = make.sender(Signal::Metrics, whole, message::metrics)?;
        let logs = make.sender(Signal::Logs, settings.records, message::logs)?;
        let lanes = Arc::new(Lanes {
            spans: lane(&spans),
            metrics: lane(&metrics),
            logs: lane(&logs),
            encoder: Mutex::new(Encoder::new(settings.limits)),
            reader: Mutex::new(None),
        });
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
        let ticking = Arc::downgrade(&lanes);
        let ends = End(Lanes { spans: lane(&spans), metrics: lane(&metrics), logs: lane(&logs), ..Lanes::default() });
        let run = async move {
            let sending = async { tokio::join!(run(spans), run(metrics), run(logs)) };
            tokio::select! {
                _ = sending => {}
                () = deadline(stopped) => {}
                () = read_at_intervals(ticking, readings.interval) => {}
            }
        };
        thread::Builder::new()
            .name("zerver-export".into())
            .spawn(move || {
                let _ends = ends;
                runtime.block_on(run);
                // A name that is being resolved cannot be interrupted; it must not hold up the end.
                runtime.shutdown_background();
            })
            .map_err(|error| failed(&error))?;
        let exporter = Self { lanes, stop, clock };
        *exporter.lanes.reader.lock() = Some(Reader::new(Weak::new(), readings, &exporter.clock));
        Ok(exporter)
    }

    /// From now on these metrics are read and sent, if metrics are sent at all. They are not kept alive by it.
    pub fn watch(&self, metrics: &Arc<Metrics>) {
        if let Some(reader) = &mut *self.lanes.reader.lock() {
            reader.watch(metrics);
        }
    }

    /// Hands over the spans of one request, written as they are sent: `reason` says why. Never waits: when too many wait
    /// already, the oldest are dropped and counted. Costs the calling thread some 0.3 µs for each span.
    pub fn offer(&self, timeline: &Timeline, reason: Reason, settings: &SpanSettings) {
        if let Some(lane) = &self.lanes.spans {
            // Only collectors offer spans, and most exporters have one.
            let spans = self.lanes.encoder.lock().spans(timeline, reason, settings);
            if spans.items > 0 {
                lane.offer(spans);
            }
        }
    }

    /// Whether a signal is sent; what is offered of another goes nowhere and is not counted.
    #[must_use]
    pub fn sends(&self, signal: Signal) -> bool {
        match signal {
            Signal::Traces => self.lanes.spans.is_some(),
            Signal::Metrics => self.lanes.metrics.is_some(),
            Signal::Logs => self.lanes.logs.is_some(),
        }
    }

    /// What became of everything so far.
    #[must_use]
    pub fn counters(&self) -> Exported {
        Exported {
            traces: self.lanes.spans.as_ref().map(|lane| lane.counters()).unwrap_or_default(),
            metrics: self.lanes.metrics.as_ref().map(|lane| lane.counters()).unwrap_or_default(),
            logs: self.lanes.logs.as_ref().map(|lane| lane.counters()).unwrap_or_default(),
        }
    }

    /// Reads the metrics once more, then waits until everything offered so far was sent or given up, for `deadline` at
    /// most; says whether it was.
    pub fn flush(&self, deadline: Duration) -> bool {
        let began = self.clock.now();
        let left = || deadline.saturating_sub(self.clock.since(began));
        self.lanes.read();
        let spans = self.lanes.spans.as_ref().is_none_or(|lane| lane.flush(left()));
        let metrics = self.lanes.metrics.as_ref().is_none_or(|lane| lane.flush(left()));
        let logs = self.lanes.logs.as_ref().is_none_or(|lane| lane.flush(left()));
        spans && metrics && logs
    }

    /// Ends the exporter: it reads the metrics a last time and has `deadline` (2 s are plenty) to send what waits; the
    /// rest is counted as lost at shutdown. Returns soon after the deadline at the latest, whatever the receivers do.
    pub fn stop(&self, deadline: Duration) -> Exported {
        let began = self.clock.now();
        self.lanes.read();
        // Once is the last time.
        *self.lanes.reader.lock() = None;
        self.stop.send_replace(Some(deadline));
        self.lanes.wake();
        let left = || (deadline + GRACE).saturating_sub(self.clock.since(began));
        Exported {
            traces: self.lanes.spans.as_ref().map(|lane| lane.wait_for_end(left())).unwrap_or_default(),
            metrics: self.lanes.metrics.as_ref().map(|lane| lane.wait_for_end(left())).unwrap_or_default(),
            logs: self.lanes.logs.as_ref().map(|lane| lane.wait_for_end(left())).unwrap_or_default(),
        }
    }
}

/// Takes what is logged, as [`Exporter::offer`] takes spans; records are made of it on the exporter's thread.
impl LogSink for Exporter {
    fn offer(&self, entry: Entry) {
        if let Some(lane) = &self.lanes.logs {
            let items = usize::try_from(entry.lines()).unwrap_or(usize::MAX);
            lane.offer(Group { items, bytes: entry.bytes(), part: entry });
        }
    }
}

impl Source for Exporter {
    fn collect(&self, out: &mut Sink) {
        for (signal, counters) in self.counters().each() {
            if self.sends(signal) {
                counters.collect(signal, out);
            }
        }
    }
}

impl Lanes {
    /// Reads the metrics into their lane.
    fn read(&self) {
        let Some(lane) = &self.metrics else { return };
        let groups = self.reader.lock().as_mut().map(Reader::read);
        groups.into_iter().flatten().for_each(|group| lane.offer(group));
    }

    fn wake(&self) {
        self.spans.iter().for_each(|lane| lane.wake());
        self.metrics.iter().for_each(|lane| lane.wake());
        self.logs.iter().for_each(|lane| lane.wake());
    }
}

/// Tells whoever waits that the thread is gone, whatever made it go.
struct End(Lanes);

impl Drop for End {
    fn drop(&mut self) {
        self.0.spans.iter().for_each(|lane| lane.end());
        self.0.metrics.iter().for_each(|lane| lane.end());
        self.0.logs.iter().for_each(|lane| lane.end());
    }
}

/// What the senders of an exporter have in common.
struct Making<'a> {
    settings: &'a ExportSettings,
    stopped: &'a watch::Receiver<Option<Duration>>,
    clock: &'a Clock,
    tell: Arc<dyn Fn(News<'_>) + Send + Sync>,
}

impl Making<'_> {
    fn sender<T>(
        &self,
        signal: Signal,
        waiting: Waiting,
        encode: fn(Vec<T>, &message::Frame, &mut BytesMut),
    ) -> Result<Option<Sender<T>>, InvalidExport> {
        let Some(to) = self.settings.destination(signal) else { return Ok(None) };
        let resource = message::resource(self.settings.resource_attributes());
        Ok(Some(Sender {
            lane: Arc::new(Lane::new(waiting.batch, waiting.items, waiting.bytes)),
            transport: Transport::new(signal, to)?,
            encode,
            frame: message::Frame { resource, limits: self.settings.limits },
            stopped: self.stopped.clone(),
            delay: waiting.delay,
            retry_for: waiting.retry_for,
            hold: None,
            teller: Teller {
                signal,
                tell: Arc::clone(&self.tell),
                clock: self.clock.clone(),
                failing: false,
                told: None,
            },
            dice: IdSource::random(),
        }))
    }
}

fn lane<T>(sender: &Option<Sender<T>>) -> Option<Arc<Lane<T>>> {
    sender.as_ref().map(|sender| Arc::clone(&sender.lane))
}

async fn run<T>(sender: Option<Sender<T>>) {
    if let Some(sender) = sender {
        sender.run().await;
    }
}

async fn deadline(mut stopped: watch::Receiver<Option<Duration>>) {
    // The exporter was dropped without a deadline: there is nobody to wait for it.
    let left = stopped.wait_for(Option::is_some).await.map_or(None, |left| *left).unwrap_or_default();
    sleep(left).await;
}

/// Never ends: a stop reads by itself.
async fn read_at_intervals(lanes: Weak<Lanes>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, when there is nothing to read yet.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if let Some(lanes) = lanes.upgrade() {
            lanes.read();
        }
    }
}

#[cfg(test)]
mod tests;
