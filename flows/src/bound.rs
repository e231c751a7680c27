//! A flow's graph with its names interned, ready for runs, and with it the graphs inside its steps.

use std::sync::Arc;

use zerver_telemetry::event::NodeKind;
use zerver_telemetry::names::{Name, Names};

use crate::cells::Pool;
use crate::graph::{Graph, Inside};
use crate::hedge::Pace;

/// What all runs of one graph share.
#[derive(Debug)]
pub(crate) struct Bound {
    /// The flow's own name.
    pub(crate) flow: Name,
    pub(crate) graph: Arc<Graph>,
    /// How each node appears in timelines.
    pub(crate) shown: Box<[Shown]>,
    /// The graph inside each node.
    pub(crate) inner: Box<[Option<Arc<Bound>>]>,
    /// How long its first branch takes, and how often a second one may help: for hedges.
    pub(crate) pace: Pace,
    pub(crate) pool: Arc<Pool>,
    /// The targets its steps are known to call.
    targets: Box<[(Arc<str>, Name)]>,
}

/// How a node appears in timelines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) name: Name,
    pub(crate) kind: NodeKind,
    /// Its number among the nodes of this name, from 1.
    pub(crate) occurrence: u16,
}

impl Bound {
    /// Interns the names of `graph` and of all graphs inside it. Takes locks: for load time.
    pub(crate) fn new(graph: &Arc<Graph>, names: &Names) -> Arc<Self> {
        let nodes = graph.nodes();
        let show = |n: usize| {
            if graph.inside() == Inside::Steps {
                return Shown { name: names.intern(&nodes[n].name), kind: NodeKind::Step, occurrence: 1 };
            }
            let before = nodes[..n].iter().filter(|other| other.step == nodes[n].step).count();
            let occurrence = u16::try_from(before + 1).unwrap_or(u16::MAX);
            Shown { name: names.intern(&nodes[n].step), kind: NodeKind::Branch, occurrence }
        };
        Arc::new(Self {
            flow: names.intern(graph.slug()),
            shown: (0..nodes.len()).map(show).collect(),
            inner: nodes.iter().map(|node| node.inner.as_ref().map(|inner| Self::new(inner, names))).collect(),
            pace: Pace::default(),
            pool: Arc::default(),
            targets: graph.targets().into_iter().map(|target| (target.into(), names.intern(target))).collect(),
            graph: Arc::clone(graph),
        })
    }

    /// A target that its steps are known to call, by its name.
    pub(crate) fn target(&self, name: &str) -> Option<&(Arc<str>, Name)> {
        self.targets.iter().find(|(text, _)| **text == *name)
    }
}
