//! A request that asks to see itself: the flow's answer, its timeline so far, and what each step gave, masked.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};
use zerver_flows::{Body, FlowOutcome, Response, Values};
use zerver_telemetry::recorder::Log;
use zerver_telemetry::redact::{MASK, Redaction};

use crate::plan::Plan;
use crate::reply::Reply;

/// The header that asks, with the token of `debug.token` as its value.
pub(super) const ASK: HeaderName = HeaderName::from_static("zerver-debug");

/// Whether a request asks to see itself and may. The header is taken off: the token is not for flows and upstreams.
pub(super) fn asked(headers: &mut HeaderMap, plan: &Plan) -> bool {
    let given = headers.remove(ASK);
    let token = plan.document.debug.token.as_ref();
    given.zip(token).is_some_and(|(given, token)| given.to_str().is_ok_and(|given| token.matches(given)))
}

/// What the client gets in place of the flow's answer: its status, and all there is to see as JSON.
pub(super) fn reply(outcome: &FlowOutcome, values: &Values, log: &Log) -> Reply {
    let status = outcome.result.as_ref().map_or_else(|fail| fail.status, |response| response.status);
    let fail = outcome.result.as_ref().err();
    let rules = &*log.recorder().redaction();
    let failure = |fail| failure(fail, rules);
    let shown = json!({
        "v": 1,
        "answer": outcome.result.as_ref().ok().map(|response| answer(response, rules)),
        "failure": fail.map(failure),
        "optional_failures": outcome.failures.iter().map(|(_, fail)| failure(fail)).collect::<Vec<_>>(),
        "values": values.read().into_iter().map(|(slot, value)| json!({ "slot": &*slot, "value": value })).collect::<Vec<_>>(),
        "values_lost": values.lost(),
        "timeline": log.so_far(),
    });
    // These cannot carry a body, and here the body is what was asked for.
    let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let status = if bodiless { StatusCode::OK } else { status };
    let headers = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Reply { status, headers, body: Bytes::from(shown.to_string()) }
}

fn failure(fail: &zerver_flows::Fail, rules: &Redaction) -> Value {
    json!({
        "step": fail.step,
        "code": fail.code,
        "status": fail.status.as_u16(),
        "message": rules.text(&fail.message),
        "detail": fail.detail.as_deref().map(|detail| rules.text(detail)),
    })
}

fn answer(response: &Response, rules: &Redaction) -> Value {
    let shown = |name: &HeaderName, value: &HeaderValue| match value.to_str() {
        Ok(text) => Value::from(rules.header(name.as_str(), text)),
        Err(_) => Value::from(MASK),
    };
    let headers: Map<String, Value> =
        response.headers.iter().map(|(name, value)| (name.as_str().to_owned(), shown(name, value))).collect();
    let body = match &response.body {
        Body::Whole(body) => {
            let mut body = serde_json::from_slice(body)
                .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(body).into_owned()));
            rules.value(&mut body);
            body
        }
        Body::Stream(_) => json!({ "stream": "not read" }),
    };
    json!({ "status": response.status.as_u16(), "headers": headers, "body": body })
}
