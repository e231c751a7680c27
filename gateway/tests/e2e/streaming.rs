//! Streamed answers of Rust flows over real sockets: back-pressure, clients that leave, failures, a drain.
//!
//! The stock binary has no Rust flows, so the gateway of these tests lives in the test's own process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Response as Answer, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zerver::gateway::{Gateway, Page};
use zerver_flows::{Event, Fail, OrFail, Req, Response, Result, flow, step};
use zerver_telemetry::event::{Cause, Outcome};
use zerver_telemetry::timeline::{Timeline, Value};

use crate::client::{Client, ask};
use crate::support::{PATIENCE, eventually};

/// What one test and the producers of its requests share.
struct Stage {
    number: usize,
    /// Pieces that the producer may make.
    allowed: Semaphore,
    began: AtomicBool,
    /// One permit for each producer that has ended, whatever way.
    ended: Semaphore,
    /// Bytes that the producer has made, that the client has read, and the most by which the one was ahead.
    made: AtomicU64,
    read: AtomicU64,
    ahead_max: AtomicU64,
}

/// Steps are functions, so a request names its stage; the stages of other tests are left alone.
static STAGES: Mutex<Vec<Arc<Stage>>> = Mutex::new(Vec::new());

impl Stage {
    fn open() -> Arc<Self> {
        let mut stages = STAGES.lock().expect("nobody panics with it");
        let stage = Arc::new(Self {
            number: stages.len(),
            allowed: Semaphore::new(0),
            began: AtomicBool::new(false),
            ended: Semaphore::new(0),
            made: AtomicU64::new(0),
            read: AtomicU64::new(0),
            ahead_max: AtomicU64::new(0),
        });
        stages.push(Arc::clone(&stage));
        stage
    }

    fn of(req: &Req) -> Result<Arc<Self>> {
        let number: usize = req.query("stage").and_then(|text| text.parse().ok()).or_fail(400, "no stage")?;
        Ok(Arc::clone(&STAGES.lock().expect("nobody panics with it")[number]))
    }

    fn path(&self, kind: &str) -> String {
        format!("/{kind}?stage={}", self.number)
    }

    async fn is_allowed(&self) {
        self.allowed.acquire().await.expect("it is never closed").forget();
    }

    /// Waits for the end of one more producer.
    async fn ended(&self) {
        let ended = timeout(PATIENCE, self.ended.acquire()).await.expect("the producer ends in time");
        ended.expect("it is never closed").forget();
    }
}

/// Held by a producer.
struct Producing(Arc<Stage>);

impl Producing {
    fn begin(stage: &Arc<Stage>) -> Self {
        stage.began.store(true, SeqCst);
        Self(Arc::clone(stage))
    }
}

impl Drop for Producing {
    fn drop(&mut self) {
        self.0.ended.add_permits(1);
    }
}

const PIECE: usize = 16 * 1024;
const LARGE: u64 = 64 * 1024 * 1024;
/// More than sockets, windows and libraries hold of one answer, and far less than [`LARGE`].
const HELD_MAX: u64 = 16 * 1024 * 1024;

#[step]
async fn produce(req: &Req) -> Result<Response> {
    let stage = Stage::of(req)?;
    Ok(match req.path.as_str() {
        "/large" => Response::stream("application/octet-stream", move |mut out| async move {
            let _producing = Producing::begin(&stage);
            let piece = Bytes::from(vec![7; PIECE]);
            for _ in 0..LARGE / PIECE as u64 {
                let made = stage.made.fetch_add(PIECE as u64, SeqCst) + PIECE as u64;
                stage.ahead_max.fetch_max(made.saturating_sub(stage.read.load(SeqCst)), SeqCst);
                out.write(piece.clone()).await?;
            }
            Ok(())
        }),
        "/ticks" => Response::sse(move |mut events| async move {
            let _producing = Producing::begin(&stage);
            for n in 1..=2 {
                stage.is_allowed().await;
                events.send(Event::new().id(n.to_string()).data("tick")).await?;
            }
            stage.is_allowed().await;
            Ok(())
        }),
        "/fails" => Response::json_stream(move |mut json| async move {
            let _producing = Producing::begin(&stage);
            json.begin_array().await?;
            json.value("a part").await?;
            stage.is_allowed().await;
            Err(Fail::new(StatusCode::BAD_GATEWAY, "no more").with_detail("the second page is missing").into())
        }),
        "/pauses" => Response::stream("text/plain", |mut out| async move {
            out.write("a").await?;
            out.pause(Duration::from_millis(60)).await;
            out.write("b").await
        }),
        _ => Response::stream("text/plain", move |mut out| async move {
            let _producing = Producing::begin(&stage);
            for n in 1..=3 {
                stage.is_allowed().await;
                out.write(format!("piece {n}\n")).await?;
            }
            Ok(())
        }),
    })
}
#[flow("produce-stream")]
async fn produced(req: &Req) -> Response {
    produce(req)
}

async fn start(limits: &str) -> Gateway {
    let source = format!(
        "{}limits: {{ {limits} }}
routes:
  - {{ name: late, match: {{ path: '/late' }}, to: {{ flow: produce-stream }}, timeout: 150ms }}
  - {{ name: all, match: {{ path: '/{{*rest}}' }}, to: {{ flow: produce-stream }} }}
",
        crate::binary::HEAD
    );
    let page = Page::Text { name: "streaming".into(), source };
    Gateway::start(page, vec![produced()].into(), Arc::new(|_| None)).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn begin(gateway: &Gateway, client: &Client, path: &str) -> Answer<Incoming> {
    let answer = client.begin(ask("GET", gateway.address, path)).await.expect("there is a head");
    assert_eq!((answer.status().as_u16(), answer.headers().get("content-length")), (200, None));
    answer
}

/// The next bytes of a body; none at its end, an error where it breaks off.
async fn next(answer: &mut Answer<Incoming>) -> Option<std::result::Result<Bytes, hyper::Error>> {
    loop {
        let frame = timeout(PATIENCE, answer.body_mut().frame()).await.expect("the body goes on in time")?;
        match frame.map(|frame| frame.into_data().expect("there are no trailers")) {
            // HTTP/2 ends a body with an empty frame.
            Ok(piece) if piece.is_empty() => {}
            piece => return Some(piece),
        }
    }
}

async fn text(answer: &mut Answer<Incoming>) -> String {
    let piece = next(answer).await.expect("there is more").expect("it does not break off");
    String::from_utf8(piece.to_vec()).expect("it is text")
}

/// The timeline of the only request.
async fn timeline(gateway: &Gateway) -> Arc<Timeline> {
    let found = eventually("the request's timeline", async || {
        let live = Arc::clone(&gateway.live);
        let looking = tokio::task::spawn_blocking(move || {
            live.collector.flush();
            live.store.snapshot()
        });
        looking.await.expect("looking does not panic").pop()
    })
    .await;
    found.check().unwrap_or_else(|error| panic!("{error}: {found:#?}"));
    assert_eq!((found.root().split().total_ns(), found.lost_events), (found.latency_ns, 0), "{found:#?}");
    found
}

/// How long the request itself was in states of this cause and name.
fn parked(timeline: &Timeline, cause: Cause, name: &str) -> Duration {
    let states =
        timeline.root().states.iter().filter(|state| state.cause == cause && state.name.as_deref() == Some(name));
    Duration::from_nanos(states.map(|state| state.to_ns - state.from_ns).sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_holds_the_producer_back() {
    for (client, version) in Client::narrow().into_iter().zip([Version::HTTP_11, Version::HTTP_2]) {
        let (stage, gateway) = (Stage::open(), start("").await);
        let mut answer = begin(&gateway, &client, &stage.path("large")).await;
        assert_eq!(answer.version(), version);
        // Nobody reads: the producer comes to a stand when every buffer on the way is full.
        eventually("the producer waits for the client", async || {
            let running = gateway.live.recorder.running();
            running.iter().any(|request| request.cause == Cause::Write && request.cause_ms > 20.0).then_some(())
        })
        .await;
        assert!(stage.made.load(SeqCst) < HELD_MAX, "{} were made for nobody", stage.made.load(SeqCst));
        // A stream takes no seat: its route's limit is for the flow.
        assert!(!gateway.live.plan().gates.is_empty());
        let seats: u32 = gateway.live.plan().gates.values().map(|gate| gate.state().in_use).sum();
        assert_eq!(seats, 0);
        while let Some(piece) = next(&mut answer).await {
            let piece = piece.expect("it does not break off");
            assert!(piece.iter().all(|byte| *byte == 7));
            stage.read.fetch_add(piece.len() as u64, SeqCst);
        }
        assert_eq!((stage.read.load(SeqCst), stage.made.load(SeqCst)), (LARGE, LARGE));
        assert!(stage.ahead_max.load(SeqCst) < HELD_MAX, "{} were ahead", stage.ahead_max.load(SeqCst));
        stage.ended().await;
        let timeline = timeline(&gateway).await;
        assert_eq!((timeline.outcome, timeline.status, &timeline.error), (Outcome::Ok, 200, &None));
        assert_eq!(timeline.root().attr("http.response.body.size"), Some(&Value::Int(LARGE as i64)));
        assert!(parked(&timeline, Cause::Write, "client") >= Duration::from_millis(20), "{timeline:#?}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn an_event_arrives_before_the_next_is_made() {
    for client in Client::narrow() {
        let (stage, gateway) = (Stage::open(), start("").await);
        let mut answer = begin(&gateway, &client, &stage.path("ticks")).await;
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        for n in 1..=2 {
            stage.allowed.add_permits(1);
            assert_eq!(text(&mut answer).await, format!("id: {n}\ndata: tick\n\n"));
        }
        stage.allowed.add_permits(1);
        assert!(next(&mut answer).await.is_none());
        let timeline = timeline(&gateway).await;
        assert_eq!(timeline.outcome, Outcome::Ok);
        assert!(parked(&timeline, Cause::Io, "stream") > Duration::ZERO, "{timeline:#?}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_pause_is_a_timer_in_the_timeline() {
    let (stage, gateway) = (Stage::open(), start("").await);
    let mut answer = begin(&gateway, &Client::http1(), &stage.path("pauses")).await;
    assert_eq!(text(&mut answer).await, "a");
    assert_eq!(text(&mut answer).await, "b");
    assert!(next(&mut answer).await.is_none());
    let timeline = timeline(&gateway).await;
    assert!(parked(&timeline, Cause::Timer, "stream") >= Duration::from_millis(55), "{timeline:#?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_producer() {
    for client in Client::narrow() {
        for kind in ["ticks", "large"] {
            let (stage, gateway) = (Stage::open(), start("").await);
            stage.allowed.add_permits(1);
            let mut answer = begin(&gateway, &client, &stage.path(kind)).await;
            assert!(next(&mut answer).await.is_some());
            drop(answer);
            stage.ended().await;
            let timeline = timeline(&gateway).await;
            let ended = (timeline.outcome, timeline.status, timeline.error.as_deref());
            assert_eq!(ended, (Outcome::Cancelled, 200, Some("client_gone")), "{kind}");
            gateway.stop().await;
        }
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_left_after_the_time_that_bodies_have() {
    for client in Client::narrow() {
        let (stage, gateway) = (Stage::open(), start("body_timeout: 200ms").await);
        let mut answer = begin(&gateway, &client, &stage.path("large")).await;
        stage.ended().await;
        assert!(stage.made.load(SeqCst) < HELD_MAX);
        let timeline = timeline(&gateway).await;
        assert_eq!((timeline.outcome, timeline.error.as_deref()), (Outcome::Cancelled, Some("client_gone")));
        // Not quite all of the 200 ms: whatever the kernel still took woke the request for a moment.
        assert!(parked(&timeline, Cause::Write, "client") >= Duration::from_millis(150), "{timeline:#?}");
        // What was on the way may still come; the end does not.
        let broke = loop {
            match next(&mut answer).await {
                None => break false,
                Some(Ok(_)) => {}
                Some(Err(_)) => break true,
            }
        };
        assert!(broke, "a cut answer passes for a whole one");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_producer_that_fails_breaks_the_answer_off() {
    for client in Client::narrow() {
        let (stage, gateway) = (Stage::open(), start("").await);
        let mut answer = begin(&gateway, &client, &stage.path("fails")).await;
        assert_eq!(text(&mut answer).await, "[\"a part\"");
        stage.allowed.add_permits(1);
        let broke = next(&mut answer).await.expect("it does not end");
        assert!(broke.is_err(), "{broke:?}");
        let timeline = timeline(&gateway).await;
        let ended = (timeline.outcome, timeline.status, timeline.error.as_deref());
        assert_eq!(ended, (Outcome::Error, 200, Some("stream_failed")));
        let why = timeline.root().attr("zerver.stream.error").expect("it is noted").to_string();
        assert_eq!(why, "upstream_failed: the second page is missing");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn the_time_of_the_request_is_the_time_of_its_stream() {
    let (stage, gateway) = (Stage::open(), start("").await);
    let mut answer = begin(&gateway, &Client::http1(), &stage.path("late")).await;
    assert!(next(&mut answer).await.expect("it does not end").is_err());
    stage.ended().await;
    let timeline = timeline(&gateway).await;
    assert_eq!((timeline.outcome, timeline.error.as_deref()), (Outcome::Timeout, Some("deadline")));
    gateway.stop().await;
}

/// One connection, spoken by hand.
async fn say(gateway: &Gateway, requests: &str) -> String {
    let mut io = TcpStream::connect(gateway.address).await.expect("the gateway accepts");
    io.write_all(requests.as_bytes()).await.expect("the gateway reads");
    let mut answers = String::new();
    timeout(PATIENCE, io.read_to_string(&mut answers)).await.expect("the answers end").expect("they are text");
    answers
}

#[tokio::test]
async fn a_head_has_no_body_and_no_producer() {
    let (stage, gateway) = (Stage::open(), start("").await);
    let path = stage.path("pieces");
    let answers = say(
        &gateway,
        &format!("HEAD {path} HTTP/1.1\r\nhost: x\r\n\r\nHEAD {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
    )
    .await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "the connection stays usable: {answers}");
    assert!(answers.ends_with("\r\n\r\n") && answers.contains("text/plain"), "{answers}");
    let answer = Client::http2().send(ask("HEAD", gateway.address, &path)).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert!(!stage.began.load(SeqCst), "the producer ran");
    gateway.stop().await;
}

#[tokio::test]
async fn each_version_frames_a_stream_its_own_way() {
    let (stage, gateway) = (Stage::open(), start("").await);
    stage.allowed.add_permits(9);
    let path = stage.path("pieces");
    let chunked = say(&gateway, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
    let (head, body) = chunked.split_once("\r\n\r\n").expect("there is a head");
    assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{head}");
    assert_eq!(body, "8\r\npiece 1\n\r\n8\r\npiece 2\n\r\n8\r\npiece 3\n\r\n0\r\n\r\n");
    let closed = say(&gateway, &format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n")).await;
    let (head, body) = closed.split_once("\r\n\r\n").expect("there is a head");
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    assert_eq!(body, "piece 1\npiece 2\npiece 3\n");
    // A connection that carried a stream serves on.
    let twice =
        format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answers = say(&gateway, &twice).await;
    assert!(answers.contains("0\r\n\r\nHTTP/1.1 400"), "{answers}");
    gateway.stop().await;
}

#[tokio::test]
async fn stopping_lets_streams_end() {
    for client in Client::narrow() {
        let (stage, gateway) = (Stage::open(), start("").await);
        stage.allowed.add_permits(1);
        let mut answer = begin(&gateway, &client, &stage.path("pieces")).await;
        assert_eq!(text(&mut answer).await, "piece 1\n");
        let (address, live) = (gateway.address, Arc::clone(&gateway.live));
        let stopping = tokio::spawn(gateway.stop());
        eventually("nothing new is accepted", async || TcpStream::connect(address).await.is_err().then_some(())).await;
        assert!(live.is_draining());
        stage.allowed.add_permits(2);
        assert_eq!(text(&mut answer).await, "piece 2\n");
        assert_eq!(text(&mut answer).await, "piece 3\n");
        assert!(next(&mut answer).await.is_none());
        drop((answer, client));
        assert_eq!(stopping.await.expect("it stops").cut, 0);
    }
}
