//! `zerver lint`: what runs and is seldom meant, in the flows of a file and in the program's own.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;
use zerver_flows::Flow;
use zerver_flows::lint::{Finding, Remarks, Rule, Severity, lint, unreached};

use super::out::Format;
use super::{check, out};
use crate::config::document::{Document, Target};
use crate::config::flows::remarks;
use crate::plan::Plan;

/// What `zerver lint` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file.
    file: std::path::PathBuf,
    /// How.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Fail with these as well as with errors.
    #[arg(long, value_enum)]
    deny: Option<Deny>,
    /// A rule that is not wanted, such as ZF012; may be given several times.
    #[arg(long, value_name = "ID", value_parser = rule)]
    allow: Vec<Rule>,
}

/// What to fail with, besides errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Deny {
    /// Any finding.
    Warnings,
}

fn rule(id: &str) -> Result<Rule, String> {
    Rule::from_id(id).ok_or_else(|| format!("no rule has this id; they are {}", Rule::ALL.map(Rule::id).join(", ")))
}

pub(super) fn main(arguments: &Arguments, own: &[Flow]) -> ExitCode {
    let plan = match check::plan(&arguments.file, own) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let found = findings(&plan, &arguments.file, &arguments.allow);
    let errors = found.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = found.len() - errors;
    match arguments.format {
        Format::Json => {
            out::line(format!("{:#}", json!({ "findings": found, "errors": errors, "warnings": warnings })));
        }
        Format::Text => {
            found.iter().for_each(out::line);
            let flows = check::count(plan.flows.len(), "flow");
            let (errors, warnings) = (check::count(errors, "error"), check::count(warnings, "warning"));
            out::line(format!("{}: {flows}, {errors}, {warnings}", arguments.file.display()));
        }
    }
    let fails = errors > 0 || (arguments.deny == Some(Deny::Warnings) && warnings > 0);
    if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Everything found in every flow, the flows in the order of their names.
fn findings(plan: &Plan, file: &Path, allow: &[Rule]) -> Vec<Finding> {
    let mut all = Vec::new();
    for bound in plan.flows.values() {
        let graph = bound.flow().graph();
        let mut known = remarks(plan.document.flows.iter().map(|page| &**page), graph.slug());
        let times = route_times(&plan.document, graph.slug());
        // A route without a time of its own bounds nothing.
        known.route_timeout = times.iter().copied().collect::<Option<Vec<_>>>().and_then(|t| t.into_iter().max());
        known.allow.extend(allow);
        all.extend(unreached_by(&times, graph, &known));
        all.extend(lint(graph, &known));
    }
    for finding in all.iter_mut().filter(|finding| finding.file.is_empty()) {
        finding.file = file.display().to_string();
    }
    all
}

fn unreached_by(times: &[Option<Duration>], graph: &zerver_flows::graph::Graph, known: &Remarks) -> Option<Finding> {
    times.is_empty().then(|| unreached(graph, known)).flatten()
}

/// The time that each route to a flow gives it.
fn route_times(document: &Document, slug: &str) -> Vec<Option<Duration>> {
    let leads = |to: &Target| matches!(to, Target::Flow(flow) if **flow == slug);
    document.routes.iter().filter(|route| leads(&route.to)).map(|route| route.timeout).collect()
}
