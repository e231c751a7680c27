//! Every metric there is: the one list behind the output, the documentation and the tests of dashboards.

/// What a metric is called and means.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, with unit and, for counters, `_total`.
    pub name: &'static str,
    /// What it says, in one sentence.
    pub help: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What it is counted in.
    pub unit: Unit,
    /// The names of its labels, in order.
    pub labels: &'static [&'static str],
}

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// The word for it in Prometheus' text format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a metric is counted in: base units only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    None,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share, 0 to 1.
    Ratio,
}

impl Unit {
    /// The word for it in names and in OpenMetrics; none for things.
    #[must_use]
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Seconds => Some("seconds"),
            Self::Bytes => Some("bytes"),
            Self::Ratio => Some("ratio"),
        }
    }
}

macro_rules! catalog {
    ($($id:ident $kind:ident $unit:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: &Metric = &Metric {
                name: $name, help: $help, kind: Kind::$kind, unit: Unit::$unit, labels: &[$($label),*],
            };
        )*
        /// All of them, in the order of the documentation.
        pub const ALL: &[&Metric] = &[$($id),*];
    };
}

catalog! {
    // What clients see.
    REQUEST_DURATION Histogram Seconds "zerver_request_duration_seconds" ["route", "status_class"]
        "Time from the first byte of a request to the last byte of its answer.";
    REQUEST_STATE Histogram Seconds "zerver_request_state_seconds" ["route", "state"]
        "Time a request spent queued (no worker or permit), parked (waiting for I/O, a join, a limit, a timer) or running.";
    REQUESTS Counter None "zerver_requests_total" ["route", "status", "outcome"]
        "Requests that ended.";
    REFUSED Counter None "zerver_refused_total" ["route", "reason"]
        "Requests that the gateway refused: rate limit, overload, authentication.";
    IN_FLIGHT Gauge None "zerver_requests_in_flight" []
        "Requests that have not ended.";
    // What other systems do.
    EFFECT_DURATION Histogram Seconds "zerver_effect_duration_seconds" ["route", "target", "outcome"]
        "Time of one call to another system, one per attempt, its own queueing included.";
    RETRIES Counter None "zerver_effect_retries_total" ["route", "target"]
        "Calls that were a second or later attempt.";
    SCRATCH_PEAK Gauge Bytes "zerver_flow_scratch_peak_bytes" ["route"]
        "The most scratch memory that the steps of one request have taken.";
    // The runtime and its limits; the gateway's own sources give these.
    RUN_QUEUE Gauge None "zerver_run_queue_depth" ["queue"]
        "Tasks that are ready and wait for a worker.";
    LIMIT_IN_USE Gauge None "zerver_limit_in_use" ["limit"]
        "Permits of a limit that are taken.";
    LIMIT_CAPACITY Gauge None "zerver_limit_capacity" ["limit"]
        "Permits that a limit has.";
    LIMIT_WAITING Gauge None "zerver_limit_waiting" ["limit"]
        "Requests that wait for a permit of a limit.";
    LIMIT_REFUSED Counter None "zerver_limit_refused_total" ["limit", "reason"]
        "Requests that a limit refused.";
    UPSTREAM_IN_FLIGHT Gauge None "zerver_upstream_requests_in_flight" ["upstream", "peer"]
        "Calls to an upstream's peer that have not ended.";
    UPSTREAM_HEALTHY Gauge None "zerver_upstream_healthy" ["upstream", "peer"]
        "1 when the peer takes traffic, 0 when it is ejected or down.";
    RETRY_BUDGET Gauge Ratio "zerver_retry_budget_ratio" ["upstream"]
        "What is left of an upstream's retry budget, 0 to 1.";
    BREAKER_STATE Gauge None "zerver_breaker_state" ["upstream"]
        "What an upstream's circuit breaker does: 0 closed, 1 half open, 2 open.";
    BREAKER_TRIPS Counter None "zerver_breaker_trips_total" ["upstream"]
        "How often an upstream's circuit breaker opened, after a probe that failed too.";
    BREAKER_REFUSED Counter None "zerver_breaker_refused_total" ["upstream"]
        "Tries that an upstream's circuit breaker refused, those of flows too.";
    STUCK Gauge None "zerver_stuck_runs" []
        "Runs of flows whose undoing failed, and that nobody has seen to yet.";
    STUCK_TOTAL Counter None "zerver_runs_stuck_total" []
        "Runs of flows whose undoing failed.";
    STUCK_FORGOTTEN Counter None "zerver_stuck_runs_forgotten_total" ["by"]
        "Stuck runs that left the list without being undone here: for want of room, or by an operator.";
    STUCK_RESUMED Counter None "zerver_stuck_runs_resumed_total" ["result"]
        "Attempts to go on with the undoing of a stuck run, by result: undone, or stuck again.";
    CONFIG_VERSION Gauge None "zerver_config_version" []
        "The version of the configuration in force.";
    CONFIG_RELOADS Counter None "zerver_config_reloads_total" ["result"]
        "Attempts to load a configuration, by result.";
    BUILD Gauge None "zerver_build_info" ["version"]
        "Always 1; its label says which build this is.";
    // The telemetry itself: nothing is lost unseen.
    STARTED Counter None "zerver_recordings_started_total" []
        "Requests whose recording began.";
    FINISHED Counter None "zerver_recordings_finished_total" []
        "Requests whose recording ended; each is collected or lost.";
    TIMELINES Counter None "zerver_timelines_total" []
        "Timelines that the collector has read.";
    TIMELINES_LOST Counter None "zerver_timelines_lost_total" ["cause"]
        "Whole timelines lost, by cause.";
    EVENTS_LOST Counter None "zerver_events_lost_total" []
        "Events that found no room in their request's logbook.";
    UNTRACKED Counter None "zerver_requests_untracked_total" []
        "Requests that the in-flight table had no slot for.";
    LOGBOOKS Counter None "zerver_logbooks_made_total" []
        "Logbooks made; stands still once the pool is warm.";
    PROMOTED Counter None "zerver_promoted_episodes_total" ["route", "state", "rule"]
        "Waits that were long enough to become spans of their own.";
    KEPT Gauge None "zerver_timelines_kept" ["reason"]
        "Timelines in memory, by the reason that keeps them; one may have several.";
    KEPT_BYTES Gauge Bytes "zerver_timelines_kept_bytes" []
        "Memory that the kept timelines take, by estimate.";
    SAMPLE_RATIO Gauge Ratio "zerver_timelines_sample_ratio" []
        "The chance a request has to enter the uniform sample.";
    SAMPLED Counter None "zerver_traces_total" ["decision"]
        "Requests by whether, and why, their spans are exported.";
    SPANS_OFFERED Counter None "zerver_export_spans_offered_total" []
        "Spans handed to the exporter: sent, dropped, or still waiting.";
    SPANS_SENT Counter None "zerver_export_spans_sent_total" []
        "Spans that the receiver has taken.";
    SPANS_DROPPED Counter None "zerver_export_spans_dropped_total" ["cause"]
        "Spans that were not delivered, by cause.";
    EXPORT_QUEUE Gauge None "zerver_export_queue_spans" []
        "Spans that wait to be sent, those under way included.";
    EXPORT_QUEUE_BYTES Gauge Bytes "zerver_export_queue_bytes" []
        "Memory of the spans that wait to be sent, by estimate.";
    EXPORT_FAILURES Counter None "zerver_export_failures_total" []
        "Attempts to send a batch that failed; each is tried again until its time is over.";
    LOG_LINES Counter None "zerver_log_lines_total" ["log"]
        "Lines that were written, of the application log and of the access log.";
    LOG_DROPPED Counter None "zerver_log_dropped_total" ["log", "cause"]
        "Lines that were not written, by cause: too many waited, the target took nothing, or the process ended.";
    SERIES_OVERFLOW Counter None "zerver_metric_overflow_total" ["metric"]
        "Observations counted under the label value `other`, because a metric had reached its bound of series.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let mut seen = std::collections::HashSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(seen.insert(name), "{name} stands twice");
            assert!(name.starts_with("zerver_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            let base = name.trim_end_matches("_total");
            for unit in [Unit::Seconds, Unit::Bytes, Unit::Ratio] {
                let suffix = unit.as_str().expect("these have a word");
                assert_eq!(metric.unit == unit, base.ends_with(&format!("_{suffix}")), "{name}");
            }
            assert!(metric.help.ends_with('.') && !metric.labels.contains(&"le"), "{name}");
        }
    }

    #[test]
    fn the_documentation_lists_exactly_these() {
        let rows: Vec<String> = ALL
            .iter()
            .map(|metric| {
                let labels = if metric.labels.is_empty() { "–".into() } else { metric.labels.join(", ") };
                format!("| `{}` | {} | {} | {} |", metric.name, metric.kind.as_str(), labels, metric.help)
            })
            .collect();
        let document = include_str!("../../../docs/telemetry.md");
        let listed: Vec<&str> = document.lines().filter(|line| line.starts_with("| `zerver_")).collect();
        assert_eq!(listed, rows, "docs/telemetry.md should hold:\n{}", rows.join("\n"));
    }
}
