//! From mentions to edges: who reads what, what is there by then, and what may be missing.

use serde_saphyr::Location;

use super::page::{Mention, Planner, Reader, near};
use crate::declare::expression::{Expr, Use};
use crate::declare::keys;
use crate::graph::GraphNode;

impl Planner<'_> {
    /// Notes what an expression reads.
    pub(super) fn mention(&mut self, of: Reader, path: &str, at: Location, expr: &Expr) {
        self.reads_body |= expr.source.contains("body");
        self.look(of, path, at, expr);
        for (name, how) in &expr.reads {
            self.mentions.push(Mention { of, name: name.clone(), how: *how, path: path.to_owned(), at });
        }
    }

    /// Turns mentions into reads; refuses those of nothing, careless ones of what may be missing, and of what is not
    /// there when an undo or cleanup step runs.
    pub(super) fn connect(&mut self, nodes: &mut [GraphNode]) {
        let mut afterwards = Vec::new();
        for mention in std::mem::take(&mut self.mentions) {
            match mention.of {
                Reader::OnError => self.on_error_reads(nodes, &mention),
                Reader::Item(_) if mention.name == "item" => {}
                Reader::Step(step) | Reader::Item(step) => self.edge(nodes, step, &mention),
                // What is there by then follows from all the edges.
                Reader::Afterwards(step) => afterwards.push((step, mention)),
            }
        }
        for (step, mention) in afterwards {
            self.there_by_then(nodes, step, &mention);
        }
    }

    /// A step that reads a slot waits for it.
    fn edge(&mut self, nodes: &mut [GraphNode], step: usize, mention: &Mention) {
        let Some(writer) = self.writer(nodes, mention) else { return };
        self.careful(&nodes[writer], mention);
        if !nodes[step].reads.contains(&mention.name) {
            nodes[step].reads.push(mention.name.clone());
        }
    }

    /// The step that writes what is mentioned. None for the request, and for what is no slot, which is reported.
    fn writer(&mut self, nodes: &[GraphNode], mention: &Mention) -> Option<usize> {
        let Mention { name, path, at, .. } = mention;
        if name == "request" {
            return None;
        }
        let slot = |node: &&GraphNode| &*node.name != "respond";
        let Some(writer) = nodes.iter().position(|node| *node.name == **name && slot(&node)) else {
            let (message, help) = match name.as_str() {
                "item" => (
                    format!("{path} reads `item`, and no item is there"),
                    Some("`item` is one of the list that the step's own `each` names, in what is done for it".into()),
                ),
                "fail" => (
                    format!("{path} reads `fail`, and nothing has failed"),
                    Some("`fail` is there in `on_error`".into()),
                ),
                _ => {
                    let known: Vec<&str> =
                        nodes.iter().filter(slot).map(|node| &*node.name).chain(["request"]).collect();
                    (format!("{path} reads `{name}`, but no step has that name"), near(name, &known))
                }
            };
            self.problem(*at, message, help);
            return None;
        };
        if self.ends.contains(&writer) {
            let message = format!("{path} reads `{name}`, but that step ends the flow and has no value");
            self.problem(*at, message, Some(format!("to run only when it did not, say `after: [{name}]`")));
            return None;
        }
        Some(writer)
    }

    fn careful(&mut self, writer: &GraphNode, mention: &Mention) {
        if mention.how == Use::Plain && writer.may_be_missing() {
            let Mention { name, path, at, .. } = mention;
            let why = if writer.optional { "is optional" } else { "has a condition" };
            let message = format!("{path} reads `{name}` as if it were always there, but it {why}");
            let help = format!("write `{name}.?field.orValue(…)`, `has({name}.field)` or `{name}.hasValue()`");
            self.problem(*at, message, Some(help));
        }
    }

    /// What a step's undo and cleanup read has to be there when they run: its own slot, and what that waited for.
    fn there_by_then(&mut self, nodes: &[GraphNode], step: usize, mention: &Mention) {
        let Some(writer) = self.writer(nodes, mention).filter(|writer| *writer != step) else { return };
        let mut there = vec![step];
        let mut at = 0;
        while at < there.len() {
            let node = &nodes[there[at]];
            for before in node.reads.iter().chain(&node.after) {
                let before = nodes.iter().position(|node| *node.name == **before);
                there.extend(before.filter(|before| !there.contains(before)));
            }
            at += 1;
        }
        if there.contains(&writer) {
            self.careful(&nodes[writer], mention);
        } else {
            let (slot, Mention { name, path, at, .. }) = (&nodes[step].name, mention);
            let message = format!("{path} reads `{name}`, which may not be written when `{slot}` is");
            let help = format!("`{slot}` does not wait for it: add `after: [{name}]` to `{slot}`");
            self.problem(*at, message, Some(help));
        }
    }

    fn on_error_reads(&mut self, nodes: &[GraphNode], mention: &Mention) {
        let Mention { name, path, at, .. } = mention;
        if keys::ON_ERROR.contains(&name.as_str()) {
            return;
        }
        let only = "it may read `fail.code`, `fail.status`, `fail.message`, `fail.step` and `request`";
        let message = if nodes.iter().any(|node| *node.name == **name) {
            format!("{path} reads `{name}`, which may not be written when the flow fails")
        } else {
            format!("{path} reads `{name}`, which is nothing")
        };
        self.problem(*at, message, near(name, &keys::ON_ERROR).or_else(|| Some(only.to_owned())));
    }
}
