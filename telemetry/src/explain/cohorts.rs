//! Chooses the fast and the slow requests that a comparison is between.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::align::{self, Aligned};
use super::{Cohort, Cohorts};
use crate::timeline::Timeline;

/// The least number of slow requests, where the route has enough.
const SLOW_LEAST: usize = 30;

/// From this many requests on, the slowest 1 % are enough.
const MANY: f64 = 10_000.0;

/// The two cohorts, as row numbers, and the rows in which causes are searched.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) a: Vec<usize>,
    pub(crate) b: Vec<usize>,
    /// All rows that tell a cause from its absence: the whole route, or A and B where they were picked by hand.
    pub(crate) universe: Vec<usize>,
    pub(crate) a_label: String,
    pub(crate) b_label: String,
}

/// Splits the rows of a route.
pub(crate) fn choose(aligned: &Aligned<'_>, cohorts: &Cohorts) -> Chosen {
    let rows = &aligned.rows;
    let all = || (0..rows.len()).collect::<Vec<_>>();
    match cohorts {
        Cohorts::SlowVersusFast => {
            let mut order = all();
            order.sort_by(|&x, &y| rows[x].latency.total_cmp(&rows[y].latency).then(x.cmp(&y)));
            let weights: Vec<f64> = order.iter().map(|&row| rows[row].weight).collect();
            let slow = slow_count(&weights);
            let total: f64 = weights.iter().sum();
            let (mut a, mut below) = (Vec::new(), 0.0);
            for (&row, weight) in order[..order.len() - slow].iter().zip(&weights) {
                let middle = (below + weight / 2.0) / total;
                if (0.05..=0.5).contains(&middle) {
                    a.push(row);
                }
                below += weight;
            }
            let b = order[order.len() - slow..].to_vec();
            let slow_weight: f64 = weights[order.len() - slow..].iter().sum();
            let percent = 100.0 * slow_weight / total.max(f64::MIN_POSITIVE);
            Chosen {
                a,
                b,
                universe: all(),
                a_label: "fast: p5–p50".into(),
                b_label: format!("slow: top {percent:.0} %"),
            }
        }
        Cohorts::Latency { a, b } => {
            let within = |range: &(f64, f64), row: usize| {
                let ms = rows[row].latency / 1e6;
                ms >= range.0 && ms < range.1
            };
            let slow: Vec<usize> = (0..rows.len()).filter(|&row| within(b, row)).collect();
            let fast = (0..rows.len()).filter(|&row| within(a, row) && !within(b, row)).collect();
            Chosen {
                a: fast,
                b: slow,
                universe: all(),
                a_label: format!("{}–{} ms", a.0, a.1),
                b_label: format!("{}–{} ms", b.0, b.1),
            }
        }
        Cohorts::Traces { a, b } => {
            let (a, b): (HashSet<_>, HashSet<_>) = (a.iter().collect(), b.iter().collect());
            let id = |row: usize| &aligned.timelines[row].trace_id;
            let slow: Vec<usize> = (0..rows.len()).filter(|&row| b.contains(id(row))).collect();
            let fast: Vec<usize> = (0..rows.len()).filter(|&row| a.contains(id(row)) && !b.contains(id(row))).collect();
            let universe = fast.iter().chain(&slow).copied().collect();
            Chosen { a: fast, b: slow, universe, a_label: "chosen: A".into(), b_label: "chosen: B".into() }
        }
    }
}

/// How many of the requests, given by weight from the fastest to the slowest, are slow.
fn slow_count(weights: &[f64]) -> usize {
    let total: f64 = weights.iter().sum();
    let wanted = total * if total >= MANY { 0.01 } else { 0.03 };
    let (mut count, mut weight) = (0, 0.0);
    for w in weights.iter().rev() {
        if count >= SLOW_LEAST && weight + w / 2.0 > wanted {
            break;
        }
        count += 1;
        weight += w;
    }
    // Of few requests, the slowest 30 would be half of them.
    count.min(weights.len() / 4)
}

/// The route with the largest extra time: what its slow requests take more than its fast ones, all together.
pub(crate) fn slowest_route(timelines: &[Arc<Timeline>]) -> Option<Arc<str>> {
    let mut routes: HashMap<&Arc<str>, Vec<(u64, f64)>> = HashMap::new();
    for timeline in timelines.iter().filter(|timeline| align::counts(timeline, &timeline.route)) {
        routes.entry(&timeline.route).or_default().push((timeline.latency_ns, f64::from(timeline.weight)));
    }
    let mut best: Option<(f64, &Arc<str>)> = None;
    for (route, mut requests) in routes {
        requests.sort_unstable_by_key(|(latency, _)| *latency);
        let weights: Vec<f64> = requests.iter().map(|(_, weight)| *weight).collect();
        let slow = requests.len() - slow_count(&weights);
        #[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
        let median = requests[requests.len() / 4].0 as f64;
        #[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
        let extra: f64 = requests[slow..].iter().map(|(latency, weight)| weight * (*latency as f64 - median)).sum();
        // Ties go by name, so that the answer does not depend on the order of a hash map.
        if best.is_none_or(|(most, name)| extra > most || (extra >= most && route < name)) {
            best = Some((extra, route));
        }
    }
    best.map(|(_, route)| Arc::clone(route))
}

/// Describes a cohort.
pub(crate) fn describe(aligned: &Aligned<'_>, rows: &[usize], label: &str) -> Cohort {
    let latencies = || rows.iter().map(|&row| aligned.rows[row].latency / 1e6);
    let median =
        weighted_median(rows.iter().map(|&row| (aligned.rows[row].latency, aligned.rows[row].weight)).collect());
    Cohort {
        label: label.to_owned(),
        count: rows.len(),
        weight: rows.iter().map(|&row| aligned.rows[row].weight).sum(),
        min_ms: latencies().min_by(f64::total_cmp).unwrap_or(0.0),
        max_ms: latencies().max_by(f64::total_cmp).unwrap_or(0.0),
        mean_ms: aligned.mean_latency(rows) / 1e6,
        median_ms: median / 1e6,
    }
}

/// The value at half the weight; 0 for none.
pub(crate) fn weighted_median(mut values: Vec<(f64, f64)>) -> f64 {
    values.sort_unstable_by(|x, y| x.0.total_cmp(&y.0));
    let half = values.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut below = 0.0;
    for (value, weight) in &values {
        below += weight;
        if below >= half {
            return *value;
        }
    }
    0.0
}
