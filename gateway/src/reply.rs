//! The one place where an outcome becomes a status, headers and a body: problem+json (RFC 9457) for every failure.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::error::Error;

/// The header that names why a request was refused or failed.
pub const REASON: HeaderName = HeaderName::from_static("zerver-reason");
/// The header that names the request, ours or the client's.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An answer that the gateway itself gives.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without the framing ones.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// An answer of the configuration.
    #[must_use]
    pub fn fixed(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Self {
        Self { status, headers: vec![(header::CONTENT_TYPE, content_type)], body }
    }

    /// The answer to a failure: status, problem+json, retry advice, and the reason's name in a header.
    ///
    /// Nothing of the inside leaks: the body holds only what [`Error`] says to clients.
    #[must_use]
    pub fn failure(error: &Error, request_id: &str) -> Self {
        let status = status(error);
        let (kind, title) = kind(error, status);
        let mut problem = json!({
            "type": kind,
            "title": title,
            "status": status.as_u16(),
            "detail": error.to_string(),
            "code": error.name(),
            "request_id": request_id,
        });
        let mut headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        if let Ok(name) = HeaderValue::from_str(error.name()) {
            headers.push((REASON, name));
        }
        if let Some(seconds) = retry_after(error) {
            problem["retry_after_s"] = json!(seconds);
            headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
        }
        match error {
            Error::MethodNotAllowed { allow } => headers.extend(field(header::ALLOW, allow)),
            Error::RateLimited { limit, fields, .. } => {
                problem["violated-policies"] = json!([limit]);
                headers.extend(fields.iter().filter_map(|(name, value)| {
                    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
                }));
            }
            _ => {}
        }
        Self { status, headers, body: Bytes::from(problem.to_string()) }
    }
}

fn field(name: HeaderName, value: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((name, HeaderValue::from_str(value).ok()?))
}

/// The status of a failure. 429 is the caller's quota (RFC 6585), 503 our own lack of room (RFC 9110, 15.6.4).
fn status(error: &Error) -> StatusCode {
    match error {
        Error::BadRequest(_) => StatusCode::BAD_REQUEST,
        Error::NoRoute => StatusCode::NOT_FOUND,
        Error::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
        Error::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Error::PathTooLong => StatusCode::URI_TOO_LONG,
        Error::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Error::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
        Error::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
        Error::Shed { .. } | Error::BreakerOpen { .. } | Error::NoPeer => StatusCode::SERVICE_UNAVAILABLE,
        Error::UpstreamConnect | Error::UpstreamReset => StatusCode::BAD_GATEWAY,
        Error::UpstreamTimeout | Error::Deadline => StatusCode::GATEWAY_TIMEOUT,
        Error::Flow { status, .. } => StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        // The head of a stream went out long before.
        Error::StreamFailed | Error::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        // Nobody reads it; 499 stands in the timeline, as nginx has it in its log.
        Error::ClientGone => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
    }
}

/// The problem's type and title; the types of draft-ietf-httpapi-ratelimit-headers-10 where they fit.
fn kind(error: &Error, status: StatusCode) -> (&'static str, &'static str) {
    match error {
        Error::RateLimited { .. } => {
            ("https://iana.org/assignments/http-problem-types#quota-exceeded", "Quota exceeded")
        }
        Error::Shed { .. } | Error::BreakerOpen { .. } | Error::Flow { refused: true, .. } => (
            "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
            "Temporarily reduced capacity",
        ),
        _ => ("about:blank", status.canonical_reason().unwrap_or("Error")),
    }
}

/// Seconds after which another try makes sense.
fn retry_after(error: &Error) -> Option<u32> {
    match error {
        Error::RateLimited { retry_after, .. } => {
            Some(u32::try_from(retry_after.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1))
        }
        Error::Shed { retry_after, .. } | Error::BreakerOpen { retry_after } => Some(*retry_after),
        Error::Flow { retry_after, .. } => *retry_after,
        Error::NoPeer => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_refusal_names_its_reason_and_when_to_come_again() {
        let reply = Reply::failure(&Error::Shed { reason: "queue_full", retry_after: 3 }, "r1");
        let header = |name: &str| reply.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.to_str().unwrap());
        assert_eq!(
            (reply.status.as_u16(), header("retry-after"), header("zerver-reason")),
            (503, Some("3"), Some("queue_full"))
        );
        let problem: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!((&problem["code"], &problem["request_id"]), (&json!("queue_full"), &json!("r1")));
    }

    #[test]
    fn a_quota_is_429_and_waits_whole_seconds() {
        let error = Error::RateLimited {
            limit: "per-tenant".into(),
            retry_after: Duration::from_millis(1200),
            fields: vec![("ratelimit", "\"per-tenant\";r=0;t=2".into())],
        };
        let reply = Reply::failure(&error, "r");
        assert_eq!(reply.status.as_u16(), 429);
        assert!(reply.headers.iter().any(|(n, v)| n == "retry-after" && v == "2"));
        assert!(reply.headers.iter().any(|(n, _)| n == "ratelimit"));
    }
}
