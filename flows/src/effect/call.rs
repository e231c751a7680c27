//! A call as a step builds it, piece by piece, until it is awaited.

use std::future::IntoFuture;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Serialize;

use super::asked::{Asked, Judged};
use super::flight::{Effect, Flight};
use super::{Answer, Fx};
use crate::exit::Result;
use crate::request::Req;

impl<'r> Fx<'r> {
    /// Begins a GET of `target:/path?query`.
    #[must_use = "a call is made when it is awaited"]
    pub fn get(&self, to: impl AsRef<str>) -> Call<'r> {
        self.call(Method::GET, to)
    }

    /// Begins a POST. An `Idempotency-Key`, the same for each attempt and each replay, is added.
    #[must_use = "a call is made when it is awaited"]
    pub fn post(&self, to: impl AsRef<str>) -> Call<'r> {
        self.call(Method::POST, to)
    }

    /// Begins a PUT.
    #[must_use = "a call is made when it is awaited"]
    pub fn put(&self, to: impl AsRef<str>) -> Call<'r> {
        self.call(Method::PUT, to)
    }

    /// Begins a PATCH. An `Idempotency-Key` is added, as for POST.
    #[must_use = "a call is made when it is awaited"]
    pub fn patch(&self, to: impl AsRef<str>) -> Call<'r> {
        self.call(Method::PATCH, to)
    }

    /// Begins a DELETE.
    #[must_use = "a call is made when it is awaited"]
    pub fn delete(&self, to: impl AsRef<str>) -> Call<'r> {
        self.call(Method::DELETE, to)
    }

    /// Begins a call with any method.
    #[must_use = "a call is made when it is awaited"]
    pub fn call(&self, method: Method, to: impl AsRef<str>) -> Call<'r> {
        Call(Flight::of(Asked {
            fx: *self,
            place: self.run.place(self.step),
            method,
            to: to.as_ref().to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            upload: None,
            timeout: None,
            judged: Judged::default(),
            fresh: false,
            wrong: None,
        }))
    }
}

impl<'r> IntoFuture for Call<'r> {
    type Output = Result<Answer>;
    type IntoFuture = Effect<'r>;

    fn into_future(self) -> Effect<'r> {
        Effect(Some(self.0))
    }
}

/// Encodes a text as one segment of a path, or as a value in a query: everything but letters, digits and `-._~`.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(HEX[usize::from(byte >> 4)] as char);
            out.push(HEX[usize::from(byte & 15)] as char);
        }
    }
    // A segment of dots alone would walk up the path.
    if !out.is_empty() && out.bytes().all(|b| b == b'.') { out.replace('.', "%2E") } else { out }
}

/// A call that has not been made yet; awaiting it makes it.
#[derive(Debug)]
#[must_use = "a call is made when it is awaited"]
pub struct Call<'r>(pub(super) Box<Flight<'r>>);

impl<'r> Call<'r> {
    fn asked(&mut self) -> &mut Asked<'r> {
        &mut self.0.asked
    }

    /// Sets a header.
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        match (name.parse::<HeaderName>(), HeaderValue::from_str(value.as_ref())) {
            (Ok(name), Ok(value)) => {
                self.asked().headers.insert(name, value);
            }
            _ => self.asked().wrong = Some(format!("HTTP does not allow this name or value of header `{name}`")),
        }
        self
    }

    /// Adds a query parameter, encoded.
    pub fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let to = &mut self.asked().to;
        to.push(if to.contains('?') { '&' } else { '?' });
        to.push_str(&segment(name));
        to.push('=');
        to.push_str(&segment(value.as_ref()));
        self
    }

    /// Sends `value` as JSON.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => {
                self.asked().headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                self.asked().body = body.into();
            }
            Err(error) => self.asked().wrong = Some(format!("the body cannot be written as JSON: {error}")),
        }
        self
    }

    /// Sends these bytes.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.asked().body = body.into();
        self
    }

    /// Sends the request's own body, what was looked at included, and its `Content-Type` and `Content-Encoding` unless the
    /// call has its own. In a flow with `body = "stream"` it is sent as it comes, as fast as the target takes it, and
    /// never held whole. It goes out once: with its first piece gone, the call is not tried again.
    pub fn pass(mut self, req: &Req) -> Self {
        for name in [CONTENT_TYPE, CONTENT_ENCODING] {
            if let Some(value) = req.headers.get(&name) {
                self.asked().headers.entry(name).or_insert_with(|| value.clone());
            }
        }
        self.asked().upload = Some(req.upload().clone());
        self
    }

    /// Gives the answer at most this long; the step's and the flow's own deadline hold all the same.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.asked().timeout = Some(time);
        self
    }

    /// Takes an answer of status 400 and above for an answer, not for a failure.
    pub fn any_status(mut self) -> Self {
        self.asked().judged.any = true;
        self
    }

    /// When the answer has this status, the step fails with status `becomes` and this text for the client, in place of
    /// 502: `fx.get(…).on_status(404, 404, "no such cart")`. A status outside 400..=599 becomes 500.
    pub fn on_status(mut self, status: u16, becomes: u16, message: &'static str) -> Self {
        self.asked().judged.mapped.push((status, becomes, message));
        self
    }

    /// Makes the call even when an identical GET of this request is in the air, whose answer it would share otherwise:
    /// for asking whether something has changed.
    pub fn fresh(mut self) -> Self {
        self.asked().fresh = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_cannot_leave_its_place() {
        for (text, encoded) in
            [("abc-1.2~_", "abc-1.2~_"), ("a/b?c", "a%2Fb%3Fc"), ("..", "%2E%2E"), ("ü", "%C3%BC"), ("", "")]
        {
            assert_eq!(segment(text), encoded);
        }
    }
}
