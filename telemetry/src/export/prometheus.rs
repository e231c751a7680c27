//! Metrics as Prometheus reads them: the text format 0.0.4, and OpenMetrics 1.0, which carries exemplars.
//!
//! Sources: "Exposition formats", Prometheus documentation; the OpenMetrics 1.0 specification.

use std::fmt::Write;

use crate::metrics::catalog::Metric;
use crate::metrics::histogram::{BOUNDS_US, Exemplar};
use crate::metrics::snapshot::{Reading, Series, Snapshot};

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The content type of [`openmetrics`]; a scraper that wants it names `application/openmetrics-text` in `Accept`.
pub const OPENMETRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes a reading out in the text format 0.0.4.
#[must_use]
pub fn text(snapshot: &Snapshot) -> String {
    write(snapshot, false)
}

/// Writes a reading out in the OpenMetrics format 1.0, with an exemplar, a trace id and a span id, for each bucket that has one.
#[must_use]
pub fn openmetrics(snapshot: &Snapshot) -> String {
    let mut out = write(snapshot, true);
    out.push_str("# EOF\n");
    out
}

fn write(snapshot: &Snapshot, openmetrics: bool) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for family in &snapshot.families {
        let metric = family.metric;
        // In OpenMetrics a counter's `_total` belongs to its sample, not to its name.
        let name = if openmetrics { metric.name.trim_end_matches("_total") } else { metric.name };
        let _ = write!(out, "# HELP {name} ");
        escape(&mut out, metric.help, openmetrics);
        let _ = writeln!(out, "\n# TYPE {name} {}", metric.kind.as_str());
        if let Some(unit) = metric.unit.as_str().filter(|_| openmetrics) {
            let _ = writeln!(out, "# UNIT {name} {unit}");
        }
        for series in &family.series {
            match &series.value {
                Reading::Number(value) => {
                    sample(&mut out, metric, "", series, None, *value);
                    out.push('\n');
                }
                Reading::Histogram(buckets) => {
                    let bounds = BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
                    for ((le, count), example) in bounds.zip(buckets.cumulative).zip(buckets.exemplars) {
                        sample(&mut out, metric, "_bucket", series, Some(le), count as f64);
                        if let Some(example) = example.filter(|_| openmetrics) {
                            exemplar(&mut out, &example);
                        }
                        out.push('\n');
                    }
                    sample(&mut out, metric, "_sum", series, None, buckets.sum);
                    out.push('\n');
                    sample(&mut out, metric, "_count", series, None, buckets.count as f64);
                    out.push('\n');
                }
            }
        }
    }
    out
}

/// A sample without its end of line.
fn sample(out: &mut String, metric: &Metric, suffix: &str, series: &Series, le: Option<f64>, value: f64) {
    out.push_str(metric.name);
    out.push_str(suffix);
    let mut open = '{';
    for (label, text) in metric.labels.iter().zip(&series.labels) {
        out.push(open);
        out.push_str(label);
        out.push_str("=\"");
        open = ',';
        escape(out, text, true);
        out.push('"');
    }
    match le {
        Some(f64::INFINITY) => _ = write!(out, "{open}le=\"+Inf\""),
        // With a decimal point, always: OpenMetrics asks for one form of each number here.
        Some(le) => _ = write!(out, "{open}le=\"{le:?}\""),
        None => {}
    }
    if open == ',' || le.is_some() {
        out.push('}');
    }
    match value {
        f64::INFINITY => out.push_str(" +Inf"),
        f64::NEG_INFINITY => out.push_str(" -Inf"),
        // The shortest decimal that reads back the same; NaN as NaN.
        value => _ = write!(out, " {value}"),
    }
}

fn exemplar(out: &mut String, exemplar: &Exemplar) {
    let (at, ns) = (exemplar.at_unix_ns, exemplar.ns as f64 / 1e9);
    let (seconds, millis) = (at / 1_000_000_000, at / 1_000_000 % 1_000);
    let (trace, span) = (exemplar.trace_id, exemplar.span_id);
    let _ = write!(out, " # {{trace_id=\"{trace}\",span_id=\"{span}\"}} {ns} {seconds}.{millis:03}");
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
    fn openmetrics_leads_from_a_bucket_to_a_trace() {
        let metrics = Metrics::new();
        metrics.observe(&crate::timeline::sample());
        let text = openmetrics(&metrics.snapshot());
        for line in [
            "# TYPE zerver_requests counter",
            "# UNIT zerver_request_duration_seconds seconds",
            "zerver_requests_total{route=\"checkout\",status=\"200\",outcome=\"ok\"} 1",
            "zerver_request_duration_seconds_bucket{route=\"checkout\",status_class=\"2xx\",le=\"0.05\"} 1 \
             # {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\",span_id=\"b7ad6b7169203331\"} 0.0482 1790000000.048",
            "zerver_request_duration_seconds_bucket{route=\"checkout\",status_class=\"2xx\",le=\"1.0\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "no line `{line}` in\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
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
