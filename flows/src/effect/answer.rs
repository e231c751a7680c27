//! What a call gave, and what a step reads in it.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde::de::DeserializeOwned;

use crate::exit::{Fail, Result};

/// What a call gave.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status: below 400, unless the call was made with [`Call::any_status`](super::Call::any_status).
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
    pub(super) method: Method,
    /// `target:/path`, for what goes wrong with reading it.
    pub(super) to: String,
}

impl Answer {
    /// The body read as JSON.
    ///
    /// # Errors
    /// An upstream failure, status 502, when it is not.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Fail::upstream(
                "upstream_not_json",
                format!("{}: the answer is not the expected JSON: {error}", self.asked()),
            )
            .into()
        })
    }

    /// The body read as text.
    ///
    /// # Errors
    /// An upstream failure, status 502, when it is not UTF-8.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.body).map_err(|_| {
            Fail::upstream("upstream_not_text", format!("{}: the answer is not UTF-8", self.asked())).into()
        })
    }

    /// The first value of a header; none when it is missing or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn asked(&self) -> String {
        format!("{} {}", self.method, self.to)
    }

    /// Forgets the answer: its status was good, which is all there is to know.
    ///
    /// # Errors
    /// None; it is a `Result` so that a step can end with it.
    pub fn ok(self) -> Result<()> {
        Ok(())
    }
}
