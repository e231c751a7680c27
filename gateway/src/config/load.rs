//! From a file's name to a plan: read, override, check; the same way for `run`, `check` and reload.

use std::path::Path;

use super::document::Document;
use super::file::{self, Rejected};
use super::placed::Placed;
use super::secret::Secret;
use super::{env, problem::Problem};
use crate::plan::{Makings, Plan};

/// Looks a variable of the environment up.
pub type Lookup<'l> = &'l dyn Fn(&str) -> Option<String>;

/// The process's own environment.
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads, overrides and checks a file.
///
/// # Errors
/// [`Rejected`] with everything that is wrong.
pub fn plan(path: &Path, lookup: Lookup<'_>, makings: &Makings<'_>) -> Result<Plan, Rejected> {
    let source = file::read(path)?;
    from_text(&path.display().to_string(), &source, lookup, makings)
}

/// The same for a text that is not a file's.
///
/// # Errors
/// [`Rejected`] with everything that is wrong.
pub fn from_text(name: &str, source: &str, lookup: Lookup<'_>, makings: &Makings<'_>) -> Result<Plan, Rejected> {
    let reject = |problems: Vec<Problem>| Rejected { file: name.to_owned(), source: source.to_owned(), problems };
    let page = page(source, lookup).map_err(reject)?;
    Plan::make(page, makings).map_err(reject)
}

fn page(source: &str, lookup: Lookup<'_>) -> Result<Document, Vec<Problem>> {
    let mut page = file::parse(source).map_err(|problem| vec![*problem])?;
    env::apply(&mut page, lookup)?;
    let tokens = [&mut page.admin.token, &mut page.debug.token].into_iter().flatten();
    for token in tokens.chain(page.telemetry.otlp.headers_mut()) {
        reveal(token, lookup)?;
    }
    Ok(page)
}

/// A secret does not belong into a file: `${NAME}` names the variable that holds it.
fn reveal(token: &mut Placed<Secret>, lookup: Lookup<'_>) -> Result<(), Vec<Problem>> {
    let Some(variable) = token.expose().strip_prefix("${").and_then(|text| text.strip_suffix('}')) else {
        return Ok(());
    };
    let value = lookup(variable).ok_or_else(|| {
        vec![
            Problem::at(token.place(), format!("the environment variable `{variable}` is not set"))
                .help(format!("set it before starting: {variable}=… zerver run …")),
        ]
    })?;
    *token = Placed::nowhere(Secret::new(value));
    Ok(())
}
