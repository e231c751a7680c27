//! What a flow answers.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::body::Body;

/// A status, headers and a body: whole, or a stream (see [`Response::stream`]).
#[derive(Debug, Default)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers; the gateway adds those of the connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}

impl Response {
    /// A text body with status 200.
    #[must_use]
    pub fn text(body: impl Into<String>) -> Self {
        Self::with_type("text/plain; charset=utf-8", body.into().into())
    }

    /// No body, this status. A number that is no status becomes 500.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self::default().status(status)
    }

    pub(crate) fn with_type(content_type: &'static str, body: Bytes) -> Self {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { status: StatusCode::OK, headers, body: Body::Whole(body) }
    }

    /// The same with another status. A number that is no status becomes 500.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self
    }
}
