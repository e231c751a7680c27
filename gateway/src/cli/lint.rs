//! `zerver lint`: what runs and is seldom meant, in the flows of a file and in the program's own.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;
use zerver_flows::lint::{Finding, Rule, Severity, lint, unreached};

use super::out::Format;
use super::{check, out};
use crate::config::document::{Document, Target};
use crate::config::flows::remarks;
use crate::plan::{Own, Plan};

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

pub(super) fn main(arguments: &Arguments, own: &Own) -> ExitCode {
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
        known.route_timeout = limit(&times);
        known.allow.extend(allow);
        if times.is_empty() {
            all.extend(unreached(graph, &known));
        }
        all.extend(lint(graph, &known));
    }
    for finding in all.iter_mut().filter(|finding| finding.file.is_empty()) {
        finding.file = file.display().to_string();
    }
    all
}

/// The time that each route to a flow gives it.
fn route_times(document: &Document, slug: &str) -> Vec<Option<Duration>> {
    let leads = |to: &Target| matches!(to, Target::Flow(flow) if **flow == slug);
    document.routes.iter().filter(|route| leads(&route.to)).map(|route| route.timeout).collect()
}

/// The most time a run may have; none where a route gives it any.
fn limit(times: &[Option<Duration>]) -> Option<Duration> {
    times.iter().copied().collect::<Option<Vec<_>>>()?.into_iter().max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::flow::checkout;
    use crate::gateway::{Page, check};

    fn found(routes: &str, allow: &[Rule]) -> Vec<Finding> {
        let peers = "{ peers: ['127.0.0.1:1'] }";
        let source = format!(
            "listen: 127.0.0.1:0
upstreams: {{ carts: {peers}, profiles: {peers}, quotes: {peers} }}
routes: [{routes}]
"
        );
        let page = Page::Text { name: "page".into(), source };
        let plan = check(&page, &vec![checkout()].into(), &|_| None).unwrap_or_else(|rejected| panic!("{rejected}"));
        findings(&plan, Path::new("page"), allow)
    }

    #[test]
    fn a_flow_of_the_program_is_linted_where_it_is_written() {
        let routed = "{ name: a, match: { path: / }, to: { flow: checkout } }";
        let told = found(routed, &[]);
        assert_eq!(told.iter().map(|finding| finding.rule).collect::<Vec<_>>(), [Rule::PatientOption]);
        assert_eq!(told[0].step.as_deref(), Some("profile"));
        assert!(told[0].file.ends_with("src/demo/flow.rs"), "{}", told[0].file);
        let source = include_str!("../demo/flow.rs");
        let line = source.lines().nth(told[0].line as usize - 1).unwrap_or_default();
        assert!(line.contains("let profile = load_profile(user);"), "{line}");
        assert_eq!(found(routed, &[Rule::PatientOption]), []);
    }

    #[test]
    fn a_flow_without_a_route_is_told() {
        let rules: Vec<Rule> = found("", &[]).into_iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, [Rule::Unreached, Rule::PatientOption]);
        assert_eq!(found("", &[Rule::Unreached, Rule::PatientOption]), []);
    }

    #[test]
    fn the_longest_route_is_the_limit_and_one_without_is_none() {
        let limited = |second: &str| {
            let page = format!(
                "listen: 127.0.0.1:0
flows: [{{ flow: shop, respond: {{ text: ok }} }}]
routes:
  - {{ name: a, match: {{ path: /a }}, to: {{ flow: shop }}, timeout: 1s }}
  - {{ name: b, match: {{ path: /b }}, to: {{ flow: shop }}{second} }}
"
            );
            let page = Page::Text { name: "page".into(), source: page };
            let plan = check(&page, &Own::default(), &|_| None).unwrap_or_else(|rejected| panic!("{rejected}"));
            route_times(&plan.document, "shop")
        };
        let second = Duration::from_secs(1);
        assert_eq!(limited(", timeout: 3s"), [Some(second), Some(3 * second)]);
        assert_eq!(limit(&limited(", timeout: 3s")), Some(3 * second));
        assert_eq!(limit(&limited("")), None);
        assert_eq!(limit(&[]), None);
    }
}
