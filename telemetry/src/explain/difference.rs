//! The exact difference of two cohorts, part by part: the rows of the aligned waterfall, which sum to the whole.

use super::Part;
use super::align::Aligned;
use super::cohorts::{Chosen, weighted_median};

/// A part smaller than this share of the difference goes into `other`.
const SHARE_LEAST: f64 = 0.01;

/// A part within this many standard errors of nothing goes into `other`.
const ERRORS_LEAST: f64 = 2.0;

/// A part must take this much of the usual latency to say anything about everything.
const LARGE: f64 = 0.005;

/// The most rows a table shows.
const PARTS_MAX: usize = 40;

/// The parts of `mean B − mean A`, the largest first; what is too small to tell from nothing is one row, `other`.
///
/// Every request's row sums to its latency, and means add: so the parts sum to the difference, whatever the data.
pub(crate) fn parts(aligned: &Aligned<'_>, chosen: &Chosen) -> Vec<Part> {
    let (a, b) = (aligned.mean_by_key(&chosen.a), aligned.mean_by_key(&chosen.b));
    let delta = aligned.mean_latency(&chosen.b) - aligned.mean_latency(&chosen.a);
    let errors = standard_errors(aligned, chosen, &a, &b);
    let mut shown: Vec<usize> = (0..aligned.keys.len())
        .filter(|&key| {
            let part = (b[key] - a[key]).abs();
            part > ERRORS_LEAST * errors[key] && part >= SHARE_LEAST * delta.abs() && part > 0.0
        })
        .collect();
    let size = |key: usize| (b[key] - a[key]).abs();
    shown.sort_by(|&x, &y| size(y).total_cmp(&size(x)).then(x.cmp(&y)));
    shown.truncate(PARTS_MAX);
    let share = |part: f64| if delta == 0.0 { 0.0 } else { part / delta };
    let mut parts: Vec<Part> = Vec::with_capacity(shown.len() + 1);
    let (mut other_a, mut other_b) = (a.iter().sum::<f64>(), b.iter().sum::<f64>());
    let mut wanted = vec![false; aligned.keys.len()];
    for &key in &shown {
        other_a -= a[key];
        other_b -= b[key];
        wanted[key] = true;
        let described = &aligned.keys[key];
        parts.push(Part {
            place: aligned.places[described.place as usize].clone(),
            attempt: described.attempt,
            cause: Some(described.cause),
            name: described.name.as_deref().map(str::to_owned),
            a_ms: a[key] / 1e6,
            b_ms: b[key] / 1e6,
            a_median_ms: median(aligned, &chosen.a, &wanted) / 1e6,
            b_median_ms: median(aligned, &chosen.b, &wanted) / 1e6,
            delta_ms: (b[key] - a[key]) / 1e6,
            share: share(b[key] - a[key]),
            few: few(aligned, &chosen.b, &wanted, a[key], b[key]),
        });
        wanted[key] = false;
    }
    if shown.len() < aligned.keys.len() {
        let rest: Vec<bool> = (0..aligned.keys.len()).map(|key| !shown.contains(&key)).collect();
        parts.push(Part {
            place: "other".into(),
            attempt: 1,
            cause: None,
            name: None,
            a_ms: other_a / 1e6,
            b_ms: other_b / 1e6,
            a_median_ms: median(aligned, &chosen.a, &rest) / 1e6,
            b_median_ms: median(aligned, &chosen.b, &rest) / 1e6,
            delta_ms: (other_b - other_a) / 1e6,
            share: share(other_b - other_a),
            few: false,
        });
    }
    parts
}

/// How evenly all parts grew: 1 when all by the same factor, 0 when at least a quarter of them did not grow at all.
///
/// Looks at the factor by which the median of each part grew among the requests that have it, so that neither a branch
/// taken more often nor a part that left the critical path counts as growth. None when fewer than four parts are large
/// and frequent enough to tell.
pub(crate) fn evenness(aligned: &Aligned<'_>, chosen: &Chosen) -> Option<f64> {
    let (a, b) = (times_by_key(aligned, &chosen.a), times_by_key(aligned, &chosen.b));
    let all = |rows: &[usize]| {
        weighted_median(rows.iter().map(|&row| (aligned.rows[row].latency, aligned.rows[row].weight)).collect())
    };
    let (usual, slow) = (all(&chosen.a), all(&chosen.b));
    if usual <= 0.0 || slow <= usual {
        return None;
    }
    let mut growths: Vec<f64> = Vec::new();
    for (fast, slow) in a.into_iter().zip(b) {
        let frequent = fast.len() * 5 >= chosen.a.len() && slow.len() * 5 >= chosen.b.len() && slow.len() >= 10;
        let median = weighted_median(fast);
        if frequent && median >= LARGE * usual {
            growths.push(weighted_median(slow) / median - 1.0);
        }
    }
    if growths.len() < 4 {
        return None;
    }
    growths.sort_by(f64::total_cmp);
    Some(growths[growths.len() / 4] / (slow / usual - 1.0))
}

/// The times at each key with their weights, of the rows that spend any there.
fn times_by_key(aligned: &Aligned<'_>, rows: &[usize]) -> Vec<Vec<(f64, f64)>> {
    let mut times = vec![Vec::new(); aligned.keys.len()];
    for row in rows.iter().map(|&row| &aligned.rows[row]) {
        for (key, time) in &row.path {
            times[*key as usize].push((*time, row.weight));
        }
    }
    times
}

/// The standard error of each key's difference, after Welch (variances need not be equal).
fn standard_errors(aligned: &Aligned<'_>, chosen: &Chosen, a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut variance = vec![0.0; a.len()];
    for (rows, means) in [(&chosen.a, a), (&chosen.b, b)] {
        let mut squares = vec![0.0; a.len()];
        let (mut weight, mut weight_squares) = (0.0, 0.0);
        for row in rows.iter().map(|&row| &aligned.rows[row]) {
            weight += row.weight;
            weight_squares += row.weight * row.weight;
            for (key, time) in &row.path {
                squares[*key as usize] += row.weight * time * time;
            }
        }
        if weight <= 0.0 {
            continue;
        }
        let effective = weight * weight / weight_squares;
        for (sum, (square, mean)) in variance.iter_mut().zip(squares.iter().zip(means)) {
            *sum += (square / weight - mean * mean).max(0.0) / effective;
        }
    }
    variance.into_iter().map(f64::sqrt).collect()
}

fn median(aligned: &Aligned<'_>, rows: &[usize], wanted: &[bool]) -> f64 {
    weighted_median(rows.iter().map(|&row| (aligned.time_at(row, wanted), aligned.rows[row].weight)).collect())
}

/// Whether the twentieth of B that is slowest at these keys carries more than half of the difference.
fn few(aligned: &Aligned<'_>, b: &[usize], wanted: &[bool], mean_a: f64, mean_b: f64) -> bool {
    let mut excess: Vec<(f64, f64)> =
        b.iter().map(|&row| (aligned.time_at(row, wanted) - mean_a, aligned.rows[row].weight)).collect();
    excess.sort_by(|x, y| y.0.total_cmp(&x.0));
    let total: f64 = excess.iter().map(|(_, weight)| weight).sum();
    let slowest = b.len().div_ceil(20);
    let top: f64 = excess.iter().take(slowest).map(|(excess, weight)| excess * weight).sum();
    mean_b > mean_a && top > 0.5 * (mean_b - mean_a) * total
}
