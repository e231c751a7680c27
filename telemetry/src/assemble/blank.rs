//! A timeline and a node of no request, to be filled.

use std::sync::Arc;

use crate::event::{NodeId, NodeKind, Outcome};
use crate::id::{SpanId, TraceId};
use crate::timeline::{Node, Timeline};

/// A timeline that holds nothing yet; it takes no memory but its own.
pub(crate) fn blank() -> Timeline {
    Timeline {
        seq: 0,
        trace_id: TraceId(0),
        span_id: SpanId(0),
        parent_span_id: None,
        sampled: false,
        route: Arc::default(),
        flow: None,
        config_version: 0,
        start_unix_ns: 0,
        latency_ns: 0,
        outcome: Outcome::Cancelled,
        status: 0,
        error: None,
        weight: 1.0,
        kept: Vec::new(),
        lost_events: 0,
        nodes: Vec::new(),
    }
}

/// A node that holds nothing yet.
pub(super) fn blank_node() -> Node {
    Node {
        id: NodeId::ROOT,
        span_id: SpanId(0),
        parent: None,
        after: None,
        name: Arc::default(),
        kind: NodeKind::Request,
        attempt: 1,
        occurrence: 1,
        start_ns: 0,
        end_ns: 0,
        outcome: Outcome::Cancelled,
        status: 0,
        error: None,
        states: Vec::new(),
        attrs: Vec::new(),
    }
}
