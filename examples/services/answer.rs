//! What each service answers, and to whom it does not.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::till::Till;

/// The most that a request may send.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Status, time it takes in milliseconds, body.
type Answer = (u16, u64, Value);

/// A real service takes its time; each of these takes as much as its kind of work would.
pub(crate) async fn answer(service: &str, request: Request<Incoming>, till: &Till) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = head.uri.path().trim_start_matches("/v1/");
    let (kind, name) = path.split_once('/').unwrap_or((path, ""));
    let (status, millis, body) = match (service, head.method.as_str(), kind, name) {
        ("accounts", "GET", "me", "") => me(&head.headers),
        ("accounts", "GET", "profiles", "bob") => (503, 5, json!({ "error": "the profile store is down" })),
        ("accounts", "GET", "profiles", name) => (200, 12, json!({ "greeting": format!("Good day, {name}") })),
        ("carts", "GET", "carts", _) => (200, 8, json!({ "items": ["teapot", "cup"] })),
        ("prices-eu", "GET", "prices", "eve") => return std::future::pending().await,
        ("prices-eu" | "prices-us", "GET", "prices", _) => (200, 20, json!({ "cents": 2990 })),
        ("pay", "POST", "charges", "") => charge(&head.headers, &body, till),
        ("pay", "GET", "charges", "") => (200, 1, till.list()),
        ("pay", "DELETE", "charges", id) => match till.refund(id) {
            Some(receipt) => (200, 10, receipt),
            None => (404, 1, json!({ "error": "there is no such charge" })),
        },
        ("orders", "POST", "orders", "") if body["user"] == "dan" => (409, 6, json!({ "error": "sold out" })),
        ("orders", "POST", "orders", "") => (201, 6, json!({ "id": format!("order-of-{}", text(&body["charge"])) })),
        _ => (404, 1, json!({ "error": "there is nothing here" })),
    };
    tokio::time::sleep(Duration::from_millis(millis)).await;
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn me(headers: &HeaderMap) -> Answer {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match token.strip_prefix("Bearer ") {
        Some(name @ ("ada" | "bob" | "cat" | "dan" | "eve")) => (200, 3, json!({ "name": name })),
        _ => (401, 1, json!({ "error": "unknown token" })),
    }
}

/// Charges once for each key. The first answer to `cat` says 503 although she is charged: what a caller sees when the
/// answer is lost, and why a charge has a key.
fn charge(headers: &HeaderMap, body: &Value, till: &Till) -> Answer {
    let Some(key) = headers.get("idempotency-key").and_then(|key| key.to_str().ok()) else {
        return (400, 1, json!({ "error": "a charge needs an Idempotency-Key" }));
    };
    let user = text(&body["user"]);
    match till.charge(key, user, body["cents"].as_u64().unwrap_or_default()) {
        Some((_, true)) if user == "cat" => (503, 15, json!({ "error": "the answer is lost" })),
        Some((receipt, _)) => (200, 15, receipt),
        None => (507, 1, json!({ "error": "the till is full" })),
    }
}
