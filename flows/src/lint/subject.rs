//! A flow as the rules see it: its graph and what else is known of it, with the questions that several rules ask.

use std::time::Duration;

use crate::graph::{Graph, GraphNode, Inside};
use crate::join::{Join, Start, Take};
use crate::lint::finding::Finding;
use crate::lint::remarks::Remarks;
use crate::lint::rule::Rule;

/// A flow under the linter.
pub(super) struct Subject<'l> {
    pub(super) graph: &'l Graph,
    pub(super) remarks: &'l Remarks,
}

/// What a step does to the world, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Nothing: it makes a value or reads one.
    Reads,
    /// It writes; making it twice is as making it once (RFC 9110, section 9.2.2).
    WritesAlike,
    /// It writes, and twice is not once.
    Writes,
    /// A Rust step: its methods are in its code.
    Unknown,
}

impl Subject<'_> {
    /// The steps that do not make the answer.
    pub(super) fn steps(&self) -> impl Iterator<Item = (usize, &GraphNode)> {
        let answer = self.answer();
        self.graph.nodes().iter().enumerate().filter(move |(n, _)| *n != answer)
    }

    /// The step that makes the answer.
    pub(super) fn answer(&self) -> usize {
        self.graph.position("respond").unwrap_or(self.graph.nodes().len() - 1)
    }

    /// Whether the flow stands in a page; otherwise it is Rust.
    pub(super) fn is_page(&self) -> bool {
        !self.graph.head().file.ends_with(".rs")
    }

    pub(super) fn deed(&self, node: &GraphNode) -> Deed {
        match Self::verb(node) {
            // What a step written in Rust does stands in its code, whatever its name.
            _ if !self.is_page() || self.remarks.in_rust.iter().any(|step| **step == *node.name) => Deed::Unknown,
            "get" | "set" | "respond" => Deed::Reads,
            "put" | "delete" => Deed::WritesAlike,
            "post" | "patch" => Deed::Writes,
            _ => Deed::Unknown,
        }
    }

    /// What a step does. A join or loop does what its branches do; those of a page all do the same.
    pub(super) fn verb(node: &GraphNode) -> &str {
        let branch = node.inner.as_ref().and_then(|inner| inner.nodes().first());
        &branch.unwrap_or(node).step
    }

    /// How a step's branches are joined when some of them run beside others and do not count in the end.
    pub(super) fn partial_join(node: &GraphNode) -> Option<Join> {
        let inner = node.inner.as_ref().filter(|inner| inner.inside() == Inside::Branches)?;
        let join = inner.join();
        let all = matches!(join.take, Take::All | Take::AllRequired) || join.start == Start::OneByOne;
        (!all).then_some(join)
    }

    /// Whether a step reads its slot.
    pub(super) fn is_read(&self, node: &GraphNode) -> bool {
        self.graph.nodes().iter().any(|reader| reader.reads.iter().any(|read| **read == *node.name))
    }

    /// Whether a step waits for it without reading it.
    pub(super) fn is_waited_for(&self, node: &GraphNode) -> bool {
        self.graph.nodes().iter().any(|other| other.after.iter().any(|after| **after == *node.name))
    }

    /// The time of a run: the flow's own, and that of the routes to it.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let (own, routes) = (self.graph.deadline(), self.remarks.route_timeout);
        own.into_iter().chain(routes).min()
    }

    /// A finding about a step, or about the whole flow.
    pub(super) fn finding(
        &self,
        rule: Rule,
        step: Option<&GraphNode>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Finding {
        let head = self.graph.head();
        Finding {
            rule,
            severity: rule.severity(),
            slug: head.slug.clone(),
            step: step.map(|node| node.name.to_string()),
            file: head.file.clone(),
            line: step.map_or(head.line, |node| node.line),
            message: message.into(),
            help: help.into(),
        }
    }
}
