//! The tables of the benchmarks: rows on the screen and in `target/bench/<name>.json`.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use crate::machine::Shared;
use crate::sample::Sample;

/// One line of a table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    row: String,
    /// The median; none where nothing could be measured, and then the row says why.
    value: Option<f64>,
    unit: &'static str,
    /// A tenth of the measurements lie below.
    low: Option<f64>,
    /// A tenth of the measurements lie above.
    high: Option<f64>,
    /// What it is compared with.
    against: Option<Against>,
    goal: Option<String>,
    /// Whether the goal is met; none without a goal.
    ok: Option<bool>,
}

#[derive(Clone, Debug, Serialize)]
struct Against {
    name: String,
    value: f64,
}

impl Row {
    pub(crate) fn new(row: impl Into<String>, sample: impl Into<Sample>, unit: &'static str) -> Self {
        let sample = sample.into();
        let known = |value: f64| value.is_finite().then_some(value);
        let spread = |value: f64| known(value).filter(|_| sample.0.len() > 1);
        Self {
            row: row.into(),
            value: known(sample.median()),
            unit,
            low: spread(sample.low()),
            high: spread(sample.high()),
            against: None,
            goal: None,
            ok: None,
        }
    }

    /// A row that says why there is no figure.
    pub(crate) fn without(row: impl Into<String>) -> Self {
        Self::new(row, Sample::default(), "")
    }

    /// The same, compared with something of this value.
    pub(crate) fn against(mut self, name: impl Into<String>, value: f64) -> Self {
        self.against = value.is_finite().then(|| Against { name: name.into(), value });
        self
    }

    /// The same with a goal: at most `most`. Undecided when the goal lies within the spread.
    pub(crate) fn at_most(mut self, most: f64) -> Self {
        self.goal = Some(format!("at most {}", number(most)));
        let within = self.low.zip(self.high).is_some_and(|(low, high)| low <= most && most < high);
        self.ok = self.value.filter(|_| !within).map(|value| value <= most);
        self
    }
}

/// The rows of one target.
#[derive(Debug)]
pub(crate) struct Table {
    name: &'static str,
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Prints the table and writes its file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn finish(mut self, shared: Shared) -> io::Result<()> {
        let (seconds, load) = (number(shared.seconds), number(shared.load));
        self.add(Row::new(format!("machine: used by others (over {seconds} s, load {load})"), shared.others, "CPUs"));
        self.add(Row::new("machine: taken by the hypervisor", shared.stolen, "CPUs"));
        print(&self.text())?;
        let folder = Path::new("target/bench");
        fs::create_dir_all(folder)?;
        let json = serde_json::to_vec_pretty(&self.rows).map_err(io::Error::other)?;
        fs::write(folder.join(format!("{}.json", self.name)), json)
    }

    fn text(&self) -> String {
        let lines: Vec<[String; 6]> = self
            .rows
            .iter()
            .map(|row| {
                let spread = match (row.low, row.high) {
                    (Some(low), Some(high)) => format!("{} .. {}", number(low), number(high)),
                    _ => String::new(),
                };
                let goal = match (&row.goal, row.ok) {
                    (Some(goal), Some(true)) => format!("{goal}: met"),
                    (Some(goal), Some(false)) => format!("{goal}: MISSED"),
                    (Some(goal), None) if row.value.is_some() => format!("{goal}: undecided"),
                    (Some(goal), None) => goal.clone(),
                    (None, _) => String::new(),
                };
                let against =
                    row.against.as_ref().map_or(String::new(), |it| format!("{} {}", it.name, number(it.value)));
                let value = row.value.map_or(String::new(), number);
                [row.row.clone(), value, row.unit.to_owned(), spread, against, goal]
            })
            .collect();
        let heads = [self.name, "median", "unit", "p10 .. p90", "against", "goal"];
        let width = |column: usize| {
            let cells = lines.iter().map(|line| line[column].chars().count());
            cells.chain([heads[column].len()]).max().unwrap_or(0)
        };
        let widths: [usize; 6] = std::array::from_fn(width);
        let line = |cells: [&str; 6]| {
            let mut out = String::from("|");
            for (place, (cell, width)) in cells.into_iter().zip(widths).enumerate() {
                let pad = " ".repeat(width - cell.chars().count());
                out += &if place == 1 { format!(" {pad}{cell} |") } else { format!(" {cell}{pad} |") };
            }
            out + "\n"
        };
        let rule: String = widths.iter().map(|width| format!("|{}", "-".repeat(width + 2))).collect();
        let body: String = lines.iter().map(|cells| line(cells.each_ref().map(String::as_str))).collect();
        format!("\n{}{rule}|\n{body}", line(heads))
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size >= 1e6 => format!("{value:.3e}"),
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ if size == 0.0 || size.fract() == 0.0 => format!("{value:.0}"),
        _ if size >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())
}

/// Says something beside the tables.
pub(crate) fn note(text: &str) {
    // Without anyone to read it there is nothing to say.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_is_met() {
        let mut table = Table::new("it");
        table.add(Row::new("fast", Sample(vec![1.0, 2.0, 3.0]), "ns").against("slow", 7.5).at_most(3.0));
        table.add(Row::new("big", 2.25, "x").at_most(2.0));
        table.add(Row::new("wide", Sample(vec![1.0, 2.0, 9.0]), "x").at_most(2.5));
        table.add(Row::without("not here"));
        let text = table.text();
        assert!(
            text.contains("| fast     |      2 | ns   | 1 .. 3     | slow 7.50 | at most 3: met          |"),
            "{text}"
        );
        assert!(text.contains("at most 2.50: undecided"), "{text}");
        assert!(text.contains("at most 2: MISSED") && text.contains("| not here |        |"), "{text}");
        assert_eq!(
            [0.0, 0.004, 1.5, 42.42, 1234.5, 2.5e6].map(number),
            ["0", "0.0040", "1.50", "42.4", "1234", "2.500e6"]
        );
    }
}
