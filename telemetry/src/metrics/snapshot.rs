//! A reading of all metrics: what is written out, sent, added up over gateways, and compared with an earlier one.

use std::collections::HashMap;

use crate::metrics::catalog::{Kind, Metric};
use crate::metrics::histogram::Buckets;

/// A reading of every metric that has a value, in the catalogue's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// One per metric.
    pub families: Vec<Family>,
}

/// The series of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Which.
    pub metric: &'static Metric,
    /// Its series, sorted by labels.
    pub series: Vec<Series>,
}

/// One labelled value.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The label values, in the catalogue's order.
    pub labels: Vec<String>,
    /// The value.
    pub value: Reading,
}

/// A value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Histogram(Box<Buckets>),
}

impl Snapshot {
    /// Adds the reading of another gateway: counters, histograms and gauges add up, of peaks the highest stays. The
    /// order of merging does not matter, but for sums of fractions, which round.
    pub fn merge(&mut self, other: &Self) {
        for theirs in &other.families {
            let Some(mine) = self.families.iter_mut().find(|family| family.metric == theirs.metric) else {
                self.families.push(theirs.clone());
                continue;
            };
            let peak = theirs.metric.kind == Kind::Peak;
            for series in &theirs.series {
                match mine.series.binary_search_by(|known| known.labels.cmp(&series.labels)) {
                    Ok(place) => mine.series[place].value.merge(&series.value, peak),
                    Err(place) => mine.series.insert(place, series.clone()),
                }
            }
        }
        self.families.sort_by_key(|family| family.metric.rank());
    }

    /// What has been counted since an earlier reading of the same gateway; gauges stay as they are. Series in which
    /// nothing happened are left out.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        for family in &mut self.families {
            if matches!(family.metric.kind, Kind::Gauge | Kind::Peak) {
                continue;
            }
            let Some(before) = earlier.families.iter().find(|before| before.metric == family.metric) else { continue };
            let known: HashMap<&[String], &Reading> =
                before.series.iter().map(|series| (&*series.labels, &series.value)).collect();
            family.series.retain_mut(|series| {
                if let Some(before) = known.get(&*series.labels) {
                    series.value.subtract(before);
                }
                !series.value.is_nothing()
            });
        }
        self.families.retain(|family| !family.series.is_empty());
        self
    }
}

impl Reading {
    fn merge(&mut self, other: &Self, peak: bool) {
        match (self, other) {
            (Self::Number(mine), Self::Number(theirs)) if peak => *mine = mine.max(*theirs),
            (Self::Number(mine), Self::Number(theirs)) => *mine += theirs,
            (Self::Histogram(mine), Self::Histogram(theirs)) => mine.merge(theirs),
            // One metric has one kind of value.
            _ => {}
        }
    }

    fn subtract(&mut self, earlier: &Self) {
        match (self, earlier) {
            (Self::Number(now), Self::Number(before)) => *now -= before,
            (Self::Histogram(now), Self::Histogram(before)) => now.subtract(before),
            _ => {}
        }
    }

    fn is_nothing(&self) -> bool {
        match self {
            Self::Number(n) => *n == 0.0,
            Self::Histogram(buckets) => buckets.count == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::prometheus;
    use crate::metrics::{Metrics, Sink, Source, catalog};
    use std::sync::Arc;

    struct Gauges(f64);

    impl Source for Gauges {
        fn collect(&self, out: &mut Sink) {
            out.put(catalog::IN_FLIGHT, &[], self.0);
            out.put(catalog::CONFIG_VERSION, &[], self.0);
        }
    }

    /// A gateway that has served so many requests on these routes.
    fn gateway(routes: &[&str], gauge: f64) -> Metrics {
        let metrics = Metrics::new();
        metrics.register(Arc::new(Gauges(gauge)));
        let mut timeline = crate::timeline::sample();
        for route in routes {
            timeline.route = (*route).into();
            metrics.observe(&timeline);
        }
        metrics
    }

    #[test]
    fn two_gateways_read_as_one() {
        let one = gateway(&["a", "b", "c", "a"], 5.0).snapshot();
        let mut merged = gateway(&["c", "a"], 3.0).snapshot();
        merged.merge(&gateway(&["b", "a"], 2.0).snapshot());
        let (one, merged) = (prometheus::openmetrics(&one), prometheus::openmetrics(&merged));
        // The highest of 3 and 2 is not 5; all the rest is the same to the letter.
        assert_eq!(one.replace("zerver_config_version 5", "zerver_config_version 3"), merged);
    }

    #[test]
    fn a_difference_holds_what_happened_in_between() {
        let metrics = gateway(&["a", "b"], 4.0);
        let earlier = metrics.snapshot();
        assert!(metrics.snapshot().since(&earlier).families.iter().all(|family| family.metric.kind != Kind::Counter));
        let mut timeline = crate::timeline::sample();
        timeline.route = "b".into();
        metrics.observe(&timeline);
        let text = prometheus::text(&metrics.snapshot().since(&earlier));
        for line in [
            "zerver_requests_in_flight 4",
            "zerver_requests_total{route=\"b\",status=\"200\",outcome=\"ok\"} 1",
            "zerver_request_duration_seconds_count{route=\"b\",status_class=\"2xx\"} 1",
            "zerver_request_duration_seconds_bucket{route=\"b\",status_class=\"2xx\",le=\"0.025\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "no line `{line}` in\n{text}");
        }
        assert!(!text.contains("route=\"a\""), "{text}");
        // What came first and what came since make the whole.
        let mut whole = earlier;
        whole.merge(&metrics.snapshot().since(&gateway(&["a", "b"], 0.0).snapshot()));
        assert!(prometheus::text(&whole).contains("zerver_timelines_total 3\n"));
    }
}
