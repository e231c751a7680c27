//! The metrics of one gateway: what timelines say, added up by the collector, and what other rooms report when asked.
//!
//! A request's path never touches this: the collector counts what it reads from timelines, and a [`Source`] is asked
//! when someone reads. Label sets are bounded; beyond the bound an observation goes to the label value `other` and is
//! counted in `zerver_metric_overflow_total`.

pub mod exponential;
pub mod histogram;
pub mod catalog;
pub mod snapshot;
mod conventional;
mod table;
mod shortcuts;
mod counting;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::exemplars::Store;
use crate::metrics::catalog::Metric;
use crate::metrics::counting::Counted;
use crate::metrics::snapshot::{Family, Reading, Series, Snapshot};
use crate::recorder::Recorder;
use crate::timeline::{Split, Timeline};

pub use counting::status_class;

/// Series that sources may report for one metric.
const SOURCE_SERIES: usize = 2_000;

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

    /// From now on series of histograms that begin count in exponential buckets as well.
    pub fn count_finely(&self) {
        self.counted.lock().count_finely();
    }

    /// Counts a sampling decision.
    pub(crate) fn decided(&self, decision: &str) {
        self.counted.lock().decided(decision);
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
            for table in counted.distributions() {
                let family = table.read(|d| Reading::Histogram(Box::new(d.buckets())));
                families.extend(family.map(|family| (table.metric.name, family)));
                *sink.overflow.entry(table.metric.name).or_default() += table.overflow;
            }
            for table in counted.counters() {
                let family = table.read(|n| Reading::Number(*n as f64));
                families.extend(family.map(|family| (table.metric.name, family)));
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
        self.counted.lock().total(metric)
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
