//! The JSON writer: what it writes, in what pieces, and what it refuses.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Waker};

use bytes::Bytes;
use serde_json::{Value, json};
use zerver_flows::body::{BodyStream, Broken};
use zerver_flows::{Body, JsonWriter, Response, Result};

fn stream(response: Response) -> BodyStream {
    match response.body {
        Body::Stream(stream) => stream,
        Body::Whole(bytes) => panic!("no stream: {bytes:?}"),
    }
}

/// Reads with a reader that nothing wakes: everything is ready, or it is the end.
fn all(response: Response) -> (Vec<Bytes>, Option<Broken>) {
    let mut body = stream(response);
    let mut pieces = Vec::new();
    while body.poll_fill(&mut Context::from_waker(Waker::noop())).is_ready() {
        match body.take() {
            Some(Ok(piece)) => pieces.push(piece),
            Some(Err(broken)) => return (pieces, Some(broken)),
            None => return (pieces, None),
        }
    }
    panic!("it waits for something: {pieces:?}");
}

fn text(response: Response) -> String {
    let (pieces, broken) = all(response);
    assert_eq!(broken, None);
    String::from_utf8(pieces.concat()).expect("JSON is UTF-8")
}

#[test]
fn what_is_written_is_what_serde_writes() {
    let written = text(Response::json_stream(|mut json| async move {
        json.begin_object().await?;
        json.field("a\"b", &1).await?;
        json.key("list").await?;
        json.begin_array().await?;
        json.value("x").await?;
        json.begin_array().await?;
        json.end().await?;
        json.begin_object().await?;
        json.field("k", &[1.5, 2.0]).await?;
        json.end().await?;
        json.value(&None::<u8>).await?;
        json.end().await?;
        json.key("empty").await?;
        json.begin_object().await?;
        json.end().await?;
        json.end().await
    }));
    let whole = json!({ "a\"b": 1, "list": ["x", [], { "k": [1.5, 2.0] }, null], "empty": {} });
    assert_eq!(serde_json::from_str::<Value>(&written).expect("it is JSON"), whole);
    assert!(!written.contains(' '), "{written}");
    assert_eq!(text(Response::json_stream(|mut json| async move { json.value(&7).await })), "7");
}

#[test]
fn small_values_gather_and_the_producer_waits_for_each_chunk() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    let mut body = stream(Response::json_stream(move |mut json| async move {
        json.begin_array().await?;
        for n in 0..1_000_000_u32 {
            counter.store(n as usize, SeqCst);
            json.value(&json!({ "id": n })).await?;
        }
        json.end().await
    }));
    let mut before = 0;
    for _ in 0..50 {
        assert!(body.poll_fill(&mut Context::from_waker(Waker::noop())).is_ready());
        let piece = body.take().expect("there is more").expect("nothing fails");
        assert!((8_192..8_192 + 64).contains(&piece.len()), "{}", piece.len());
        let values = piece.iter().filter(|byte| **byte == b'{').count();
        assert!(made.load(SeqCst) - before <= values, "the producer ran ahead");
        before = made.load(SeqCst);
    }
}

#[test]
fn what_is_ready_is_not_held_back_for_what_is_not() {
    let mut body = stream(Response::json_stream(|mut json| async move {
        json.begin_array().await?;
        json.value("now").await?;
        pending().await
    }));
    assert!(body.poll_fill(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(body.take(), Some(Ok(Bytes::from_static(b"[\"now\""))));
    assert!(body.poll_fill(&mut Context::from_waker(Waker::noop())).is_pending());
}

/// What is wrong with what `producer` writes.
fn wrong<F: Future<Output = Result<()>> + Send + 'static>(producer: fn(JsonWriter) -> F) -> String {
    let (_, broken) = all(Response::json_stream(producer));
    let broken = broken.expect("it is refused");
    assert_eq!(broken.code, "json_nesting");
    broken.detail
}

#[test]
fn wrong_nesting_is_named() {
    for (found, named) in [
        (wrong(|mut json| async move { json.end().await }), "`end` closes nothing"),
        (wrong(|mut json| async move { json.key("a").await }), "key `a` stands outside of any object"),
        (
            wrong(|mut json| async move {
                json.begin_array().await?;
                json.key("a").await
            }),
            "key `a` stands in an array",
        ),
        (
            wrong(|mut json| async move {
                json.begin_object().await?;
                json.value(&1).await
            }),
            "a value stands in an object without a key",
        ),
        (
            wrong(|mut json| async move {
                json.begin_object().await?;
                json.begin_array().await
            }),
            "an array stands in an object without a key",
        ),
        (
            wrong(|mut json| async move {
                json.begin_object().await?;
                json.key("a").await?;
                json.key("b").await
            }),
            "key `b` stands where the value of the last key is due",
        ),
        (
            wrong(|mut json| async move {
                json.begin_object().await?;
                json.key("a").await?;
                json.end().await
            }),
            "`end` stands where the value of the last key is due",
        ),
        (
            wrong(|mut json| async move {
                json.value(&1).await?;
                json.value(&2).await
            }),
            "a value stands behind the end of the whole value",
        ),
        (
            wrong(|mut json| async move {
                loop {
                    json.begin_array().await?;
                }
            }),
            "an array would be open inside 128 others",
        ),
        (wrong(|mut json| async move { json.begin_array().await }), "the producer ended before its JSON value did"),
        (wrong(|_| async { Ok(()) }), "the producer ended before its JSON value did"),
    ] {
        assert!(found.contains(named), "{found:?} does not say {named:?}");
    }
}

/// A value that cannot be written leaves nothing of itself behind.
#[test]
fn a_value_that_is_no_json_is_left_out() {
    let written = text(Response::json_stream(|mut json| async move {
        json.begin_array().await?;
        json.value(&1).await?;
        let keys = std::collections::BTreeMap::from([((1, 2), "pairs are no keys")]);
        assert!(json.value(&keys).await.is_err());
        json.value(&2).await?;
        json.end().await
    }));
    assert_eq!(written, "[1,2]");
}
