//! The routes of the overview: how many, how often, how many failed, how long, and where the slow ones' time goes.

use std::collections::HashMap;
use std::sync::Arc;

use zerver_telemetry::timeline::Split;

use crate::histogram::{Histogram, quantiles};
use crate::row::{Row, place};
use crate::units::ns_to_ms;

/// Columns of the latency × time picture.
pub(crate) const HEAT_COLUMNS: usize = 96;
/// Rows of it: doublings of latency from 1 ms on.
pub(crate) const HEAT_ROWS: usize = 10;

/// What is known of one route. Counts and percentiles are weighted by how many requests each timeline stands for.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    /// Timelines kept.
    pub(crate) kept: usize,
    /// Requests they stand for.
    pub(crate) count: f64,
    /// Requests a second, over the time that the timelines span.
    pub(crate) rate: f64,
    /// Share of failed requests.
    pub(crate) errors: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    /// Critical time of the slowest twentieth, by kind of state.
    pub(crate) split: Split,
    /// The largest critical part of the slowest twentieth, and its share of their time.
    pub(crate) top: Option<(String, f64)>,
    pub(crate) histogram: Histogram,
}

/// What the routes are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RouteSort {
    #[default]
    P99,
    Count,
    Errors,
    Name,
}

impl RouteSort {
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::P99 => Self::Count,
            Self::Count => Self::Errors,
            Self::Errors => Self::Name,
            Self::Name => Self::P99,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::P99 => "p99",
            Self::Count => "count",
            Self::Errors => "err%",
            Self::Name => "name",
        }
    }
}

/// Adds all rows up by route. Costs one sort of each route's latencies.
pub(crate) fn routes<'a>(rows: impl Iterator<Item = &'a Arc<Row>>, sort: RouteSort) -> Vec<Route> {
    let mut groups: HashMap<&str, Vec<&Row>> = HashMap::new();
    for row in rows {
        groups.entry(&row.timeline.route).or_default().push(row);
    }
    let mut routes: Vec<Route> = groups.into_values().map(|rows| route(&rows)).collect();
    routes.sort_by(|a, b| {
        let order = match sort {
            RouteSort::P99 => b.p99_ms.total_cmp(&a.p99_ms),
            RouteSort::Count => b.count.total_cmp(&a.count),
            RouteSort::Errors => b.errors.total_cmp(&a.errors),
            RouteSort::Name => std::cmp::Ordering::Equal,
        };
        order.then_with(|| a.name.cmp(&b.name))
    });
    routes
}

fn route(rows: &[&Row]) -> Route {
    // Timelines kept only for being recent count nothing; a route that has only those is counted by them.
    let counted: f64 = rows.iter().map(|row| weight_of(row)).sum();
    let weight = |row: &Row| if counted > 0.0 { weight_of(row) } else { 1.0 };
    let count: f64 = rows.iter().map(|row| weight(row)).sum();
    let mut latencies = Vec::with_capacity(rows.len());
    let mut histogram = Histogram::default();
    let (mut failed, mut first, mut last) = (0.0, u64::MAX, 0);
    for row in rows {
        let (w, ms) = (weight(row), ns_to_ms(row.timeline.latency_ns));
        latencies.push((ms, w));
        histogram.add(ms, w);
        failed += if row.failed() { w } else { 0.0 };
        first = first.min(row.timeline.start_unix_ns);
        last = last.max(row.timeline.start_unix_ns);
    }
    let [p50_ms, p95_ms, p99_ms] = quantiles(&mut latencies, [0.5, 0.95, 0.99]);
    let (split, top) = slow_part(rows.iter().copied().filter(|row| ns_to_ms(row.timeline.latency_ns) >= p95_ms));
    let seconds = ns_to_ms(last.saturating_sub(first)) / 1e3;
    Route {
        name: Arc::clone(&rows[0].timeline.route),
        kept: rows.len(),
        count,
        rate: if seconds > 0.0 { count / seconds } else { 0.0 },
        errors: failed / count.max(f64::MIN_POSITIVE),
        p50_ms,
        p95_ms,
        p99_ms,
        split,
        top,
        histogram,
    }
}

fn weight_of(row: &Row) -> f64 {
    f64::from(row.timeline.weight).max(0.0)
}

fn slow_part<'a>(rows: impl Iterator<Item = &'a Row>) -> (Split, Option<(String, f64)>) {
    let mut split = Split::default();
    let mut whole = 0;
    let mut places: HashMap<String, u64> = HashMap::new();
    for row in rows {
        // Saturating, because the numbers come from outside.
        split.queue_ns = split.queue_ns.saturating_add(row.split.queue_ns);
        split.park_ns = split.park_ns.saturating_add(row.split.park_ns);
        split.run_ns = split.run_ns.saturating_add(row.split.run_ns);
        whole = u64::saturating_add(whole, row.timeline.latency_ns);
        if let Some(top) = &row.top {
            let ns = places.entry(place(&row.timeline, top)).or_default();
            *ns = u64::saturating_add(*ns, top.ns);
        }
    }
    let top = places.into_iter().max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0)));
    (split, top.map(|(name, ns)| (name, ns_to_ms(ns) / ns_to_ms(whole).max(f64::MIN_POSITIVE))))
}

/// Latency by time of one route: how many requests fell into each cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Heat {
    pub(crate) cells: [[f32; HEAT_COLUMNS]; HEAT_ROWS],
    pub(crate) from_unix_ns: u64,
    pub(crate) to_unix_ns: u64,
}

/// Spreads a route's requests over latency and time.
pub(crate) fn heat<'a>(rows: impl Iterator<Item = &'a Arc<Row>> + Clone, route: &str) -> Option<Heat> {
    let of_route = rows.filter(|row| &*row.timeline.route == route);
    let from = of_route.clone().map(|row| row.timeline.start_unix_ns).min()?;
    let to = of_route.clone().map(|row| row.timeline.start_unix_ns).max()?;
    let mut cells = [[0.0; HEAT_COLUMNS]; HEAT_ROWS];
    for row in of_route {
        let timeline = &row.timeline;
        let along = u128::from(timeline.start_unix_ns - from) * HEAT_COLUMNS as u128 / u128::from((to - from).max(1));
        let column = usize::try_from(along).unwrap_or(0).min(HEAT_COLUMNS - 1);
        let height = (timeline.latency_ns / 1_000_000).max(1).ilog2() as usize;
        cells[height.min(HEAT_ROWS - 1)][column] += 1.0;
    }
    Some(Heat { cells, from_unix_ns: from, to_unix_ns: to })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::sample;

    fn rows(list: &[(&str, f64, u16, f32)]) -> Vec<Arc<Row>> {
        list.iter()
            .enumerate()
            .map(|(n, (route, ms, status, weight))| {
                let mut timeline = sample(n as u64 * 1000, route, *ms, *status);
                timeline.weight = *weight;
                Arc::new(Row::new(Arc::new(timeline)))
            })
            .collect()
    }

    #[test]
    fn weights_count_and_recent_ones_do_not() {
        let rows = rows(&[("a", 2.0, 200, 98.0), ("a", 50.0, 500, 2.0), ("a", 900.0, 200, 0.0), ("b", 1.0, 200, 0.0)]);
        let found = routes(rows.iter(), RouteSort::Name);
        assert_eq!((&*found[0].name, found[0].kept, found[0].count), ("a", 3, 100.0));
        assert_eq!((found[0].p50_ms, found[0].p99_ms, found[0].errors), (2.0, 50.0, 0.02));
        assert_eq!(found[0].rate, 50.0);
        assert_eq!((&*found[1].name, found[1].count, found[1].rate), ("b", 1.0, 0.0));
        assert_eq!(found[0].top.as_ref().map(|t| t.0.as_str()), Some("permit @price"));
    }

    #[test]
    fn every_sort_is_total() {
        let rows = rows(&[("b", 5.0, 200, 1.0), ("a", 5.0, 200, 1.0), ("c", 9.0, 500, 1.0)]);
        let names = |sort| routes(rows.iter(), sort).iter().map(|r| r.name.to_string()).collect::<String>();
        assert_eq!([names(RouteSort::P99), names(RouteSort::Name), names(RouteSort::Errors)], ["cab", "abc", "cab"]);
        assert_eq!(RouteSort::P99.next().next().next().next(), RouteSort::P99);
    }

    #[test]
    fn heat_puts_each_request_into_one_cell() {
        let rows = rows(&[("a", 0.5, 200, 1.0), ("a", 5000.0, 200, 1.0), ("b", 1.0, 200, 1.0)]);
        let heat_of_a = heat(rows.iter(), "a").unwrap();
        assert_eq!(heat_of_a.cells.iter().flatten().sum::<f32>(), 2.0);
        assert_eq!((heat_of_a.cells[0][0], heat_of_a.cells[HEAT_ROWS - 1][HEAT_COLUMNS - 1]), (1.0, 1.0));
        assert!(heat(rows.iter(), "none").is_none());
    }
}
