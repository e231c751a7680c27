//! A graph as text for people, as DOT and Mermaid for drawing, as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Graph, GraphNode};

impl Graph {
    /// The graph level by level, as `zerver graph` prints it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = self.title();
        let levels = self.levels();
        let width =
            |text: fn(&GraphNode) -> String| self.nodes.iter().map(|n| text(n).chars().count()).max().unwrap_or(0);
        let (names, steps) = (width(marked), width(|node| node.step.clone()));
        for level in 0..=levels.iter().copied().max().unwrap_or(0) {
            let mut label = format!("{level:>3}");
            for (node, _) in self.nodes.iter().zip(&levels).filter(|(_, at)| **at == level) {
                let mut line = format!("{label}  {:<names$}  {:<steps$}", marked(node), node.step);
                let waits: Vec<&str> = node.reads.iter().chain(&node.after).map(String::as_str).collect();
                if !waits.is_empty() {
                    let _ = write!(line, "  <- {}", waits.join(", "));
                }
                if let Some(timeout) = node.timeout {
                    let _ = write!(line, "  within {timeout:?}");
                }
                if node.retries > 0 {
                    let _ = write!(line, "  retries {}", node.retries);
                }
                if !node.targets.is_empty() {
                    let _ = write!(line, "  calls {}", node.targets.join(", "));
                }
                if let Some(undo) = &node.undo {
                    let _ = write!(line, "  undone by {}", undo.step);
                }
                out.push_str(line.trim_end());
                out.push('\n');
                label = "   ".into();
            }
        }
        let path: Vec<&str> = self.critical_path().into_iter().map(|n| &*self.nodes[n].name).collect();
        let _ = writeln!(out, "longest chain: {}", path.join(" -> "));
        if self.nodes.iter().any(GraphNode::may_be_missing) {
            out.push_str("? may be missing: its readers see an option\n");
        }
        out
    }

    fn title(&self) -> String {
        let mut out = format!("{}@{}", self.head.slug, self.head.version);
        if let Some(owner) = &self.head.owner {
            let _ = write!(out, "  owner {owner}");
        }
        if let Some(deadline) = self.head.deadline {
            let _ = write!(out, "  deadline {deadline:?}");
        }
        out.push('\n');
        out
    }

    /// Graphviz; the longest chain is bold, steps that may be missing are dashed.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let bold = self.critical_path();
        let on_path = |a: usize, b: usize| bold.windows(2).any(|pair| pair == [a, b]);
        let mut out =
            format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n", self.slug());
        for node in &self.nodes {
            let style = if node.may_be_missing() { ", style=dashed" } else { "" };
            let label =
                if *node.name == *node.step { node.step.clone() } else { format!("{}\\n{}", node.name, node.step) };
            let _ = writeln!(out, "  \"{}\" [label=\"{label}\"{style}];", node.name);
        }
        for (from, to) in self.edges() {
            let style = if on_path(from, to) { " [penwidth=2]" } else { "" };
            let _ = writeln!(out, "  \"{}\" -> \"{}\"{style};", self.nodes[from].name, self.nodes[to].name);
        }
        out.push_str("}\n");
        out
    }

    /// Mermaid; the longest chain is thick, steps that may be missing are rounded.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        let thick = self.critical_path();
        let mut out = String::from("flowchart LR\n");
        for (n, node) in self.nodes.iter().enumerate() {
            let (open, close) = if node.may_be_missing() { ("([", "])") } else { ("[", "]") };
            let _ = writeln!(out, "  n{n}{open}\"{}\"{close}", node.name);
        }
        for (from, to) in self.edges() {
            let arrow = if thick.windows(2).any(|pair| pair == [from, to]) { "==>" } else { "-->" };
            let _ = writeln!(out, "  n{from} {arrow} n{to}");
        }
        out
    }

    /// Everything, for programs: `flow, version, owner, deadline_ms, doc, nodes, critical_path`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let levels = self.levels();
        let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        let nodes: Vec<Value> = self
            .nodes
            .iter()
            .zip(levels)
            .map(|(node, level)| {
                json!({
                    "name": &*node.name,
                    "step": node.step,
                    "level": level,
                    "reads": node.reads,
                    "after": node.after,
                    "optional": node.optional,
                    "conditional": node.conditional,
                    "timeout_ms": node.timeout.map(ms),
                    "retries": node.retries,
                    "targets": node.targets,
                    "idempotent": node.idempotent,
                    "undo": node.undo.as_ref().map(|undo| &undo.step),
                    "cleanup": node.cleanup.as_ref().map(|cleanup| &cleanup.step),
                    "inside": node.inner.as_ref().map(|inner| inner.to_json()),
                    "doc": node.doc,
                    "line": node.line,
                })
            })
            .collect();
        let path: Vec<&str> = self.critical_path().into_iter().map(|n| &*self.nodes[n].name).collect();
        json!({
            "flow": self.head.slug,
            "version": self.head.version,
            "owner": self.head.owner,
            "deadline_ms": self.head.deadline.map(ms),
            "body": if self.head.streams_body { "stream" } else { "whole" },
            "doc": self.head.doc,
            "file": self.head.file,
            "line": self.head.line,
            "nodes": nodes,
            "critical_path": path,
        })
    }

    /// Every edge, from writer to reader.
    fn edges(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.nodes.len()).flat_map(move |to| {
            (0..self.nodes.len()).filter(move |from| self.nodes[to].deps & (1 << from) != 0).map(move |from| (from, to))
        })
    }
}

fn marked(node: &GraphNode) -> String {
    format!("{}{}", node.name, if node.may_be_missing() { "?" } else { "" })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Graph, GraphNode, Head};

    fn sample() -> Graph {
        let node = |name: &str, step: &str, reads: &[&str]| GraphNode {
            reads: reads.iter().map(|s| (*s).to_owned()).collect(),
            ..GraphNode::new(name, step)
        };
        let head = Head {
            slug: "checkout".into(),
            version: 3,
            owner: Some("payments".into()),
            deadline: Some(Duration::from_secs(2)),
            ..Head::default()
        };
        let profile = GraphNode {
            optional: true,
            timeout: Some(Duration::from_millis(300)),
            targets: vec!["profile".into()],
            ..node("profile", "load_profile", &["user"])
        };
        let nodes = vec![
            node("user", "auth", &[]),
            node("cart", "load_cart", &["user"]),
            profile,
            node("respond", "respond", &["cart", "profile"]),
        ];
        Graph::new(head, nodes).unwrap()
    }

    #[test]
    fn text() {
        let expected = "\
checkout@3  owner payments  deadline 2s
  0  user      auth
  1  cart      load_cart     <- user
     profile?  load_profile  <- user  within 300ms  calls profile
  2  respond   respond       <- cart, profile
longest chain: user -> profile -> respond
? may be missing: its readers see an option
";
        assert_eq!(sample().to_text(), expected);
    }

    #[test]
    fn drawings() {
        let dot = sample().to_dot();
        assert!(
            dot.contains("\"user\" -> \"profile\" [penwidth=2];") && dot.contains("\"user\" -> \"cart\";"),
            "{dot}"
        );
        let mermaid = sample().to_mermaid();
        assert!(mermaid.contains("n0 ==> n2") && mermaid.contains("n2([\"profile\"])"), "{mermaid}");
    }

    #[test]
    fn json() {
        let json = sample().to_json();
        assert_eq!(json["critical_path"], serde_json::json!(["user", "profile", "respond"]));
        assert_eq!(
            (json["nodes"][2]["timeout_ms"].as_f64(), json["nodes"][3]["level"].as_u64()),
            (Some(300.0), Some(2))
        );
    }
}
