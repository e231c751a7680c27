//! What the linter says: the rule, the place, what it saw, and what to do.

use std::fmt;

use serde::Serialize;

use crate::lint::rule::{Rule, Severity};

/// One thing the linter found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule that found it.
    #[serde(rename = "id")]
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// The flow.
    pub slug: String,
    /// The step; none when it is about the whole flow.
    pub step: Option<String>,
    /// The file; empty for a flow from a page, whose name only the loader knows.
    pub file: String,
    /// The line, from 1; 0 when it is not known.
    pub line: u32,
    /// What was seen.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// `file:line: severity id flow.step: message`, and the help on a line of its own.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, severity, slug, step, file, line, message, help } = self;
        write!(f, "{file}:{line}: {severity} {} {slug}", rule.id())?;
        if let Some(step) = step {
            write!(f, ".{step}")?;
        }
        write!(f, ": {message}\n    help: {help}")
    }
}
