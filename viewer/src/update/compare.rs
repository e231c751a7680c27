//! The comparison: which route, which two cohorts, when it is asked anew, what its answer leads to.

use std::sync::Arc;

use zerver_telemetry::explain::{Cohorts, Comparison};
use zerver_telemetry::id::TraceId;
use zerver_telemetry::timeline::Timeline;

use crate::analysis::Job;
use crate::arrival::Link;
use crate::histogram::{BUCKETS, bucket, edge_ms, quantiles};
use crate::keys::{Action, Screen};
use crate::model::{Choice, Effect, Model, Side};
use crate::row::failed;
use crate::units::ns_to_ms;

/// A live comparison is renewed this often.
const RENEW_NS: u64 = 5_000_000_000;

/// Asks for the comparison as it is set now; a newer question makes an older answer void.
pub(super) fn ask(model: &mut Model) -> Vec<Effect> {
    if model.compare.route.is_none() {
        model.compare.route = model.focused_route().map(|route| route.name.clone());
    }
    let Some(mut route) = model.compare.route.clone() else {
        if model.screen == Screen::Compare {
            model.status = Some("nothing to compare yet; no request has arrived".into());
        }
        return Vec::new();
    };
    let marked = model.compare.choice == Choice::Marked;
    let wanted = |t: &Timeline| if marked { model.marks.contains_key(&t.trace_id) } else { t.route == route };
    let timelines: Vec<Arc<Timeline>> =
        model.store.iter().map(|(_, row)| &row.timeline).filter(|t| wanted(t)).map(Arc::clone).collect();
    let cohorts = match cohorts(model, &timelines, model.compare.choice) {
        Ok(cohorts) => cohorts,
        Err(reason) => {
            model.status = Some(reason);
            // Until something arrives, asking again would give the same answer.
            model.compare.asked_at = model.arrived();
            model.compare.asked_unix_ns = model.now_unix_ns;
            return Vec::new();
        }
    };
    let mut one_route = true;
    if let (true, Some(first)) = (marked, timelines.first()) {
        one_route = timelines.iter().all(|t| t.route == first.route);
        route = first.route.clone();
    }
    model.compare.generation += 1;
    model.compare.pending = true;
    model.compare.asked_unix_ns = model.now_unix_ns;
    model.compare.asked_at = model.arrived();
    let generation = model.compare.generation;
    vec![Effect::Compare(Job { generation, timelines, route: one_route.then_some(route), cohorts })]
}

/// Takes an answer, unless a newer question was asked meanwhile.
pub(super) fn answer(model: &mut Model, generation: u64, comparison: Arc<Comparison>) -> Vec<Effect> {
    let compare = &mut model.compare;
    if generation != compare.generation {
        return Vec::new();
    }
    model.dirty = true;
    compare.pending = false;
    compare.finding = compare.finding.min(comparison.findings.len().saturating_sub(1));
    if compare.choice != Choice::Brushed {
        let (a, b) = (&comparison.a, &comparison.b);
        let above = |ms: f64| (bucket(ms) + 1).min(BUCKETS);
        compare.edges = [bucket(a.min_ms), above(a.max_ms), bucket(b.min_ms), above(b.max_ms)];
    }
    compare.result = Some(comparison);
    Vec::new()
}

/// Asks anew when there is news and the last answer is old.
pub(super) fn keep_fresh(model: &mut Model) -> Vec<Effect> {
    let compare = &model.compare;
    // A capture that is read to its end brings nothing more to wait for.
    let old = model.now_unix_ns.saturating_sub(compare.asked_unix_ns) >= RENEW_NS || model.link == Link::Ended;
    if !model.comparison_outdated() || !(old || compare.result.is_none()) {
        return Vec::new();
    }
    if !compare.chosen {
        model.compare.route = model.focused_route().map(|route| route.name.clone());
    }
    ask(model)
}

/// The overview's cursor moved: the verdict above follows it.
pub(super) fn follow_overview(model: &mut Model) -> Vec<Effect> {
    let route = model.focused_route().map(|route| route.name.clone());
    if route == model.compare.route && model.compare.choice == Choice::SlowVersusFast {
        return Vec::new();
    }
    choose(model, route, Choice::SlowVersusFast)
}

/// Chooses a route and its cohorts.
pub(super) fn choose(model: &mut Model, route: Option<Arc<str>>, choice: Choice) -> Vec<Effect> {
    let compare = &mut model.compare;
    if route.is_some() && route != compare.route {
        compare.route = route;
        compare.result = None;
        compare.finding = 0;
    }
    compare.chosen = true;
    compare.choice = choice;
    compare.swapped = false;
    ask(model)
}

/// The cohorts of a choice, or why it cannot be made.
fn cohorts(model: &Model, timelines: &[Arc<Timeline>], choice: Choice) -> Result<Cohorts, String> {
    let by = |slow: &dyn Fn(&Timeline) -> bool| {
        let (b, a): (Vec<_>, Vec<_>) = timelines.iter().partition(|t| slow(t));
        let traces = |list: Vec<&Arc<Timeline>>| -> Vec<TraceId> { list.iter().map(|t| t.trace_id).collect() };
        (traces(a), traces(b))
    };
    let sets = |(a, b): (Vec<TraceId>, Vec<TraceId>), no_a: &str, no_b: &str| match (a.is_empty(), b.is_empty()) {
        (true, _) => Err(format!("{}: {no_a}", choice.as_str())),
        (_, true) => Err(format!("{}: {no_b}", choice.as_str())),
        _ => Ok(Cohorts::Traces { a, b }),
    };
    let found = match choice {
        Choice::SlowVersusFast => Cohorts::SlowVersusFast,
        Choice::Percentiles => {
            let mut values: Vec<(f64, f64)> =
                timelines.iter().map(|t| (ns_to_ms(t.latency_ns), f64::from(t.weight).max(1e-6))).collect();
            let [p40, p60, p99] = quantiles(&mut values, [0.4, 0.6, 0.99]);
            if p99 <= p60 {
                return Err("p99 vs p50: all requests take the same time".into());
            }
            Cohorts::Latency { a: (p40, p60), b: (p99, f64::MAX) }
        }
        Choice::OkVersusFailed => sets(by(&failed), "every request failed", "no request failed")?,
        Choice::FilterVersusRest => {
            if model.requests.filter.is_empty() {
                return Err("filter vs rest: set a filter first (/)".into());
            }
            let matching: std::collections::HashSet<TraceId> = model
                .store
                .iter()
                .filter(|(_, row)| model.requests.filter.matches(row, &model.around))
                .map(|(_, row)| row.timeline.trace_id)
                .collect();
            sets(by(&|t| matching.contains(&t.trace_id)), "the filter matches all", "the filter matches none")?
        }
        Choice::LateVersusEarly => {
            let mut starts: Vec<u64> = timelines.iter().map(|t| t.start_unix_ns).collect();
            starts.sort_unstable();
            let middle = starts.get(starts.len() / 2).copied().unwrap_or(0);
            sets(by(&|t| t.start_unix_ns >= middle), "all began at once", "none is late")?
        }
        Choice::Brushed => {
            let [a0, a1, b0, b1] = model.compare.edges.map(edge_ms);
            Cohorts::Latency { a: (a0, a1), b: (b0, b1) }
        }
        Choice::Marked => {
            let of = |side| model.marks.iter().filter(|(_, s)| **s == side).map(|(t, _)| *t).collect::<Vec<_>>();
            sets((of(Side::Fast), of(Side::Slow)), "mark a fast request with a", "mark a slow request with b")?
        }
    };
    Ok(match (found, model.compare.swapped) {
        (Cohorts::Latency { a, b }, true) => Cohorts::Latency { a: b, b: a },
        (Cohorts::Traces { a, b }, true) => Cohorts::Traces { a: b, b: a },
        (found, _) => found,
    })
}

pub(super) fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    match action {
        Action::EdgeLeft => edge(model, -1),
        Action::EdgeRight => edge(model, 1),
        Action::EdgeFarLeft => edge(model, -4),
        Action::EdgeFarRight => edge(model, 4),
        Action::OtherEdge => {
            model.compare.edge = (model.compare.edge + 1) % 4;
            Vec::new()
        }
        Action::Preset => preset(model),
        Action::Swap => {
            if model.compare.choice == Choice::SlowVersusFast {
                if model.compare.result.is_none() {
                    model.status = Some("nothing to swap: no comparison is done yet".into());
                    return Vec::new();
                }
                // The engine's own choice has a direction; its ranges have none.
                model.compare.choice = Choice::Brushed;
            }
            model.compare.swapped = !model.compare.swapped;
            ask(model)
        }
        Action::Order => {
            model.compare.by_time = !model.compare.by_time;
            Vec::new()
        }
        Action::Reset => choose(model, None, Choice::SlowVersusFast),
        Action::NextRoute => other_route(model, 1),
        Action::PreviousRoute => other_route(model, -1),
        _ => Vec::new(),
    }
}

/// Moves the chosen edge; the two of a cohort keep at least one bucket between them.
fn edge(model: &mut Model, by: isize) -> Vec<Effect> {
    let at = model.compare.edges[model.compare.edge];
    set_edge(model, at.saturating_add_signed(by))
}

pub(super) fn set_edge(model: &mut Model, to: usize) -> Vec<Effect> {
    let compare = &mut model.compare;
    if compare.result.is_none() {
        model.status = Some("no cohorts to move yet".into());
        return Vec::new();
    }
    let edge = compare.edge;
    let (least, most) = if edge.is_multiple_of(2) {
        (0, compare.edges[edge + 1].max(1) - 1)
    } else {
        (compare.edges[edge - 1] + 1, BUCKETS)
    };
    let to = to.clamp(least.min(most), most);
    if compare.edges[edge] == to {
        model.status = Some("the edge can go no further; Tab takes the next one".into());
        return Vec::new();
    }
    compare.edges[edge] = to;
    if compare.choice != Choice::Brushed {
        compare.choice = Choice::Brushed;
        compare.swapped = false;
    }
    compare.chosen = true;
    ask(model)
}

fn preset(model: &mut Model) -> Vec<Effect> {
    const ORDER: [Choice; 6] = [
        Choice::SlowVersusFast,
        Choice::Percentiles,
        Choice::OkVersusFailed,
        Choice::FilterVersusRest,
        Choice::LateVersusEarly,
        Choice::Marked,
    ];
    let at = ORDER.iter().position(|choice| *choice == model.compare.choice).unwrap_or(ORDER.len() - 1);
    let mut skipped = Vec::new();
    for step in 1..=ORDER.len() {
        let choice = ORDER[(at + step) % ORDER.len()];
        let effects = choose(model, None, choice);
        if !effects.is_empty() {
            let chosen = choice.as_str();
            model.status = Some(match skipped.as_slice() {
                [] => format!("A and B: {chosen}"),
                reasons => format!("A and B: {chosen} (left out: {})", reasons.join("; ")),
            });
            return effects;
        }
        skipped.extend(model.status.take());
    }
    Vec::new()
}

fn other_route(model: &mut Model, by: isize) -> Vec<Effect> {
    let count = model.routes.len();
    let place = model.routes.iter().position(|route| Some(&route.name) == model.compare.route.as_ref()).unwrap_or(0);
    if count < 2 {
        model.status = Some("there is no other route".into());
        return Vec::new();
    }
    let next = (place + count).saturating_add_signed(by) % count;
    let route = model.routes[next].name.clone();
    choose(model, Some(route), Choice::SlowVersusFast)
}
