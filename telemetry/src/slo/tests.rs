//! What counts as good, how fast budgets go, and which rules come of it.

use super::*;
use crate::metrics::Metrics;
use crate::metrics::catalog::Kind;

const DAY: Duration = Duration::from_secs(86_400);

fn objective(indicator: Indicator, ratio: f64) -> Objective {
    Objective { route: "checkout".into(), indicator, ratio, window: 30 * DAY }
}

fn ended(outcome: Outcome, status: u16, ms: u64) -> Timeline {
    Timeline { route: "checkout".into(), outcome, status, latency_ns: ms * 1_000_000, ..crate::timeline::sample() }
}

#[test]
fn good_is_what_a_client_would_call_good() {
    let in_time = Indicator::Latency { under: Duration::from_millis(300) };
    for (outcome, status, ms, available, quick) in [
        (Outcome::Ok, 200, 300, Some(true), Some(true)),
        (Outcome::Ok, 200, 301, Some(true), Some(false)),
        (Outcome::Ok, 404, 5, Some(true), Some(true)),
        (Outcome::Refused, 429, 5, Some(true), Some(true)),
        (Outcome::Refused, 503, 5, Some(false), Some(false)),
        (Outcome::Error, 502, 5, Some(false), Some(false)),
        (Outcome::Timeout, 504, 5, Some(false), Some(false)),
        (Outcome::Error, 0, 5, Some(false), Some(false)),
        (Outcome::Cancelled, 0, 5, None, None),
    ] {
        let timeline = ended(outcome, status, ms);
        let judged = (Indicator::Availability.judge(&timeline), in_time.judge(&timeline));
        assert_eq!(judged, (available, quick), "{outcome:?} {status} {ms}");
    }
}

#[test]
fn a_budget_that_burns_shows_in_every_window_and_metric() {
    let clock = Clock::manual();
    let slos = Slos::new(clock.clone());
    slos.set(&[objective(Indicator::Availability, 0.99)]);
    let now = clock.unix_ns(clock.now());
    for n in 0..100 {
        let status = if n < 5 { 503 } else { 200 };
        slos.observe(&Timeline { start_unix_ns: now, ..ended(Outcome::Ok, status, 0) });
    }
    slos.observe(&Timeline { route: "other".into(), start_unix_ns: now, ..ended(Outcome::Error, 500, 0) });
    let standing = &slos.standings()[0];
    assert_eq!((standing.requests, standing.bad), (100, 5));
    assert!(standing.burn_rates.iter().all(|(_, rate)| (rate - 5.0).abs() < 1e-9), "{standing:?}");
    // Half an hour later the short window has forgotten it.
    clock.advance(Duration::from_secs(1_800));
    let rates: std::collections::HashMap<_, _> = slos.standings()[0].burn_rates.iter().copied().collect();
    assert_eq!((rates["5m"], rates["1h"].round()), (0.0, 5.0));
    let metrics = Metrics::new();
    metrics.register(Arc::clone(&slos) as _);
    let text = crate::export::prometheus::text(&metrics.snapshot());
    for line in [
        "zerver_slo_events_total{route=\"checkout\",slo=\"availability\",result=\"bad\"} 5",
        "zerver_slo_objective_ratio{route=\"checkout\",slo=\"availability\"} 0.99",
        "zerver_slo_burn_rate{route=\"checkout\",slo=\"availability\",window=\"5m\"} 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    // What stays as it was keeps its counts; what is new begins.
    slos.set(&[objective(Indicator::Availability, 0.99), objective(Indicator::Availability, 0.9)]);
    let mut requests: Vec<u64> = slos.standings().iter().map(|standing| standing.requests).collect();
    requests.sort_unstable();
    assert_eq!(requests, [0, 100]);
    slos.set(&[]);
    assert!(slos.standings().is_empty());
}

#[test]
fn alerts_that_could_never_fire_or_always_would_are_left_out() {
    let alerts = |ratio: f64, window: Duration| {
        let objective = Objective { window, ..objective(Indicator::Availability, ratio) };
        rules::text(&[objective]).matches("ZerverBudget").count()
    };
    assert_eq!(alerts(0.999, 30 * DAY), 4);
    // 14.4 times a budget of 10 % is more than there is.
    assert_eq!(alerts(0.9, 30 * DAY), 3);
    // A tenth of a week's budget in three days is slower than the budget lasts.
    assert_eq!(alerts(0.999, 7 * DAY), 2);
    assert_eq!(rules::text(&[]).matches("ZerverBudget").count(), 0);
}

#[test]
fn rules_name_only_metrics_and_labels_that_there_are() {
    let odd = Objective { route: "a\"b".into(), ..objective(Indicator::Availability, 0.99) };
    let text = rules::text(&[objective(Indicator::Latency { under: DAY }, 0.995), odd]);
    assert!(text.contains(r#"route=\"a\\\"b\""#), "{text}");
    assert!(text.contains("zerver:slo_bad:ratio_rate1h{route=\\\"checkout\\\",slo=\\\"latency\\\"} > 0.072"), "{text}");
    assert!(catalog::ALL.iter().any(|metric| metric.kind == Kind::Counter && text.contains(metric.name)));
}
