//! Requests come in: stored or held, and added up for every screen a few times a second.

use crate::arrival::Arrival;
use crate::histogram::quantiles;
use crate::model::Model;
use crate::routes;
use crate::units::ns_to_ms;

pub(super) fn arrive(model: &mut Model, arrival: Arrival) {
    measure_rate(model, &arrival);
    model.gateway = arrival.gateway;
    model.counters = arrival.counters;
    model.unreadable += arrival.unreadable;
    for row in arrival.rows {
        if model.paused {
            if model.held.len() == model.store.capacity() {
                model.held.pop_front();
                model.held_lost += 1;
            }
            model.held.push_back(row);
        } else {
            model.store.push(row);
        }
    }
    model.stale = true;
}

/// The rate is measured over at least a second, so that it can be read.
fn measure_rate(model: &mut Model, arrival: &Arrival) {
    let now = (arrival.counters.requests, arrival.gateway.now_unix_ns);
    match model.rate_from {
        Some((requests, at)) if now.1 > at && now.0 >= requests => {
            let seconds = ns_to_ms(now.1 - at) / 1e3;
            if seconds >= 1.0 {
                #[expect(clippy::cast_precision_loss, reason = "a rate on screen")]
                let rate = (now.0 - requests) as f64 / seconds;
                model.rate = Some(rate);
                model.rate_from = Some(now);
            }
        }
        // The first answer, or a gateway that counts anew.
        Some(from) if from == now => {}
        _ => {
            model.rate = None;
            model.rate_from = Some(now);
        }
    }
}

pub(super) fn pause(model: &mut Model) {
    model.paused = !model.paused;
    if model.paused {
        model.status = Some("paused; arrivals are kept, Space goes on".into());
        return;
    }
    let count = model.held.len();
    for row in std::mem::take(&mut model.held) {
        model.store.push(row);
    }
    model.status = Some(format!("going on with {count} requests that came meanwhile"));
    add_up(model);
}

/// Adds up what the screens show. Costs a few sorts over the store.
pub(super) fn add_up(model: &mut Model) {
    model.stale = false;
    model.routes = routes::routes(model.store.iter().map(|(_, row)| row), model.overview.sort);
    let selected = model.overview.selected.as_ref();
    let place = selected.and_then(|name| model.routes.iter().position(|route| route.name == *name));
    model.overview.cursor = place.unwrap_or(0).min(model.routes.len().saturating_sub(1));

    let mut latencies = Vec::with_capacity(model.store.len());
    let (mut failed, mut whole) = (0.0, 0.0);
    for (_, row) in model.store.iter() {
        let weight = f64::from(row.timeline.weight).max(0.0);
        latencies.push((ns_to_ms(row.timeline.latency_ns), weight));
        whole += weight;
        failed += if row.failed() { weight } else { 0.0 };
    }
    if whole <= 0.0 {
        for latency in &mut latencies {
            latency.1 = 1.0;
        }
    }
    model.overall = quantiles(&mut latencies, [0.5, 0.95, 0.99]);
    model.errors = if whole > 0.0 { failed / whole } else { 0.0 };

    let percentiles = model.routes.iter().map(|r| (r.name.clone(), [r.p50_ms, r.p95_ms, r.p99_ms]));
    model.around.percentiles = percentiles.collect();
    let ends = model.store.iter().map(|(_, row)| row.timeline.start_unix_ns);
    model.around.newest_unix_ns = ends.max().unwrap_or(0);
    picture(model);
    super::requests::list(model);
}

/// The latency × time picture of the route under the cursor.
pub(super) fn picture(model: &mut Model) {
    let route = model.focused_route().map(|route| route.name.clone());
    model.heat = route.and_then(|name| routes::heat(model.store.iter().map(|(_, row)| row), &name));
}
