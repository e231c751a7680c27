//! What is written about the viewer is true, and what it writes about comparisons is as kept.

use std::sync::Arc;

use zerver_telemetry::explain::{Cohorts, Comparison, VerdictKind};
use zerver_viewer::report;

use crate::fixture::{comparison, timeline};
use crate::golden;

fn checkout() -> Comparison {
    let timelines: Vec<_> = (0..600).map(|seq| Arc::new(timeline(seq))).filter(|t| &*t.route == "checkout").collect();
    comparison(&timelines, "checkout", &Cohorts::SlowVersusFast)
}

#[test]
fn the_report_is_as_kept_and_keeps_its_width() {
    golden::check("report", &report::text(&checkout(), report::DEFAULT_WIDTH));
    for width in [0, 60, 80, 120] {
        let text = report::text(&checkout(), width);
        for line in text.lines() {
            assert!(unicode_width::UnicodeWidthStr::width(line) <= width.max(60), "{width}: {line}");
        }
    }
}

#[test]
fn a_report_without_a_cause_says_so() {
    let mut comparison = checkout();
    comparison.parts.clear();
    comparison.findings.clear();
    comparison.kind = VerdictKind::NotEnoughData;
    comparison.verdict = "Too few requests: 4 slow ones, 10 are needed.".into();
    comparison.route = "bad\x1broute".into();
    let text = report::text(&comparison, 80);
    assert!(text.contains("Too few requests") && !text.contains('\x1b'), "{text}");
    assert!(!text.contains("no findings"));
    comparison.kind = VerdictKind::Uniform;
    assert!(report::text(&comparison, 80).contains("no findings"));
}

/// The parts of the manual that are made from the program, between `<!-- begin name -->` and `<!-- end name -->`.
fn made() -> Vec<(&'static str, String)> {
    let golden = |name: &str| {
        let path = format!("{}/tests/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("the golden file is there");
        format!("```text\n{}\n```\n", text.trim_end())
    };
    let screens =
        ["overview-120x36", "requests-120x36", "timeline-120x36", "compare-120x36", "no-answer-80x24", "report"];
    let mut parts: Vec<_> = screens.into_iter().map(|name| (name, golden(name))).collect();
    parts.push(("keys", zerver_viewer::keys_markdown()));
    parts
}

#[test]
fn the_manual_holds_all_keys_and_the_screens_as_drawn() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/viewer.md");
    let mut manual = std::fs::read_to_string(path).expect("the manual is there");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    for (name, expected) in made() {
        let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
        let from = manual.find(&begin).unwrap_or_else(|| panic!("docs/viewer.md has no `{name}`")) + begin.len();
        let to = from + manual[from..].find(&end).unwrap_or_else(|| panic!("`{name}` in docs/viewer.md has no end"));
        if update {
            manual.replace_range(from..to, &expected);
        }
        assert!(update || manual[from..to] == expected, "docs/viewer.md: `{name}` is old; UPDATE_GOLDEN=1 renews it");
    }
    if update {
        std::fs::write(path, manual).expect("the manual can be written");
    }
}
