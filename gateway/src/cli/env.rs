//! `zerver env`: the environment variables that are understood.

use std::process::ExitCode;

use super::out;
use crate::config::env::{unknown, variables};

pub(super) fn main() -> ExitCode {
    for variable in variables() {
        let now = match std::env::var(variable.name) {
            Ok(_) if variable.secret => "= ***".to_owned(),
            Ok(value) => format!("= {value}"),
            Err(_) => "(not set)".to_owned(),
        };
        out::line(format!("{} {now}", variable.name));
        out::line(format!("    {} (default: {}): {}", variable.takes, variable.default, variable.about));
    }
    for warning in unknown(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
        out::note(format!("warning: {warning}"));
    }
    ExitCode::SUCCESS
}
