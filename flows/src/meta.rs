//! What `#[step]` and `#[flow]` know at compile time, as constants, and the graphs they become. Not for people.

use std::sync::Arc;
use std::time::Duration;

use crate::adapter::Priority;
use crate::graph::{Graph, GraphNode, Head, Inside, Later};
use crate::join::Join;

/// What `#[step]` knows of a step.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct StepMeta {
    pub name: &'static str,
    pub doc: &'static str,
    pub timeout: Option<Duration>,
    pub idempotent: bool,
    pub targets: &'static [&'static str],
    /// The graph it stands for, when it is a sub-flow.
    pub inner: Option<&'static FlowMeta>,
}

impl StepMeta {
    /// A step without anything said of it: what a join is to its flow.
    #[must_use]
    pub const fn plain(name: &'static str) -> Self {
        Self { name, doc: "", timeout: None, idempotent: false, targets: &[], inner: None }
    }
}

/// What `#[flow]` knows of a line.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct NodeMeta {
    pub name: &'static str,
    pub step: StepMeta,
    pub reads: &'static [&'static str],
    pub after: &'static [&'static str],
    pub optional: bool,
    pub conditional: bool,
    pub timeout: Option<Duration>,
    pub retries: u32,
    pub idempotent: bool,
    pub priority: Option<Priority>,
    pub undo: Option<StepMeta>,
    pub cleanup: Option<StepMeta>,
    pub join: Option<JoinMeta>,
    pub line: u32,
}

/// What `#[flow]` knows of a join or a loop.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum JoinMeta {
    /// Branches, in the order written.
    Branches(Join, &'static [BranchMeta]),
    /// One step for each item: how they join, which, and at most how many.
    Items(Join, BranchMeta, u16),
}

/// What `#[flow]` knows of a branch.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct BranchMeta {
    pub step: StepMeta,
    pub optional: bool,
    pub timeout: Option<Duration>,
}

/// What `#[flow]` knows of a flow.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct FlowMeta {
    pub slug: &'static str,
    pub version: u32,
    pub owner: Option<&'static str>,
    pub deadline: Option<Duration>,
    pub optional_within: Option<Duration>,
    pub calls_at_once: Option<u32>,
    pub streams_body: bool,
    pub on_error: Option<StepMeta>,
    pub doc: &'static str,
    pub file: &'static str,
    pub line: u32,
    pub nodes: &'static [NodeMeta],
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

impl FlowMeta {
    pub(crate) fn graph(&self) -> Graph {
        let head = Head {
            slug: self.slug.to_owned(),
            version: self.version,
            owner: self.owner.map(str::to_owned),
            deadline: self.deadline,
            optional_within: self.optional_within,
            calls_at_once: self.calls_at_once,
            streams_body: self.streams_body,
            on_error: self.on_error.map(StepMeta::later),
            doc: self.doc.to_owned(),
            file: self.file.to_owned(),
            line: self.line,
        };
        Graph::new(head, self.graph_nodes()).expect("the macro refuses a flow whose steps are no graph")
    }

    /// The graph of a sub-flow.
    pub(crate) fn inner_graph(&self) -> Graph {
        let graph = Graph::inner(self.slug, self.graph_nodes(), Join::ALL, Inside::Steps);
        graph.expect("the macro refuses a sub-flow whose steps are no graph")
    }

    fn graph_nodes(&self) -> Vec<GraphNode> {
        self.nodes.iter().map(NodeMeta::graph_node).collect()
    }
}

impl StepMeta {
    fn later(self) -> Later {
        Later { timeout: self.timeout, ..Later::new(self.name) }
    }

    fn graph_node(&self, name: &str) -> GraphNode {
        let inner = self.inner.map(|flow| Arc::new(flow.inner_graph()));
        GraphNode {
            timeout: self.timeout,
            idempotent: self.idempotent,
            doc: self.doc.to_owned(),
            targets: texts(self.targets),
            inner,
            ..GraphNode::new(name, self.name)
        }
    }
}

impl NodeMeta {
    fn graph_node(&self) -> GraphNode {
        let step = self.step.graph_node(self.name);
        GraphNode {
            reads: texts(self.reads),
            after: texts(self.after),
            optional: self.optional,
            conditional: self.conditional,
            timeout: self.timeout.or(step.timeout),
            retries: self.retries,
            idempotent: self.idempotent || step.idempotent,
            priority: self.priority,
            undo: self.undo.map(StepMeta::later),
            cleanup: self.cleanup.map(StepMeta::later),
            line: self.line,
            inner: self.join.map(|join| Arc::new(join.graph(self))).or(step.inner),
            ..step
        }
    }
}

impl JoinMeta {
    fn graph(&self, line: &NodeMeta) -> Graph {
        let node = |(n, branch): (usize, &BranchMeta)| {
            let step = branch.step.graph_node(&(n + 1).to_string());
            GraphNode {
                optional: branch.optional,
                timeout: branch.timeout.or(step.timeout),
                idempotent: line.idempotent || step.idempotent,
                priority: line.priority,
                ..step
            }
        };
        let graph = match self {
            Self::Branches(join, branches) => {
                let nodes = branches.iter().enumerate().map(node).collect();
                Graph::inner(join.as_str(), nodes, *join, Inside::Branches)
            }
            Self::Items(join, item, most) => {
                let nodes = (0..usize::from(*most)).map(|n| node((n, item))).collect();
                Graph::inner("each", nodes, *join, Inside::Items)
            }
        };
        graph.expect("branches are named by their number and wait for nobody")
    }
}
