//! The one place that prints: what was asked for goes to standard output, what went wrong to standard error.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use clap::ValueEnum;

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For reading.
    Text,
    /// For programs.
    Json,
}

/// Wrong input.
pub(super) const WRONG: u8 = 2;

/// Prints a line of what was asked for. A reader that has gone (a closed pipe) is no failure.
pub(super) fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints rows as a table: columns two blanks apart, each as wide as its widest cell, the last one as it comes.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) {
    for row in columns(rows) {
        line(row);
    }
}

/// The lines of a table.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let text = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(text).collect()
}

/// Prints what went wrong, and gives the exit code.
pub(super) fn fail(code: u8, text: impl Display) -> ExitCode {
    note(text);
    ExitCode::from(code)
}

/// Prints a remark to standard error.
pub(super) fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
