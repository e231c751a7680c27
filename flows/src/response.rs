//! What a flow answers.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::exit::{Fail, Result};

/// A status, headers and a whole body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers; the gateway adds those of the connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// A JSON body with status 200.
    ///
    /// # Errors
    /// A failure with status 500 when `value` cannot be written as JSON (a map with keys that are not text).
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        let body = serde_json::to_vec(value).map_err(|e| Fail::internal("answer_not_json", e.to_string()))?;
        Ok(Self::with_type("application/json", body.into()))
    }

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

    fn with_type(content_type: &'static str, body: Bytes) -> Self {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self { status: StatusCode::OK, headers, body }
    }

    /// The same with another status. A number that is no status becomes 500.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self
    }

    /// The same with a header set.
    ///
    /// # Errors
    /// A failure with status 500 when HTTP does not allow the name or the value.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self> {
        let key: HeaderName = name.parse().map_err(|_| bad_header(name))?;
        self.headers.insert(key, HeaderValue::from_str(value).map_err(|_| bad_header(name))?);
        Ok(self)
    }
}

fn bad_header(name: &str) -> Fail {
    Fail::internal("bad_header", format!("header `{name}` has a name or value that HTTP does not allow"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_carry_their_type() {
        let answer = Response::json(&[1, 2]).unwrap().status(201).header("x-a", "b").unwrap();
        assert!(answer.status == 201 && answer.body == "[1,2]");
        assert!(answer.headers[CONTENT_TYPE] == "application/json" && answer.headers["x-a"] == "b");
        assert!(answer.header("x", "line\nbreak").is_err());
        assert_eq!(Response::empty(1000).status.as_u16(), 500);
    }
}
