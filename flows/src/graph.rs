//! The checked DAG of a flow: what reads what, and so what runs beside what. Made once, when the flow is made or loaded.

use std::sync::Arc;
use std::time::Duration;

use crate::adapter::Priority;
use crate::join::Join;

mod check;
mod render;

pub use check::{GraphError, check_slug};

/// The most steps one flow can have: the driver keeps its readiness in one 128-bit mask.
pub const NODES_MAX: usize = 128;

/// A flow's graph. It cannot hold a cycle, a read of nothing, or two writers of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    head: Head,
    nodes: Vec<GraphNode>,
    join: Join,
    inside: Inside,
}

/// What the nodes of a graph are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// Steps with names of their own: of a flow, or of a sub-flow that stands for one step.
    Steps,
    /// Branches of a join, named by their number from 1.
    Branches,
    /// One step for each item of a list; there are as many nodes as there may be items.
    Items,
}

/// What is known of a flow besides its steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its name in URLs, metrics and timelines; see [`check_slug`].
    pub slug: String,
    /// Its version, raised by hand with a breaking change.
    pub version: u32,
    /// Who answers for it.
    pub owner: Option<String>,
    /// The most time a run may take.
    pub deadline: Option<Duration>,
    /// How long optional steps are waited for, from the run's start.
    pub optional_within: Option<Duration>,
    /// The most calls of one run that are in the air at once; [`Head::CALLS_AT_ONCE`] where it says nothing.
    pub calls_at_once: Option<u32>,
    /// The request's body is not read before the run: it is passed on as it comes.
    pub streams_body: bool,
    /// The step that answers when the flow has failed.
    pub on_error: Option<Later>,
    /// Its documentation, first line first.
    pub doc: String,
    /// The file it is written in.
    pub file: String,
    /// The line it begins at.
    pub line: u32,
}

/// A step that runs when those of the flow are over: to undo one, to clean up, to answer for a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Later {
    /// The step function, or the verb of a step from configuration.
    pub step: String,
    /// The most time it may take, where it says so itself.
    pub timeout: Option<Duration>,
}

impl Later {
    /// A step that says nothing of its time.
    #[must_use]
    pub fn new(step: &str) -> Self {
        Self { step: step.to_owned(), timeout: None }
    }

    /// Its node when the flow's steps are over, with `time` where it says nothing of its own.
    pub(crate) fn node(&self, name: &str, time: Duration) -> GraphNode {
        GraphNode { timeout: Some(self.timeout.unwrap_or(time)), ..GraphNode::new(name, &self.step) }
    }
}

impl Head {
    /// The most calls of one run that are in the air at once, unless the flow says otherwise.
    pub const CALLS_AT_ONCE: u32 = 32;
}

/// One step of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphNode {
    /// The slot it writes: its name everywhere.
    pub name: Arc<str>,
    /// The step function, or the verb of a step from configuration.
    pub step: String,
    /// The slots it reads, in the order of first mention.
    pub reads: Vec<String>,
    /// The nodes it only waits for.
    pub after: Vec<String>,
    /// Whether the flow goes on without it when it fails.
    pub optional: bool,
    /// Whether it runs only when a condition holds.
    pub conditional: bool,
    /// The most time it may take, from ready to end.
    pub timeout: Option<Duration>,
    /// How often it may be tried again.
    pub retries: u32,
    /// Whether its writes may be made twice without harm, so that a retry may follow one that perhaps arrived.
    pub idempotent: bool,
    /// Who goes first at a target that has no room for all.
    pub priority: Option<Priority>,
    /// The step that undoes it when a later one fails.
    pub undo: Option<Later>,
    /// The step that always runs after it, at the end of the flow.
    pub cleanup: Option<Later>,
    /// The graph it stands for: of a sub-flow, a join, a loop.
    pub inner: Option<Arc<Graph>>,
    /// Its documentation, first line first.
    pub doc: String,
    /// The line of the flow that uses it.
    pub line: u32,
    /// The targets it calls, where that is known.
    pub targets: Vec<String>,
    /// Bits of the nodes it waits for; [`Graph::new`] fills it in.
    pub deps: u128,
}

impl GraphNode {
    /// A required step of this name, without inputs or limits.
    #[must_use]
    pub fn new(name: &str, step: &str) -> Self {
        Self {
            name: name.into(),
            step: step.to_owned(),
            reads: Vec::new(),
            after: Vec::new(),
            optional: false,
            conditional: false,
            timeout: None,
            retries: 0,
            idempotent: false,
            priority: None,
            undo: None,
            cleanup: None,
            inner: None,
            doc: String::new(),
            line: 0,
            targets: Vec::new(),
            deps: 0,
        }
    }

    /// Whether its slot may be empty when its readers run.
    #[must_use]
    pub fn may_be_missing(&self) -> bool {
        self.optional || self.conditional
    }
}

impl Graph {
    /// Checks the steps and joins them.
    ///
    /// # Errors
    /// The first thing that makes them no graph.
    pub fn new(head: Head, nodes: Vec<GraphNode>) -> Result<Self, GraphError> {
        check_slug(&head.slug)?;
        Self::of(head, nodes, Join::ALL, Inside::Steps)
    }

    /// The graph inside a step. Its name may be any.
    ///
    /// # Errors
    /// The first thing that makes the nodes no graph.
    pub fn inner(name: &str, nodes: Vec<GraphNode>, join: Join, inside: Inside) -> Result<Self, GraphError> {
        let head = Head { slug: name.to_owned(), version: 1, ..Head::default() };
        Self::of(head, nodes, join, inside)
    }

    fn of(head: Head, mut nodes: Vec<GraphNode>, join: Join, inside: Inside) -> Result<Self, GraphError> {
        if nodes.is_empty() {
            return Err(GraphError::Empty(head.slug));
        }
        if nodes.len() > NODES_MAX {
            return Err(GraphError::TooMany { slug: head.slug, count: nodes.len() });
        }
        for at in 0..nodes.len() {
            if nodes[..at].iter().any(|other| other.name == nodes[at].name) {
                return Err(GraphError::TwoWriters(nodes[at].name.to_string()));
            }
            let mut deps = 0;
            for slot in nodes[at].reads.iter().chain(&nodes[at].after) {
                let Some(writer) = nodes.iter().position(|node| *node.name == **slot) else {
                    return Err(GraphError::UnknownSlot { step: nodes[at].name.to_string(), slot: slot.clone() });
                };
                deps |= 1 << writer;
            }
            nodes[at].deps = deps;
            if let Some(inner) = nodes[at].inner.clone().filter(|_| nodes[at].targets.is_empty()) {
                // A join or loop calls what its branches call.
                nodes[at].targets = inner.targets().into_iter().map(str::to_owned).collect();
            }
        }
        let graph = Self { head, nodes, join, inside };
        match graph.cycle() {
            Some(cycle) => Err(GraphError::Cycle(cycle)),
            None => Ok(graph),
        }
    }

    /// The flow's name.
    #[must_use]
    pub fn slug(&self) -> &str {
        &self.head.slug
    }

    /// What is known of the flow besides its steps.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The most time a run may take.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.head.deadline
    }

    /// How long optional steps are waited for.
    #[must_use]
    pub fn optional_within(&self) -> Option<Duration> {
        self.head.optional_within
    }

    /// How its nodes become one result.
    #[must_use]
    pub fn join(&self) -> Join {
        self.join
    }

    /// What its nodes are.
    #[must_use]
    pub fn inside(&self) -> Inside {
        self.inside
    }

    /// Whether a step has to be undone when a later one fails.
    #[must_use]
    pub fn has_undo(&self) -> bool {
        self.nodes.iter().any(|node| node.undo.is_some())
    }

    /// The steps, in the order they are written in.
    #[must_use]
    pub fn nodes(&self) -> &[GraphNode] {
        &self.nodes
    }

    /// The place of the step of this name.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| &*node.name == name)
    }

    /// Every target a step is known to call, sorted, each once.
    #[must_use]
    pub fn targets(&self) -> Vec<&str> {
        let inner = self.nodes.iter().filter_map(|node| node.inner.as_ref()).flat_map(|inner| inner.targets());
        let own = self.nodes.iter().flat_map(|node| &node.targets).map(String::as_str);
        let mut targets: Vec<&str> = own.chain(inner).collect();
        targets.sort_unstable();
        targets.dedup();
        targets
    }

    /// For each step, the longest chain of steps before it: steps of one level may run side by side.
    #[must_use]
    pub fn levels(&self) -> Vec<usize> {
        self.longest(|_| 1_usize).into_iter().map(|(length, _)| length - 1).collect()
    }

    /// The chain of steps that bounds the flow, by the sum of the declared timeouts, and by the number of steps where
    /// these say nothing.
    #[must_use]
    pub fn critical_path(&self) -> Vec<usize> {
        let chains = self.longest(|node| (node.timeout.unwrap_or_default().as_nanos() << 16) + 1);
        let mut at = (0..chains.len()).rev().max_by_key(|n| chains[*n].0);
        let mut path = Vec::new();
        while let Some(step) = at {
            path.push(step);
            at = chains[step].1;
        }
        path.reverse();
        path
    }

    /// For each step, the weight of the heaviest chain that ends with it, and its predecessor there.
    fn longest<W: Copy + Ord + Default + std::ops::Add<Output = W>>(
        &self,
        weight: impl Fn(&GraphNode) -> W,
    ) -> Vec<(W, Option<usize>)> {
        let mut chains: Vec<Option<(W, Option<usize>)>> = vec![None; self.nodes.len()];
        while chains.iter().any(Option::is_none) {
            for n in 0..self.nodes.len() {
                let before: Option<Vec<(W, usize)>> = (0..self.nodes.len())
                    .filter(|dep| self.nodes[n].deps & (1 << dep) != 0)
                    .map(|dep| chains[dep].map(|(heavy, _)| (heavy, dep)))
                    .collect();
                if let (None, Some(before)) = (chains[n], before) {
                    let best = before.into_iter().reduce(|a, b| if b.0 > a.0 { b } else { a });
                    let sum = best.map_or(W::default(), |(heavy, _)| heavy) + weight(&self.nodes[n]);
                    chains[n] = Some((sum, best.map(|(_, dep)| dep)));
                }
            }
        }
        chains.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> GraphNode {
        let (name, reads) = text.split_once('<').unwrap_or((text, ""));
        let reads = reads.split_whitespace().map(str::to_owned).collect();
        GraphNode { reads, ..GraphNode::new(name.trim(), "step") }
    }

    fn graph(nodes: &[&str]) -> Result<Graph, GraphError> {
        let head = Head { slug: "checkout".into(), version: 1, ..Head::default() };
        Graph::new(head, nodes.iter().map(|text| node(text)).collect())
    }

    #[test]
    fn reads_become_edges_and_levels() {
        let graph =
            graph(&["user", "cart < user", "profile < user", "price < cart", "respond < profile price"]).unwrap();
        assert_eq!(graph.nodes().iter().map(|n| n.deps).collect::<Vec<_>>(), [0, 1, 1, 2, 12]);
        assert_eq!(graph.levels(), [0, 1, 1, 2, 3]);
        let path: Vec<_> = graph.critical_path().into_iter().map(|n| &*graph.nodes()[n].name).collect();
        assert_eq!(path, ["user", "cart", "price", "respond"]);
    }

    #[test]
    fn what_is_no_graph_is_refused_by_name() {
        let check = |nodes: &[&str], expected: &str| assert_eq!(graph(nodes).unwrap_err().to_string(), expected);
        check(&["a", "b < x"], "step `b` reads `x`, but no step has that name");
        check(&["a", "a"], "slot `a` has two writers; a slot is written by exactly one step: rename one of them");
        check(&["a", "b < a c", "c < b"], "cycle: b -> reads c -> reads b");
        check(&["b < b"], "cycle: b -> reads b");
        check(&[], "flow `checkout` has no steps");
        let many: Vec<String> = (0..129).map(|n| format!("n{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        check(&many, "flow `checkout` has 129 steps; the most is 128");
        assert!(graph(&many[..128]).is_ok());
    }

    #[test]
    fn slugs() {
        for good in ["checkout", "cart-checkout", "a1b", "a-b-c-d-e-f"] {
            assert_eq!(check_slug(good), Ok(()));
        }
        for bad in ["ab", "Checkout", "1st", "a--b", "-ab", "ab-", "a_b", "a-b-c-d-e-f-g", &"a".repeat(49), ""] {
            assert!(check_slug(bad).is_err(), "{bad}");
        }
    }
}
