//! `zerver graph`: a flow's steps, what each reads, and the longest way through.

mod live;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use zerver_flows::Flow;
use zerver_flows::graph::Graph;

use super::ask::Token;
use super::{ask, check, out};
use crate::admin::latencies::Latencies;
use crate::config::problem::suggestion;
use crate::plan::Own;

/// The form of a printed graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Levels of steps, for reading.
    Text,
    /// For Graphviz.
    Dot,
    /// For Markdown.
    Mermaid,
    /// For programs.
    Json,
}

/// What `zerver graph` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The flow's name.
    flow: String,
    /// The configuration file that holds it; not needed for a flow of this program's own.
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// How.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Join it with what a running gateway has measured: its admin address.
    #[arg(long, value_name = "ADMIN")]
    live: Option<String>,
    #[command(flatten)]
    token: Token,
}

pub(super) fn main(arguments: &Arguments, own: &Own) -> ExitCode {
    let (name, config) = (arguments.flow.as_str(), arguments.config.as_deref());
    let mut flows: Vec<Flow> = own.flows.clone();
    if let Some(file) = config {
        match check::plan(file, own) {
            Ok(plan) => flows = plan.flows.values().map(|bound| bound.flow().clone()).collect(),
            Err(code) => return code,
        }
    }
    let Some(flow) = flows.iter().find(|flow| flow.slug() == name) else {
        let known = suggestion(name, flows.iter().map(Flow::slug));
        let hint = if config.is_none() { "; flows of a configuration file need `--config FILE`" } else { "" };
        return out::fail(out::WRONG, format!("error: no flow is named `{name}`: {known}{hint}"));
    };
    let graph = flow.graph();
    let text = match &arguments.live {
        None => declared(graph, arguments.format),
        Some(admin) => match ask::page::<Latencies>(admin, &format!("/flows/{name}/latencies"), &arguments.token) {
            Ok(measured) => {
                if measured.version != flow.version() {
                    let (here, there) = (flow.version(), measured.version);
                    out::note(format!("warning: this is {name}@{here}; the gateway serves {name}@{there}"));
                }
                joined(graph, &measured, arguments.format)
            }
            Err(error) => Err(error),
        },
    };
    match text {
        Ok(text) => {
            out::line(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => out::fail(1, format!("error: {error}")),
    }
}

fn declared(graph: &Graph, format: Format) -> Result<String, String> {
    Ok(match format {
        Format::Text => graph.to_text(),
        Format::Dot => graph.to_dot(),
        Format::Mermaid => graph.to_mermaid(),
        Format::Json => format!("{:#}", graph.to_json()),
    })
}

fn joined(graph: &Graph, measured: &Latencies, format: Format) -> Result<String, String> {
    match format {
        Format::Text => Ok(live::text(graph, measured)),
        Format::Dot => Ok(live::dot(graph, measured)),
        Format::Mermaid => Ok(live::mermaid(graph, measured)),
        Format::Json => live::json(graph, measured).map(|json| format!("{json:#}")).map_err(|error| error.to_string()),
    }
}
