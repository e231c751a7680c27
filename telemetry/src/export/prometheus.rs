//! Metrics as Prometheus reads them: the text exposition format, version 0.0.4.
//!
//! Source: "Exposition formats", Prometheus documentation.

use std::fmt::Write;

use crate::metrics::histogram::BOUNDS_US;
use crate::metrics::{Reading, Series, Snapshot};

/// The content type of the answer that carries it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes a reading out.
#[must_use]
pub fn text(snapshot: &Snapshot) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for family in &snapshot.families {
        let metric = family.metric;
        out.push_str("# HELP ");
        out.push_str(metric.name);
        out.push(' ');
        escape(&mut out, metric.help, false);
        let _ = writeln!(out, "\n# TYPE {} {}", metric.name, metric.kind.as_str());
        for series in &family.series {
            match &series.value {
                Reading::Number(value) => {
                    line(&mut out, metric.name, "", metric.labels, series, None, *value);
                }
                Reading::Histogram(buckets) => {
                    for (bound, count) in BOUNDS_US.iter().zip(buckets.cumulative) {
                        let bound = *bound as f64 / 1e6;
                        line(&mut out, metric.name, "_bucket", metric.labels, series, Some(bound), count as f64);
                    }
                    let all = buckets.count as f64;
                    line(&mut out, metric.name, "_bucket", metric.labels, series, Some(f64::INFINITY), all);
                    line(&mut out, metric.name, "_sum", metric.labels, series, None, buckets.sum);
                    line(&mut out, metric.name, "_count", metric.labels, series, None, all);
                }
            }
        }
    }
    out
}

fn line(out: &mut String, name: &str, suffix: &str, labels: &[&str], series: &Series, le: Option<f64>, value: f64) {
    out.push_str(name);
    out.push_str(suffix);
    let mut open = '{';
    for (label, text) in labels.iter().zip(&series.labels) {
        out.push(open);
        open = ',';
        out.push_str(label);
        out.push_str("=\"");
        escape(out, text, true);
        out.push('"');
    }
    if let Some(le) = le {
        out.push(open);
        open = ',';
        out.push_str("le=\"");
        number(out, le);
        out.push('"');
    }
    if open == ',' {
        out.push('}');
    }
    out.push(' ');
    number(out, value);
    out.push('\n');
}

fn number(out: &mut String, value: f64) {
    if value == f64::INFINITY {
        out.push_str("+Inf");
    } else if value == f64::NEG_INFINITY {
        out.push_str("-Inf");
    } else {
        // Rust writes the shortest decimal that reads back the same, and NaN as NaN.
        let _ = write!(out, "{value}");
    }
}

/// Backslash and newline, and in label values the quote.
fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::catalog::{self, Kind};
    use crate::metrics::{Metrics, Sink, Source};
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    use std::sync::Arc;

    /// Reports every metric of the catalogue that is not a histogram, with labels that need escaping.
    struct Everything;

    impl Source for Everything {
        fn collect(&self, out: &mut Sink) {
            for metric in catalog::ALL.iter().filter(|metric| metric.kind != Kind::Histogram) {
                let labels: Vec<&str> = metric.labels.iter().map(|_| "a \"b\" \\ c\nd").collect();
                out.put(metric, &labels, 1.5);
            }
        }
    }

    fn everything() -> String {
        let metrics = Metrics::new();
        metrics.observe(&crate::timeline::sample());
        metrics.register(Arc::new(Everything));
        text(&metrics.snapshot())
    }

    #[test]
    fn a_histogram_is_written_with_buckets_sum_and_count() {
        let metrics = Metrics::new();
        metrics.observe(&crate::timeline::sample());
        let text = text(&metrics.snapshot());
        let expected = [
            "# TYPE zerver_request_duration_seconds histogram",
            "zerver_request_duration_seconds_bucket{route=\"checkout\",status_class=\"2xx\",le=\"0.025\"} 0",
            "zerver_request_duration_seconds_bucket{route=\"checkout\",status_class=\"2xx\",le=\"0.05\"} 1",
            "zerver_request_duration_seconds_bucket{route=\"checkout\",status_class=\"2xx\",le=\"+Inf\"} 1",
            "zerver_request_duration_seconds_sum{route=\"checkout\",status_class=\"2xx\"} 0.0482",
            "zerver_request_duration_seconds_count{route=\"checkout\",status_class=\"2xx\"} 1",
            "zerver_timelines_total 1",
        ];
        for line in expected {
            assert!(text.lines().any(|l| l == line), "no line `{line}` in\n{text}");
        }
    }

    #[test]
    fn label_values_are_escaped() {
        let text = everything();
        assert!(text.contains(r#"zerver_limit_in_use{limit="a \"b\" \\ c\nd"} 1.5"#), "{text}");
    }

    #[test]
    fn every_metric_of_the_catalogue_is_written_once() {
        let text = everything();
        for metric in catalog::ALL {
            let head = format!("# TYPE {} ", metric.name);
            assert_eq!(text.lines().filter(|line| line.starts_with(&head)).count(), 1, "{}", metric.name);
        }
    }

    #[test]
    fn promtool_finds_nothing_to_complain_about() {
        let tool = std::env::var("ZERVER_TEST_PROMTOOL").unwrap_or_else(|_| "promtool".into());
        let child = Command::new(&tool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            assert!(std::env::var("ZERVER_TEST_REQUIRE").is_err(), "{tool} does not start, and tools are required");
            let _ = writeln!(std::io::stderr(), "skipped: {tool} does not start (set ZERVER_TEST_PROMTOOL)");
            return;
        };
        child.stdin.take().expect("its input is piped").write_all(everything().as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.trim().is_empty(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    }
}
