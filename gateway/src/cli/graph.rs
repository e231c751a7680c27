//! `zerver graph`: a flow's steps, what each reads, and the longest way through.

use std::path::Path;
use std::process::ExitCode;

use clap::ValueEnum;
use zerver_flows::Flow;

use super::out;
use crate::config::load;
use crate::config::problem::suggestion;
use crate::gateway::{self, Page};

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

pub(super) fn main(name: &str, config: Option<&Path>, format: Format, own: &[Flow]) -> ExitCode {
    let mut flows: Vec<Flow> = own.to_vec();
    if let Some(file) = config {
        match gateway::check(&Page::File(file.to_owned()), own, &load::process_env) {
            Ok(plan) => flows = plan.flows.values().map(|bound| bound.flow().clone()).collect(),
            Err(rejected) => return out::fail(out::WRONG, rejected),
        }
    }
    let Some(flow) = flows.iter().find(|flow| flow.slug() == name) else {
        let known = suggestion(name, flows.iter().map(Flow::slug));
        let hint = if config.is_none() { "; flows of a configuration file need `--config FILE`" } else { "" };
        return out::fail(out::WRONG, format!("error: no flow is named `{name}`: {known}{hint}"));
    };
    let graph = flow.graph();
    let text = match format {
        Format::Text => graph.to_text(),
        Format::Dot => graph.to_dot(),
        Format::Mermaid => graph.to_mermaid(),
        Format::Json => format!("{:#}", graph.to_json()),
    };
    out::line(text.trim_end());
    ExitCode::SUCCESS
}
