//! Point 3, the early ends: clients that leave or never finish a head, and a gateway that is told to stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zerver_telemetry::event::{NodeKind, Outcome};
use zerver_telemetry::timeline::Timeline;

use crate::binary::{Gateway, HEAD};
use crate::client::{Body, Client, ask};
use crate::origin::{Origin, answer};
use crate::support::{PATIENCE, eventually};

fn page(origin: SocketAddr) -> String {
    format!(
        "{HEAD}limits: {{ head_timeout: 300ms }}
upstreams: {{ web: {{ peers: ['{origin}'] }} }}
flows:
  - flow: ask
    steps: {{ said: {{ get: 'web:/flow' }} }}
    respond: {{ text: '${{said}}' }}
routes:
  - {{ name: web, match: {{ path: '/{{*rest}}' }}, to: {{ upstream: web }} }}
  - {{ name: ask, match: {{ path: '/ask' }}, to: {{ flow: ask }} }}
"
    )
}

/// An origin that answers only as often as it is allowed to.
async fn held() -> (Origin, Arc<Semaphore>) {
    let allowed = Arc::new(Semaphore::new(0));
    let shared = Arc::clone(&allowed);
    let origin = Origin::start(move |_| {
        let allowed = Arc::clone(&shared);
        async move {
            allowed.acquire().await.expect("it is never closed").forget();
            answer(200, "at last")
        }
    })
    .await;
    (origin, allowed)
}

/// An origin whose answers begin and never end.
async fn endless() -> Origin {
    Origin::start(|_| async {
        let endless = stream::unfold(false, |begun| async move {
            if begun {
                std::future::pending::<()>().await;
            }
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"a beginning"))), true))
        });
        let body: Body = StreamBody::new(endless).boxed();
        Response::new(body)
    })
    .await
}

async fn connect(address: SocketAddr, sends: &str) -> TcpStream {
    let mut io = TcpStream::connect(address).await.expect("the gateway accepts");
    io.write_all(sends.as_bytes()).await.expect("the gateway reads");
    io
}

/// The request is cancelled as its client left, and so is its call.
fn is_cancelled(timeline: &Timeline) {
    assert_eq!((timeline.outcome, timeline.error.as_deref()), (Outcome::Cancelled, Some("client_gone")));
    let effect = timeline.nodes.iter().find(|node| node.kind == NodeKind::Effect).expect("there was a call");
    assert_eq!(effect.outcome, Outcome::Cancelled, "{timeline:#?}");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_an_answer_is_noticed() {
    let origin = endless().await;
    let gateway = Gateway::start(&page(origin.address)).await;
    let mut client = connect(gateway.address, "GET /stream HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut read = String::new();
    while !read.contains("a beginning") {
        let mut room = [0; 1024];
        let n = timeout(PATIENCE, client.read(&mut room)).await.expect("the answer begins").expect("and is readable");
        assert_ne!(n, 0, "the answer ends: {read}");
        read.push_str(&String::from_utf8_lossy(&room[..n]));
    }
    drop(client);
    is_cancelled(&gateway.timeline_where("the request is over", |_| true).await);
    eventually("the upstream connection is closed", async || (origin.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_is_noticed() {
    let (origin, _allowed) = held().await;
    let gateway = Gateway::start(&page(origin.address)).await;
    for path in ["/web", "/ask"] {
        let client = connect(gateway.address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        eventually("the origin is asked", async || (origin.running() == 1).then_some(())).await;
        drop(client);
        let timeline = gateway.timeline_where("the request is over", |timeline| *timeline.route == path[1..]).await;
        is_cancelled(&timeline);
        eventually("the upstream connection is closed", async || (origin.open() == 0).then_some(())).await;
    }
}

#[tokio::test]
async fn an_http2_client_that_gives_a_request_up_cancels_it() {
    let (origin, _allowed) = held().await;
    let gateway = Gateway::start(&page(origin.address)).await;
    for path in ["/web", "/ask"] {
        let client = Client::http2();
        let asking = tokio::spawn({
            let (client, request) = (client.clone(), ask("GET", gateway.address, path));
            async move { client.try_send(request).await }
        });
        eventually("the origin is asked", async || (origin.running() == 1).then_some(())).await;
        asking.abort();
        is_cancelled(&gateway.timeline_where("the request is over", |timeline| *timeline.route == path[1..]).await);
        eventually("the upstream connection is closed", async || (origin.open() == 0).then_some(())).await;
    }
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_cut() {
    let origin = Origin::echo().await;
    let gateway = Gateway::start(&page(origin.address)).await;
    for sends in ["", "GET /slow HTTP/1.1\r\nhost: x\r\nx-part:", "PRI * HTTP/2.0\r\n"] {
        let mut client = connect(gateway.address, sends).await;
        let mut left = Vec::new();
        let end = timeout(PATIENCE, client.read_to_end(&mut left)).await.expect("the gateway does not wait for ever");
        assert!(end.is_ok() || left.is_empty(), "{end:?}");
        assert!(!left.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&left));
    }
    assert!(origin.seen().is_empty(), "nothing of it reaches the upstream");
    assert_eq!(Client::http1().get(gateway.address, "/whole").await.status, 200);
}

#[tokio::test]
async fn stopping_lets_running_requests_end() {
    for (client, path) in [(Client::http1(), "/web"), (Client::http2(), "/web"), (Client::http1(), "/ask")] {
        let (origin, allowed) = held().await;
        let mut gateway = Gateway::start(&page(origin.address)).await;
        let (address, admin) = (gateway.address, gateway.admin);
        let running = tokio::spawn(async move { client.get(address, path).await });
        eventually("the origin is asked", async || (origin.running() == 1).then_some(())).await;
        gateway.signal("TERM");
        eventually("nothing new is accepted", async || TcpStream::connect(address).await.is_err().then_some(())).await;
        let ready = Client::http1().get(admin, "/health/ready").await;
        assert_eq!((ready.status, ready.json()["detail"].as_str()), (503, Some("draining")));
        allowed.add_permits(1);
        let answer = running.await.expect("the request is answered");
        assert_eq!((answer.status, answer.text().as_str()), (200, "at last"));
        assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
    }
}
