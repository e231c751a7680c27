//! Metrics as OTLP's data points, from the same reading and the same catalogue that Prometheus gets.

use std::sync::{Arc, Weak};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, Sum, exemplar, exponential_histogram_data_point, metric::Data,
    number_data_point,
};
use prost::Message;

use crate::clock::Clock;
use crate::export::queue::Group;
use crate::export::settings::{Exemplars, Histograms, Readings, Temporality};
use crate::metrics::Metrics;
use crate::metrics::catalog::{self, Kind, Unit};
use crate::metrics::exponential::SCALE;
use crate::metrics::histogram::{self, BOUNDS_US, Buckets};
use crate::metrics::snapshot::{Reading, Series, Snapshot};

/// Data points in one message: with histograms about 1 MiB, which every receiver takes (gRPC's default bound is 4 MiB).
const MESSAGE_POINTS: usize = 2_000;

/// Reads metrics, again and again.
#[derive(Debug)]
pub(crate) struct Reader {
    /// What is read; nothing is, when it is gone.
    metrics: Weak<Metrics>,
    readings: Readings,
    clock: Clock,
    start_unix_ns: u64,
    /// What was read before and when, where readings count from there.
    last: Option<(u64, Snapshot)>,
}

/// The time a reading is about, and how it counts.
struct Frame {
    from_unix_ns: u64,
    to_unix_ns: u64,
    temporality: AggregationTemporality,
    exemplars: Exemplars,
    histograms: Histograms,
}

impl Reader {
    /// From now on these metrics are read. They are not kept alive by it.
    pub(crate) fn watch(&mut self, metrics: &Arc<Metrics>) {
        if self.readings.histograms == Histograms::Exponential {
            metrics.count_finely();
        }
        self.metrics = Arc::downgrade(metrics);
    }

    pub(crate) fn new(metrics: Weak<Metrics>, readings: Readings, clock: &Clock) -> Self {
        Self { metrics, readings, clock: clock.clone(), start_unix_ns: clock.unix_ns(clock.now()), last: None }
    }

    /// Everything that has a value now, a group for each message; empty when there is nothing to read.
    pub(crate) fn read(&mut self) -> Vec<Group<Vec<Metric>>> {
        let Some(metrics) = self.metrics.upgrade() else { return Vec::new() };
        let snapshot = metrics.snapshot();
        let now = self.clock.unix_ns(self.clock.now());
        let (from_unix_ns, snapshot, temporality) = match self.readings.temporality {
            Temporality::Cumulative => (self.start_unix_ns, snapshot, AggregationTemporality::Cumulative),
            Temporality::Delta => {
                let before = self.last.replace((now, snapshot.clone()));
                let (from, earlier) = before.unwrap_or((self.start_unix_ns, Snapshot::default()));
                (from, snapshot.since(&earlier), AggregationTemporality::Delta)
            }
        };
        let Readings { exemplars, histograms, .. } = self.readings;
        Frame { from_unix_ns, to_unix_ns: now, temporality, exemplars, histograms }.groups(&snapshot)
    }
}

impl Frame {
    fn groups(&self, snapshot: &Snapshot) -> Vec<Group<Vec<Metric>>> {
        let mut groups = Vec::new();
        let mut group = Group { part: Vec::new(), items: 0, bytes: 0 };
        for family in &snapshot.families {
            let mut rest = &*family.series;
            while !rest.is_empty() {
                let (series, after) = rest.split_at(rest.len().min(MESSAGE_POINTS - group.items));
                let metric = self.metric(family.metric, series);
                // In memory a data point takes about twice its size on the wire.
                group.bytes += size_of::<Metric>() + 2 * metric.encoded_len();
                group.items += series.len();
                group.part.push(metric);
                rest = after;
                if group.items == MESSAGE_POINTS {
                    groups.push(std::mem::replace(&mut group, Group { part: Vec::new(), items: 0, bytes: 0 }));
                }
            }
        }
        groups.extend(Some(group).filter(|group| group.items > 0));
        groups
    }

    fn metric(&self, metric: &'static catalog::Metric, series: &[Series]) -> Metric {
        let points = |value: fn(f64, &catalog::Metric) -> number_data_point::Value| {
            let numbers = series.iter().filter_map(|series| match series.value {
                Reading::Number(n) => Some((series, n)),
                Reading::Histogram(_) => None,
            });
            let point = |(series, n): (&Series, f64)| NumberDataPoint {
                attributes: attributes(metric.attributes, &series.labels),
                start_time_unix_nano: self.from_unix_ns,
                time_unix_nano: self.to_unix_ns,
                value: Some(value(n, metric)),
                ..NumberDataPoint::default()
            };
            numbers.map(point).collect()
        };
        let data = match metric.kind {
            Kind::Counter => {
                let aggregation_temporality = self.temporality.into();
                Data::Sum(Sum { data_points: points(count), aggregation_temporality, is_monotonic: true })
            }
            Kind::Gauge | Kind::Peak => Data::Gauge(Gauge { data_points: points(level) }),
            Kind::Histogram => {
                let histograms = series.iter().filter_map(|series| match &series.value {
                    Reading::Histogram(buckets) => Some((attributes(metric.attributes, &series.labels), &**buckets)),
                    Reading::Number(_) => None,
                });
                let aggregation_temporality = self.temporality.into();
                match self.histograms {
                    Histograms::Explicit => {
                        let points = histograms.map(|(attributes, buckets)| self.explicit(attributes, buckets));
                        Data::Histogram(Histogram { data_points: points.collect(), aggregation_temporality })
                    }
                    Histograms::Exponential => {
                        let points = histograms.map(|(attributes, buckets)| self.exponential(attributes, buckets));
                        let data_points = points.collect();
                        Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
                    }
                }
            }
        };
        let (name, description, unit) = (metric.otel.into(), metric.help.into(), metric.unit.ucum().into());
        Metric { name, description, unit, data: Some(data), ..Metric::default() }
    }

    fn shows(&self, example: &histogram::Exemplar) -> bool {
        match self.exemplars {
            Exemplars::Sampled => example.sampled,
            Exemplars::All => true,
            Exemplars::None => false,
        }
    }

    fn examples(&self, buckets: &Buckets) -> Vec<Exemplar> {
        let examples = buckets.exemplars.iter().flatten().filter(|one| self.shows(one)).map(|one| Exemplar {
            time_unix_nano: one.at_unix_ns,
            trace_id: one.trace_id.0.to_be_bytes().to_vec(),
            span_id: one.span_id.0.to_be_bytes().to_vec(),
            value: Some(exemplar::Value::AsDouble(one.ns as f64 / 1e9)),
            ..Exemplar::default()
        });
        examples.collect()
    }

    fn exponential(&self, attributes: Vec<KeyValue>, buckets: &Buckets) -> ExponentialHistogramDataPoint {
        let (offset, bucket_counts, zero_count) = match &buckets.fine {
            Some(fine) => (fine.offset, fine.counts.iter().copied().collect(), fine.zero),
            // A series that was begun before anybody wanted fine buckets; its count and sum are true all the same.
            None => (0, Vec::new(), 0),
        };
        ExponentialHistogramDataPoint {
            attributes,
            start_time_unix_nano: self.from_unix_ns,
            time_unix_nano: self.to_unix_ns,
            count: buckets.count,
            sum: Some(buckets.sum),
            scale: SCALE,
            zero_count,
            positive: Some(exponential_histogram_data_point::Buckets { offset, bucket_counts }),
            exemplars: self.examples(buckets),
            ..ExponentialHistogramDataPoint::default()
        }
    }

    fn explicit(&self, attributes: Vec<KeyValue>, buckets: &Buckets) -> HistogramDataPoint {
        let below = [0].into_iter().chain(buckets.cumulative);
        HistogramDataPoint {
            attributes,
            start_time_unix_nano: self.from_unix_ns,
            time_unix_nano: self.to_unix_ns,
            count: buckets.count,
            sum: Some(buckets.sum),
            bucket_counts: buckets
                .cumulative
                .iter()
                .zip(below)
                .map(|(upto, below)| upto.saturating_sub(below))
                .collect(),
            explicit_bounds: BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).collect(),
            exemplars: self.examples(buckets),
            ..HistogramDataPoint::default()
        }
    }
}

/// What is counted in things is a whole number.
fn count(n: f64, metric: &catalog::Metric) -> number_data_point::Value {
    match metric.unit {
        Unit::None | Unit::Bytes => number_data_point::Value::AsInt(n as i64),
        Unit::Seconds | Unit::Ratio => number_data_point::Value::AsDouble(n),
    }
}

fn level(n: f64, _: &catalog::Metric) -> number_data_point::Value {
    number_data_point::Value::AsDouble(n)
}

/// Attributes that the conventions type as numbers are numbers; an empty one is none, and neither is the status of what was
/// not answered.
fn attributes(names: &[&str], values: &[String]) -> Vec<KeyValue> {
    let given = names.iter().zip(values).filter(|(_, value)| !value.is_empty());
    let given = given.filter(|(name, value)| **name != "http.response.status_code" || *value != "0");
    let typed = |(name, value): (&&str, &String)| {
        let number = matches!(*name, "http.response.status_code" | "server.port").then(|| value.parse().ok()).flatten();
        let value = number.map_or_else(|| Value::StringValue(value.clone()), Value::IntValue);
        super::message::attribute(name, value)
    };
    given.map(typed).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::timeline::Value as Attr;

    fn reader(metrics: &Arc<Metrics>, readings: Readings, clock: &Clock) -> Reader {
        Reader::new(Arc::downgrade(metrics), readings, clock)
    }

    fn find<'g>(group: &'g Group<Vec<Metric>>, name: &str) -> Option<&'g Data> {
        group.part.iter().find(|metric| metric.name == name)?.data.as_ref()
    }

    fn histogram<'g>(group: &'g Group<Vec<Metric>>, name: &str) -> &'g HistogramDataPoint {
        match find(group, name) {
            Some(Data::Histogram(histogram)) => &histogram.data_points[0],
            other => panic!("{name}: {other:?}"),
        }
    }

    fn timelines(group: &Group<Vec<Metric>>) -> Option<&NumberDataPoint> {
        match find(group, "zerver.timelines") {
            Some(Data::Sum(sum)) if sum.is_monotonic => sum.data_points.first(),
            _ => None,
        }
    }

    fn sample() -> crate::timeline::Timeline {
        let mut timeline = crate::timeline::sample();
        timeline.nodes[0].attrs = vec![("http.request.method".into(), Attr::Text("GET".into()))];
        timeline
    }

    #[test]
    fn a_reading_has_the_conventions_names_and_a_way_to_the_trace() {
        let (metrics, clock) = (Arc::new(Metrics::new()), Clock::manual());
        let mut reader = reader(&metrics, Readings::default(), &clock);
        assert!(reader.read().is_empty());
        let timeline = sample();
        metrics.observe(&timeline);
        clock.advance(Duration::from_secs(60));
        let group = reader.read().pop().expect("there is something");
        let point = histogram(&group, "http.server.request.duration");
        let named: Vec<&str> = point.attributes.iter().map(|attribute| &*attribute.key).collect();
        assert_eq!(named, ["http.request.method", "http.response.status_code"]);
        let status = point.attributes[1].value.as_ref().and_then(|value| value.value.clone());
        assert_eq!(status, Some(Value::IntValue(200)));
        assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (1, 1));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!((point.sum, point.explicit_bounds[2]), (Some(0.0482), 0.001));
        assert_eq!(point.time_unix_nano - point.start_time_unix_nano, 60_000_000_000);
        let example = &point.exemplars[0];
        assert_eq!(example.trace_id, timeline.trace_id.0.to_be_bytes());
        assert_eq!(example.span_id, timeline.span_id.0.to_be_bytes());
        let points: usize = group
            .part
            .iter()
            .map(|metric| match metric.data.as_ref().expect("each has data") {
                Data::Sum(sum) => sum.data_points.len(),
                Data::Gauge(gauge) => gauge.data_points.len(),
                Data::Histogram(histogram) => histogram.data_points.len(),
                _ => 0,
            })
            .sum();
        assert_eq!(group.items, points);
    }

    #[test]
    fn exponential_buckets_hold_the_same_requests() {
        let (metrics, clock) = (Arc::new(Metrics::new()), Clock::manual());
        let readings =
            Readings { histograms: Histograms::Exponential, temporality: Temporality::Delta, ..Readings::default() };
        let mut reader = reader(&Arc::new(Metrics::new()), readings, &clock);
        reader.watch(&metrics);
        for requests in [1, 2] {
            (0..requests).for_each(|_| metrics.observe(&sample()));
            clock.advance(Duration::from_secs(60));
            let group = reader.read().pop().expect("there is something");
            let point = match find(&group, "http.server.request.duration") {
                Some(Data::ExponentialHistogram(histogram)) => &histogram.data_points[0],
                other => panic!("{other:?}"),
            };
            let buckets = point.positive.as_ref().expect("there are durations above zero");
            assert_eq!((point.count, point.zero_count, &*buckets.bucket_counts), (requests, 0, &[requests][..]));
            let bound = |index: i32| (f64::from(index) / 16.0).exp2();
            assert!(bound(buckets.offset) < 0.0482 && 0.0482 <= bound(buckets.offset + 1), "{}", buckets.offset);
            assert!((point.sum.expect("a sum") - 0.0482 * requests as f64).abs() < 1e-9);
            // The same example is not told twice.
            assert_eq!((point.scale, point.exemplars.len()), (SCALE, usize::from(requests == 1)));
            assert!(group.part.iter().all(|metric| !matches!(metric.data, Some(Data::Histogram(_)))));
        }
    }

    #[test]
    fn cumulative_readings_start_at_the_start_and_deltas_where_the_last_one_ended() {
        for (temporality, values, steps) in
            [(Temporality::Cumulative, [1, 3], [0, 0]), (Temporality::Delta, [1, 2], [0, 10])]
        {
            let (metrics, clock) = (Arc::new(Metrics::new()), Clock::manual());
            let mut reader = reader(&metrics, Readings { temporality, ..Readings::default() }, &clock);
            let start = clock.unix_ns(clock.now());
            for (requests, (value, step)) in [1, 2].into_iter().zip(values.into_iter().zip(steps)) {
                clock.advance(Duration::from_secs(10));
                for _ in 0..requests {
                    metrics.observe(&sample());
                }
                let group = reader.read().pop().expect("there is something");
                let point = timelines(&group).expect("timelines are counted");
                assert_eq!(point.value, Some(number_data_point::Value::AsInt(value)), "{temporality:?}");
                assert_eq!(point.start_time_unix_nano - start, step * 1_000_000_000, "{temporality:?}");
            }
            clock.advance(Duration::from_secs(10));
            let still = reader.read().pop();
            assert_eq!(still.is_some_and(|group| timelines(&group).is_some()), temporality == Temporality::Cumulative);
        }
    }

    #[test]
    fn exemplars_can_be_left_out_and_what_is_gone_is_not_read() {
        let (metrics, clock) = (Arc::new(Metrics::new()), Clock::manual());
        let sampled = |sampled| {
            let mut timeline = sample();
            timeline.sampled = sampled;
            metrics.observe(&timeline);
        };
        sampled(false);
        let examples = |exemplars| {
            let group = reader(&metrics, Readings { exemplars, ..Readings::default() }, &clock).read().pop();
            histogram(&group.expect("there is something"), "zerver.request.duration").exemplars.len()
        };
        assert_eq!([Exemplars::All, Exemplars::Sampled, Exemplars::None].map(examples), [1, 0, 0]);
        sampled(true);
        assert_eq!([Exemplars::All, Exemplars::Sampled, Exemplars::None].map(examples), [1, 1, 0]);
        let mut reader = reader(&metrics, Readings::default(), &clock);
        drop(metrics);
        assert!(reader.read().is_empty());
    }

    #[test]
    fn a_large_reading_goes_in_several_messages() {
        let (metrics, clock) = (Arc::new(Metrics::new()), Clock::manual());
        let mut timeline = sample();
        for n in 0..900 {
            timeline.route = format!("route {n}").into();
            metrics.observe(&timeline);
        }
        let groups = reader(&metrics, Readings::default(), &clock).read();
        let items: Vec<usize> = groups.iter().map(|group| group.items).collect();
        let series: usize = metrics.snapshot().families.iter().map(|family| family.series.len()).sum();
        assert_eq!(items.iter().sum::<usize>(), series);
        let (last, full) = items.split_last().expect("there is something");
        assert!(full.len() > 2 && full.iter().all(|items| *items == MESSAGE_POINTS) && *last > 0, "{items:?}");
        let longest = groups.iter().map(|group| group.part.iter().map(Message::encoded_len).sum::<usize>()).max();
        assert!(longest.is_some_and(|bytes| bytes < 2 << 20), "{longest:?}");
    }
}
