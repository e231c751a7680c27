//! The metrics of one gateway: what timelines say, added up by the collector, and what other rooms report when asked.
//!
//! A request's path never touches this: the collector counts what it reads from timelines, and a [`Source`] is asked
//! when someone reads. Label sets are bounded; beyond the bound an observation goes to the label value `other` and is
//! counted in `zerver_metric_overflow_total`.

pub mod histogram;
pub mod catalog;
pub mod snapshot;
mod conventional;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::event::{NodeKind, Outcome, StateKind};
use crate::exemplars::{Store, failed};
use crate::metrics::catalog::{Kind, Metric};
use crate::metrics::histogram::{Distribution, Exemplar, Percentiles};
use crate::metrics::snapshot::{Family, Reading, Series, Snapshot};
use crate::recorder::Recorder;
use crate::timeline::{Split, Timeline, Value};

/// Series of one counter.
const COUNTER_SERIES: usize = 2_000;
/// Series of one histogram, up to 1 KiB each.
const HISTOGRAM_SERIES: usize = 1_000;
/// Routes with percentiles of their own, some 14 KiB each.
const ROUTES: usize = 500;
/// Series that sources may report for one metric.
const SOURCE_SERIES: usize = 2_000;
/// Stands between the labels of a series; control characters are taken out of label values.
const SEPARATOR: char = '\u{1f}';

/// Something that can say how things stand: limits, queues, pools. Asked on each reading, so it should be quick.
pub trait Source: Send + Sync {
    /// Reports present values.
    fn collect(&self, out: &mut Sink);
}

/// Takes what sources report.
#[derive(Debug, Default)]
pub struct Sink {
    families: BTreeMap<&'static str, (&'static Metric, BTreeMap<Vec<String>, f64>)>,
    overflow: BTreeMap<&'static str, u64>,
}

impl Sink {
    /// Reports one value: a gauge's present one, or a counter's total since the start. `labels` are the values, in the
    /// catalogue's order. Two reports for the same labels are added up.
    pub fn put(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{} has other labels", metric.name);
        let (_, series) = self.families.entry(metric.name).or_insert_with(|| (metric, BTreeMap::new()));
        let places = 0..metric.labels.len();
        let mut key: Vec<String> = places.map(|n| (*labels.get(n).unwrap_or(&"")).to_owned()).collect();
        if series.len() >= SOURCE_SERIES && !series.contains_key(&key) {
            key.fill("other".into());
            *self.overflow.entry(metric.name).or_default() += 1;
        }
        *series.entry(key).or_default() += value;
    }
}

/// One route at a glance, since the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteSummary {
    /// Its name.
    pub route: String,
    /// Requests that ended.
    pub requests: u64,
    /// Those that failed (5xx, error, timeout).
    pub failed: u64,
    /// Median latency in milliseconds.
    pub p50_ms: f64,
    /// 95th percentile in milliseconds.
    pub p95_ms: f64,
    /// 99th percentile in milliseconds.
    pub p99_ms: f64,
    /// The requests' own time by kind of state, all together.
    pub split: Split,
}

/// The metrics of one gateway. A value, not a global.
#[derive(Default)]
pub struct Metrics {
    counted: Mutex<Counted>,
    sources: Mutex<Vec<Arc<dyn Source>>>,
}

#[derive(Debug, Default)]
struct Counted {
    distributions: BTreeMap<&'static str, Table<Distribution>>,
    counters: BTreeMap<&'static str, Table<u64>>,
    routes: HashMap<Arc<str>, RouteTotals>,
    key: String,
}

#[derive(Debug, Default)]
struct RouteTotals {
    latency: Percentiles,
    failed: u64,
    split: Split,
}

/// The series of one metric, by their joined labels.
#[derive(Debug)]
struct Table<T> {
    metric: &'static Metric,
    series: HashMap<Box<str>, T>,
    overflow: u64,
}

impl<T: Default> Table<T> {
    fn new(metric: &'static Metric) -> Self {
        Self { metric, series: HashMap::new(), overflow: 0 }
    }

    fn slot(&mut self, key: &mut String, labels: &[&str]) -> &mut T {
        join(key, labels.iter().copied());
        if !self.series.contains_key(key.as_str()) {
            let bound = if self.metric.kind == Kind::Histogram { HISTOGRAM_SERIES } else { COUNTER_SERIES };
            if self.series.len() >= bound {
                self.overflow += 1;
                join(key, labels.iter().map(|_| "other"));
            }
            if !self.series.contains_key(key.as_str()) {
                self.series.insert(key.as_str().into(), T::default());
            }
        }
        self.series.get_mut(key.as_str()).expect("the series was put there just now")
    }

    fn read(&self, reading: impl Fn(&T) -> Reading) -> Family {
        let labels = |key: &str| match self.metric.labels.len() {
            0 => Vec::new(),
            _ => key.split(SEPARATOR).map(str::to_owned).collect(),
        };
        let mut series: Vec<Series> =
            self.series.iter().map(|(key, value)| Series { labels: labels(key), value: reading(value) }).collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Family { metric: self.metric, series }
    }
}

fn join<'a>(key: &mut String, labels: impl Iterator<Item = &'a str>) {
    key.clear();
    for (n, label) in labels.enumerate() {
        if n > 0 {
            key.push(SEPARATOR);
        }
        key.extend(label.chars().map(|c| if c.is_control() { ' ' } else { c }));
    }
}

impl Counted {
    fn add(&mut self, metric: &'static Metric, labels: &[&str], by: u64) {
        let table = self.counters.entry(metric.name).or_insert_with(|| Table::new(metric));
        *table.slot(&mut self.key, labels) += by;
    }

    /// Raises the highest value seen so far.
    fn raise(&mut self, metric: &'static Metric, labels: &[&str], to: u64) {
        let table = self.counters.entry(metric.name).or_insert_with(|| Table::new(metric));
        let highest = table.slot(&mut self.key, labels);
        *highest = to.max(*highest);
    }

    fn series(&mut self, metric: &'static Metric, labels: &[&str]) -> &mut Distribution {
        let table = self.distributions.entry(metric.name).or_insert_with(|| Table::new(metric));
        table.slot(&mut self.key, labels)
    }

    fn record(&mut self, metric: &'static Metric, labels: &[&str], ns: u64) {
        self.series(metric, labels).record(ns);
    }

    fn observe(&mut self, timeline: &Timeline) {
        let route = &*timeline.route;
        let mut digits = [0; 5];
        let status = decimal(timeline.status, &mut digits);
        let at_unix_ns = timeline.start_unix_ns.saturating_add(timeline.latency_ns);
        let (trace_id, span_id, sampled) = (timeline.trace_id, timeline.span_id, timeline.sampled);
        let exemplar = Exemplar { trace_id, span_id, ns: timeline.latency_ns, at_unix_ns, sampled };
        self.series(catalog::REQUEST_DURATION, &[route, status_class(timeline.status)]).record_with(exemplar);
        if let Some(labels) = conventional::server(timeline) {
            self.series(catalog::HTTP_SERVER_DURATION, &labels.each_ref().map(|label| &**label)).record_with(exemplar);
        }
        self.add(catalog::REQUESTS, &[route, status, timeline.outcome.as_str()], 1);
        self.add(catalog::TIMELINES, &[], 1);
        let split = timeline.root().split();
        for (state, ns) in [("queue", split.queue_ns), ("park", split.park_ns), ("run", split.run_ns)] {
            self.record(catalog::REQUEST_STATE, &[route, state], ns);
        }
        if timeline.outcome == Outcome::Refused {
            self.add(catalog::REFUSED, &[route, timeline.error.as_deref().unwrap_or("refused")], 1);
        }
        if let Some(Value::Int(bytes)) = timeline.root().attr("zerver.flow.scratch_bytes") {
            self.raise(catalog::SCRATCH_PEAK, &[route], u64::try_from(*bytes).unwrap_or(0));
        }
        if timeline.lost_events > 0 {
            self.add(catalog::EVENTS_LOST, &[], u64::from(timeline.lost_events));
        }
        for node in &timeline.nodes {
            if node.kind == NodeKind::Effect && node.outcome != Outcome::Skipped {
                let ns = node.end_ns.saturating_sub(node.start_ns);
                self.record(catalog::EFFECT_DURATION, &[route, &node.name, node.outcome.as_str()], ns);
                if let Some(labels) = conventional::client(node) {
                    let at_unix_ns = timeline.start_unix_ns.saturating_add(node.end_ns);
                    let exemplar = Exemplar { trace_id, span_id: node.span_id, ns, at_unix_ns, sampled };
                    let labels = labels.each_ref().map(|label| &**label);
                    self.series(catalog::HTTP_CLIENT_DURATION, &labels).record_with(exemplar);
                }
                if node.attempt > 1 {
                    self.add(catalog::RETRIES, &[route, &node.name], 1);
                }
            }
            for state in &node.states {
                if let Some(rule) = state.promoted {
                    let kind = if state.cause.kind() == StateKind::Queue { "queue" } else { "park" };
                    self.add(catalog::PROMOTED, &[route, kind, rule.as_str()], 1);
                }
            }
        }
        if !self.routes.contains_key(&timeline.route) {
            if self.routes.len() >= ROUTES {
                return;
            }
            self.routes.insert(Arc::clone(&timeline.route), RouteTotals::default());
        }
        if let Some(totals) = self.routes.get_mut(&timeline.route) {
            totals.latency.record(timeline.latency_ns);
            totals.failed += u64::from(failed(timeline));
            totals.split.queue_ns += split.queue_ns;
            totals.split.park_ns += split.park_ns;
            totals.split.run_ns += split.run_ns;
        }
    }
}

/// `2xx` and so on; `none` when no answer was sent.
#[must_use]
pub fn status_class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "none",
    }
}

fn decimal(mut n: u16, digits: &mut [u8; 5]) -> &str {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[at..]).unwrap_or("0")
}

impl Metrics {
    /// No values and no sources.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on `source` is asked at each reading.
    pub fn register(&self, source: Arc<dyn Source>) {
        self.sources.lock().push(source);
    }

    /// Counts what one timeline says. The collector calls it, after promotion.
    pub fn observe(&self, timeline: &Timeline) {
        self.counted.lock().observe(timeline);
    }

    /// Counts a sampling decision.
    pub(crate) fn decided(&self, decision: &str) {
        self.counted.lock().add(catalog::SAMPLED, &[decision], 1);
    }

    /// Reads everything. Sources are asked first, without holding up the collector.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let sources = self.sources.lock().clone();
        let mut sink = Sink::default();
        for source in sources {
            source.collect(&mut sink);
        }
        let mut families: HashMap<&'static str, Family> = HashMap::new();
        {
            let counted = self.counted.lock();
            for table in counted.distributions.values() {
                families.insert(table.metric.name, table.read(|d| Reading::Histogram(Box::new(d.buckets()))));
                *sink.overflow.entry(table.metric.name).or_default() += table.overflow;
            }
            for table in counted.counters.values() {
                families.insert(table.metric.name, table.read(|n| Reading::Number(*n as f64)));
                *sink.overflow.entry(table.metric.name).or_default() += table.overflow;
            }
        }
        for (metric, overflow) in std::mem::take(&mut sink.overflow) {
            if overflow > 0 {
                sink.put(catalog::SERIES_OVERFLOW, &[metric], overflow as f64);
            }
        }
        for (name, (metric, series)) in sink.families {
            let series = series.into_iter().map(|(labels, n)| Series { labels, value: Reading::Number(n) }).collect();
            families.insert(name, Family { metric, series });
        }
        let mut families: Vec<Family> = families.into_values().collect();
        families.sort_by_key(|family| family.metric.rank());
        Snapshot { families }
    }

    /// The sum of a counter over all its labels, as counted from timelines so far. Sources are not asked.
    #[must_use]
    pub fn total(&self, metric: &Metric) -> u64 {
        self.counted.lock().counters.get(metric.name).map_or(0, |table| table.series.values().sum())
    }

    /// Each route at a glance, the busiest first.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteSummary> {
        let counted = self.counted.lock();
        let mut routes: Vec<RouteSummary> = counted
            .routes
            .iter()
            .map(|(route, totals)| {
                let ms = |q: f64| totals.latency.quantile_ns(q) as f64 / 1e6;
                RouteSummary {
                    route: route.to_string(),
                    requests: totals.latency.count(),
                    failed: totals.failed,
                    p50_ms: ms(0.5),
                    p95_ms: ms(0.95),
                    p99_ms: ms(0.99),
                    split: totals.split,
                }
            })
            .collect();
        drop(counted);
        routes.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.route.cmp(&b.route)));
        routes
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("counted", &self.counted).finish_non_exhaustive()
    }
}

impl Source for Recorder {
    fn collect(&self, out: &mut Sink) {
        let counters = self.counters();
        out.put(catalog::IN_FLIGHT, &[], counters.started.saturating_sub(counters.finished) as f64);
        out.put(catalog::STARTED, &[], counters.started as f64);
        out.put(catalog::FINISHED, &[], counters.finished as f64);
        out.put(catalog::TIMELINES_LOST, &["ring_full"], counters.lost_timelines as f64);
        out.put(catalog::LOGBOOKS, &[], counters.logbooks as f64);
    }
}

impl Source for Store {
    fn collect(&self, out: &mut Sink) {
        let kept = self.retained();
        for (reason, n) in
            [("recent", kept.recent), ("uniform", kept.uniform), ("slow", kept.slow), ("error", kept.errors)]
        {
            out.put(catalog::KEPT, &[reason], n as f64);
        }
        out.put(catalog::KEPT_BYTES, &[], kept.bytes as f64);
        out.put(catalog::SAMPLE_RATIO, &[], kept.probability);
    }
}

#[cfg(test)]
mod tests;
