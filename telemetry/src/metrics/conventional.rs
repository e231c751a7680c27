//! The labels of the HTTP metrics that the semantic conventions name: attributes of requests and calls.
//!
//! Source: OpenTelemetry semantic conventions 1.44, "HTTP metrics". What a request does not have is an empty label,
//! which Prometheus reads as none, and which is not sent over OTLP.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::event::Outcome;
use crate::semconv;
use crate::timeline::{Node, Timeline, Value};

/// All that the labels of a request or a call are made of, its route or target aside.
#[derive(Debug)]
pub(super) struct Facts<'t> {
    status: u16,
    outcome: Outcome,
    error: Option<&'t Arc<str>>,
    method: &'t Arc<str>,
    more: [Option<&'t Value>; 2],
}

/// Facts of an earlier one.
#[derive(Debug)]
pub(super) struct Known {
    status: u16,
    outcome: Outcome,
    error: Option<Arc<str>>,
    method: Arc<str>,
    more: [Option<Value>; 2],
}

impl Facts<'_> {
    /// Whether they are those of an earlier one: then so are the labels.
    pub(super) fn are(&self, known: &Known) -> bool {
        // Texts are mostly the very same ones, which their comparison sees first.
        self.status == known.status
            && self.outcome == known.outcome
            && self.error == known.error.as_ref()
            && self.method == &known.method
            && self.more[0] == known.more[0].as_ref()
            && self.more[1] == known.more[1].as_ref()
    }

    pub(super) fn keep(&self) -> Known {
        Known {
            status: self.status,
            outcome: self.outcome,
            error: self.error.cloned(),
            method: Arc::clone(self.method),
            more: self.more.map(Option::<&Value>::cloned),
        }
    }
}

/// What [`server`] makes its labels of.
pub(super) fn server_facts(timeline: &Timeline) -> Option<Facts<'_>> {
    let Timeline { status, outcome, error, .. } = timeline;
    facts(*status, *outcome, error.as_ref(), timeline.root(), ["url.scheme", semconv::HTTP_ROUTE])
}

/// What [`client`] makes its labels of.
pub(super) fn client_facts(node: &Node) -> Option<Facts<'_>> {
    facts(node.status, node.outcome, node.error.as_ref(), node, [semconv::SERVER_ADDRESS, semconv::SERVER_PORT])
}

fn facts<'t>(
    status: u16,
    outcome: Outcome,
    error: Option<&'t Arc<str>>,
    node: &'t Node,
    keys: [&str; 2],
) -> Option<Facts<'t>> {
    let (mut method, mut more) = (None, [None; 2]);
    // One walk, and of a key that is there twice the first, as `Node::attr` has it.
    for (key, value) in &node.attrs {
        if method.is_none() && **key == *semconv::HTTP_METHOD {
            method = Some(value);
        } else if more[0].is_none() && **key == *keys[0] {
            more[0] = Some(value);
        } else if more[1].is_none() && **key == *keys[1] {
            more[1] = Some(value);
        }
    }
    match method? {
        Value::Text(method) => Some(Facts { status, outcome, error, method, more }),
        _ => None,
    }
}

/// Labels of [`HTTP_SERVER_DURATION`](crate::metrics::catalog::HTTP_SERVER_DURATION); none for what is no HTTP request.
pub(super) fn server(timeline: &Timeline) -> Option<[Cow<'_, str>; 5]> {
    let root = timeline.root();
    let error = semconv::server_error(timeline).unwrap_or_default();
    let route = text(root, semconv::HTTP_ROUTE);
    Some([method(root)?, text(root, "url.scheme"), status(timeline.status), error, route])
}

/// Labels of [`HTTP_CLIENT_DURATION`](crate::metrics::catalog::HTTP_CLIENT_DURATION); none for what is no HTTP call.
pub(super) fn client(node: &Node) -> Option<[Cow<'_, str>; 5]> {
    let error = semconv::node_error(node).unwrap_or_default();
    let (host, port) = (text(node, "server.address"), text(node, "server.port"));
    Some([method(node)?, host, port, status(node.status), error])
}

fn method(node: &Node) -> Option<Cow<'_, str>> {
    match node.attr(semconv::HTTP_METHOD)? {
        Value::Text(method) => Some(Cow::Borrowed(semconv::known_method(method))),
        _ => None,
    }
}

fn text<'n>(node: &'n Node, key: &str) -> Cow<'n, str> {
    match node.attr(key) {
        Some(Value::Text(text)) => Cow::Borrowed(text),
        Some(value) => Cow::Owned(value.to_string()),
        None => Cow::Borrowed(""),
    }
}

fn status(status: u16) -> Cow<'static, str> {
    let mut text = String::new();
    if status != 0 {
        let _ = write!(text, "{status}");
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{NodeKind, Outcome};

    #[test]
    fn a_request_and_its_calls_have_the_labels_of_the_conventions() {
        let mut timeline = crate::timeline::sample();
        timeline.nodes[0].attrs = vec![
            ("http.request.method".into(), Value::Text("GET".into())),
            ("url.scheme".into(), Value::Text("https".into())),
        ];
        assert_eq!(server(&timeline).unwrap(), ["GET", "https", "200", "", ""]);
        timeline.nodes[0].attrs.push(("http.route".into(), Value::Text("/carts/{id}".into())));
        (timeline.status, timeline.outcome, timeline.error) = (504, Outcome::Timeout, Some("upstream_timeout".into()));
        assert_eq!(server(&timeline).unwrap(), ["GET", "https", "504", "upstream_timeout", "/carts/{id}"]);

        let call = timeline.nodes.iter_mut().find(|node| node.kind == NodeKind::Effect).unwrap();
        call.attrs = vec![
            ("http.request.method".into(), Value::Text("POST".into())),
            ("server.address".into(), Value::Text("10.0.0.5".into())),
            ("server.port".into(), Value::Int(8081)),
        ];
        (call.status, call.outcome, call.error) = (0, Outcome::Error, Some("connect_refused".into()));
        assert_eq!(client(call).unwrap(), ["POST", "10.0.0.5", "8081", "", "connect_refused"]);
        call.attrs.clear();
        assert_eq!(client(call), None);
    }
}
