//! The command line: every subcommand, what it takes, and the exit codes (0 done, 1 failed, 2 wrong input).

mod out;
mod ask;
mod run;
mod check;
mod env;
mod flows;
mod lint;
mod rules;
mod graph;
mod compare;
mod capture;
mod stuck;
#[cfg(feature = "viewer")]
mod view;
mod demo;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::plan::Own;

/// An API gateway that says why its slow requests are slow.
#[derive(Debug, Parser)]
#[command(name = "zerver", version, about, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a configuration file; it is reloaded when it changes.
    Run {
        /// The configuration file.
        file: PathBuf,
    },
    /// Start a gateway, three small services with a fault you choose, and load; then say why slow requests are slow.
    Demo(demo::Arguments),
    /// Check a configuration file without serving it; 2 when anything is wrong.
    Check {
        /// The configuration file.
        #[arg(required_unless_present = "schema")]
        file: Option<PathBuf>,
        /// Print the JSON schema of the file instead, for editors.
        #[arg(long)]
        schema: bool,
    },
    /// List the environment variables that are understood, with type, default and present value.
    Env,
    /// List the routes of a configuration file in their order of precedence.
    Routes {
        /// The configuration file.
        file: PathBuf,
    },
    /// List the flows of a configuration file and of this program, with what is known before they run.
    Flows(flows::Arguments),
    /// Say what in the flows is allowed and seldom meant; 1 when a finding is an error.
    Lint(lint::Arguments),
    /// Print rules for Prometheus: burn rates and alerts for the objectives of a configuration file, alerts for the gateway.
    Rules(rules::Arguments),
    /// Print the graph of a flow, with what a running gateway has measured if you like.
    Graph(graph::Arguments),
    /// Open the terminal viewer on a running gateway or a capture.
    #[cfg(feature = "viewer")]
    View(view::Arguments),
    /// Compare slow requests with fast ones, and print why the slow ones are slow.
    Compare(compare::Arguments),
    /// Write what a running gateway keeps to a file that view and compare open.
    Capture(capture::Arguments),
    /// List the runs of a running gateway whose undoing failed; resume or forget one.
    Stuck(stuck::Arguments),
}

/// Runs one command line.
pub(crate) fn main(own: Own, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; what cannot be printed has no reader.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match cli.command {
        Command::Run { file } => run::main(&file, own),
        Command::Demo(arguments) => demo::main(&arguments),
        Command::Check { file: Some(file), schema: false } => check::main(&file, &own),
        Command::Check { .. } => check::schema(),
        Command::Env => env::main(),
        Command::Routes { file } => check::routes(&file, &own),
        Command::Flows(arguments) => flows::main(&arguments, &own),
        Command::Lint(arguments) => lint::main(&arguments, &own),
        Command::Rules(arguments) => rules::main(&arguments, &own),
        Command::Graph(arguments) => graph::main(&arguments, &own),
        #[cfg(feature = "viewer")]
        Command::View(arguments) => view::main(&arguments),
        Command::Compare(arguments) => compare::main(&arguments),
        Command::Capture(arguments) => capture::main(&arguments),
        Command::Stuck(arguments) => stuck::main(&arguments),
    }
}
