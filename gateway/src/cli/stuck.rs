//! `zerver stuck`: the runs of a running gateway whose undoing failed; going on with one, or taking it off the list.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;

use super::ask::Token;
use super::out::Format;
use super::{ask, out};
use crate::admin::stuck::{Resumed, StuckLine, Why};

/// What `zerver stuck` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The admin address of the running gateway.
    #[arg(long, default_value = "127.0.0.1:9901", global = true)]
    admin: String,
    /// How the list is printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    token: Token,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Go on with the undoing of a run; 1 when it is stuck again.
    Resume {
        /// The run's number.
        number: u64,
    },
    /// Take a run off the list, when what is left was undone by hand.
    Forget {
        /// The run's number.
        number: u64,
    },
}

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let Arguments { admin, format, token, what } = arguments;
    let done = match what {
        None => list(admin, *format, token),
        Some(What::Resume { number }) => ask::order(Method::POST, admin, &format!("/stuck/{number}/resume"), token)
            .map(|resumed: Resumed| {
                out::line(format!("undone: {} (trace {})", resumed.undone.join(", "), resumed.trace_id));
            }),
        Some(What::Forget { number }) => {
            ask::order(Method::DELETE, admin, &format!("/stuck/{number}"), token).map(|line: StuckLine| {
                out::line(format!("forgotten; it had not undone: {} (trace {})", line.rest.join(", "), line.trace_id));
            })
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => out::fail(1, format!("error: {error}")),
    }
}

fn list(admin: &str, format: Format, token: &Token) -> Result<(), String> {
    let lines: Vec<StuckLine> = ask::page(admin, "/stuck", token)?;
    match format {
        Format::Json => out::line(serde_json::to_string_pretty(&lines).map_err(|error| error.to_string())?),
        Format::Text if lines.is_empty() => out::line("no run is stuck"),
        Format::Text => {
            let head = ["number", "flow", "since", "failed", "undoing failed", "left to undo", "trace"];
            let mut rows = vec![head.map(str::to_owned)];
            rows.extend(lines.iter().map(row));
            out::table(&rows);
        }
    }
    Ok(())
}

fn row(line: &StuckLine) -> [String; 7] {
    let rest = line.rest.join(", ");
    [
        line.number.to_string(),
        format!("{}@{}", line.flow, line.version),
        age(line.age_s),
        why(&line.failed),
        why(&line.undo_failed),
        if line.resuming { format!("{rest} (being resumed)") } else { rest },
        line.trace_id.to_string(),
    ]
}

fn why(why: &Why) -> String {
    match &why.step {
        Some(step) => format!("{step}: {}", why.code),
        None => why.code.clone(),
    }
}

/// How long ago, in the largest unit that gives at least one.
fn age(seconds: f64) -> String {
    let units = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (0.0, "s")];
    let (unit, word) = units.into_iter().find(|(unit, _)| seconds >= *unit).unwrap_or((0.0, "s"));
    format!("{:.0} {word}", (seconds / unit.max(1.0)).floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_one_unit() {
        let told = [0.4, 59.9, 60.0, 7_199.0, 172_800.0].map(age);
        assert_eq!(told, ["0 s", "59 s", "1 min", "1 h", "2 d"]);
    }
}
