//! `zerver check` and `zerver routes`: what a file says, or what is wrong with it, without serving it.

use std::path::Path;
use std::process::ExitCode;

use super::out;
use crate::config::document::Document;
use crate::config::load;
use crate::gateway::{self, Page};
use crate::plan::{Own, Plan};

/// Reads and checks a file. What is wrong with it has been printed where there is no plan.
pub(super) fn plan(file: &Path, own: &Own) -> Result<Plan, ExitCode> {
    gateway::check(&Page::File(file.to_owned()), own, &load::process_env)
        .map_err(|rejected| out::fail(out::WRONG, rejected))
}

pub(super) fn main(file: &Path, own: &Own) -> ExitCode {
    let plan = match plan(file, own) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    out::line(format!(
        "{}: ok: {}, {}, {}, {}",
        file.display(),
        count(plan.document.routes.len(), "route"),
        count(plan.flows.len(), "flow"),
        count(plan.upstreams.len(), "upstream"),
        count(plan.rate_limits.len(), "rate limit")
    ));
    ExitCode::SUCCESS
}

/// `1 route`, `2 routes`.
pub(super) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

pub(super) fn schema() -> ExitCode {
    match serde_json::to_string_pretty(&schemars::schema_for!(Document)) {
        Ok(schema) => {
            out::line(schema);
            ExitCode::SUCCESS
        }
        Err(error) => out::fail(1, format!("error: {error}")),
    }
}

pub(super) fn routes(file: &Path, own: &Own) -> ExitCode {
    let plan = match plan(file, own) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let lines = plan.route_list();
    let width = |text: fn(&crate::plan::RouteLine) -> &str| lines.iter().map(|l| text(l).chars().count()).max();
    let (names, matches) = (width(|l| &l.route).unwrap_or(0), width(|l| &l.matches).unwrap_or(0));
    for line in &lines {
        out::line(format!("{:names$}  {:matches$}  {}", line.route, line.matches, line.to));
    }
    ExitCode::SUCCESS
}
