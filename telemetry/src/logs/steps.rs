//! Steps and calls of one request as records, for whoever follows a fault: one each, when the request has ended.

use std::borrow::Cow;

use super::record::{Record, Severity};
use crate::event::{NodeKind, Outcome};
use crate::semconv;
use crate::timeline::{Node, Timeline, Value};

/// The scope of these records; a log level for it switches them on.
pub const SCOPE: &str = "zerver::steps";

/// The records of a request's steps and calls, in the order of their beginning.
pub(super) fn records(timeline: &Timeline) -> impl Iterator<Item = Record> {
    timeline.nodes.iter().filter(|node| is_told(node)).map(|node| record(timeline, node))
}

/// How many records that is.
pub(super) fn count(timeline: &Timeline) -> u64 {
    timeline.nodes.iter().filter(|node| is_told(node)).count() as u64
}

fn is_told(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Step | NodeKind::Effect)
}

fn record(timeline: &Timeline, node: &Node) -> Record {
    let kind = if node.kind == NodeKind::Step { "step" } else { "call" };
    let split = node.split();
    let seconds = |ns: u64| Value::Float(ns as f64 / 1e9);
    let mut attributes: Vec<(Cow<'static, str>, Value)> = vec![
        ("route".into(), Value::Text(timeline.route.clone())),
        ("node".into(), Value::Text(timeline.path(node.id).into())),
        ("outcome".into(), Value::Text(node.outcome.as_str().into())),
        ("start_seconds".into(), seconds(node.start_ns)),
        ("duration_seconds".into(), seconds(node.end_ns.saturating_sub(node.start_ns))),
        ("queue_seconds".into(), seconds(split.queue_ns)),
        ("park_seconds".into(), seconds(split.park_ns)),
        ("run_seconds".into(), seconds(split.run_ns)),
    ];
    let mut put = |key: &'static str, value: Value| attributes.push((key.into(), value));
    if node.attempt > 1 {
        put("attempt", Value::Int(node.attempt.into()));
    }
    if node.status != 0 {
        put("status", Value::Int(node.status.into()));
    }
    if let Some(error) = &node.error {
        put("error", Value::Text(error.clone()));
    }
    for (key, name) in [("peer", "peer"), (semconv::HTTP_METHOD, "method"), (semconv::URL_PATH, "path")] {
        if let Some(value) = node.attr(key) {
            put(name, value.clone());
        }
    }
    let failed = matches!(node.outcome, Outcome::Error | Outcome::Timeout | Outcome::Refused);
    Record {
        unix_ns: timeline.start_unix_ns.saturating_add(node.end_ns),
        severity: Severity::Debug,
        scope: SCOPE.into(),
        body: format!("{kind} {} {}", node.name, if failed { "failed" } else { "ended" }),
        attributes,
        trace_id: Some(timeline.trace_id),
        span_id: Some(node.span_id),
        request_id: super::access::given_id(timeline),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_and_each_try_is_a_record() {
        let timeline = crate::timeline::sample();
        let said: Vec<String> = records(&timeline).map(|record| record.body).collect();
        assert_eq!(said, ["step price ended", "call quotes failed", "call quotes ended"]);
        let call = records(&timeline).nth(2).expect("there are three");
        let value = |key: &str| call.attributes.iter().find(|(k, _)| k == key).map(|(_, value)| value.to_string());
        assert_eq!(value("node").as_deref(), Some("price.quotes"));
        assert_eq!(value("attempt").as_deref(), Some("2"));
        assert_eq!(call.trace_id, Some(timeline.trace_id));
    }
}
