//! The labels of the HTTP metrics that the semantic conventions name: attributes of requests and calls.
//!
//! Source: OpenTelemetry semantic conventions 1.44, "HTTP metrics". What a request does not have is an empty label,
//! which Prometheus reads as none, and which is not sent over OTLP.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::semconv;
use crate::timeline::{Node, Timeline, Value};

/// Labels of [`HTTP_SERVER_DURATION`](crate::metrics::catalog::HTTP_SERVER_DURATION); none for what is no HTTP request.
pub(crate) fn server(timeline: &Timeline) -> Option<[Cow<'_, str>; 5]> {
    let root = timeline.root();
    let error = semconv::server_error(timeline).unwrap_or_default();
    let route = text(root, semconv::HTTP_ROUTE);
    Some([method(root)?, text(root, "url.scheme"), status(timeline.status), error, route])
}

/// Labels of [`HTTP_CLIENT_DURATION`](crate::metrics::catalog::HTTP_CLIENT_DURATION); none for what is no HTTP call.
pub(crate) fn client(node: &Node) -> Option<[Cow<'_, str>; 5]> {
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
