//! Bodies of requests that flows pass on over real sockets: looked at first, never held, never asked for in vain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zerver::gateway::{Gateway, Page};
use zerver_flows::{Fail, Fx, OrFail, Req, Response, Result, flow, step};
use zerver_telemetry::event::Outcome;
use zerver_telemetry::timeline::Timeline;

use crate::binary::HEAD;
use crate::client::{Body, Client, request};
use crate::origin::{Origin, answer};
use crate::support::{PATIENCE, eventually};

#[step]
async fn admit(req: &Req) -> Result<()> {
    (req.header("x-who") == Some("owner")).then_some(()).or_fail(403, "only its owner may")
}
#[step]
async fn sniff(req: &Req, fx: &Fx<'_>) -> Result<()> {
    match &fx.peek(req, 3).await?[..] {
        b"PNG" => Ok(()),
        _ => Err(Fail::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send a PNG").into()),
    }
}
#[step(targets("files"))]
async fn store(req: &Req, fx: &Fx<'_>) -> Result<String> {
    Ok(fx.put("files:/new").pass(req).await?.text()?.to_owned())
}
#[step]
async fn tell(stored: &str) -> Result<Response> {
    Ok(Response::text(stored))
}
#[flow("upload-image", body = "stream")]
async fn upload(req: &Req) -> Response {
    let admitted = admit(req);
    #[after(admitted)]
    let known = sniff(req);
    #[after(known)]
    let stored = store(req);
    tell(stored)
}

const PIECE: usize = 64 * 1024;
const LARGE: u64 = 64 * 1024 * 1024;
/// More than sockets, windows and libraries hold of one body, and far less than [`LARGE`].
const HELD_MAX: u64 = 24 * 1024 * 1024;

/// A service that takes bodies when it may, and counts them.
struct Files {
    origin: Origin,
    may_read: Arc<Semaphore>,
    read: Arc<AtomicU64>,
    /// Bodies that broke off.
    broken: Arc<AtomicU64>,
}

impl Files {
    async fn start(eager: bool) -> Self {
        let (may_read, read) = (Arc::new(Semaphore::new(usize::from(eager))), Arc::new(AtomicU64::new(0)));
        let broken = Arc::new(AtomicU64::new(0));
        let shared = (Arc::clone(&may_read), Arc::clone(&read), Arc::clone(&broken));
        let origin = Origin::start(move |request| {
            let (may_read, read, broken) = shared.clone();
            async move {
                let _turn = may_read.acquire().await.expect("it is never closed");
                let length = request.headers().get("content-length").is_some();
                let (mut own, mut body) = (0, request.into_body());
                while let Some(frame) = body.frame().await {
                    let Ok(frame) = frame else {
                        broken.fetch_add(1, SeqCst);
                        break;
                    };
                    let bytes = frame.into_data().map_or(0, |data| data.len() as u64);
                    own += bytes;
                    read.fetch_add(bytes, SeqCst);
                }
                answer(200, format!("{own} bytes, length {}", if length { "said" } else { "not said" }))
            }
        })
        .await;
        Self { origin, may_read, read, broken }
    }
}

async fn start(files: &Files, route: &str, limits: &str) -> Gateway {
    let source = format!(
        "{HEAD}limits: {{ {limits} }}
upstreams: {{ files: {{ peers: ['{}'] }} }}
routes: [{{ name: all, match: {{ path: '/{{*rest}}' }}, to: {{ flow: upload-image }}{route} }}]
",
        files.origin.address
    );
    let page = Page::Text { name: "uploads".into(), source };
    Gateway::start(page, vec![upload()].into(), Arc::new(|_| None)).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A body of pieces that are made when they are wanted; `made` counts them.
fn pieces(first: &'static [u8], bytes: u64, made: &Arc<AtomicU64>) -> Body {
    let made = Arc::clone(made);
    let piece = Bytes::from(vec![7; PIECE]);
    let frames = stream::unfold(0, move |sent: u64| {
        let (made, piece) = (Arc::clone(&made), piece.clone());
        async move {
            let piece = if sent == 0 { Bytes::from_static(first) } else { piece };
            let left = usize::try_from(bytes - sent).expect("it fits");
            let piece = piece.slice(..piece.len().min(left));
            let sent = sent + piece.len() as u64;
            made.store(sent, SeqCst);
            (!piece.is_empty()).then_some((Ok(Frame::data(piece)), sent))
        }
    });
    StreamBody::new(frames).boxed()
}

fn put(gateway: &Gateway, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut all = vec![("x-who", "owner")];
    all.extend(headers);
    let (head, _) = request("PUT", gateway.address, "/image", &all, "").into_parts();
    Request::from_parts(head, body)
}

async fn timeline(gateway: &Gateway) -> Arc<Timeline> {
    eventually("the request's timeline", async || {
        let live = Arc::clone(&gateway.live);
        let looking = tokio::task::spawn_blocking(move || {
            live.collector.flush();
            live.store.snapshot()
        });
        looking.await.expect("looking does not panic").pop()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_is_passed_on_as_fast_as_the_target_takes_it() {
    for (client, version) in Client::narrow().into_iter().zip([Version::HTTP_11, Version::HTTP_2]) {
        let files = Files::start(false).await;
        let gateway = start(&files, "", "").await;
        let made = Arc::new(AtomicU64::new(0));
        let said = LARGE.to_string();
        let asked = put(&gateway, &[("content-length", &said)], pieces(b"PNG", LARGE, &made));
        let sending = tokio::spawn(async move { client.send(asked).await });
        // Nobody reads: the client comes to a stand when every buffer on the way is full.
        let mut before = 0;
        eventually("the client waits for the target", async || {
            let now = made.load(SeqCst);
            let stands = now > 0 && now == before && files.origin.running() == 1;
            before = now;
            stands.then_some(())
        })
        .await;
        assert!(made.load(SeqCst) < HELD_MAX, "{} were sent to nobody", made.load(SeqCst));
        files.may_read.add_permits(1);
        let answer = sending.await.expect("the client does not panic");
        assert_eq!((answer.status, answer.text()), (200, format!("{LARGE} bytes, length said")));
        assert_eq!((answer.version, files.read.load(SeqCst)), (version, LARGE));
        let timeline = timeline(&gateway).await;
        timeline.check().unwrap_or_else(|error| panic!("{error}: {timeline:#?}"));
        assert_eq!((timeline.outcome, timeline.status), (Outcome::Ok, 200));
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_passed_on_too_and_a_wrong_one_not_at_all() {
    let files = Files::start(true).await;
    let gateway = start(&files, "", "").await;
    let client = Client::http1();
    let made = Arc::new(AtomicU64::new(0));
    let answer = client.send(put(&gateway, &[], pieces(b"PNG", 200_000, &made))).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "200000 bytes, length not said"));
    let answer = client.send(put(&gateway, &[], pieces(b"GIF", 200_000, &made))).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (415, Some("bad_request")));
    assert_eq!(files.origin.seen().len(), 1, "nothing of it reached the service");
    gateway.stop().await;
}

/// Reads up to the end of a head.
async fn head(io: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let byte = timeout(PATIENCE, io.read_u8()).await.expect("a head comes in time").expect("and is whole");
        text.push(byte);
    }
    String::from_utf8(text).expect("a head is text")
}

#[tokio::test]
async fn a_body_is_asked_for_only_when_a_step_wants_it() {
    let files = Files::start(true).await;
    let gateway = start(&files, "", "").await;
    let mut io = TcpStream::connect(gateway.address).await.expect("the gateway listens");
    let ask = |who: &str| {
        format!("PUT /image HTTP/1.1\r\nhost: x\r\nx-who: {who}\r\ncontent-length: 6\r\nexpect: 100-continue\r\n\r\n")
    };
    io.write_all(ask("owner").as_bytes()).await.expect("it can be written");
    assert!(head(&mut io).await.starts_with("HTTP/1.1 100 "), "its body is wanted");
    io.write_all(b"PNG 12").await.expect("it can be written");
    assert!(head(&mut io).await.starts_with("HTTP/1.1 200 "));
    let mut io = TcpStream::connect(gateway.address).await.expect("the gateway listens");
    io.write_all(ask("nobody").as_bytes()).await.expect("it can be written");
    let refused = head(&mut io).await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "it is refused without a look at its body: {refused}");
    assert!(refused.to_lowercase().contains("connection: close"), "nobody waits for the body: {refused}");
    assert_eq!(files.origin.seen().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn the_bounds_of_a_route_hold_while_a_body_passes() {
    let files = Files::start(true).await;
    let gateway = start(&files, ", body_bytes: 100000", "").await;
    let client = Client::http1();
    let made = Arc::new(AtomicU64::new(0));
    let answer = client.send(put(&gateway, &[("content-length", "200000")], pieces(b"PNG", 200_000, &made))).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("body_too_large")));
    assert_eq!(files.origin.seen().len(), 0, "its length says it");
    let answer = client.send(put(&gateway, &[], pieces(b"PNG", 200_000, &made))).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("body_too_large")), "{}", answer.text());
    eventually("the service sees it break off", async || (files.broken.load(SeqCst) == 1).then_some(())).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_stops_sending_or_leaves_is_told_apart_from_a_slow_service() {
    let files = Files::start(true).await;
    let gateway = start(&files, "", "body_timeout: 150ms").await;
    let begin = async || {
        let mut io = TcpStream::connect(gateway.address).await.expect("the gateway listens");
        let head = "PUT /image HTTP/1.1\r\nhost: x\r\nx-who: owner\r\ncontent-length: 9\r\n\r\nPNG ";
        io.write_all(head.as_bytes()).await.expect("it can be written");
        io
    };
    let mut stops = begin().await;
    assert!(head(&mut stops).await.starts_with("HTTP/1.1 408 "));
    let late = timeline(&gateway).await;
    assert_eq!((late.status, late.error.as_deref()), (408, Some("body_timeout")), "{late:#?}");
    let leaves = begin().await;
    eventually("the service reads it", async || (files.origin.seen().len() == 2).then_some(())).await;
    drop(leaves);
    eventually("the service sees it break off", async || (files.broken.load(SeqCst) == 2).then_some(())).await;
    let left = eventually("the second timeline", async || {
        let found = timeline(&gateway).await;
        (found.trace_id != late.trace_id).then_some(found)
    })
    .await;
    assert_eq!((left.outcome, left.error.as_deref()), (Outcome::Cancelled, Some("client_gone")));
    gateway.stop().await;
}

#[tokio::test]
async fn a_page_passes_a_body_on() {
    let files = Files::start(true).await;
    let text = format!(
        "{HEAD}upstreams: {{ files: {{ peers: ['{}'] }} }}
flows:
  - flow: keep
    body: stream
    steps: {{ kept: {{ post: 'files:/${{request.params.name}}', pass: true }} }}
    respond: {{ text: '${{kept}}' }}
routes: [{{ name: keep, match: {{ path: '/keep/{{name}}' }}, to: {{ flow: keep }} }}]
",
        files.origin.address
    );
    let gateway = crate::binary::Gateway::start(&text).await;
    let made = Arc::new(AtomicU64::new(0));
    // More than a flow may hold of a body.
    let (asked, bytes) = (request("POST", gateway.address, "/keep/a", &[], ""), 3 * 1024 * 1024);
    let asked = Request::from_parts(asked.into_parts().0, pieces(b"abc", bytes, &made));
    let answer = Client::http1().send(asked).await;
    assert_eq!((answer.status, answer.text()), (200, format!("{bytes} bytes, length not said")));
    assert_eq!(files.origin.seen()[0].path, "/a");
}
