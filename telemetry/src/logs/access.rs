//! The access log: one line for each request that ended, made from its timeline, in JSON or the forms that web servers share.
//!
//! Everything in it was redacted as the timeline was read. Fields that have no value are left out.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::line::JsonLine;
use super::record::{Record, Severity};
use super::when::{Clf, Rfc3339};
use crate::event::{NodeKind, Outcome};
use crate::semconv;
use crate::timeline::{Node, Timeline, Value};

/// The form of the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// One JSON object a line, with the fields of [`FIELDS`].
    #[default]
    Json,
    /// The common log format of NCSA's server, its second field the trace id.
    Common,
    /// The same with the referring page and the user agent, as Apache has it.
    Combined,
}

/// A field of the access log.
#[derive(Debug)]
pub struct Field {
    /// Its name in a line. It does not change within a major version.
    pub name: &'static str,
    /// Its name as an attribute of an OpenTelemetry log record; none for what such a record holds elsewhere.
    pub attribute: Option<&'static str>,
    /// What it says.
    pub about: &'static str,
    get: fn(&Request<'_>) -> Option<Value>,
}

const fn field(
    name: &'static str,
    attribute: &'static str,
    about: &'static str,
    get: fn(&Request<'_>) -> Option<Value>,
) -> Field {
    let attribute = if attribute.is_empty() { None } else { Some(attribute) };
    Field { name, attribute, about, get }
}

/// The fields, in their order. A noted header follows as `header.NAME`.
pub const FIELDS: &[Field] = &[
    field("time", "", "when the request began (RFC 3339, UTC)", |r| text(Rfc3339(r.timeline.start_unix_ns))),
    field("trace_id", "", "its W3C trace", |r| text(r.timeline.trace_id)),
    field("span_id", "", "its span in that trace", |r| text(r.timeline.span_id)),
    field("parent_span_id", "", "the caller's span, where it sent one", |r| r.timeline.parent_span_id.and_then(text)),
    field("request_id", semconv::REQUEST_ID, "its `x-request-id`: the client's, else the trace id", |r| {
        text(given_id(r.timeline).unwrap_or_else(|| r.timeline.trace_id.to_string()))
    }),
    field("route", semconv::ROUTE, "the route's name; `(none)` when no route matched", |r| {
        Some(Value::Text(r.timeline.route.clone()))
    }),
    field("flow", semconv::FLOW, "the flow that answered", |r| r.timeline.flow.clone().map(Value::Text)),
    field("config_version", semconv::CONFIG_VERSION, "the version of the configuration that served it", |r| {
        Some(Value::Int(r.timeline.config_version.into()))
    }),
    field("client", semconv::CLIENT_ADDRESS, "the client's address, as far as `redact.client` shows it", |r| {
        r.attr(semconv::CLIENT_ADDRESS)
    }),
    field("method", semconv::HTTP_METHOD, "the method", |r| r.attr(semconv::HTTP_METHOD)),
    field("host", semconv::SERVER_ADDRESS, "the host asked for", |r| r.attr(semconv::SERVER_ADDRESS)),
    field("path", semconv::URL_PATH, "the path, redacted; of a long one the beginning", |r| r.attr(semconv::URL_PATH)),
    field("query", semconv::URL_QUERY, "the query, redacted; of a long one the beginning", |r| {
        r.attr(semconv::URL_QUERY)
    }),
    field("protocol", semconv::PROTOCOL_VERSION, "the version of HTTP: `1.1` or `2`", |r| {
        r.attr(semconv::PROTOCOL_VERSION)
    }),
    field("user_agent", semconv::USER_AGENT, "the user agent; of a long one the beginning", |r| {
        r.attr(semconv::USER_AGENT)
    }),
    field("referer", semconv::REFERER, "the page that led here, redacted", |r| r.attr(semconv::REFERER)),
    field("tenant", "zerver.tenant", "whose request it was, where the route says how to know", |r| r.attr("tenant")),
    field("status", semconv::HTTP_STATUS, "the status sent; 0 when none was", |r| {
        Some(Value::Int(r.timeline.status.into()))
    }),
    field("outcome", semconv::OUTCOME, "`ok`, `error`, `timeout`, `cancelled` (the client left) or `refused`", |r| {
        text(r.timeline.outcome.as_str())
    }),
    field("error", semconv::ERROR_TYPE, "the error's code, or the reason of a refusal", |r| {
        r.timeline.error.clone().map(Value::Text)
    }),
    field("limit", "zerver.limit.name", "the rate limit that refused it", |r| r.attr("zerver.limit.name")),
    field("bytes_in", semconv::REQUEST_BYTES, "bytes of the request's body, as far as it was read", |r| {
        r.attr(semconv::REQUEST_BYTES)
    }),
    field("bytes_out", semconv::RESPONSE_BYTES, "bytes of the answer's body", |r| r.attr(semconv::RESPONSE_BYTES)),
    field("duration_seconds", "zerver.duration", "from the first byte of its head to the last of its answer", |r| {
        seconds(r.timeline.latency_ns)
    }),
    field("queue_seconds", semconv::JOB_QUEUE_WAIT, "of that: ready, but without a worker or a permit", |r| {
        seconds(r.timeline.root().split().queue_ns)
    }),
    field("park_seconds", semconv::JOB_PARK_WAIT, "of that: waiting for I/O, a call, a limit, a timer", |r| {
        seconds(r.timeline.root().split().park_ns)
    }),
    field("run_seconds", semconv::JOB_RUN, "of that: on a processor", |r| seconds(r.timeline.root().split().run_ns)),
    field("calls", "zerver.calls", "tries made of upstreams", |r| Some(count(r.calls().count()))),
    field("retries", "zerver.retries", "of these: second and later tries", |r| {
        Some(count(r.calls().filter(|call| call.attempt > 1).count()))
    }),
    field("upstream", semconv::EFFECT_TARGET, "the upstream, of proxied requests", |r| {
        Some(Value::Text(r.proxied()?.name.clone()))
    }),
    field("peer", "zerver.peer", "the upstream's address at the last try, of proxied requests", |r| {
        r.proxied()?.attr("peer").cloned()
    }),
    field("upstream_status", "zerver.upstream.status", "the status of the last try, of proxied requests", |r| {
        r.proxied().filter(|call| call.status != 0).map(|call| Value::Int(call.status.into()))
    }),
    field("upstream_seconds", "zerver.upstream.duration", "the length of the last try, of proxied requests", |r| {
        r.proxied().and_then(|call| seconds(call.end_ns.saturating_sub(call.start_ns)))
    }),
    field("events_lost", semconv::EVENTS_LOST, "events that its timeline had no room for", |r| {
        (r.timeline.lost_events > 0).then(|| Value::Int(r.timeline.lost_events.into()))
    }),
];

/// A request, as its fields look at it.
struct Request<'t> {
    timeline: &'t Timeline,
}

impl<'t> Request<'t> {
    fn attr(&self, key: &str) -> Option<Value> {
        self.timeline.root().attr(key).cloned()
    }

    fn calls(&self) -> impl Iterator<Item = &'t Node> {
        let made = |node: &&Node| node.kind == NodeKind::Effect && node.outcome != Outcome::Skipped;
        self.timeline.nodes.iter().filter(made)
    }

    /// The last try; none of flows, whose calls may go anywhere.
    fn proxied(&self) -> Option<&'t Node> {
        if self.timeline.flow.is_some() { None } else { self.calls().last() }
    }
}

/// Which requests are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    /// Every one.
    #[default]
    All,
    /// Those that failed, were refused, or whose client left.
    Errors,
    /// These, and those that took longer than a time that is set beside this.
    Slow,
}

impl Only {
    /// Whether this request is logged.
    #[must_use]
    pub fn wants(self, timeline: &Timeline, slow_ns: u64) -> bool {
        let failed = timeline.outcome != Outcome::Ok || timeline.status >= 500;
        match self {
            Self::All => true,
            Self::Errors => failed,
            Self::Slow => failed || timeline.latency_ns > slow_ns,
        }
    }
}

/// The identity that the client gave the request; none where it has that of its trace.
pub(super) fn given_id(timeline: &Timeline) -> Option<String> {
    timeline.root().attr(semconv::REQUEST_ID).map(Value::to_string)
}

fn text(value: impl std::fmt::Display) -> Option<Value> {
    Some(Value::Text(value.to_string().into()))
}

fn seconds(ns: u64) -> Option<Value> {
    Some(Value::Float(ns as f64 / 1e9))
}

fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Noted headers: `header.x-tier`.
fn headers(timeline: &Timeline) -> impl Iterator<Item = &(std::sync::Arc<str>, Value)> {
    timeline.root().attrs.iter().filter(|(key, _)| key.starts_with("header."))
}

/// Appends the line of a request, its end included.
pub(super) fn write(out: &mut String, timeline: &Timeline, form: Form) {
    match form {
        Form::Json => json(out, timeline),
        Form::Common => common(out, timeline),
        Form::Combined => {
            common(out, timeline);
            for key in [semconv::REFERER, semconv::USER_AGENT] {
                out.push_str(" \"");
                match timeline.root().attr(key) {
                    Some(value) => value.to_string().chars().for_each(|c| push_escaped(out, c)),
                    None => out.push('-'),
                }
                out.push('"');
            }
        }
    }
    out.push('\n');
}

fn json(out: &mut String, timeline: &Timeline) {
    let request = Request { timeline };
    let mut line = JsonLine::begin(out);
    for field in FIELDS {
        if let Some(value) = (field.get)(&request) {
            line.value(field.name, &value);
        }
    }
    for (key, value) in headers(timeline) {
        line.value(key, value);
    }
    line.end();
}

/// `host trace - [date] "request" status bytes`. The second field was meant for the client's own identity (RFC 1413), which
/// nobody sends; readers take any word there, so the trace id stands in it.
fn common(out: &mut String, timeline: &Timeline) {
    let attr = |key: &str| timeline.root().attr(key).map(Value::to_string);
    let word = |out: &mut String, value: Option<String>| match value.filter(|value| !value.is_empty()) {
        Some(value) => value.chars().for_each(|c| push_escaped(out, if c == ' ' { '_' } else { c })),
        None => out.push('-'),
    };
    word(out, attr(semconv::CLIENT_ADDRESS));
    let _ = write!(out, " {} - [{}] \"", timeline.trace_id, Clf(timeline.start_unix_ns));
    word(out, attr(semconv::HTTP_METHOD));
    out.push(' ');
    word(out, attr(semconv::URL_PATH));
    if let Some(query) = attr(semconv::URL_QUERY) {
        out.push('?');
        word(out, Some(query));
    }
    let protocol = if attr(semconv::PROTOCOL_VERSION).as_deref() == Some("2") { "2.0" } else { "1.1" };
    // A client that left got no status; 499 is what other servers write for that, and readers want a number.
    let status = if timeline.status == 0 { 499 } else { timeline.status };
    let _ = write!(out, " HTTP/{protocol}\" {status} ");
    match timeline.root().attr(semconv::RESPONSE_BYTES) {
        Some(Value::Int(bytes)) if *bytes > 0 => {
            let _ = write!(out, "{bytes}");
        }
        _ => out.push('-'),
    }
}

/// As Apache escapes: quotes and backslashes by a backslash, what cannot be printed by its bytes.
fn push_escaped(out: &mut String, c: char) {
    match c {
        '"' | '\\' => out.extend(['\\', c]),
        ' '..='~' => out.push(c),
        c => {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

/// A request as a log record, its attributes under the names of OpenTelemetry's conventions: for sinks that send.
#[must_use]
pub fn record(timeline: &Timeline) -> Record {
    let request = Request { timeline };
    let named = |field: &Field| Some((Cow::Borrowed(field.attribute?), (field.get)(&request)?));
    let mut attributes: Vec<(Cow<'static, str>, Value)> = FIELDS.iter().filter_map(named).collect();
    attributes.extend(headers(timeline).map(|(key, value)| {
        let header = key.strip_prefix("header").unwrap_or(key);
        (Cow::Owned([semconv::HTTP_REQUEST_HEADER, header].concat()), value.clone())
    }));
    let word = |key: &str| timeline.root().attr(key).map_or_else(|| "-".into(), Value::to_string);
    let failed = semconv::server_error(timeline).is_some();
    Record {
        unix_ns: timeline.start_unix_ns.saturating_add(timeline.latency_ns),
        severity: if failed { Severity::Error } else { Severity::Info },
        scope: "zerver::access".into(),
        body: format!("{} {} {}", word(semconv::HTTP_METHOD), word(semconv::URL_PATH), timeline.status),
        attributes,
        trace_id: Some(timeline.trace_id),
        span_id: Some(timeline.span_id),
        request_id: given_id(timeline),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(timeline: &Timeline, form: Form) -> String {
        let mut out = String::new();
        write(&mut out, timeline, form);
        assert_eq!(out.matches('\n').count(), 1, "{out}");
        out.trim_end().to_owned()
    }

    fn attr(timeline: &mut Timeline, key: &str, value: &str) {
        let attrs = &mut timeline.nodes[0].attrs;
        attrs.retain(|(k, _)| &**k != key);
        attrs.push((key.into(), Value::Text(value.into())));
    }

    #[test]
    fn the_sample_as_json_reads_like_its_timeline() {
        let timeline = crate::timeline::sample();
        let read: serde_json::Value = serde_json::from_str(&line(&timeline, Form::Json)).unwrap();
        let expected = serde_json::json!({
            "time": "2026-09-21T14:13:20.000000Z",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "span_id": "b7ad6b7169203331",
            "parent_span_id": "00f067aa0ba902b7",
            "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "route": "checkout",
            "flow": "checkout",
            "config_version": 3,
            "client": "192.0.2.7",
            "method": "GET",
            "host": "shop.example",
            "path": "/checkout/42",
            "protocol": "1.1",
            "user_agent": "shop-app/3.1",
            "tenant": "acme",
            "status": 200,
            "outcome": "ok",
            "duration_seconds": 0.0482,
            "queue_seconds": 0.0,
            "park_seconds": 0.0479,
            "run_seconds": 0.0003,
            "calls": 2,
            "retries": 1,
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn a_proxied_request_names_its_upstream_and_a_noted_header_follows() {
        let mut timeline = crate::timeline::sample();
        timeline.flow = None;
        attr(&mut timeline, "header.x-tier", "gold");
        attr(&mut timeline, semconv::REQUEST_ID, "mine-1");
        let read: serde_json::Value = serde_json::from_str(&line(&timeline, Form::Json)).unwrap();
        for (key, expected) in [
            ("upstream", serde_json::json!("quotes")),
            ("peer", "10.0.0.6:8081".into()),
            ("upstream_status", 200.into()),
            ("upstream_seconds", 0.0301.into()),
            ("request_id", "mine-1".into()),
            ("header.x-tier", "gold".into()),
        ] {
            assert_eq!(read[key], expected, "{key}");
        }
        assert!(read.get("flow").is_none());
    }

    #[test]
    fn the_common_forms_keep_their_shape_whatever_is_in_them() {
        let mut timeline = crate::timeline::sample();
        attr(&mut timeline, semconv::URL_QUERY, "a=1");
        let common = "192.0.2.7 4bf92f3577b34da6a3ce929d0e0e4736 - [21/Sep/2026:14:13:20 +0000] \
                      \"GET /checkout/42?a=1 HTTP/1.1\" 200 -";
        assert_eq!(line(&timeline, Form::Common), common);
        assert_eq!(line(&timeline, Form::Combined), format!("{common} \"-\" \"shop-app/3.1\""));
        attr(&mut timeline, semconv::USER_AGENT, "a \"b\" ü\n");
        timeline.nodes[0].attrs.push((semconv::RESPONSE_BYTES.into(), Value::Int(42)));
        timeline.status = 0;
        let combined = line(&timeline, Form::Combined);
        assert!(combined.ends_with(r#"HTTP/1.1" 499 42 "-" "a \"b\" \xc3\xbc\x0a""#), "{combined}");
    }

    #[test]
    fn requests_are_chosen_by_their_end() {
        let mut timeline = crate::timeline::sample();
        let wanted = |timeline: &Timeline| [Only::All, Only::Errors, Only::Slow].map(|o| o.wants(timeline, 40_000_000));
        assert_eq!(wanted(&timeline), [true, false, true]);
        timeline.latency_ns = 1;
        assert_eq!(wanted(&timeline), [true, false, false]);
        timeline.outcome = Outcome::Refused;
        assert_eq!(wanted(&timeline), [true, true, true]);
    }

    #[test]
    fn as_a_record_it_has_the_names_of_the_conventions() {
        let record = record(&crate::timeline::sample());
        assert_eq!((record.severity, &*record.body), (Severity::Info, "GET /checkout/42 200"));
        let value = |key: &str| record.attributes.iter().find(|(k, _)| k == key).map(|(_, value)| value.to_string());
        assert_eq!(value("http.response.status_code").as_deref(), Some("200"));
        assert_eq!(value("zerver.route").as_deref(), Some("checkout"));
        assert!(record.attributes.iter().all(|(key, _)| key.contains('.')), "{:?}", record.attributes);
    }

    #[test]
    fn the_documentation_lists_exactly_these() {
        let row = |field: &Field| {
            let attribute = field.attribute.map_or_else(|| "–".into(), |name| format!("`{name}`"));
            format!("| `{}` | {} | {attribute} |", field.name, field.about)
        };
        let rows: Vec<String> = FIELDS.iter().map(row).collect();
        let document = include_str!("../../../docs/logs.md");
        let (_, table) = document.split_once("| Field | Meaning | Attribute |\n").expect("docs/logs.md has the table");
        let listed: Vec<&str> = table.lines().skip(1).take_while(|line| line.starts_with("| `")).collect();
        assert_eq!(listed, rows, "docs/logs.md should hold:\n{}", rows.join("\n"));
    }

    proptest! {
        /// Whatever a client sends, a common line keeps its seven parts, and JSON is read back.
        #[test]
        fn clients_cannot_break_a_line(path in any::<String>(), agent in any::<String>()) {
            let mut timeline = crate::timeline::sample();
            attr(&mut timeline, semconv::URL_PATH, &path);
            attr(&mut timeline, semconv::USER_AGENT, &agent);
            let common = line(&timeline, Form::Common);
            let mut unescaped = common.replace("\\\\", "");
            unescaped = unescaped.replace("\\\"", "");
            prop_assert_eq!(unescaped.matches('"').count(), 2, "{}", common);
            prop_assert_eq!(common.split(' ').count(), 10, "{}", common);
            let read: serde_json::Value = serde_json::from_str(&line(&timeline, Form::Json)).expect("it is JSON");
            prop_assert_eq!(read["user_agent"].as_str(), Some(agent.as_str()));
        }
    }
}
