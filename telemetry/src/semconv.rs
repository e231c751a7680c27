//! The names that spans use: OpenTelemetry's stable conventions where they have one, `zerver.*` where they have none.
//!
//! The registry of all of them is `telemetry/semconv/registry.yaml`. Sources: OpenTelemetry semantic conventions 1.44 (HTTP
//! spans, general attributes, error recording).

#[cfg(test)]
pub(crate) mod registry;

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::Key;

use crate::event::{NodeKind, Outcome};
use crate::timeline::{Node, Timeline};

/// `http.request.method`
pub const HTTP_METHOD: &str = "http.request.method";
/// `http.request.method_original`: a method that is not [`METHODS`].
pub const HTTP_METHOD_ORIGINAL: &str = "http.request.method_original";
/// `http.request.header`: followed by a dot and the header's name.
pub const HTTP_REQUEST_HEADER: &str = "http.request.header";
/// `http.route`: the template, such as `/users/{id}`.
pub const HTTP_ROUTE: &str = "http.route";
/// `http.response.status_code`
pub const HTTP_STATUS: &str = "http.response.status_code";
/// `http.request.resend_count`: how often this call was made before.
pub const HTTP_RESEND: &str = "http.request.resend_count";
/// `url.template`: the template of a call's path.
pub const URL_TEMPLATE: &str = "url.template";
/// `url.path`
pub const URL_PATH: &str = "url.path";
/// `url.query`, without its question mark.
pub const URL_QUERY: &str = "url.query";
/// `url.full`: a whole address.
pub const URL_FULL: &str = "url.full";
/// `client.address`
pub const CLIENT_ADDRESS: &str = "client.address";
/// `user_agent.original`
pub const USER_AGENT: &str = "user_agent.original";
/// `http.request.body.size`
pub const REQUEST_BYTES: &str = "http.request.body.size";
/// `http.response.body.size`
pub const RESPONSE_BYTES: &str = "http.response.body.size";
/// `network.protocol.version`
pub const PROTOCOL_VERSION: &str = "network.protocol.version";
/// `server.address`
pub const SERVER_ADDRESS: &str = "server.address";
/// `server.port`
pub const SERVER_PORT: &str = "server.port";
/// `error.type`
pub const ERROR_TYPE: &str = "error.type";
/// `network.peer.address`
pub const PEER_ADDRESS: &str = "network.peer.address";
/// `network.peer.port`
pub const PEER_PORT: &str = "network.peer.port";

/// The route's name in the configuration.
pub const ROUTE: &str = "zerver.route";
/// The flow that answered.
pub const FLOW: &str = "zerver.flow.name";
/// The version of the configuration that served the request.
pub const CONFIG_VERSION: &str = "zerver.config.version";
/// How the request ended.
pub const OUTCOME: &str = "zerver.outcome";
/// The request's identity, where its client gave it one.
pub const REQUEST_ID: &str = "zerver.request.id";
/// The address of the page that led to the request.
pub const REFERER: &str = "zerver.referer";
/// Why a request's spans were exported.
pub const RETAINED_REASON: &str = "zerver.retained.reason";
/// Events that found no room in the request's logbook.
pub const EVENTS_LOST: &str = "zerver.events_lost";
/// A step's name.
pub const STEP_NAME: &str = "zerver.step.name";
/// A step's place among the request's steps, from 1.
pub const STEP_SEQUENCE: &str = "zerver.step.sequence";
/// A station's name.
pub const STATION_NAME: &str = "zerver.station.name";
/// The target that an effect called.
pub const EFFECT_TARGET: &str = "zerver.effect.target";
/// Which try an effect was, from 1.
pub const EFFECT_ATTEMPT: &str = "zerver.effect.attempt";
/// The node that a job belongs to, as a path from the request down.
pub const JOB_NODE: &str = "zerver.job.node";
/// What a job queued for: `worker`, or the permit's name.
pub const JOB_QUEUE: &str = "zerver.job.queue";
/// Time queued, in seconds.
pub const JOB_QUEUE_WAIT: &str = "zerver.job.queue_wait";
/// Time parked, in seconds.
pub const JOB_PARK_WAIT: &str = "zerver.job.park_wait";
/// Why it was parked (the longest park's cause).
pub const JOB_PARK_CAUSE: &str = "zerver.job.park_cause";
/// Time on a processor, in seconds.
pub const JOB_RUN: &str = "zerver.job.run";
/// The worker it ran on last.
pub const JOB_WORKER: &str = "zerver.job.worker";
/// The rule that promoted it.
pub const JOB_PROMOTED_BY: &str = "zerver.job.promoted_by";
/// The node whose end ended a wait.
pub const JOB_WOKEN_BY: &str = "zerver.job.woken_by";
/// What a state waits for: the permit, upstream, timer or limit.
pub const JOB_WAITS_FOR: &str = "zerver.job.waits_for";

/// Names that the conventions replaced, with what replaced them; no span carries them.
pub const SUPERSEDED: [(&str, &str); 14] = [
    ("http.method", HTTP_METHOD),
    ("http.status_code", HTTP_STATUS),
    ("http.scheme", "url.scheme"),
    ("http.url", "url.full"),
    ("http.target", "url.path"),
    ("http.host", "server.address"),
    ("http.server_name", "server.address"),
    ("http.flavor", "network.protocol.version"),
    ("http.client_ip", "client.address"),
    ("http.user_agent", "user_agent.original"),
    ("net.peer.name", "server.address"),
    ("net.peer.port", "server.port"),
    ("db.statement", "db.query.text"),
    ("db.system", "db.system.name"),
];

/// No superseded name is longer.
const SUPERSEDED_LEN: usize = 16;

/// The key under which an attribute of a timeline stands on a span: dotted names as they are, superseded ones under
/// their present name, plain words (`tenant`) under `zerver.`.
#[must_use]
pub fn key(name: &Arc<str>) -> Key {
    match spelt(name) {
        ("", own) if own == &**name => Key::from(Arc::clone(name)),
        (before, own) => Key::from([before, own].concat()),
    }
}

/// The same without making a text: what is put before it, and the name.
pub(crate) fn spelt(name: &str) -> (&'static str, &str) {
    // Superseded names are short; most present ones are known by that.
    if name.len() <= SUPERSEDED_LEN
        && let Some((_, present)) = SUPERSEDED.iter().find(|(old, _)| *old == name)
    {
        return ("", present);
    }
    if name.contains('.') { ("", name) } else { ("zerver.", name) }
}

/// The methods that the conventions know: those of RFC 9110, PATCH and QUERY.
pub const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

/// What a method reads in `http.request.method`: one that nobody knows is a text of the client's making.
#[must_use]
pub fn known_method(method: &str) -> &str {
    if METHODS.contains(&method) { method } else { "_OTHER" }
}

/// The name of a span for a request with this method: methods outside the known list read `HTTP`.
#[must_use]
pub fn method(method: &str) -> &str {
    if METHODS.contains(&method) { method } else { "HTTP" }
}

/// The `error.type` of the server span; none when it is not an error.
///
/// Server spans are errors for 5xx and for requests that got no answer. A 4xx is the client's error, and a client that
/// left is nobody's.
#[must_use]
pub fn server_error(timeline: &Timeline) -> Option<Cow<'_, str>> {
    let unanswered =
        timeline.status == 0 && matches!(timeline.outcome, Outcome::Error | Outcome::Timeout | Outcome::Refused);
    let answered_5xx = timeline.status >= 500;
    (answered_5xx || unanswered).then(|| named(timeline.error.as_ref(), timeline.status, timeline.outcome))
}

/// The `error.type` of any other node's span; none when it is not an error.
///
/// Client spans are errors for 4xx, 5xx and no answer; everything else when it failed, ran out of time or was refused.
/// What was cancelled or skipped is not an error.
#[must_use]
pub fn node_error(node: &Node) -> Option<Cow<'_, str>> {
    if node.kind == NodeKind::Effect && node.status >= 400 {
        return Some(Cow::Owned(node.status.to_string()));
    }
    let failed = matches!(node.outcome, Outcome::Error | Outcome::Timeout | Outcome::Refused);
    failed.then(|| named(node.error.as_ref(), node.status, node.outcome))
}

/// The error's own name, else the status, else how it ended.
fn named(error: Option<&Arc<str>>, status: u16, outcome: Outcome) -> Cow<'_, str> {
    match error {
        Some(name) => Cow::Borrowed(name),
        None if status >= 400 => Cow::Owned(status.to_string()),
        None => Cow::Borrowed(outcome.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_spans_are_errors_only_for_5xx_and_no_answer() {
        use Outcome::{Cancelled, Error, Ok, Refused, Timeout};
        for (outcome, status, error, expected) in [
            (Ok, 200, None, None),
            (Ok, 404, None, None),
            (Refused, 429, Some("rate_limited"), None),
            (Error, 400, Some("bad_request"), None),
            (Refused, 503, Some("overloaded"), Some("overloaded")),
            (Error, 502, None, Some("502")),
            (Timeout, 504, Some("upstream_timeout"), Some("upstream_timeout")),
            (Timeout, 0, None, Some("timeout")),
            (Cancelled, 0, Some("client_left"), None),
        ] {
            let mut timeline = crate::timeline::sample();
            (timeline.outcome, timeline.status, timeline.error) = (outcome, status, error.map(Arc::from));
            assert_eq!(server_error(&timeline).as_deref(), expected, "{outcome:?} {status}");
        }
    }

    #[test]
    fn client_spans_are_errors_for_4xx_5xx_and_no_answer() {
        use Outcome::{Cancelled, Error, Ok, Skipped, Timeout};
        for (outcome, status, error, expected) in [
            (Ok, 302, None, None),
            (Ok, 404, None, Some("404")),
            (Error, 503, Some("upstream_status"), Some("503")),
            (Error, 0, Some("connect_refused"), Some("connect_refused")),
            (Timeout, 0, None, Some("timeout")),
            // A lost race and a condition that was not met.
            (Cancelled, 0, None, None),
            (Skipped, 0, None, None),
        ] {
            let mut node = crate::timeline::sample().nodes.remove(3);
            (node.outcome, node.status, node.error) = (outcome, status, error.map(Arc::from));
            assert_eq!(node_error(&node).as_deref(), expected, "{outcome:?} {status}");
        }
    }

    #[test]
    fn keys_are_present_names_or_ours() {
        for (name, expected) in [("http.method", HTTP_METHOD), ("url.path", "url.path"), ("tenant", "zerver.tenant")] {
            assert_eq!(key(&name.into()).as_str(), expected);
        }
        let old = |name: &str| SUPERSEDED.iter().any(|(old, _)| *old == name);
        assert_eq!(SUPERSEDED.iter().map(|(old, _)| old.len()).max(), Some(SUPERSEDED_LEN));
        assert!(SUPERSEDED.iter().all(|(_, present)| !old(present)));
    }
}
