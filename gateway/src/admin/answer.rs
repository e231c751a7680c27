//! What an admin page answers: JSON, or a problem that says what to do.

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

/// An answer of the admin listener.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its type.
    pub content_type: &'static str,
    /// Its body.
    pub body: Bytes,
}

/// A value as JSON.
pub(super) fn json(value: &impl serde::Serialize) -> Reply {
    match serde_json::to_vec(value) {
        Ok(body) => Reply { status: StatusCode::OK, content_type: "application/json", body: body.into() },
        Err(e) => error(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
    }
}

/// A failure as problem+json, with what to do in `detail`.
pub(super) fn error(status: StatusCode, detail: &str) -> Reply {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    Reply { status, content_type: "application/problem+json", body: body.to_string().into() }
}
