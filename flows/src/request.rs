//! What a flow is asked: the request as its steps see it.

use std::net::SocketAddr;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use zerver_telemetry::clock::Ticks;
use zerver_telemetry::percent::decode_form;

use crate::upload::Upload;

/// One request: owned, so that slots may borrow from it for as long as the flow runs.
#[derive(Debug, Default)]
pub struct Req {
    /// The method.
    pub method: Method,
    /// The path, as it was sent (still percent-encoded).
    pub path: String,
    /// What followed the `?`, as it was sent.
    pub query: Option<String>,
    /// What the route's `{name}` parts matched, decoded.
    pub params: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole; empty in a flow with `body = "stream"`, which looks at it with [`Fx::peek`](crate::Fx::peek) and
    /// passes it on with [`Call::pass`](crate::Call::pass).
    pub body: Bytes,
    /// Who sent it.
    pub client: Option<SocketAddr>,
    /// When its answer stops being of use.
    pub deadline: Option<Ticks>,
    pairs: OnceLock<Vec<(String, String)>>,
    upload: OnceLock<Upload>,
}

impl Req {
    /// A request for `target` (path and query), without headers or body.
    #[must_use]
    pub fn new(method: Method, target: &str) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Self { method, path: path.to_owned(), query, ..Self::default() }
    }

    /// A GET request.
    #[must_use]
    pub fn get(target: &str) -> Self {
        Self::new(Method::GET, target)
    }

    /// A POST request with a JSON body.
    #[must_use]
    pub fn post(target: &str, json: &serde_json::Value) -> Self {
        let mut req = Self::new(Method::POST, target);
        req.headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        req.body = json.to_string().into();
        req
    }

    /// The same with a body that arrives while the flow runs.
    #[must_use]
    pub fn with_upload(self, upload: Upload) -> Self {
        Self { upload: upload.into(), ..self }
    }

    /// The body as something to be passed on; the whole one where it does not come piece by piece.
    #[must_use]
    pub fn upload(&self) -> &Upload {
        self.upload.get_or_init(|| Upload::whole(self.body.clone()))
    }

    /// The body, when it arrives while the flow runs.
    pub(crate) fn streamed(&self) -> Option<&Upload> {
        self.upload.get().filter(|_| self.body.is_empty())
    }

    /// What is known of the body: all, or as far as anybody looked.
    pub(crate) fn known_body(&self) -> Bytes {
        self.streamed().map_or_else(|| self.body.clone(), Upload::seen)
    }

    /// The same with a header more; one that HTTP does not allow is left out.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            self.headers.append(name, value);
        }
        self
    }

    /// The same with a path parameter more.
    #[must_use]
    pub fn with_param(mut self, name: &str, value: &str) -> Self {
        self.params.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What the route's `{name}` matched.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a header; none when it is missing or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The first value of a query parameter, decoded.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query_pairs().iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every query parameter, decoded, in the order sent. Parsed when first asked for.
    #[must_use]
    pub fn query_pairs(&self) -> &[(String, String)] {
        self.pairs.get_or_init(|| {
            let query = self.query.as_deref().unwrap_or_default();
            query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode_form(key).into_owned(), decode_form(value).into_owned())
                })
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let req = Req::get("/a?x=1&name=J%C3%BCrgen+B&flag&x=2&bad=%zz");
        assert_eq!(req.path, "/a");
        for (name, value) in
            [("x", Some("1")), ("name", Some("Jürgen B")), ("flag", Some("")), ("bad", Some("%zz")), ("no", None)]
        {
            assert_eq!(req.query(name), value, "{name}");
        }
        assert_eq!(Req::get("/a").query_pairs(), []);
    }
}
