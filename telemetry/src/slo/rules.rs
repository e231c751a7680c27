//! Rules for Prometheus: burn rates and alerts for each objective, and alerts for the gateway's own health.
//!
//! The alerts look at two windows each: the long one says that it matters, the short one that it still goes on. Source: "The
//! Site Reliability Workbook", chapter 5, "Multiwindow, Multi-Burn-Rate Alerts".

use std::fmt::Write as _;
use std::time::Duration;

use super::{BURN_WINDOWS, Objective};
use crate::metrics::catalog::{self, Metric};

/// An alert for each objective: so much of its budget is used within the long window.
struct Tier {
    name: &'static str,
    severity: &'static str,
    /// The share of the budget that is used by then.
    used: f64,
    long: &'static str,
    short: &'static str,
}

const TIERS: [Tier; 4] = [
    Tier { name: "ZerverBudgetBurnsFast", severity: "page", used: 0.02, long: "1h", short: "5m" },
    Tier { name: "ZerverBudgetBurns", severity: "page", used: 0.05, long: "6h", short: "30m" },
    Tier { name: "ZerverBudgetShrinks", severity: "ticket", used: 0.10, long: "1d", short: "2h" },
    Tier { name: "ZerverBudgetShrinksSlowly", severity: "ticket", used: 0.10, long: "3d", short: "6h" },
];

/// An alert for the gateway itself.
struct Health {
    name: &'static str,
    severity: &'static str,
    lasts: &'static str,
    metric: &'static Metric,
    /// The expression; `{}` stands for the metric's name.
    expr: &'static str,
    summary: &'static str,
    remedy: &'static str,
}

const HEALTH: [Health; 9] = [
    Health {
        name: "ZerverAbsent",
        severity: "page",
        lasts: "5m",
        metric: catalog::BUILD,
        expr: "absent({})",
        summary: "no gateway reports metrics",
        remedy: "Look whether it runs, and whether Prometheus reaches its admin listener.",
    },
    Health {
        name: "ZerverUpstreamDown",
        severity: "page",
        lasts: "1m",
        metric: catalog::UPSTREAM_HEALTHY,
        expr: "max by (instance, upstream) ({}) == 0",
        summary: "no peer of {{ $labels.upstream }} takes traffic",
        remedy: "`GET /upstreams` says why each peer is left alone.",
    },
    Health {
        name: "ZerverBreakerOpen",
        severity: "ticket",
        lasts: "5m",
        metric: catalog::BREAKER_STATE,
        expr: "{} == 2",
        summary: "the circuit breaker of {{ $labels.upstream }} stays open",
        remedy: "The service answers with errors or not at all; its probes fail too.",
    },
    Health {
        name: "ZerverRefuses",
        severity: "ticket",
        lasts: "10m",
        metric: catalog::LIMIT_REFUSED,
        expr: "sum by (instance, limit) (rate({}[5m])) > 0",
        summary: "{{ $labels.limit }} has had no room for all for ten minutes",
        remedy: "`zerver compare` says what the slow requests wait for; `GET /limits` shows the queue.",
    },
    Health {
        name: "ZerverStuckRuns",
        severity: "ticket",
        lasts: "0m",
        metric: catalog::STUCK,
        expr: "{} > 0",
        summary: "something was done and could not be undone",
        remedy: "`zerver stuck` lists the runs and goes on with their undoing.",
    },
    Health {
        name: "ZerverConfigRejected",
        severity: "ticket",
        lasts: "0m",
        metric: catalog::CONFIG_RELOADS,
        expr: "increase({}{result=\"rejected\"}[15m]) > 0",
        summary: "a configuration was rejected; the one before is still in force",
        remedy: "`zerver check` says what is wrong with it.",
    },
    Health {
        name: "ZerverTimelinesLost",
        severity: "ticket",
        lasts: "10m",
        metric: catalog::TIMELINES_LOST,
        expr: "sum by (instance, cause) (rate({}[5m])) > 0",
        summary: "requests end faster than their timelines are read",
        remedy: "Percentiles and comparisons are made of what is left.",
    },
    Health {
        name: "ZerverExportLoses",
        severity: "ticket",
        lasts: "15m",
        metric: catalog::EXPORT_DROPPED,
        expr: "sum by (instance, signal, cause) (rate({}[10m])) > 0",
        summary: "{{ $labels.signal }} do not reach the collector: {{ $labels.cause }}",
        remedy: "Look at the collector; the gateway's log says what it answered.",
    },
    Health {
        name: "ZerverLogLoses",
        severity: "ticket",
        lasts: "15m",
        metric: catalog::LOG_DROPPED,
        expr: "sum by (instance, log, cause) (rate({}[10m])) > 0",
        summary: "lines of the {{ $labels.log }} log are lost: {{ $labels.cause }}",
        remedy: "Its target is full, slow or gone.",
    },
];

/// A file of rules for Prometheus: the burn rates of every objective, alerts for each, and alerts for the gateway's health.
/// `promtool check rules` takes it.
#[must_use]
pub fn text(objectives: &[Objective]) -> String {
    let mut out = String::from("# Made by `zerver rules`; make it anew when objectives change.\ngroups:\n");
    if !objectives.is_empty() {
        out.push_str("- name: zerver-objectives\n  rules:\n");
        BURN_WINDOWS.iter().for_each(|(window, _)| share(&mut out, window));
        objectives.iter().for_each(|objective| left(&mut out, objective));
        out.push_str("- name: zerver-budgets\n  rules:\n");
        objectives.iter().for_each(|objective| alerts(&mut out, objective));
    }
    out.push_str("- name: zerver-health\n  rules:\n");
    HEALTH.iter().for_each(|health| health_alert(&mut out, health));
    out
}

/// The name of the share of bad requests over a window.
fn share_of(window: &str) -> String {
    format!("zerver:slo_bad:ratio_rate{window}")
}

fn share(out: &mut String, window: &str) {
    let events = catalog::SLO_EVENTS.name;
    let sum = |filter: &str| format!("sum by (route, slo) (rate({events}{filter}[{window}]))");
    record(out, &share_of(window), &format!("{} / {}", sum("{result=\"bad\"}"), sum("")), &[]);
}

/// What is left of a budget: 1 at the beginning, 0 when it is used up, less when more went wrong.
fn left(out: &mut String, objective: &Objective) {
    let (events, window, chosen) = (catalog::SLO_EVENTS.name, days(objective.window), chosen(objective));
    let sum = |more: &str| format!("sum by (route, slo) (increase({events}{{{chosen}{more}}}[{window}]))");
    let bad = sum(",result=\"bad\"");
    let expr = format!("1 - {bad} / {} / {}", sum(""), number(objective.budget()));
    let labels = [("route", &*objective.route), ("slo", objective.indicator.as_str()), ("window", &window)];
    record(out, "zerver:slo_budget:left", &expr, &labels);
}

fn alerts(out: &mut String, objective: &Objective) {
    let (route, slo, chosen) = (&objective.route, objective.indicator.as_str(), chosen(objective));
    for Tier { name, severity, used, long, short } in &TIERS {
        let factor = used * objective.window.as_secs_f64() / length(long).as_secs_f64();
        let share = factor * objective.budget();
        // Below 1 the budget lasts; a share of 1 and more does not exist.
        if factor < 1.0 || share >= 1.0 {
            continue;
        }
        let burns = |window: &str| format!("{}{{{chosen}}} > {}", share_of(window), number(share));
        let expr = format!("{} and {}", burns(long), burns(short));
        let labels = [("severity", *severity), ("route", &**route), ("slo", slo)];
        let summary = format!(
            "{route} has used {}% of its {slo} budget of {} within {long}",
            number(used * 100.0),
            days(objective.window)
        );
        let says = "`zerver compare` says why the slow requests are slow, `/slo` how fast the budget goes.";
        alert(out, name, &expr, "0m", &labels, &summary, says);
    }
}

fn health_alert(out: &mut String, health: &Health) {
    let Health { name, severity, lasts, metric, expr, summary, remedy } = health;
    // The first pair of braces is the metric's place; others are matchers and templates.
    let expr = expr.replacen("{}", metric.name, 1);
    alert(out, name, &expr, lasts, &[("severity", severity)], summary, remedy);
}

fn chosen(objective: &Objective) -> String {
    format!("route={},slo=\"{}\"", quoted(&objective.route), objective.indicator.as_str())
}

fn record(out: &mut String, name: &str, expr: &str, labels: &[(&str, &str)]) {
    let _ = writeln!(out, "  - record: {name}\n    expr: {}", quoted(expr));
    pairs(out, "labels", labels);
}

fn alert(out: &mut String, name: &str, expr: &str, lasts: &str, labels: &[(&str, &str)], summary: &str, remedy: &str) {
    let _ = writeln!(out, "  - alert: {name}\n    expr: {}", quoted(expr));
    if lasts != "0m" {
        let _ = writeln!(out, "    for: {lasts}");
    }
    pairs(out, "labels", labels);
    pairs(out, "annotations", &[("summary", summary), ("description", remedy)]);
}

fn pairs(out: &mut String, what: &str, pairs: &[(&str, &str)]) {
    if !pairs.is_empty() {
        let _ = writeln!(out, "    {what}:");
        for (key, value) in pairs {
            let _ = writeln!(out, "      {key}: {}", quoted(value));
        }
    }
}

/// A text in double quotes, as YAML and PromQL both read it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A number without the tail that binary fractions leave.
fn number(value: f64) -> String {
    let text = format!("{value:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn length(window: &str) -> Duration {
    let known = BURN_WINDOWS.iter().find(|(name, _)| *name == window);
    known.map(|(_, length)| *length).expect("alerts look at windows of the list")
}

/// A time as Prometheus writes it.
fn days(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        _ if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        _ => format!("{seconds}s"),
    }
}
