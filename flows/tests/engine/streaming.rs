//! Streamed answers in virtual time: who runs when, how far ahead, and how a stream ends.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::StatusCode;
use zerver_flows::body::{Awaited, BodyStream};
use zerver_flows::fake::{Done, Fake};
use zerver_flows::replay::replay;
use zerver_flows::{Body, Exit, Fail, Flow, OrFail, Req, Response, Result, flow, step};
use zerver_telemetry::event::{Cause, Outcome};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn stream(response: Response) -> BodyStream {
    match response.body {
        Body::Stream(stream) => stream,
        Body::Whole(bytes) => panic!("no stream: {bytes:?}"),
    }
}

/// Polls a stream once, as a reader that nothing wakes.
fn fill(stream: &mut BodyStream) -> bool {
    stream.poll_fill(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Counts what is dropped with it.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[step]
async fn slow_count(req: &Req) -> Result<Response> {
    let to: u64 = req.query("to").unwrap_or("3").parse().or_fail(400, "`to` is no number")?;
    Ok(Response::stream("text/plain", move |mut out| async move {
        for n in 1..=to {
            out.write(format!("{n} ")).await?;
            out.pause(ms(10)).await;
        }
        if to == 13 { Err(Fail::new(StatusCode::INTERNAL_SERVER_ERROR, "unlucky").into()) } else { Ok(()) }
    }))
}
#[flow("slow-count")]
async fn count(req: &Req) -> Response {
    slow_count(req)
}

fn run(target: &str) -> Done {
    Fake::new().run(&count(), Req::get(target))
}

#[test]
fn pieces_come_as_they_are_made_and_pauses_are_timers() {
    let done = run("/count");
    let came: Vec<(Duration, &[u8])> = done.pieces.iter().map(|(at, piece)| (*at, &piece[..])).collect();
    assert_eq!(came, [(ms(0), &b"1 "[..]), (ms(10), b"2 "), (ms(20), b"3 ")]);
    assert_eq!((done.status(), done.text().as_str(), done.elapsed()), (200, "1 2 3 ", ms(30)));
    let root = done.timeline.root();
    let parked: u64 = root.states.iter().filter(|state| state.cause == Cause::Timer).map(|s| s.to_ns - s.from_ns).sum();
    assert_eq!((done.timeline.outcome, parked), (Outcome::Ok, 30_000_000));
    done.timeline.check().unwrap();
}

#[test]
fn a_replay_reads_the_stream_too() {
    let flow = count();
    let done = Fake::new().run(&flow, Req::get("/count?to=2"));
    let again = replay(&flow, &done.journal);
    assert_eq!((again.drifts, again.done.text(), again.done.pieces), (Vec::new(), done.text(), done.pieces));
}

#[test]
fn a_failure_in_the_middle_breaks_the_answer_off() {
    let done = run("/count?to=13");
    let broken = done.broken.as_ref().expect("it broke off");
    assert_eq!((broken.code, broken.detail.as_str()), ("flow_failed", "unlucky"));
    assert!(done.text().ends_with("13 ") && done.status() == 200 && done.fail().is_none());
    assert_eq!((done.timeline.outcome, done.timeline.error.as_deref()), (Outcome::Error, Some("stream_failed")));
}

#[test]
fn a_panic_is_a_failure() {
    let mut body = stream(Response::stream("text/plain", |mut out| async move {
        out.write("a").await?;
        panic!("no more");
    }));
    assert!(fill(&mut body));
    assert_eq!(body.take(), Some(Ok(Bytes::from_static(b"a"))));
    assert!(fill(&mut body));
    let broken = body.take().expect("an end").expect_err("a failure");
    assert_eq!((broken.code, broken.detail.as_str()), ("stream_panicked", "the producer panicked: no more"));
    assert!(fill(&mut body) && body.take().is_none(), "the end stays the end");
}

#[test]
fn the_producer_is_one_piece_ahead_and_no_further() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    let mut body = stream(Response::stream("text/plain", move |mut out| async move {
        loop {
            counter.fetch_add(1, SeqCst);
            out.write("piece").await?;
        }
    }));
    assert_eq!(made.load(SeqCst), 0, "nothing runs before it is read");
    for taken in 0..100 {
        // However often it is polled.
        assert!(fill(&mut body) && fill(&mut body) && fill(&mut body));
        assert_eq!(made.load(SeqCst), taken + 1);
        assert_eq!(body.take(), Some(Ok(Bytes::from_static(b"piece"))));
        assert_eq!(body.take(), None);
    }
}

#[test]
fn dropping_the_body_drops_the_producer_where_it_waits() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let response = |guard: Dropped| {
        Response::stream("text/plain", |mut out| async move {
            let _guard = guard;
            out.write("a").await?;
            pending::<()>().await;
            Ok(())
        })
    };
    drop(response(Dropped(Arc::clone(&dropped))));
    assert_eq!(dropped.load(SeqCst), 1, "before it began");
    let mut body = stream(response(Dropped(Arc::clone(&dropped))));
    assert!(fill(&mut body) && body.take().is_some());
    assert!(!fill(&mut body) && body.awaited() == Awaited::Other);
    assert_eq!(dropped.load(SeqCst), 1);
    drop(body);
    assert_eq!(dropped.load(SeqCst), 2, "in the middle");
}

/// A producer may leave the writing to a task of its own: both ends wake each other, and the writer sees the end.
#[tokio::test]
async fn a_writer_in_another_task_is_woken_and_told() {
    let (told, telling) = tokio::sync::oneshot::channel();
    let mut body = stream(Response::stream("text/plain", |mut out| async move {
        let writing = tokio::spawn(async move {
            let mut written = 0;
            let end = loop {
                match out.write("x").await {
                    Ok(()) => written += 1,
                    Err(end) => break end,
                }
            };
            let _ = told.send((written, end));
        });
        writing.await?;
        Ok(())
    }));
    for _ in 0..1_000 {
        assert_eq!(body.next().await, Some(Ok(Bytes::from_static(b"x"))));
    }
    drop(body);
    let (written, end) = telling.await.expect("the writer ends");
    assert!((999..=1_000).contains(&written), "{written}");
    assert!(matches!(end, Exit::Fail(fail) if fail.code == "client_gone"));
}

/// A producer may poll its parts with wakers of their own.
#[test]
fn a_writer_behind_another_executor_is_woken() {
    let body = Response::stream("text/plain", |mut out| async move {
        let mut parts = FuturesUnordered::new();
        parts.push(Box::pin(async move {
            for _ in 0..3 {
                out.write("x").await?;
            }
            Ok(())
        }) as futures_util::future::BoxFuture<'static, Result<()>>);
        while let Some(part) = parts.next().await {
            part?;
        }
        Ok(())
    })
    .body;
    let mut reading = pin!(body.read());
    let flag = Arc::new(Woken(AtomicUsize::new(1)));
    let waker = Waker::from(Arc::clone(&flag));
    let all = loop {
        assert_ne!(flag.0.swap(0, SeqCst), 0, "nobody woke the reader");
        if let Poll::Ready(all) = reading.as_mut().poll(&mut Context::from_waker(&waker)) {
            break all;
        }
    };
    assert_eq!(all, Ok(Bytes::from_static(b"xxx")));
}

struct Woken(AtomicUsize);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[step]
async fn ends_early() -> Result<Response> {
    Err(Fail::new(StatusCode::NOT_FOUND, "no such list").into())
}
#[flow("no-list")]
async fn no_list(_req: &Req) -> Response {
    ends_early()
}

#[test]
fn a_step_may_still_fail_before_the_stream() {
    let done = Fake::new().run(&no_list(), Req::get("/"));
    assert_eq!((done.status(), done.pieces.len()), (404, 0));
}

#[step]
async fn waits_for_nothing() -> Result<Response> {
    Ok(Response::stream("text/plain", |mut out| async move {
        out.write("a").await?;
        pending().await
    }))
}
#[flow("stuck-stream")]
async fn stuck(_req: &Req) -> Response {
    waits_for_nothing()
}

#[test]
fn a_stream_that_waits_for_ever_is_told_as_such() {
    let done = Fake::new().run(&stuck(), Req::get("/"));
    assert_eq!((done.text().as_str(), done.broken.map(|broken| broken.code)), ("a", Some("never_ends")));
    let done = Fake::new().client_leaves(ms(70)).run(&stuck(), Req::get("/"));
    assert_eq!((done.elapsed(), done.broken), (ms(70), None));
    assert_eq!((done.timeline.outcome, done.timeline.error.as_deref()), (Outcome::Cancelled, Some("client_gone")));
}

/// A flow is `Send + Sync` with a stream in its last slot, and its run is `Send`.
#[test]
fn streams_move_between_threads() {
    fn sync<T: Send + Sync>(_: &T) {}
    sync(&Response::stream("text/plain", |_| async { Ok(()) }));
    let flow: Flow = count();
    let text = std::thread::spawn(move || Fake::new().run(&flow, Req::get("/count?to=1")).text()).join().unwrap();
    assert_eq!(text, "1 ");
}
