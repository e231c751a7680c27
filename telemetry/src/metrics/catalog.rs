//! Every metric there is: the one list behind the output, the documentation and the tests of dashboards.

/// What a metric is called and means.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name for Prometheus, with unit and, for counters, `_total`.
    pub name: &'static str,
    /// Its name over OTLP: that of the semantic conventions where they have one.
    pub otel: &'static str,
    /// What it says, in one sentence.
    pub help: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What it is counted in.
    pub unit: Unit,
    /// The names of its labels for Prometheus, in order: short, since the metric's own name says whose they are.
    pub labels: &'static [&'static str],
    /// The same as attributes over OTLP, which belong to no metric: those of the semantic conventions where they have one
    /// that says the same, else ours.
    pub attributes: &'static [&'static str],
}

impl Metric {
    /// Its place in the catalogue's order; what is not of the catalogue comes last, by name.
    #[must_use]
    pub fn rank(&self) -> (usize, &'static str) {
        (ALL.iter().position(|metric| metric.name == self.name).unwrap_or(usize::MAX), self.name)
    }
}

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down; what several gateways hold adds up.
    Gauge,
    /// Goes up and down; of several gateways' values the highest says it.
    Peak,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// The word for it in Prometheus' text format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::Peak => "gauge",
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

    /// The word for it in OTLP, of the Unified Code for Units of Measure; empty for things.
    #[must_use]
    pub const fn ucum(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Seconds => "s",
            Self::Bytes => "By",
            Self::Ratio => "1",
        }
    }
}

macro_rules! catalog {
    ($($id:ident $kind:ident $unit:ident $otel:literal $name:literal [$($label:literal = $attribute:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: &Metric = &Metric {
                name: $name, otel: $otel, help: $help, kind: Kind::$kind, unit: Unit::$unit,
                labels: &[$($label),*], attributes: &[$($attribute),*],
            };
        )*
        /// All of them, in the order of the documentation.
        pub const ALL: &[&Metric] = &[$($id),*];
    };
}

catalog! {
    // What clients see.
    REQUEST_DURATION Histogram Seconds "zerver.request.duration" "zerver_request_duration_seconds"
        ["route" = "zerver.route", "status_class" = "zerver.status_class"]
        "Time from the first byte of a request to the last byte of its answer.";
    REQUEST_STATE Histogram Seconds "zerver.request.state" "zerver_request_state_seconds"
        ["route" = "zerver.route", "state" = "zerver.state"]
        "Time a request spent queued (no worker or permit), parked (waiting for I/O, a join, a limit, a timer) or running.";
    HTTP_SERVER_DURATION Histogram Seconds "http.server.request.duration" "http_server_request_duration_seconds"
        ["http_request_method" = "http.request.method", "url_scheme" = "url.scheme",
         "http_response_status_code" = "http.response.status_code", "error_type" = "error.type",
         "http_route" = "http.route"]
        "Duration of HTTP server requests, as the semantic conventions count them.";
    REQUESTS Counter None "zerver.requests" "zerver_requests_total"
        ["route" = "zerver.route", "status" = "http.response.status_code", "outcome" = "zerver.outcome"]
        "Requests that ended.";
    REFUSED Counter None "zerver.refused" "zerver_refused_total" ["route" = "zerver.route", "reason" = "error.type"]
        "Requests that the gateway refused: rate limit, overload, authentication.";
    SLO_OBJECTIVE Peak Ratio "zerver.slo.objective" "zerver_slo_objective_ratio"
        ["route" = "zerver.route", "slo" = "zerver.slo.name"]
        "The share of a route's requests that is to be good, by objective.";
    SLO_EVENTS Counter None "zerver.slo.events" "zerver_slo_events_total"
        ["route" = "zerver.route", "slo" = "zerver.slo.name", "result" = "zerver.slo.result"]
        "Requests that count for an objective, good or bad.";
    SLO_BURN Peak None "zerver.slo.burn_rate" "zerver_slo_burn_rate"
        ["route" = "zerver.route", "slo" = "zerver.slo.name", "window" = "zerver.slo.window"]
        "How many times faster than allowed an objective's budget is used, by window.";
    IN_FLIGHT Gauge None "zerver.requests_in_flight" "zerver_requests_in_flight" []
        "Requests that have not ended.";
    // What other systems do.
    EFFECT_DURATION Histogram Seconds "zerver.effect.duration" "zerver_effect_duration_seconds"
        ["route" = "zerver.route", "target" = "zerver.effect.target", "outcome" = "zerver.effect.outcome"]
        "Time of one call to another system, one per attempt, its own queueing included.";
    HTTP_CLIENT_DURATION Histogram Seconds "http.client.request.duration" "http_client_request_duration_seconds"
        ["http_request_method" = "http.request.method", "server_address" = "server.address",
         "server_port" = "server.port", "http_response_status_code" = "http.response.status_code",
         "error_type" = "error.type"]
        "Duration of HTTP client requests, one per attempt, as the semantic conventions count them.";
    RETRIES Counter None "zerver.effect.retries" "zerver_effect_retries_total"
        ["route" = "zerver.route", "target" = "zerver.effect.target"]
        "Calls that were a second or later attempt.";
    SCRATCH_PEAK Peak Bytes "zerver.flow.scratch_peak" "zerver_flow_scratch_peak_bytes" ["route" = "zerver.route"]
        "The most scratch memory that the steps of one request have taken.";
    // The runtime and its limits; the gateway's own sources give these.
    RUN_QUEUE Gauge None "zerver.run_queue.depth" "zerver_run_queue_depth" ["queue" = "zerver.run_queue.name"]
        "Tasks that are ready and wait for a worker.";
    LIMIT_IN_USE Gauge None "zerver.limit.in_use" "zerver_limit_in_use" ["limit" = "zerver.limit.name"]
        "Permits of a limit that are taken.";
    LIMIT_CAPACITY Gauge None "zerver.limit.capacity" "zerver_limit_capacity" ["limit" = "zerver.limit.name"]
        "Permits that a limit has.";
    LIMIT_WAITING Gauge None "zerver.limit.waiting" "zerver_limit_waiting" ["limit" = "zerver.limit.name"]
        "Requests that wait for a permit of a limit.";
    LIMIT_REFUSED Counter None "zerver.limit.refused" "zerver_limit_refused_total"
        ["limit" = "zerver.limit.name", "reason" = "zerver.limit.refusal"]
        "Requests that a limit refused.";
    UPSTREAM_IN_FLIGHT Gauge None "zerver.upstream.requests_in_flight" "zerver_upstream_requests_in_flight"
        ["upstream" = "zerver.upstream.name", "peer" = "zerver.peer"]
        "Calls to an upstream's peer that have not ended.";
    UPSTREAM_HEALTHY Gauge None "zerver.upstream.healthy" "zerver_upstream_healthy"
        ["upstream" = "zerver.upstream.name", "peer" = "zerver.peer"]
        "1 when the peer takes traffic, 0 when it is ejected or down.";
    RETRY_BUDGET Peak Ratio "zerver.retry_budget" "zerver_retry_budget_ratio" ["upstream" = "zerver.upstream.name"]
        "What is left of an upstream's retry budget, 0 to 1.";
    BREAKER_STATE Peak None "zerver.breaker.state" "zerver_breaker_state" ["upstream" = "zerver.upstream.name"]
        "What an upstream's circuit breaker does: 0 closed, 1 half open, 2 open.";
    BREAKER_TRIPS Counter None "zerver.breaker.trips" "zerver_breaker_trips_total" ["upstream" = "zerver.upstream.name"]
        "How often an upstream's circuit breaker opened, after a probe that failed too.";
    BREAKER_REFUSED Counter None "zerver.breaker.refused" "zerver_breaker_refused_total"
        ["upstream" = "zerver.upstream.name"]
        "Tries that an upstream's circuit breaker refused, those of flows too.";
    STUCK Gauge None "zerver.stuck_runs" "zerver_stuck_runs" []
        "Runs of flows whose undoing failed, and that nobody has seen to yet.";
    STUCK_TOTAL Counter None "zerver.runs_stuck" "zerver_runs_stuck_total" []
        "Runs of flows whose undoing failed.";
    STUCK_FORGOTTEN Counter None "zerver.stuck_runs_forgotten" "zerver_stuck_runs_forgotten_total"
        ["by" = "zerver.stuck.forgotten_by"]
        "Stuck runs that left the list without being undone here: for want of room, or by an operator.";
    STUCK_RESUMED Counter None "zerver.stuck_runs_resumed" "zerver_stuck_runs_resumed_total"
        ["result" = "zerver.stuck.result"]
        "Attempts to go on with the undoing of a stuck run, by result: undone, or stuck again.";
    CONFIG_VERSION Peak None "zerver.config.version" "zerver_config_version" []
        "The version of the configuration in force.";
    CONFIG_RELOADS Counter None "zerver.config.reloads" "zerver_config_reloads_total"
        ["result" = "zerver.config.result"]
        "Attempts to load a configuration, by result.";
    BUILD Peak None "zerver.build_info" "zerver_build_info" ["version" = "service.version"]
        "Always 1; its label says which build this is.";
    // The telemetry itself: nothing is lost unseen.
    STARTED Counter None "zerver.recordings.started" "zerver_recordings_started_total" []
        "Requests whose recording began.";
    FINISHED Counter None "zerver.recordings.finished" "zerver_recordings_finished_total" []
        "Requests whose recording ended; each is collected or lost.";
    TIMELINES Counter None "zerver.timelines" "zerver_timelines_total" []
        "Timelines that the collector has read.";
    TIMELINES_LOST Counter None "zerver.timelines_lost" "zerver_timelines_lost_total" ["cause" = "zerver.loss.cause"]
        "Whole timelines lost, by cause.";
    EVENTS_LOST Counter None "zerver.events_lost" "zerver_events_lost_total" []
        "Events that found no room in their request's logbook.";
    LOGBOOKS Counter None "zerver.logbooks_made" "zerver_logbooks_made_total" []
        "Logbooks made; stands still once the pool is warm.";
    PROMOTED Counter None "zerver.promoted_episodes" "zerver_promoted_episodes_total"
        ["route" = "zerver.route", "state" = "zerver.state", "rule" = "zerver.job.promoted_by"]
        "Waits that were long enough to become spans of their own.";
    KEPT Gauge None "zerver.timelines_kept" "zerver_timelines_kept" ["reason" = "zerver.kept.reason"]
        "Timelines in memory, by the reason that keeps them; one may have several.";
    KEPT_BYTES Gauge Bytes "zerver.timelines_kept_bytes" "zerver_timelines_kept_bytes" []
        "Memory that the kept timelines take, packed.";
    SAMPLE_RATIO Peak Ratio "zerver.timelines_sample" "zerver_timelines_sample_ratio" []
        "The chance a request has to enter the uniform sample.";
    SAMPLED Counter None "zerver.traces" "zerver_traces_total" ["decision" = "zerver.trace.decision"]
        "Requests by whether, and why, their spans are exported.";
    EXPORT_OFFERED Counter None "zerver.export.offered" "zerver_export_offered_total"
        ["signal" = "zerver.export.signal"]
        "Spans, data points or log records handed to the exporter: sent, dropped, or still waiting.";
    EXPORT_SENT Counter None "zerver.export.sent" "zerver_export_sent_total" ["signal" = "zerver.export.signal"]
        "Those that the receiver has taken.";
    EXPORT_DROPPED Counter None "zerver.export.dropped" "zerver_export_dropped_total"
        ["signal" = "zerver.export.signal", "cause" = "zerver.loss.cause"]
        "Those that were not delivered, by cause.";
    EXPORT_QUEUE Gauge None "zerver.export.queue_items" "zerver_export_queue_items" ["signal" = "zerver.export.signal"]
        "Those that wait to be sent or are under way.";
    EXPORT_QUEUE_BYTES Gauge Bytes "zerver.export.queue_bytes" "zerver_export_queue_bytes"
        ["signal" = "zerver.export.signal"]
        "Bytes of what waits to be sent or is under way: of spans exactly, of the others by estimate.";
    EXPORT_FAILURES Counter None "zerver.export.failures" "zerver_export_failures_total"
        ["signal" = "zerver.export.signal"]
        "Attempts to send a batch that failed; most are tried again until their time is over.";
    EXPORT_ODD_ANSWERS Counter None "zerver.export.odd_answers" "zerver_export_odd_answers_total"
        ["signal" = "zerver.export.signal"]
        "Answers that said yes, but not in OTLP: who gave them may be no collector.";
    LOG_LINES Counter None "zerver.log.lines" "zerver_log_lines_total" ["log" = "zerver.log.name"]
        "Lines that were written, of the application log and of the access log.";
    LOG_DROPPED Counter None "zerver.log.dropped" "zerver_log_dropped_total"
        ["log" = "zerver.log.name", "cause" = "zerver.loss.cause"]
        "Lines that were not written, by cause: too many waited, the target took nothing, or the process ended.";
    SERIES_OVERFLOW Counter None "zerver.metric_overflow" "zerver_metric_overflow_total"
        ["metric" = "zerver.metric.name"]
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
            assert!(seen.insert(metric.otel), "{} stands twice", metric.otel);
            let ours = name.starts_with("zerver_") || name.starts_with("http_");
            assert!(ours && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            let base = name.trim_end_matches("_total");
            for unit in [Unit::Seconds, Unit::Bytes, Unit::Ratio] {
                let suffix = unit.as_str().expect("these have a word");
                assert_eq!(metric.unit == unit, base.ends_with(&format!("_{suffix}")), "{name}");
            }
            assert!(metric.help.ends_with('.') && !metric.labels.contains(&"le"), "{name}");
            assert!(
                metric.labels.iter().all(|label| label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')),
                "{name}"
            );
            assert_eq!(metric.labels.len(), metric.attributes.len(), "{name}");
        }
    }

    /// The rules of "OpenTelemetry to Prometheus": a collector that writes ours out for Prometheus gives our own names.
    #[test]
    fn both_names_are_one() {
        for metric in ALL {
            let mut name = metric.otel.replace('.', "_");
            if let Some(unit) = metric.unit.as_str().filter(|unit| !name.ends_with(&format!("_{unit}"))) {
                name = format!("{name}_{unit}");
            }
            let total = if metric.kind == Kind::Counter { "_total" } else { "" };
            assert_eq!(format!("{name}{total}"), metric.name, "{}", metric.otel);
        }
    }

    #[test]
    fn the_documentation_lists_exactly_these() {
        let rows: Vec<String> = ALL
            .iter()
            .map(|metric| {
                let listed = |names: &[&str]| if names.is_empty() { "–".into() } else { names.join(", ") };
                let (labels, attributes) = (listed(metric.labels), listed(metric.attributes));
                let Metric { name, otel, help, .. } = metric;
                format!("| `{name}` | `{otel}` | {} | {labels} | {attributes} | {help} |", metric.kind.as_str())
            })
            .collect();
        let document = include_str!("../../../docs/telemetry.md");
        let listed: Vec<&str> =
            document.lines().filter(|line| line.starts_with("| `zerver_") || line.starts_with("| `http_")).collect();
        assert_eq!(listed, rows, "docs/telemetry.md should hold:\n{}", rows.join("\n"));
    }
}
