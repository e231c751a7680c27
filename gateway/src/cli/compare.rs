//! `zerver compare`: slow against fast requests of a running gateway or a capture, as text or JSON.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use zerver_telemetry::explain::{self, Cohorts, Comparison, VerdictKind};
use zerver_telemetry::recording::Reader;

use super::ask::Token;
use super::out::Format;
use super::{ask, out};

/// What `zerver compare` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The admin address of a running gateway, or a capture file.
    #[arg(default_value = "127.0.0.1:9901")]
    source: String,
    /// The route (default: the one with the largest extra time).
    #[arg(long)]
    route: Option<String>,
    /// The fast requests: a range of milliseconds, such as 1-20 (default: the 5th to the 50th percentile).
    #[arg(long, requires = "slow", value_parser = range)]
    fast: Option<(f64, f64)>,
    /// The slow requests: a range of milliseconds, such as 80-500 (default: the slowest 3 %).
    #[arg(long, requires = "fast", value_parser = range)]
    slow: Option<(f64, f64)>,
    /// How.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    token: Token,
}

fn range(text: &str) -> Result<(f64, f64), String> {
    let wrong = || format!("`{text}` is no range of milliseconds; write it as 1-20");
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let (from, to): (f64, f64) = (from.parse().map_err(|_| wrong())?, to.parse().map_err(|_| wrong())?);
    if from < to { Ok((from, to)) } else { Err(wrong()) }
}

/// Exit code when there are too few requests to compare.
const NOT_ENOUGH: u8 = 4;

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let path = Path::new(&arguments.source);
    let comparison = if path.is_file() { from_file(path, arguments) } else { from_gateway(arguments) };
    match comparison {
        Ok(comparison) => print(&comparison, arguments.format),
        Err(error) => out::fail(1, format!("error: {error}")),
    }
}

/// Prints a comparison; 4 when it says that there is not enough to compare.
pub(super) fn print(comparison: &Comparison, format: Format) -> ExitCode {
    match format {
        Format::Json => match serde_json::to_string_pretty(comparison) {
            Ok(text) => out::line(text),
            Err(error) => return out::fail(1, format!("error: {error}")),
        },
        Format::Text => out::line(text(comparison)),
    }
    match comparison.kind {
        VerdictKind::NotEnoughData => ExitCode::from(NOT_ENOUGH),
        _ => ExitCode::SUCCESS,
    }
}

#[cfg(feature = "viewer")]
fn text(comparison: &Comparison) -> String {
    zerver_viewer::report::text(comparison, 80).trim_end().to_owned()
}

#[cfg(not(feature = "viewer"))]
fn text(comparison: &Comparison) -> String {
    comparison.verdict.clone()
}

fn from_file(path: &Path, arguments: &Arguments) -> Result<Comparison, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut reader = Reader::new(BufReader::new(file)).map_err(|error| failed(&error))?;
    let mut timelines = Vec::new();
    for timeline in reader.by_ref() {
        timelines.push(Arc::new(timeline.map_err(|error| failed(&error))?));
    }
    if reader.torn() {
        out::note(format!("{} was cut off; what is whole of it is compared", path.display()));
    }
    let cohorts = match (arguments.fast, arguments.slow) {
        (Some(a), Some(b)) => Cohorts::Latency { a, b },
        _ => Cohorts::SlowVersusFast,
    };
    Ok(explain::compare(&timelines, arguments.route.as_deref(), &cohorts))
}

/// Asks the gateway, which compares where its timelines are.
fn from_gateway(arguments: &Arguments) -> Result<Comparison, String> {
    let mut query = Vec::new();
    if let Some(route) = &arguments.route {
        query.push(format!("route={}", ask::encode(route)));
    }
    if let (Some(a), Some(b)) = (arguments.fast, arguments.slow) {
        query.push(format!("a={}-{}&b={}-{}", a.0, a.1, b.0, b.1));
    }
    ask::page(&arguments.source, &format!("/compare?{}", query.join("&")), &arguments.token)
}
