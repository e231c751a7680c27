//! A small timeline for unit tests: one step that queues, waits and runs.

use std::sync::Arc;

use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::explain::{Cohort, Cohorts, Comparison, VerdictKind};
use zerver_telemetry::id::{SpanId, TraceId};
use zerver_telemetry::timeline::{Node, State, Timeline, Value};

use crate::engine::Engine;

/// A request of `ms` milliseconds whose step `price` queues for half of it, waits for a quarter and runs the rest.
pub(crate) fn sample(seq: u64, route: &str, ms: f64, status: u16) -> Timeline {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "test data")]
    let latency_ns = (ms * 1e6) as u64;
    let ok = if status < 500 { Outcome::Ok } else { Outcome::Error };
    let state = |from_ns, to_ns, cause, name: Option<&str>, woken_by| State {
        from_ns,
        to_ns,
        cause,
        name: name.map(Arc::from),
        woken_by,
        worker: None,
        promoted: None,
        folded: false,
    };
    let node = |id: u16, name: &str, kind, states| Node {
        span_id: zerver_telemetry::id::SpanId(0),
        id: NodeId(id),
        parent: (id > 0).then_some(NodeId(0)),
        after: None,
        name: name.into(),
        kind,
        attempt: 1,
        occurrence: 1,
        start_ns: 0,
        end_ns: latency_ns,
        outcome: ok,
        status,
        error: None,
        states,
        attrs: vec![("tenant".into(), Value::Text("acme".into())), ("bytes".into(), Value::Int(512))],
    };
    let (half, most) = (latency_ns / 2, latency_ns / 4 * 3);
    Timeline {
        seq,
        trace_id: TraceId(u128::from(seq) + 1),
        span_id: SpanId(seq + 1),
        parent_span_id: None,
        sampled: false,
        route: route.into(),
        flow: None,
        config_version: 1,
        start_unix_ns: 1_000_000_000 + seq * 1_000_000,
        latency_ns,
        outcome: ok,
        status,
        error: None,
        weight: 1.0,
        kept: Vec::new(),
        lost_events: 0,
        nodes: vec![
            node(0, "request", NodeKind::Request, vec![state(0, latency_ns, Cause::Join, None, Some(NodeId(1)))]),
            node(
                1,
                "price",
                NodeKind::Step,
                vec![
                    state(0, half, Cause::Permit, Some("b"), None),
                    state(half, most, Cause::Io, None, None),
                    state(most, latency_ns, Cause::Run, None, None),
                ],
            ),
        ],
    }
}

/// An engine for [`sample`]s: the comparison only names its route.
pub(crate) fn engine() -> Engine {
    Engine::new(|timelines, route, cohorts| Comparison {
        route: route.unwrap_or("").to_owned(),
        a: cohort(match cohorts {
            Cohorts::SlowVersusFast => "fast",
            Cohorts::Latency { .. } => "brushed",
            Cohorts::Traces { .. } => "chosen",
        }),
        b: cohort("slow"),
        delta_ms: 1.0,
        unused: timelines.len(),
        parts: Vec::new(),
        findings: Vec::new(),
        verdict: format!("{} timelines of {}", timelines.len(), route.unwrap_or("all")),
        kind: VerdictKind::Uniform,
        exact: true,
        notes: Vec::new(),
    })
}

fn cohort(label: &str) -> Cohort {
    Cohort { label: label.into(), count: 1, weight: 1.0, min_ms: 1.0, max_ms: 2.0, mean_ms: 1.0, median_ms: 1.0 }
}
