//! `zerver flows`: every flow of a file and of the program, one line each, with what is known before it runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use zerver_flows::Flow;

use super::out::Format;
use super::{check, out};
use crate::plan::Own;

/// What `zerver flows` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file.
    file: PathBuf,
    /// How.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub(super) fn main(arguments: &Arguments, own: &Own) -> ExitCode {
    let plan = match check::plan(&arguments.file, own) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let flows: Vec<&Flow> = plan.flows.values().map(zerver_flows::BoundFlow::flow).collect();
    match arguments.format {
        Format::Json => {
            let flows: Vec<Value> = flows.iter().map(|flow| line_json(flow, &arguments.file)).collect();
            out::line(format!("{:#}", Value::Array(flows)));
        }
        Format::Text if flows.is_empty() => out::note(format!("{}: no flows", arguments.file.display())),
        Format::Text => {
            let head = ["FLOW", "OWNER", "STEPS", "DEADLINE", "BYTES", "TARGETS", "LONGEST CHAIN"].map(str::to_owned);
            let rows: Vec<[String; 7]> = std::iter::once(head).chain(flows.into_iter().map(row)).collect();
            out::table(&rows);
        }
    }
    ExitCode::SUCCESS
}

/// A cell of a table; `-` where there is nothing.
fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

fn chain(flow: &Flow) -> Vec<&str> {
    let nodes = flow.graph().nodes();
    flow.graph().critical_path().into_iter().map(|n| &*nodes[n].name).collect()
}

fn row(flow: &Flow) -> [String; 7] {
    let graph = flow.graph();
    let bytes = match flow.future_bytes() {
        0 => "per step".to_owned(),
        bytes => bytes.to_string(),
    };
    [
        format!("{}@{}", flow.slug(), flow.version()),
        or_dash(graph.head().owner.clone().unwrap_or_default()),
        graph.nodes().len().to_string(),
        or_dash(graph.deadline().map(|time| format!("{time:?}")).unwrap_or_default()),
        bytes,
        or_dash(flow.targets().join(", ")),
        chain(flow).join(" -> "),
    ]
}

fn line_json(flow: &Flow, page: &Path) -> Value {
    let (graph, head) = (flow.graph(), flow.graph().head());
    let file = if head.file.is_empty() { page.display().to_string() } else { head.file.clone() };
    json!({
        "flow": flow.slug(),
        "version": flow.version(),
        "owner": head.owner,
        "doc": head.doc,
        "file": file,
        "line": head.line,
        "steps": graph.nodes().len(),
        "deadline_ms": graph.deadline().map(|time| time.as_secs_f64() * 1e3),
        "targets": flow.targets(),
        "longest_chain": chain(flow),
        "future_bytes": flow.future_bytes(),
    })
}
