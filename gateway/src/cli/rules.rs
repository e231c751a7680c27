//! `zerver rules`: rules for Prometheus, made of the objectives in a file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use zerver_telemetry::slo::rules;

use super::{check, out};
use crate::plan::Own;

/// What `zerver rules` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file.
    file: PathBuf,
}

pub(super) fn main(arguments: &Arguments, own: &Own) -> ExitCode {
    match check::plan(&arguments.file, own) {
        Ok(plan) => {
            out::line(rules::text(&plan.objectives()).trim_end());
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}
