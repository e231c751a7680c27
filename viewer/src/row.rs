//! One request as the screens show it: its timeline, its critical path, and what the lists need of both.

use std::collections::HashMap;
use std::sync::Arc;

use zerver_telemetry::event::{Cause, NodeId, Outcome};
use zerver_telemetry::explain::{Piece, critical_path};
use zerver_telemetry::timeline::{Split, Timeline};

/// A request in the store. Made once, on the thread that reads the source.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) timeline: Arc<Timeline>,
    /// The critical path: stretches that do not overlap and add up to the latency, in order of time.
    pub(crate) path: Vec<Piece>,
    /// The critical path's time by kind of state; together at most the latency.
    pub(crate) split: Split,
    /// The place and cause that hold most of the critical path.
    pub(crate) top: Option<Share>,
}

/// All time of a critical path that one node spent for one cause.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Share {
    pub(crate) node: NodeId,
    pub(crate) cause: Cause,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) ns: u64,
}

impl Row {
    pub(crate) fn new(timeline: Arc<Timeline>) -> Self {
        let path = critical_path(&timeline);
        let mut split = Split::default();
        for piece in &path {
            split.add(piece.cause.kind(), piece.len_ns());
        }
        let top = shares(&path).into_iter().next();
        Self { timeline, path, split, top }
    }

    pub(crate) fn failed(&self) -> bool {
        failed(&self.timeline)
    }

    /// Where most of the time went, in words: `permit @price`; with the error's name when it failed.
    pub(crate) fn why(&self) -> String {
        let place = self.top.as_ref().map(|top| place(&self.timeline, top)).unwrap_or_default();
        match (&self.timeline.error, self.timeline.outcome) {
            (Some(error), _) => format!("{error} {place}"),
            (None, Outcome::Ok) => place,
            (None, outcome) => format!("{} {place}", outcome.as_str()),
        }
    }

    /// Whether every step of the critical path was recorded; otherwise some of it is inferred.
    pub(crate) fn path_is_exact(&self) -> bool {
        self.path.iter().all(|piece| piece.exact)
    }

    /// Whether a node is on the critical path.
    pub(crate) fn on_path(&self, node: NodeId) -> bool {
        self.path.iter().any(|piece| piece.node == node)
    }
}

/// Ended otherwise than it should.
pub(crate) fn failed(timeline: &Timeline) -> bool {
    timeline.outcome != Outcome::Ok || timeline.status >= 500
}

/// A share's cause and place: `io @price.call#2`.
pub(crate) fn place(timeline: &Timeline, share: &Share) -> String {
    format!("{} @{}", share.cause.as_str(), node_path(timeline, share.node))
}

/// A node's path, with the attempt when it is not the first; the request itself is `(request)`.
pub(crate) fn node_path(timeline: &Timeline, node: NodeId) -> String {
    let mut path = timeline.path(node);
    if path.is_empty() {
        path.push_str("(request)");
    }
    if let Some(n) = timeline.node(node).filter(|n| n.attempt > 1) {
        path.push('#');
        path.push_str(&n.attempt.to_string());
    }
    path
}

/// The critical path added up by node, cause and name, the largest first.
pub(crate) fn shares(path: &[Piece]) -> Vec<Share> {
    let mut places: HashMap<(NodeId, Cause, Option<&str>), usize> = HashMap::new();
    let mut shares: Vec<Share> = Vec::new();
    for piece in path {
        let Piece { node, cause, name, .. } = piece;
        let place = *places.entry((*node, *cause, name.as_deref())).or_insert_with(|| {
            shares.push(Share { node: *node, cause: *cause, name: name.clone(), ns: 0 });
            shares.len() - 1
        });
        shares[place].ns += piece.len_ns();
    }
    shares.sort_by_key(|share| std::cmp::Reverse(share.ns));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::sample;

    #[test]
    fn a_row_adds_its_path_up() {
        let row = Row::new(Arc::new(sample(1, "quote", 8.0, 200)));
        assert_eq!(row.split, Split { queue_ns: 4_000_000, park_ns: 2_000_000, run_ns: 2_000_000 });
        assert_eq!(row.why(), "permit @price");
        assert_eq!(row.top.as_ref().map(|t| t.ns), Some(4_000_000));
        assert!(row.on_path(NodeId(1)) && !row.on_path(NodeId(0)) && !row.failed());
    }

    #[test]
    fn a_failed_request_says_so_first() {
        let row = Row::new(Arc::new(sample(1, "quote", 8.0, 503)));
        assert_eq!(row.why(), "error permit @price");
        assert!(row.failed());
    }
}
