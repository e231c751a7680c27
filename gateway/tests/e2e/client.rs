//! A plain HTTP client: whole answers, HTTP/1.1 or HTTP/2 without TLS, and nothing that waits for ever.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;

use crate::support::PATIENCE;

/// The body of a request, or of an origin's answer.
pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// A body that is there at once.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A client with a pool of connections.
#[derive(Clone)]
pub(crate) struct Client(Pooled<HttpConnector, Body>);

/// As clients do that send large bodies: nothing waits for an acknowledgement before it leaves.
fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) version: Version,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header's value; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("the header is text"))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }
}

impl Client {
    /// Speaks HTTP/1.1.
    pub(crate) fn http1() -> Self {
        Self(Pooled::builder(TokioExecutor::new()).build(connector()))
    }

    /// Speaks HTTP/2 by prior knowledge.
    pub(crate) fn http2() -> Self {
        Self(Pooled::builder(TokioExecutor::new()).http2_only(true).build(connector()))
    }

    /// Speaks HTTP/1.1, and HTTP/2, with little room in the kernel for what nobody reads.
    pub(crate) fn narrow() -> [Self; 2] {
        let narrow = || {
            let mut connector = connector();
            connector.set_recv_buffer_size(Some(64 * 1024));
            connector
        };
        let builder = || Pooled::builder(TokioExecutor::new());
        [Self(builder().build(narrow())), Self(builder().http2_only(true).build(narrow()))]
    }

    /// Sends a request and gives the answer's head, its body still to come; none where no answer came.
    pub(crate) async fn begin(&self, request: Request<Body>) -> Option<Response<Incoming>> {
        timeout(PATIENCE, self.0.request(request)).await.expect("there is an answer in time").ok()
    }

    /// Sends a request and reads the whole answer; none where it breaks off.
    pub(crate) async fn try_send(&self, request: Request<Body>) -> Option<Answer> {
        let (head, body) = self.begin(request).await?.into_parts();
        let body = timeout(PATIENCE, body.collect()).await.expect("the body ends in time").ok()?;
        Some(Answer {
            version: head.version,
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_bytes(),
        })
    }

    /// Sends a request that must be answered.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        self.try_send(request).await.expect("the request is answered")
    }

    /// Gets a page.
    pub(crate) async fn get(&self, address: SocketAddr, path: &str) -> Answer {
        self.send(ask("GET", address, path)).await
    }
}

/// A request without a body.
pub(crate) fn ask(method: &str, address: SocketAddr, path: &str) -> Request<Body> {
    request(method, address, path, &[], Bytes::new())
}

/// A request.
pub(crate) fn request(
    method: &str,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(full(body)).expect("the request is sound")
}

/// Gets a page over a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    Client::http1().get(address, path).await
}
