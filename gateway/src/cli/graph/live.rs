//! What a running gateway has measured, joined with a flow's graph: as a table, in the drawings, as JSON.

use std::fmt::Write as _;

use serde_json::Value;
use zerver_flows::graph::{Graph, GraphNode};

use crate::admin::latencies::{Latencies, StepLatency};
use crate::cli::out;

/// The graph as text, and below it the steps' times and the chains that held requests up.
pub(super) fn text(graph: &Graph, live: &Latencies) -> String {
    let mut out = graph.to_text();
    if live.timelines == 0 {
        out.push_str("live: no request of this flow is remembered yet\n");
        return out;
    }
    let Latencies { requests, errors, p50_ms, p99_ms, .. } = live;
    let (errors, p50, p99) = (percent(*errors), ms(*p50_ms), ms(*p99_ms));
    let _ = writeln!(out, "live: {requests:.0} requests, errors {errors}, p50 {p50}, p99 {p99}");
    let head = ["step", "runs", "p50", "p99", "queued", "parked", "running", "errors", "critical"];
    let mut rows = vec![head.map(str::to_owned)];
    let marked = |node: &GraphNode| format!("{}{}", node.name, if node.may_be_missing() { "?" } else { "" });
    for node in graph.nodes() {
        rows.push(row(marked(node), measured(live, &node.name)));
    }
    // Of an earlier version, or of one that the file does not hold yet.
    for step in live.steps.iter().filter(|step| graph.position(&step.name).is_none()) {
        rows.push(row(format!("({})", step.name), Some(step)));
    }
    let mut chains = vec![["requests", "slowest 5 %", "mean", "critical path"].map(str::to_owned)];
    for chain in &live.chains {
        let steps = if chain.steps.is_empty() { "(no step)".to_owned() } else { chain.steps.join(" -> ") };
        chains.push([percent(chain.share), percent(chain.slow_share), ms(chain.mean_ms), steps]);
    }
    for line in out::columns(&rows).into_iter().chain(out::columns(&chains)) {
        let _ = writeln!(out, "{line}");
    }
    out
}

/// Graphviz. A later statement about a node goes before an earlier one, so the measures are added at the end; the steps of
/// the most frequent chain are red.
pub(super) fn dot(graph: &Graph, live: &Latencies) -> String {
    let drawn = graph.to_dot();
    let drawn = drawn.trim_end();
    let mut out = drawn.strip_suffix('}').unwrap_or(drawn).to_owned();
    for node in graph.nodes() {
        let Some(step) = measured(live, &node.name) else { continue };
        let name = &node.name;
        let title = if **name == *node.step { name.to_string() } else { format!("{name}\\n{}", node.step) };
        let red = if on_path(live, name) { ", color=\"#c0392b\", penwidth=2" } else { "" };
        let _ = writeln!(out, "  \"{name}\" [label=\"{title}\\n{}\"{red}];", lines(step).join("\\n"));
    }
    out.push_str("}\n");
    out
}

/// Mermaid, in the same way.
pub(super) fn mermaid(graph: &Graph, live: &Latencies) -> String {
    let mut out = graph.to_mermaid();
    for (n, node) in graph.nodes().iter().enumerate() {
        let Some(step) = measured(live, &node.name) else { continue };
        let (open, close) = if node.may_be_missing() { ("([", "])") } else { ("[", "]") };
        let _ = writeln!(out, "  n{n}{open}\"{}<br/>{}\"{close}", node.name, lines(step).join("<br/>"));
        if on_path(live, &node.name) {
            let _ = writeln!(out, "  style n{n} stroke:#c0392b,stroke-width:3px");
        }
    }
    out
}

/// The graph's JSON with all that was measured under `live`.
///
/// # Errors
/// That of writing JSON.
pub(super) fn json(graph: &Graph, live: &Latencies) -> serde_json::Result<Value> {
    let mut out = graph.to_json();
    out["live"] = serde_json::to_value(live)?;
    Ok(out)
}

fn measured<'l>(live: &'l Latencies, name: &str) -> Option<&'l StepLatency> {
    live.steps.iter().find(|step| step.name == name)
}

/// Whether the chain that holds up the most requests goes through a step.
fn on_path(live: &Latencies, name: &str) -> bool {
    live.chains.first().is_some_and(|chain| chain.steps.iter().any(|step| step == name))
}

fn row(name: String, step: Option<&StepLatency>) -> [String; 9] {
    let Some(step) = step else {
        let dash = || "-".to_owned();
        return [name, "0".to_owned(), dash(), dash(), dash(), dash(), dash(), dash(), dash()];
    };
    let shares = [step.queued, step.parked, step.running, step.errors, step.critical].map(percent);
    let [queued, parked, running, errors, critical] = shares;
    let (runs, p50, p99) = (format!("{:.0}", step.runs), ms(step.p50_ms), ms(step.p99_ms));
    [name, runs, p50, p99, queued, parked, running, errors, critical]
}

/// What stands in a node of a drawing, besides its name.
fn lines(step: &StepLatency) -> Vec<String> {
    let mut lines = vec![
        format!("p50 {}, p99 {}", ms(step.p50_ms), ms(step.p99_ms)),
        format!("queued {}, parked {}, running {}", percent(step.queued), percent(step.parked), percent(step.running)),
        format!("critical {}", percent(step.critical)),
    ];
    if step.errors > 0.0 {
        lines.push(format!("errors {}", percent(step.errors)));
    }
    lines
}

/// `0 %`, `0.2 %`, `31 %`: what is there is never shown as nothing.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        p if p <= 0.0 => "0 %".to_owned(),
        p if p < 0.1 => "<0.1 %".to_owned(),
        p if p < 1.0 => format!("{p:.1} %"),
        p => format!("{p:.0} %"),
    }
}

/// `0.31 ms`, `19.2 ms`, `132 ms`, `1.50 s`.
fn ms(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.2} s", ms / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use zerver_flows::graph::Head;

    use super::*;
    use crate::admin::latencies::Chain;

    fn graph() -> Graph {
        let head = Head { slug: "shop".into(), version: 3, ..Head::default() };
        let profile = GraphNode { optional: true, ..GraphNode::new("profile", "get") };
        let price = GraphNode::new("price", "get");
        let reads = vec!["profile".to_owned(), "price".to_owned()];
        let respond = GraphNode { reads, ..GraphNode::new("respond", "respond") };
        Graph::new(head, vec![profile, price, respond]).unwrap()
    }

    fn live() -> Latencies {
        let step = |name: &str, p50_ms, critical| StepLatency {
            name: name.into(),
            runs: 40.0,
            p50_ms,
            p99_ms: 3.0 * p50_ms,
            queued: 0.314,
            parked: 0.68,
            running: 0.006,
            errors: 0.000_4,
            critical,
        };
        Latencies {
            flow: "shop".into(),
            version: 3,
            timelines: 40,
            requests: 40.0,
            errors: 0.0,
            p50_ms: 20.0,
            p99_ms: 1_500.0,
            outside: 0.1,
            steps: vec![step("old", 1.0, 0.0), step("price", 40.0, 0.9), step("respond", 0.25, 0.01)],
            chains: vec![Chain {
                steps: vec!["price".into(), "respond".into()],
                share: 1.0,
                slow_share: 1.0,
                mean_ms: 44.0,
            }],
        }
    }

    #[test]
    fn the_table_has_every_step_and_what_is_no_more() {
        let text = text(&graph(), &live());
        let (_, table) = text.split_once("live: ").unwrap();
        let expected = "\
40 requests, errors 0 %, p50 20.0 ms, p99 1.50 s
step      runs  p50      p99      queued  parked  running  errors  critical
profile?  0     -        -        -       -       -        -       -
price     40    40.0 ms  120 ms   31 %    68 %    0.6 %    <0.1 %  90 %
respond   40    0.25 ms  0.75 ms  31 %    68 %    0.6 %    <0.1 %  1 %
(old)     40    1.0 ms   3.0 ms   31 %    68 %    0.6 %    <0.1 %  0 %
requests  slowest 5 %  mean     critical path
100 %     100 %        44.0 ms  price -> respond
";
        assert_eq!(table, expected);
    }

    #[test]
    fn the_drawings_mark_the_measured_path() {
        let dot = dot(&graph(), &live());
        let measures =
            "p50 40.0 ms, p99 120 ms\\nqueued 31 %, parked 68 %, running 0.6 %\\ncritical 90 %\\nerrors <0.1 %";
        assert!(
            dot.contains(&format!(
                "  \"price\" [label=\"price\\nget\\n{measures}\", color=\"#c0392b\", penwidth=2];\n"
            )),
            "{dot}"
        );
        assert!(dot.starts_with("digraph") && dot.ends_with("];\n}\n") && dot.matches('}').count() == 1, "{dot}");
        let mermaid = mermaid(&graph(), &live());
        assert!(mermaid.contains("  n1[\"price<br/>p50 40.0 ms"), "{mermaid}");
        assert!(mermaid.contains("style n1 stroke") && !mermaid.contains("style n0"), "{mermaid}");
    }

    #[test]
    fn json_holds_both_and_silence_is_said() {
        let json = json(&graph(), &live()).unwrap();
        assert_eq!((&json["live"]["steps"][1]["name"], &json["nodes"][1]["name"]), (&"price".into(), &"price".into()));
        assert!(text(&graph(), &Latencies::default()).ends_with("no request of this flow is remembered yet\n"));
    }
}
