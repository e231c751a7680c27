//! The seam to the comparison: who finds the critical path of one request and the difference between two cohorts.

use std::fmt;
use std::sync::Arc;

use zerver_telemetry::event::{Cause, NodeId};
use zerver_telemetry::explain::{self, Cohorts, Comparison};
use zerver_telemetry::timeline::Timeline;

/// The two questions the viewer asks about timelines, as functions, so that it depends on no way of answering them.
///
/// Both are called on the viewer's own threads, never on the one that draws. Cloning shares the functions.
#[derive(Clone)]
pub struct Engine {
    compare: Arc<Compare>,
    critical_path: Arc<FindPath>,
}

type Compare = dyn Fn(&[Arc<Timeline>], Option<&str>, &Cohorts) -> Comparison + Send + Sync;
type FindPath = dyn Fn(&Timeline) -> CriticalPath + Send + Sync;

impl Engine {
    /// An engine of two pure functions: the comparison of two cohorts of one route, and the critical path of one
    /// request.
    #[must_use]
    pub fn new(
        compare: impl Fn(&[Arc<Timeline>], Option<&str>, &Cohorts) -> Comparison + Send + Sync + 'static,
        critical_path: impl Fn(&Timeline) -> CriticalPath + Send + Sync + 'static,
    ) -> Self {
        Self { compare: Arc::new(compare), critical_path: Arc::new(critical_path) }
    }

    pub(crate) fn compare(&self, timelines: &[Arc<Timeline>], route: Option<&str>, cohorts: &Cohorts) -> Comparison {
        (self.compare)(timelines, route, cohorts)
    }

    pub(crate) fn critical_path(&self, timeline: &Timeline) -> CriticalPath {
        (self.critical_path)(timeline)
    }
}

/// The engine of this project: [`explain::compare()`] and [`explain::critical_path()`].
impl Default for Engine {
    fn default() -> Self {
        Self::new(explain::compare, |timeline| {
            let found = explain::critical_path(timeline);
            let exact = found.iter().all(|piece| piece.exact);
            let piece = |piece: explain::Piece| Piece {
                node: piece.node,
                cause: Some(piece.cause),
                name: piece.name,
                from_ns: piece.from_ns,
                to_ns: piece.to_ns,
            };
            CriticalPath { pieces: found.into_iter().map(piece).collect(), exact }
        })
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// The chain of stretches that made one request as long as it was, in order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CriticalPath {
    /// The stretches; they do not overlap, and their lengths add up to the latency.
    pub pieces: Vec<Piece>,
    /// True when every step from one node to the next came from a recorded wake; false when any was inferred.
    pub exact: bool,
}

/// One stretch of a critical path.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The node the time was spent in.
    pub node: NodeId,
    /// Why it took time; none when nothing was recorded for it.
    pub cause: Option<Cause>,
    /// The permit, upstream, timer or limit waited for.
    pub name: Option<Arc<str>>,
    /// Its beginning, nanoseconds since the request's start.
    pub from_ns: u64,
    /// Its end.
    pub to_ns: u64,
}

impl Piece {
    /// Its length in nanoseconds.
    #[must_use]
    pub const fn len_ns(&self) -> u64 {
        self.to_ns.saturating_sub(self.from_ns)
    }
}
