//! One request against its route: what is longer than usual in it, and the fast request most like it.

use std::collections::HashMap;
use std::sync::Arc;

use super::align::{Aligned, Key, counts};
use super::cohorts::weighted_median;
use crate::event::Cause;
use crate::timeline::{Timeline, Value};

/// A part is the reason when it holds this much of what the request takes more than the median.
const REASON_LEAST: f64 = 0.35;

/// Scales the median absolute deviation to a standard deviation, for normal data.
const MAD_SCALE: f64 = 1.4826;

/// The resolution below which no spread is told, in nanoseconds.
const SPREAD_LEAST: f64 = 1_000.0;

/// What is usual on one route: median and spread of the critical time at each place.
///
/// Build it once per route and ask it for many requests.
#[derive(Clone, Debug)]
pub struct Usual {
    route: Arc<str>,
    latency_ns: f64,
    /// Median and median absolute deviation.
    parts: HashMap<Portable, (f64, f64)>,
}

/// A part by path, attempt, cause and name: a key that does not depend on which requests were aligned.
type Portable = (String, u16, Cause, Option<Arc<str>>);

/// Why one request is slow, for its line in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct WhySlow {
    /// Where: the path of the node, empty for the request itself.
    pub place: String,
    /// 1 for the first attempt.
    pub attempt: u16,
    /// On what.
    pub cause: Cause,
    /// The permit, upstream, timer or limit waited for.
    pub name: Option<String>,
    /// What it takes there more than the median, in milliseconds.
    pub excess_ms: f64,
    /// That, as a share of all it takes more than the route's median latency; above 1 when other parts were faster.
    pub share: f64,
    /// How often the median fits into it; none where the median request spends nothing.
    pub times_usual: Option<f64>,
    /// How far from usual, in robust standard deviations. Above 6 nothing ordinary explains it.
    pub z: f64,
}

impl Usual {
    /// Learns what is usual from all counted timelines of a route; an empty set makes nothing usual.
    #[must_use]
    pub fn of(timelines: &[Arc<Timeline>], route: &str) -> Self {
        let aligned = Aligned::new(timelines, route);
        let whole: f64 = aligned.rows.iter().map(|row| row.weight).sum();
        let mut by_key: Vec<Vec<(f64, f64)>> = vec![Vec::new(); aligned.keys.len()];
        for row in &aligned.rows {
            for (key, time) in &row.path {
                by_key[*key as usize].push((*time, row.weight));
            }
        }
        let mut parts = HashMap::new();
        for (key, mut times) in aligned.keys.iter().zip(by_key) {
            // The requests that never come there spend 0.
            let present: f64 = times.iter().map(|(_, weight)| weight).sum();
            times.push((0.0, (whole - present).max(0.0)));
            let median = weighted_median(times.clone());
            times.iter_mut().for_each(|(time, _)| *time = (*time - median).abs());
            parts.insert(portable(&aligned, key), (median, weighted_median(times)));
        }
        let latency = weighted_median(aligned.rows.iter().map(|row| (row.latency, row.weight)).collect());
        Self { route: route.into(), latency_ns: latency, parts }
    }

    /// The route it was learnt from.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.route
    }

    /// The median latency in milliseconds.
    #[must_use]
    pub fn median_ms(&self) -> f64 {
        self.latency_ns / 1e6
    }

    /// The one part that makes this request slower than the median.
    ///
    /// None when it is not slower, or when no part holds 35 % of what it takes more: then it is spread. Works for
    /// timelines of weight 0 too.
    #[must_use]
    pub fn why_slow(&self, timeline: &Arc<Timeline>) -> Option<WhySlow> {
        let counted = Arc::new(Timeline { weight: 1.0, ..Timeline::clone(timeline) });
        let alone = [counted];
        let aligned = Aligned::new(&alone, &timeline.route);
        let row = aligned.rows.first()?;
        let excess = row.latency - self.latency_ns;
        let (key, time) = row.path.iter().max_by(|x, y| {
            let more = |part: &(u32, f64)| part.1 - self.part(&aligned, part.0).0;
            more(x).total_cmp(&more(y))
        })?;
        let (median, spread) = self.part(&aligned, *key);
        if excess <= 0.0 || time - median < REASON_LEAST * excess {
            return None;
        }
        let key = &aligned.keys[*key as usize];
        Some(WhySlow {
            place: aligned.places[key.place as usize].clone(),
            attempt: key.attempt,
            cause: key.cause,
            name: key.name.as_deref().map(str::to_owned),
            excess_ms: (time - median) / 1e6,
            share: (time - median) / excess,
            times_usual: (median > 0.0).then(|| time / median),
            z: (time - median) / (MAD_SCALE * spread + SPREAD_LEAST),
        })
    }

    fn part(&self, aligned: &Aligned<'_>, key: u32) -> (f64, f64) {
        self.parts.get(&portable(aligned, &aligned.keys[key as usize])).copied().unwrap_or((0.0, 0.0))
    }
}

fn portable(aligned: &Aligned<'_>, key: &Key) -> Portable {
    (aligned.places[key.place as usize].clone(), key.attempt, key.cause, key.name.clone())
}

/// The fast request most like a slow one: of the faster half of its route, with the same nodes, the fewest different
/// attributes, then the nearest times.
///
/// None when no faster counted request of the route ran the same nodes. Cost: linear in the route's timelines.
#[must_use]
pub fn nearest_fast<'a>(timelines: &'a [Arc<Timeline>], slow: &Arc<Timeline>) -> Option<&'a Arc<Timeline>> {
    let mut latencies: Vec<u64> =
        timelines.iter().filter(|timeline| counts(timeline, &slow.route)).map(|timeline| timeline.latency_ns).collect();
    latencies.sort_unstable();
    let median = *latencies.get(latencies.len() / 2)?;
    let mut fast: Vec<Arc<Timeline>> = timelines
        .iter()
        .filter(|timeline| counts(timeline, &slow.route))
        .filter(|timeline| timeline.latency_ns <= median && timeline.latency_ns < slow.latency_ns)
        .map(Arc::clone)
        .collect();
    fast.push(Arc::new(Timeline { weight: 1.0, ..Timeline::clone(slow) }));
    let aligned = Aligned::new(&fast, &slow.route);
    let last = aligned.rows.len().checked_sub(1)?;
    let others: Vec<usize> = (0..last).collect();
    let twin = aligned.timelines[nearest(&aligned, &others, last)?];
    timelines.iter().find(|timeline| Arc::ptr_eq(timeline, twin))
}

/// The row of `among` that is most like `row`.
pub(crate) fn nearest(aligned: &Aligned<'_>, among: &[usize], row: usize) -> Option<usize> {
    let shape = aligned.rows[row].shape;
    let alike = among.iter().copied().filter(|&other| other != row && aligned.rows[other].shape == shape);
    let measured = alike.map(|other| (differing(aligned, row, other), distance(aligned, row, other), other));
    measured.min_by(|x, y| x.0.cmp(&y.0).then(x.1.total_cmp(&y.1)).then(x.2.cmp(&y.2))).map(|(.., other)| other)
}

/// How many attributes of the request differ; numbers are not counted, they nearly always do.
fn differing(aligned: &Aligned<'_>, x: usize, y: usize) -> usize {
    let (x, y) = (aligned.timelines[x].root(), aligned.timelines[y].root());
    let counted = |value: &Value| !matches!(value, Value::Int(_) | Value::Float(_));
    x.attrs.iter().filter(|(key, value)| counted(value) && y.attr(key) != Some(value)).count()
}

/// The sum of the differences of the critical times, key by key (L1).
fn distance(aligned: &Aligned<'_>, x: usize, y: usize) -> f64 {
    let (x, y) = (&aligned.rows[x].path, &aligned.rows[y].path);
    let (mut i, mut j, mut sum) = (0, 0, 0.0);
    while i < x.len() || j < y.len() {
        let (a, b) = (x.get(i).map_or(u32::MAX, |part| part.0), y.get(j).map_or(u32::MAX, |part| part.0));
        let one = if a <= b { x[i].1 } else { 0.0 };
        let other = if b <= a { y[j].1 } else { 0.0 };
        sum += (one - other).abs();
        i += usize::from(a <= b);
        j += usize::from(b <= a);
    }
    sum
}
