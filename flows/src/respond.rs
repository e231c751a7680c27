//! What may not fit: a body read as JSON, an answer made of JSON values and headers.

use http::{HeaderName, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exit::{Fail, Result};
use crate::request::Req;
use crate::response::Response;

impl Req {
    /// The body read as JSON.
    ///
    /// # Errors
    /// A failure with status 400 that says where the body is wrong.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Fail::new(http::StatusCode::BAD_REQUEST, format!("the body is not the JSON this flow takes: {error}"))
                .into()
        })
    }
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
    use http::header::CONTENT_TYPE;

    #[test]
    fn answers_carry_their_type() {
        let answer = Response::json(&[1, 2]).unwrap().status(201).header("x-a", "b").unwrap();
        assert!(answer.status == 201 && answer.body == "[1,2]");
        assert!(answer.headers[CONTENT_TYPE] == "application/json" && answer.headers["x-a"] == "b");
        assert!(answer.header("x", "line\nbreak").is_err());
        assert_eq!(Response::empty(1000).status.as_u16(), 500);
    }

    #[test]
    fn a_bad_body_is_the_clients_fault() {
        let mut req = Req::get("/");
        req.body = "{".into();
        let crate::Exit::Fail(fail) = req.json::<serde_json::Value>().unwrap_err() else {
            panic!("a failure was expected");
        };
        assert_eq!((fail.status.as_u16(), fail.code), (400, "bad_request"));
    }
}
