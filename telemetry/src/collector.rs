//! The collector: one background thread that turns finished logbooks into timelines and passes each on.
//!
//! Per timeline, in this order: number, promotion, metrics, sampling, export, observers, store. Requests never wait for
//! it: they leave their logbook in the recorder's ring, which drops the oldest when the collector is too slow.

mod observer;
mod pace;
mod lent;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::assemble::{Assembler, blank};
use crate::collector::lent::Lent;
use crate::collector::pace::Pace;
use crate::exemplars::{RetentionSettings, Store};
use crate::export::Exported;
use crate::export::otlp::Exporter;
use crate::logbook::Logbook;
use crate::metrics::Metrics;
use crate::promote::{History, PromotionSettings, promote};
use crate::recorder::{Recorder, RecorderCounters};
use crate::sampling::{Reason, SamplingSettings, SlowHistory};
use crate::span::SpanSettings;
use crate::timeline::Timeline;

pub use observer::Observer;

/// How the collector works.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectorSettings {
    /// How long it waits at most until it looks for finished requests again (default 50 ms). It looks more often the more
    /// there are, so that each time about a hundred wait: their logbooks are then still in the processor's cache.
    pub interval: Duration,
    /// What is kept in memory.
    pub retention: RetentionSettings,
    /// What can change while it runs.
    pub rules: Rules,
}

impl Default for CollectorSettings {
    fn default() -> Self {
        Self { interval: Duration::from_millis(50), retention: RetentionSettings::default(), rules: Rules::default() }
    }
}

/// The part of the settings that a new configuration replaces; see [`Collector::apply`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// Which waits become spans.
    pub promotion: PromotionSettings,
    /// Which requests' spans are exported.
    pub sampling: SamplingSettings,
    /// What spans carry.
    pub spans: SpanSettings,
}

/// The collector of one gateway.
///
/// Dropping it tells its thread to end after one more look; [`Collector::stop`] waits for that.
#[derive(Debug)]
pub struct Collector {
    shared: Arc<Shared>,
    recorder: Recorder,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    exporter: Option<Exporter>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    signals: Mutex<Signals>,
    wake: Condvar,
    passed: Condvar,
    rules: Mutex<Arc<Rules>>,
}

#[derive(Debug, Default)]
struct Signals {
    /// Looks asked for, and the last one asked for before a look that is over.
    asked: u64,
    done: u64,
    stopping: bool,
    ended: bool,
}

/// What is known when the collector has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Whether it had seen all finished requests within the deadline.
    pub complete: bool,
    /// What was recorded, and what the ring has lost.
    pub recorder: RecorderCounters,
    /// What became of what was sent, where there was an exporter.
    pub export: Option<Exported>,
}

impl Collector {
    /// Starts the collector's thread. The recorder, the store and the exporter report to `metrics` from now on.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(
        recorder: Recorder,
        settings: CollectorSettings,
        metrics: Arc<Metrics>,
        exporter: Option<Exporter>,
        observers: Vec<Box<dyn Observer>>,
    ) -> io::Result<Self> {
        let store = Arc::new(Store::new(settings.retention));
        metrics.register(Arc::new(recorder.clone()));
        metrics.register(Arc::clone(&store) as _);
        if let Some(exporter) = &exporter {
            metrics.register(Arc::new(exporter.clone()));
            exporter.watch(&metrics);
        }
        let shared = Arc::new(Shared { rules: Mutex::new(Arc::new(settings.rules)), ..Shared::default() });
        let mut worker = Worker {
            shared: Arc::clone(&shared),
            recorder: recorder.clone(),
            store: Arc::clone(&store),
            metrics: Arc::clone(&metrics),
            exporter: exporter.clone(),
            observers,
            history: History::default(),
            slow: SlowHistory::default(),
            seq: 0,
        };
        let mut desk =
            Desk { assembler: recorder.assembler(), timeline: blank(), lent: Lent::default(), taken: Vec::new() };
        let pace = Pace::new(settings.interval);
        let thread =
            thread::Builder::new().name("zerver-collector".into()).spawn(move || worker.run(&mut desk, pace))?;
        Ok(Self { shared, recorder, store, metrics, exporter, thread: Mutex::new(Some(thread)) })
    }

    /// The kept timelines. Readers keep the pointer; it outlives the collector.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The metrics it counts into.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Replaces what a new configuration may change. Holds from the next look on.
    pub fn apply(&self, rules: Rules) {
        *self.shared.rules.lock() = Arc::new(rules);
    }

    /// Makes it look for finished requests now.
    pub fn wake(&self) {
        self.shared.signals.lock().asked += 1;
        self.shared.wake.notify_one();
    }

    /// Waits until every request that has finished by now is in the store, in the metrics and with the exporter.
    /// Returns at once when the collector has stopped.
    pub fn flush(&self) {
        let mut signals = self.shared.signals.lock();
        signals.asked += 1;
        let mine = signals.asked;
        self.shared.wake.notify_one();
        self.shared.passed.wait_while(&mut signals, |signals| signals.done < mine && !signals.ended);
    }

    /// Ends it: one last look, then the exporter sends what waits. Takes `deadline` (2 s are plenty) and half a second
    /// at most. Stop it when no request runs any more: what finishes later is seen by nobody.
    pub fn stop(&self, deadline: Duration) -> Stopped {
        let clock = self.recorder.clock();
        let began = clock.now();
        let mut signals = self.shared.signals.lock();
        signals.stopping = true;
        self.shared.wake.notify_one();
        self.shared.passed.wait_while_for(&mut signals, |signals| !signals.ended, deadline);
        let complete = signals.ended;
        drop(signals);
        if complete && let Some(thread) = self.thread.lock().take() {
            // It has said that it is past everything; a panic was reported by its own thread.
            let _ = thread.join();
        }
        let left = deadline.saturating_sub(clock.since(began));
        let export = self.exporter.as_ref().map(|exporter| exporter.stop(left));
        Stopped { complete, recorder: self.recorder.counters(), export }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shared.signals.lock().stopping = true;
        self.shared.wake.notify_one();
    }
}

/// The collector's own side.
struct Worker {
    shared: Arc<Shared>,
    recorder: Recorder,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    exporter: Option<Exporter>,
    observers: Vec<Box<dyn Observer>>,
    history: History,
    slow: SlowHistory,
    seq: u64,
}

/// What the collector works on: one timeline at a time, whose memory serves the next one.
struct Desk {
    assembler: Assembler,
    timeline: Timeline,
    lent: Lent,
    taken: Vec<Arc<Logbook>>,
}

/// Nodes from which on a timeline's memory is given back, so that a rare large request does not hold it.
const LARGE: usize = 256;

/// Tells whoever waits that the thread is gone, whatever made it go.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.signals.lock().ended = true;
        self.0.passed.notify_all();
    }
}

impl Worker {
    fn run(&mut self, desk: &mut Desk, mut pace: Pace) {
        let shared = Arc::clone(&self.shared);
        let _end = End(Arc::clone(&shared));
        loop {
            let mut signals = shared.signals.lock();
            let idle = |signals: &mut Signals| signals.asked == signals.done && !signals.stopping;
            let waited = shared.wake.wait_while_for(&mut signals, idle, pace.next()).timed_out();
            let (asked, stopping) = (signals.asked, signals.stopping);
            drop(signals);
            let found = self.look(desk);
            if waited {
                pace.found(found, self.recorder.clock());
            } else {
                pace.asked(self.recorder.clock());
            }
            shared.signals.lock().done = asked;
            shared.passed.notify_all();
            if stopping {
                return;
            }
        }
    }

    /// Takes what has finished, in the order of its end; says how much that was.
    fn look(&mut self, desk: &mut Desk) -> u64 {
        let recorder = self.recorder.clone();
        let rules = Arc::clone(&self.shared.rules.lock());
        let Desk { assembler, timeline, lent, taken } = desk;
        let redaction = recorder.redaction();
        assembler.redact_by(Arc::clone(&redaction));
        self.store.redact_by(redaction, self.seq);
        self.store.follow(recorder.names());
        let before = self.seq;
        recorder.drain(taken, |book| {
            if !assembler.read(book, timeline) {
                return;
            }
            if self.pass(timeline, &rules) {
                let kept = lent.give(timeline);
                self.observers.iter_mut().for_each(|observer| observer.keep(&kept));
            } else if timeline.nodes.len() > LARGE {
                *timeline = blank();
            }
        });
        let found = self.seq - before;
        if found > 0 {
            self.observers.iter_mut().for_each(|observer| observer.pause());
        }
        found
    }

    /// Takes a timeline all the way. Says whether an observer keeps it.
    fn pass(&mut self, timeline: &mut Timeline, rules: &Rules) -> bool {
        self.seq += 1;
        timeline.seq = self.seq;
        let limits = self.history.limits(&timeline.route, &rules.promotion);
        promote(timeline, &limits);
        self.history.add(timeline);
        self.metrics.observe(timeline);
        let slow = self.slow.is_slow(timeline);
        let reason = rules.sampling.decide(timeline, slow);
        if let Some(exporter) = &self.exporter {
            self.metrics.decided(reason.map_or("not_exported", Reason::as_str));
            if let Some(reason) = reason {
                exporter.offer(timeline, reason, &rules.spans);
            }
        }
        let exported = reason.filter(|_| self.exporter.is_some());
        for observer in &mut self.observers {
            observer.timeline(timeline, exported);
        }
        self.store.add(timeline);
        self.observers.iter().any(|observer| observer.keeps(timeline))
    }
}

#[cfg(test)]
mod tests;
