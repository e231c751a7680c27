//! A comparison as plain text: the verdict, the table that adds up, the findings and their check.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;
use zerver_telemetry::explain::{self, Comparison, Evidence, Finding, Part, VerdictKind};

use crate::pen::{fit, wrap};
use crate::units::{count, ms_exact, ms_signed, percent};

/// The width a report is written for when nobody says otherwise.
pub const DEFAULT_WIDTH: usize = 80;

/// Writes a comparison as text of at most `width` columns (at least 60), without colour, ending in a newline.
///
/// The rows of the table add up to the difference; a row whose weight lies in a few requests is marked `few`. Control
/// characters in names are replaced.
#[must_use]
pub fn text(comparison: &Comparison, width: usize) -> String {
    let width = width.max(60);
    let mut out = String::new();
    head(&mut out, comparison, width);
    if !comparison.parts.is_empty() {
        table(&mut out, comparison, width);
    }
    if comparison.findings.is_empty() && comparison.kind != VerdictKind::NotEnoughData {
        out.push_str("\nno findings\n");
    }
    for (number, finding) in comparison.findings.iter().enumerate() {
        out.push('\n');
        write_finding(&mut out, number + 1, finding, &comparison.verdict, width);
    }
    if !comparison.notes.is_empty() {
        out.push('\n');
        for note in &comparison.notes {
            paragraph(&mut out, "note: ", "      ", note, width);
        }
    }
    clean(&out)
}

/// The names of routes, nodes and attributes come from outside.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '␛' } else { c }).collect()
}

fn head(out: &mut String, c: &Comparison, width: usize) {
    let (a, b) = (&c.a, &c.b);
    let route = if c.route.is_empty() { "(all routes)" } else { &c.route };
    let paths = if c.exact { "exact paths" } else { "~ inferred paths" };
    let growth = if a.mean_ms > 0.0 { format!(" ({:+.0}%)", c.delta_ms / a.mean_ms * 100.0) } else { String::new() };
    let line = format!(
        "{route}  mean {} → {} ms{growth}   A {}   B {}   {paths}",
        ms_exact(a.mean_ms),
        ms_exact(b.mean_ms),
        count(a.count as u64),
        count(b.count as u64)
    );
    paragraph(out, "", "  ", &line, width);
    for (letter, cohort) in [('A', a), ('B', b)] {
        let line = format!(
            "{}, {}–{} ms, median {} ms",
            cohort.label,
            ms_exact(cohort.min_ms),
            ms_exact(cohort.max_ms),
            ms_exact(cohort.median_ms)
        );
        paragraph(out, &format!("{letter}  "), "   ", &line, width);
    }
    if c.unused > 0 {
        let _ = writeln!(out, "   {} requests are in neither", count(c.unused as u64));
    }
    out.push('\n');
    paragraph(out, "", "", &c.verdict, width);
}

/// Columns of figures after the part's name: A, B, Δ, share and the mark.
const FIGURES: usize = 9 + 9 + 10 + 7 + 5;

fn table(out: &mut String, c: &Comparison, width: usize) {
    let label = width.saturating_sub(FIGURES + 2).clamp(8, 44);
    let _ = writeln!(out, "\n  {}{:>9}{:>9}{:>10}{:>7}", fit("part", label), "A ms", "B ms", "Δ ms", "share");
    for part in &c.parts {
        let figures = format!(
            "{:>9}{:>9}{:>10}{:>7}",
            ms_exact(part.a_ms),
            ms_exact(part.b_ms),
            ms_signed(part.delta_ms),
            percent(part.share)
        );
        let mark = if part.few { "  few" } else { "" };
        let _ = writeln!(out, "  {}{figures}{mark}", fit(&part_name(part), label));
    }
    let sum: f64 = c.parts.iter().map(|p| p.delta_ms).sum();
    let _ = writeln!(
        out,
        "  {}{:>9}{:>9}{:>10}{:>7}",
        fit("total", label),
        ms_exact(c.a.mean_ms),
        ms_exact(c.b.mean_ms),
        ms_signed(c.delta_ms),
        if c.delta_ms.abs() > f64::EPSILON { percent(sum / c.delta_ms) } else { "–".into() }
    );
}

fn write_finding(out: &mut String, number: usize, finding: &Finding, verdict: &str, width: usize) {
    let first = format!("{number} {} {:>4}  ", evidence(finding.evidence, ['●', '○']), percent(finding.share));
    // The first finding often is the verdict; it is not told twice.
    let told = finding.sentence.trim_end_matches('.') == verdict.trim_end_matches('.');
    let sentence = if told { format!("{}, as above", place(&finding.place)) } else { finding.sentence.clone() };
    paragraph(out, &first, "           ", &sentence, width);
    if !finding.reasons.is_empty() {
        let reasons: Vec<String> = finding
            .reasons
            .iter()
            .map(|r| match &r.name {
                Some(name) => format!("{} {name} {}", r.cause.as_str(), percent(r.share)),
                None => format!("{} {}", r.cause.as_str(), percent(r.share)),
            })
            .collect();
        paragraph(
            out,
            "    spent  ",
            "           ",
            &format!("{}: {}", place(&finding.place), reasons.join(", ")),
            width,
        );
    }
    for mark in &finding.marks {
        paragraph(out, "    cause  ", "           ", &mark_words(mark), width);
    }
    let mut check = Vec::new();
    if let Some(without) = finding.without_ms {
        check.push(format!("mean of B without these: {} ms", ms_exact(without)));
    }
    check.push(format!("evidence {} (J ≥ {:.2})", evidence_word(finding.evidence), finding.bound));
    paragraph(out, "    check  ", "           ", &check.join(", "), width);
    if let Some(slow) = &finding.example_slow {
        let fast = finding.example_fast.as_deref().map(|f| format!(", its fast twin {f}")).unwrap_or_default();
        paragraph(out, "    see    ", "           ", &format!("slow {slow}{fast}"), width);
    }
}

/// A mark in words: `peer=b in 98% of these, 3% of the rest; also zone=2`.
pub(crate) fn mark_words(mark: &explain::Mark) -> String {
    let also = if mark.also.is_empty() { String::new() } else { format!("; also {}", mark.also.join(", ")) };
    let (words, slow, rest) = (explain::mark_words(mark), percent(mark.in_slow), percent(mark.in_rest));
    format!("{words} in {slow} of these, {rest} of the rest{also}")
}

/// A part's place and state in words: `price.call#2 io inventory`.
pub(crate) fn part_name(part: &Part) -> String {
    let mut name = place(&part.place).to_owned();
    if part.attempt > 1 {
        let _ = write!(name, "#{}", part.attempt);
    }
    if let Some(cause) = part.cause {
        let _ = write!(name, "  {}", cause.as_str());
    }
    if let Some(of) = &part.name {
        let _ = write!(name, " {of}");
    }
    name
}

/// The request's own time has the empty path.
pub(crate) fn place(path: &str) -> &str {
    if path.is_empty() { "(request)" } else { path }
}

/// `●●○`, in the given signs for full and empty.
pub(crate) fn evidence(evidence: Evidence, signs: [char; 2]) -> String {
    let full = match evidence {
        Evidence::Low => 1,
        Evidence::Medium => 2,
        Evidence::High => 3,
    };
    (0..3).map(|n| if n < full { signs[0] } else { signs[1] }).collect()
}

/// The evidence as a word.
pub(crate) const fn evidence_word(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Low => "low",
        Evidence::Medium => "medium",
        Evidence::High => "high",
    }
}

/// Writes a sentence behind `first`, and what does not fit behind `rest` on the lines below.
fn paragraph(out: &mut String, first: &str, rest: &str, sentence: &str, width: usize) {
    let room = width.saturating_sub(first.width().max(rest.width()));
    // Two blanks or more separate the facts of a head line; they stay when the line fits whole.
    if sentence.width() <= room {
        let _ = writeln!(out, "{first}{sentence}");
        return;
    }
    for (n, line) in wrap(sentence, room).into_iter().enumerate() {
        let _ = writeln!(out, "{}{line}", if n == 0 { first } else { rest });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_as_a_person_says_it() {
        let check = |key: &str, value: &str, expected: &str| {
            let mark = explain::Mark {
                key: key.into(),
                value: value.into(),
                in_slow: 0.98,
                in_rest: 0.03,
                also: vec!["zone=2".into()],
            };
            assert_eq!(mark_words(&mark), expected);
        };
        check("peer", "b", "peer=b in 98% of these, 3% of the rest; also zone=2");
        check("items", "≥ 41", "items ≥ 41 in 98% of these, 3% of the rest; also zone=2");
        check("arrival", "in 5 bursts", "arrival in 5 bursts in 98% of these, 3% of the rest; also zone=2");
    }
}
