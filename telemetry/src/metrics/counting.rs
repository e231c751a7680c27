//! What timelines say, added up: the collector's side of the metrics.

use super::catalog;
use super::catalog::Metric;
use super::conventional;
use super::histogram::{Distribution, Exemplar, Percentiles};
use super::shortcuts::{RouteShortcuts, Shortcuts};
use super::table::Table;
use crate::event::{NodeKind, Outcome, StateKind};
use crate::exemplars::failed;
use crate::hash::ByName;
use crate::timeline::{Node, PromotedBy, Split, Timeline, Value};

/// Routes with percentiles of their own, some 14 KiB each.
pub(super) const ROUTES: usize = 500;

/// Every table that timelines count in.
#[derive(Debug)]
pub(super) struct Counted {
    tables: Tables,
    pub(super) routes: ByName<RouteTotals>,
    shortcuts: Shortcuts,
}

#[derive(Debug)]
struct Tables {
    request_duration: Table<Distribution>,
    http_server_duration: Table<Distribution>,
    request_state: Table<Distribution>,
    effect_duration: Table<Distribution>,
    http_client_duration: Table<Distribution>,
    requests: Table<u64>,
    timelines: Table<u64>,
    refused: Table<u64>,
    scratch_peak: Table<u64>,
    events_lost: Table<u64>,
    retries: Table<u64>,
    promoted: Table<u64>,
    sampled: Table<u64>,
}

/// What is known of a route at a glance.
#[derive(Debug, Default)]
pub(super) struct RouteTotals {
    pub(super) latency: Percentiles,
    pub(super) failed: u64,
    pub(super) split: Split,
}

impl Default for Counted {
    fn default() -> Self {
        let tables = Tables {
            request_duration: Table::new(catalog::REQUEST_DURATION),
            http_server_duration: Table::new(catalog::HTTP_SERVER_DURATION),
            request_state: Table::new(catalog::REQUEST_STATE),
            effect_duration: Table::new(catalog::EFFECT_DURATION),
            http_client_duration: Table::new(catalog::HTTP_CLIENT_DURATION),
            requests: Table::new(catalog::REQUESTS),
            timelines: Table::new(catalog::TIMELINES),
            refused: Table::new(catalog::REFUSED),
            scratch_peak: Table::new(catalog::SCRATCH_PEAK),
            events_lost: Table::new(catalog::EVENTS_LOST),
            retries: Table::new(catalog::RETRIES),
            promoted: Table::new(catalog::PROMOTED),
            sampled: Table::new(catalog::SAMPLED),
        };
        Self { tables, routes: ByName::new(ROUTES), shortcuts: Shortcuts::default() }
    }
}

impl Counted {
    /// From now on new series of histograms count in exponential buckets as well.
    pub(super) fn count_finely(&mut self) {
        let tables = &mut self.tables;
        for table in [
            &mut tables.request_duration,
            &mut tables.http_server_duration,
            &mut tables.request_state,
            &mut tables.effect_duration,
            &mut tables.http_client_duration,
        ] {
            table.begin_with(Distribution::finely);
        }
    }

    pub(super) fn distributions(&self) -> [&Table<Distribution>; 5] {
        let tables = &self.tables;
        [
            &tables.request_duration,
            &tables.http_server_duration,
            &tables.request_state,
            &tables.effect_duration,
            &tables.http_client_duration,
        ]
    }

    pub(super) fn counters(&self) -> [&Table<u64>; 8] {
        let tables = &self.tables;
        [
            &tables.requests,
            &tables.timelines,
            &tables.refused,
            &tables.scratch_peak,
            &tables.events_lost,
            &tables.retries,
            &tables.promoted,
            &tables.sampled,
        ]
    }

    /// The sum of a counter over all its labels.
    pub(super) fn total(&self, metric: &Metric) -> u64 {
        let table = self.counters().into_iter().find(|table| table.metric.name == metric.name);
        table.map_or(0, |table| table.values().sum())
    }

    /// Counts a sampling decision.
    pub(super) fn decided(&mut self, decision: &str) {
        *self.tables.sampled.with(&[decision]) += 1;
    }

    /// Counts what one timeline says.
    pub(super) fn observe(&mut self, timeline: &Timeline) {
        let Self { tables, routes, shortcuts } = self;
        let mut stranger = None;
        let known = match shortcuts.0.enter(&timeline.route) {
            Some(known) => known,
            None => stranger.insert(RouteShortcuts::default()),
        };
        let split = timeline.root().split();
        tables.request(timeline, &split, known);
        for node in &timeline.nodes {
            if node.kind == NodeKind::Effect && node.outcome != Outcome::Skipped {
                tables.call(timeline, node, known);
            }
            for state in &node.states {
                if let Some(rule) = state.promoted {
                    let (place, kind) = if state.cause.kind() == StateKind::Queue { (0, "queue") } else { (1, "park") };
                    let known = &mut known.promoted[place][place_of(rule)];
                    *tables.promoted.find(known, [&*timeline.route, kind, rule.as_str()]) += 1;
                }
            }
        }
        if let Some(totals) = routes.enter(&timeline.route) {
            totals.latency.record(timeline.latency_ns);
            totals.failed += u64::from(failed(timeline));
            totals.split.queue_ns += split.queue_ns;
            totals.split.park_ns += split.park_ns;
            totals.split.run_ns += split.run_ns;
        }
    }
}

fn place_of(rule: PromotedBy) -> usize {
    match rule {
        PromotedBy::Threshold => 0,
        PromotedBy::Adaptive => 1,
        PromotedBy::Debug => 2,
    }
}

impl Tables {
    /// What a request says as a whole.
    fn request(&mut self, timeline: &Timeline, split: &Split, known: &mut RouteShortcuts) {
        let route = &*timeline.route;
        let status = timeline.status;
        let at_unix_ns = timeline.start_unix_ns.saturating_add(timeline.latency_ns);
        let Timeline { trace_id, span_id, sampled, .. } = *timeline;
        let exemplar = Exemplar { trace_id, span_id, ns: timeline.latency_ns, at_unix_ns, sampled };
        let class = usize::from(status / 100);
        let class = &mut known.duration[if class < 6 { class } else { 0 }];
        self.request_duration.find(class, [route, status_class(status)]).record_with(exemplar);
        if let Some(facts) = conventional::server_facts(timeline) {
            let slot = known.server.find(
                |known| facts.are(known),
                || {
                    let labels = conventional::server(timeline).unwrap_or_default();
                    (facts.keep(), self.http_server_duration.slot(&labels.each_ref().map(|label| &**label)))
                },
            );
            self.http_server_duration.at(slot).record_with(exemplar);
        }
        let ended = (status, timeline.outcome);
        let requests = known.requests.find(
            |known| *known == ended,
            || {
                let mut digits = [0; 5];
                let labels = [route, decimal(status, &mut digits), timeline.outcome.as_str()];
                (ended, self.requests.slot(&labels))
            },
        );
        *self.requests.at(requests) += 1;
        *self.timelines.with(&[]) += 1;
        let states = [("queue", split.queue_ns), ("park", split.park_ns), ("run", split.run_ns)];
        for ((state, ns), known) in states.into_iter().zip(&mut known.state) {
            self.request_state.find(known, [route, state]).record(ns);
        }
        if timeline.outcome == Outcome::Refused {
            *self.refused.with(&[route, timeline.error.as_deref().unwrap_or("refused")]) += 1;
        }
        if let Some(Value::Int(bytes)) = timeline.root().attr("zerver.flow.scratch_bytes") {
            // The highest value seen so far.
            let highest = self.scratch_peak.find(&mut known.scratch, [route]);
            *highest = u64::try_from(*bytes).unwrap_or(0).max(*highest);
        }
        if timeline.lost_events > 0 {
            *self.events_lost.with(&[]) += u64::from(timeline.lost_events);
        }
    }

    /// What one call of it says.
    fn call(&mut self, timeline: &Timeline, node: &Node, known: &mut RouteShortcuts) {
        let route = &*timeline.route;
        let mut stranger = None;
        let known = match known.targets.enter(&node.name) {
            Some(known) => known,
            None => stranger.insert(Default::default()),
        };
        let ns = node.end_ns.saturating_sub(node.start_ns);
        let ended = &mut known.duration[node.outcome as usize];
        self.effect_duration.find(ended, [route, &node.name, node.outcome.as_str()]).record(ns);
        if let Some(facts) = conventional::client_facts(node) {
            let slot = known.client.find(
                |known| facts.are(known),
                || {
                    let labels = conventional::client(node).unwrap_or_default();
                    (facts.keep(), self.http_client_duration.slot(&labels.each_ref().map(|label| &**label)))
                },
            );
            let at_unix_ns = timeline.start_unix_ns.saturating_add(node.end_ns);
            let Timeline { trace_id, sampled, .. } = *timeline;
            let exemplar = Exemplar { trace_id, span_id: node.span_id, ns, at_unix_ns, sampled };
            self.http_client_duration.at(slot).record_with(exemplar);
        }
        if node.attempt > 1 {
            *self.retries.find(&mut known.retries, [route, &node.name]) += 1;
        }
    }
}

/// `2xx` and so on; `none` when no answer was sent.
#[must_use]
pub fn status_class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "none",
    }
}

fn decimal(mut n: u16, digits: &mut [u8; 5]) -> &str {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[at..]).unwrap_or("0")
}
