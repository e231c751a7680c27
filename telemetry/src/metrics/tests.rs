//! What a timeline counts, and that label sets stay bounded.

use super::counting::ROUTES;
use super::table::HISTOGRAM_SERIES;
use super::*;
use crate::event::{NodeKind, Outcome};
use crate::timeline::Value;

fn number(snapshot: &Snapshot, metric: &Metric, labels: &[&str]) -> Option<f64> {
    let family = snapshot.families.iter().find(|f| f.metric == metric)?;
    family.series.iter().find(|s| s.labels == labels).map(|s| match &s.value {
        Reading::Number(n) => *n,
        Reading::Histogram(b) => b.sum,
    })
}

#[test]
fn a_timeline_is_counted_everywhere_it_should_be() {
    let metrics = Metrics::new();
    let timeline = crate::timeline::sample();
    metrics.observe(&timeline);
    let read = metrics.snapshot();
    assert_eq!(number(&read, catalog::REQUESTS, &["checkout", "200", "ok"]), Some(1.0));
    assert_eq!(number(&read, catalog::REQUEST_DURATION, &["checkout", "2xx"]), Some(0.0482));
    assert_eq!(number(&read, catalog::REQUEST_STATE, &["checkout", "park"]), Some(0.0479));
    assert_eq!(number(&read, catalog::EFFECT_DURATION, &["checkout", "quotes", "timeout"]), Some(0.01));
    assert_eq!(number(&read, catalog::RETRIES, &["checkout", "quotes"]), Some(1.0));
    assert_eq!(number(&read, catalog::PROMOTED, &["checkout", "park", "threshold"]), Some(2.0));
    assert_eq!(number(&read, catalog::REFUSED, &["checkout", "x"]), None);
    let route = metrics.routes().remove(0);
    assert_eq!((&*route.route, route.requests, route.failed, route.split.park_ns), ("checkout", 1, 0, 47_900_000));
    assert!((route.p99_ms - 48.2).abs() < 0.5);
}

#[test]
fn scratch_memory_shows_its_peak() {
    let metrics = Metrics::new();
    let mut timeline = crate::timeline::sample();
    for bytes in [700, 4_096, 12] {
        timeline.nodes[0].attrs = vec![("zerver.flow.scratch_bytes".into(), Value::Int(bytes))];
        metrics.observe(&timeline);
    }
    assert_eq!(number(&metrics.snapshot(), catalog::SCRATCH_PEAK, &["checkout"]), Some(4_096.0));
}

#[test]
fn label_sets_are_bounded_and_the_rest_is_counted() {
    let metrics = Metrics::new();
    let mut timeline = crate::timeline::sample();
    timeline.nodes.truncate(1);
    for n in 0..HISTOGRAM_SERIES + 7 {
        timeline.route = format!("route {n}").into();
        metrics.observe(&timeline);
    }
    let read = metrics.snapshot();
    let family = read.families.iter().find(|f| f.metric == catalog::REQUEST_DURATION).unwrap();
    assert_eq!(family.series.len(), HISTOGRAM_SERIES + 1);
    assert_eq!(number(&read, catalog::SERIES_OVERFLOW, &[catalog::REQUEST_DURATION.name]), Some(7.0));
    assert!((number(&read, catalog::REQUEST_DURATION, &["other", "other"]).unwrap() - 7.0 * 0.0482).abs() < 1e-9);
    assert_eq!(metrics.routes().len(), ROUTES);
}

#[test]
fn sources_are_asked_and_equal_labels_added_up() {
    struct Limits;
    impl Source for Limits {
        fn collect(&self, out: &mut Sink) {
            out.put(catalog::LIMIT_IN_USE, &["seats"], 3.0);
            for n in 0..SOURCE_SERIES + 5 {
                out.put(catalog::LIMIT_CAPACITY, &[&format!("limit {n}")], 2.0);
            }
        }
    }
    let metrics = Metrics::new();
    metrics.register(Arc::new(Limits));
    metrics.register(Arc::new(Limits));
    let read = metrics.snapshot();
    assert_eq!(number(&read, catalog::LIMIT_IN_USE, &["seats"]), Some(6.0));
    assert_eq!(number(&read, catalog::LIMIT_CAPACITY, &["other"]), Some(20.0));
    assert_eq!(number(&read, catalog::SERIES_OVERFLOW, &["zerver_limit_capacity"]), Some(10.0));
}

/// Shortcuts are memories of look-ups: whatever order timelines come in, the same is counted as one by one, without memory.
#[test]
fn with_shortcuts_the_same_is_counted_as_without() {
    let sample = crate::timeline::sample();
    let mut timelines = Vec::new();
    for n in 0..400_u16 {
        let mut timeline = sample.clone();
        timeline.route = format!("route {}", n % 7).into();
        timeline.status = [200, 200, 404, 503, 0, 777][usize::from(n % 6)];
        timeline.outcome = Outcome::ALL[usize::from(n % 5)];
        timeline.error = (n % 3 == 0).then(|| format!("error {}", n % 2).into());
        let port = if n % 4 == 0 { Value::Int(80 + i64::from(n % 40)) } else { Value::Text("8081".into()) };
        for node in &mut timeline.nodes {
            let text = |text: &str| Value::Text(text.into());
            node.attrs = match (node.kind, n % 11) {
                (_, 10) => vec![("http.request.method".into(), Value::Int(1))],
                (NodeKind::Request, n) => vec![
                    ("url.scheme".into(), text(["http", "https"][usize::from(n % 2)])),
                    ("http.request.method".into(), text(["GET", "POST", "FETCH"][usize::from(n % 3)])),
                    ("http.route".into(), text("/x")),
                    ("http.route".into(), text(&format!("/later {n}"))),
                ],
                (_, n) => vec![
                    ("http.request.method".into(), text("GET")),
                    ("server.address".into(), text(&format!("10.0.0.{n}"))),
                    ("server.port".into(), port.clone()),
                ],
            };
            node.outcome = Outcome::ALL[usize::from(n % 6)];
        }
        timelines.push(timeline);
    }
    let together = Metrics::new();
    let mut one_by_one = Snapshot::default();
    for timeline in &timelines {
        together.observe(timeline);
        let alone = Metrics::new();
        alone.observe(timeline);
        one_by_one.merge(&alone.snapshot());
    }
    let text = |snapshot: &Snapshot| {
        let text = crate::export::prometheus::text(snapshot);
        // Sums of fractions round.
        text.lines().filter(|line| !line.contains("_sum")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(text(&together.snapshot()), text(&one_by_one));
    assert!(text(&one_by_one).len() > 1_000);
}
