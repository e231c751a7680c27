//! What a receiver's answer means: taken, taken in part, to be tried again, or refused for good.
//!
//! Source: the OpenTelemetry protocol specification 1.9, "Failures", "Throttling" and "Partial success".

use std::time::{Duration, UNIX_EPOCH};

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use crate::clock::Clock;

/// The answer to one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The receiver has it.
    Taken {
        /// Items of it that the receiver refused.
        refused: u64,
        /// What it said with that.
        remark: Option<String>,
        /// Whether the answer was not one of OTLP.
        odd: bool,
    },
    /// It may be taken later.
    Again {
        /// What went wrong.
        why: String,
        /// How long the receiver asks to be left alone.
        after: Option<Duration>,
    },
    /// It will never be taken.
    Refused {
        /// What is wrong with it.
        why: String,
    },
}

/// Reads an answer over HTTP. `whole` says whether all of the body was read.
pub(super) fn over_http(status: StatusCode, headers: &HeaderMap, body: &[u8], whole: bool, clock: &Clock) -> Answer {
    if status.is_success() {
        // Some receivers answer in JSON whatever they were sent.
        let json = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        return if json && whole { taken(&[], true) } else { taken(body, whole) };
    }
    let why = match Status::decode(body) {
        Ok(said) if whole && !said.message.is_empty() => format!("HTTP status {status}: {}", short(&said.message)),
        _ => format!("HTTP status {status}"),
    };
    match status.as_u16() {
        429 | 502 | 503 | 504 => Answer::Again { why, after: retry_after(headers, clock) },
        _ => Answer::Refused { why },
    }
}

/// Reads an answer over gRPC. `whole` says whether all of the body was read.
pub(super) fn over_grpc(
    status: StatusCode,
    headers: &HeaderMap,
    trailers: &HeaderMap,
    body: &[u8],
    whole: bool,
) -> Answer {
    // An answer without a message has its outcome among the headers.
    let field = |name: &str| trailers.get(name).or_else(|| headers.get(name)).and_then(|value| value.to_str().ok());
    let Some(code) = field("grpc-status").and_then(|code| code.trim().parse::<u32>().ok()) else {
        // What stands between us and the receiver has answered.
        let why = format!("HTTP status {status} without a gRPC status");
        return match status.as_u16() {
            429 | 502 | 503 | 504 => Answer::Again { why, after: None },
            _ => Answer::Refused { why },
        };
    };
    if code == 0 {
        let message = match body {
            [] => Some(body),
            [0, length @ ..] if length.len() >= 4 => Some(&length[4..]),
            _ => None,
        };
        return taken(message.unwrap_or_default(), whole && message.is_some());
    }
    let why = format!("gRPC status {code}: {}", short(field("grpc-message").unwrap_or("without a message")));
    let after = field("grpc-status-details-bin").and_then(base64).and_then(|details| retry_delay(&details));
    match code {
        // Cancelled, deadline exceeded, aborted, out of range, unavailable, data loss.
        1 | 4 | 10 | 11 | 14 | 15 => Answer::Again { why, after },
        // Resource exhausted: for good, unless the receiver says when it is over.
        8 if after.is_some() => Answer::Again { why, after },
        _ => Answer::Refused { why },
    }
}

/// The three signals' answers are one on the wire: a count and a sentence.
fn taken(message: &[u8], whole: bool) -> Answer {
    match ExportTraceServiceResponse::decode(message) {
        Ok(said) if whole => {
            let said = said.partial_success.unwrap_or_default();
            let refused = u64::try_from(said.rejected_spans).unwrap_or(0);
            let remark = (refused > 0 || !said.error_message.is_empty())
                .then(|| format!("{refused} refused: {}", short(&said.error_message)));
            Answer::Taken { refused, remark, odd: false }
        }
        _ => {
            let remark = "the answer is a success, but not one of OTLP: is this a collector?";
            Answer::Taken { refused: 0, remark: Some(remark.into()), odd: true }
        }
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, clock: &Clock) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = UNIX_EPOCH + Duration::from_nanos(clock.unix_ns(clock.now()));
    Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default())
}

/// What a stranger says is shown, but not at any length.
fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn retry_delay(status: &[u8]) -> Option<Duration> {
    let status = Status::decode(status).ok()?;
    let detail = status.details.iter().find(|detail| detail.type_url.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*detail.value).ok()?.retry_delay.unwrap_or_default();
    Some(Duration::new(u64::try_from(delay.seconds).unwrap_or(0), u32::try_from(delay.nanos).unwrap_or(0)))
}

/// Standard base64, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut held, mut bits) = (0_u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6 | u32::from(value)) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn http(status: u16, fields: &[(&'static str, &str)], body: &[u8]) -> Answer {
        over_http(StatusCode::from_u16(status).unwrap(), &map(fields), body, true, &Clock::manual())
    }

    fn grpc(trailers: &[(&'static str, &str)], body: &[u8]) -> Answer {
        over_grpc(StatusCode::OK, &HeaderMap::new(), &map(trailers), body, true)
    }

    fn partial(refused: i64, message: &str) -> Vec<u8> {
        let said = ExportTracePartialSuccess { rejected_spans: refused, error_message: message.into() };
        ExportTraceServiceResponse { partial_success: Some(said) }.encode_to_vec()
    }

    const FINE: Answer = Answer::Taken { refused: 0, remark: None, odd: false };

    #[test]
    fn a_success_may_be_partial_or_odd() {
        assert_eq!(http(200, &[], b""), FINE);
        assert_eq!(http(202, &[("content-type", "application/json")], b"{}"), FINE);
        let answer = http(200, &[], &partial(3, "too old"));
        assert_eq!(answer, Answer::Taken { refused: 3, remark: Some("3 refused: too old".into()), odd: false });
        assert!(matches!(http(200, &[], &partial(-3, "")), Answer::Taken { refused: 0, odd: false, .. }));
        assert!(matches!(http(200, &[], b"<html>hello</html>"), Answer::Taken { refused: 0, odd: true, .. }));
        let mut framed = vec![0, 0, 0, 0, 9];
        framed.extend(partial(2, "x"));
        assert!(matches!(grpc(&[("grpc-status", "0")], &framed), Answer::Taken { refused: 2, odd: false, .. }));
        assert_eq!(grpc(&[("grpc-status", "0")], b""), FINE);
        assert!(matches!(grpc(&[("grpc-status", "0")], b"\x01\0\0"), Answer::Taken { odd: true, .. }));
    }

    #[test]
    fn the_statuses_of_otlp_decide_what_is_tried_again() {
        for (status, again) in
            [(429, true), (502, true), (503, true), (504, true), (400, false), (500, false), (404, false)]
        {
            assert_eq!(matches!(http(status, &[], b""), Answer::Again { .. }), again, "{status}");
        }
        for (code, again) in [("1", true), ("14", true), ("15", true), ("3", false), ("8", false), ("16", false)] {
            assert_eq!(matches!(grpc(&[("grpc-status", code)], b""), Answer::Again { .. }), again, "{code}");
        }
        assert!(matches!(grpc(&[], b""), Answer::Refused { .. }));
        let proxy = over_grpc(StatusCode::BAD_GATEWAY, &HeaderMap::new(), &HeaderMap::new(), b"", true);
        assert!(matches!(proxy, Answer::Again { .. }));
        let said = Status { message: "too\nlarge".into(), details: Vec::new() }.encode_to_vec();
        assert_eq!(
            http(413, &[], &said),
            Answer::Refused { why: "HTTP status 413 Payload Too Large: too large".into() }
        );
    }

    #[test]
    fn a_receiver_may_say_when() {
        let clock = Clock::manual();
        let soon = UNIX_EPOCH + Duration::from_nanos(clock.unix_ns(clock.now())) + Duration::from_secs(120);
        for (text, expected) in [
            ("7", Some(7)),
            (httpdate::fmt_http_date(soon).as_str(), Some(120)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("later", None),
            ("-1", None),
        ] {
            let Answer::Again { after, .. } = http(503, &[("retry-after", text)], b"") else { panic!("{text}") };
            assert_eq!(after.map(|after| after.as_secs()), expected, "{text}");
        }
    }

    #[test]
    fn grpc_says_when_among_the_details() {
        // 8, `later`, RetryInfo of 1.5 s, as protoc and base64 write it.
        let value = RetryInfo { retry_delay: Some(Delay { seconds: 1, nanos: 500_000_000 }) }.encode_to_vec();
        let detail = Detail { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value };
        let status = Status { message: "later".into(), details: vec![detail] }.encode_to_vec();
        assert_eq!(retry_delay(&status), Some(Duration::from_millis(1500)));
        let text = "EgVsYXRlchozCih0eXBlLmdvb2dsZWFwaXMuY29tL2dvb2dsZS5ycGMuUmV0cnlJbmZvEgcKBQgBEMo=";
        assert_eq!(base64("aGVsbG8gd29ybGQ="), Some(b"hello world".to_vec()));
        assert_eq!((base64("a*"), base64("")), (None, Some(Vec::new())));
        // Cut short: no panic, no delay.
        let cut = grpc(&[("grpc-status", "8"), ("grpc-status-details-bin", text)], b"");
        assert!(matches!(cut, Answer::Refused { .. }), "{cut:?}");
    }
}
