//! The checkout in Rust and in YAML, each in a gateway of its own, in front of the same three services.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use zerver::gateway::{Gateway, Page};
use zerver_examples::Services;
use zerver_flows::Flow;
use zerver_telemetry::timeline::Timeline;

/// A page of the examples with free ports and with the services where they are.
fn page(file: &str, services: &Services) -> Page {
    let path = crate::folder().join(file);
    let source = std::fs::read_to_string(&path).unwrap();
    let source = source
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("127.0.0.1:9001", &services.accounts.to_string())
        .replace("127.0.0.1:9002", &services.carts.to_string())
        .replace("127.0.0.1:9003", &services.prices.to_string());
    Page::Text { name: file.to_owned(), source: format!("{source}admin: {{ listen: '127.0.0.1:0' }}\n") }
}

async fn start(page: Page, flows: Vec<Flow>) -> Gateway {
    Gateway::start(page, flows, Arc::new(|_| None)).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Status and body; of a problem document what does not name the request.
async fn ask(gateway: SocketAddr, path: &str, token: Option<&str>) -> (u16, Value) {
    let mut request = Request::get(format!("http://{gateway}{path}"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let mut body = serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
    if let Some(problem) = body.as_object_mut() {
        problem.remove("request_id");
    }
    (status, body)
}

/// The nodes as `path kind outcome`, in an order that does not hang on who was first.
fn shape(timeline: &Timeline) -> Vec<String> {
    let node = |node: &zerver_telemetry::timeline::Node| {
        format!("{} {:?} {:?}", timeline.path(node.id), node.kind, node.outcome)
    };
    let mut nodes: Vec<String> = timeline.nodes.iter().map(node).collect();
    nodes.sort_unstable();
    nodes
}

/// The timelines kept so far, in the order of their ends.
async fn timelines(gateway: &Gateway) -> Vec<Arc<Timeline>> {
    let live = Arc::clone(&gateway.live);
    let mut found = tokio::task::spawn_blocking(move || {
        live.collector.flush();
        live.store.snapshot()
    })
    .await
    .unwrap();
    found.sort_by_key(|timeline| timeline.seq);
    found
}

/// Asks until the recording of the last answer is there: an answer is written a moment before its recording ends.
async fn timelines_of(gateway: &Gateway, count: usize) -> Vec<Arc<Timeline>> {
    for _ in 0..10_000 {
        let found = timelines(gateway).await;
        if found.len() == count {
            return found;
        }
        tokio::task::yield_now().await;
    }
    panic!("{count} timelines were due");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_checkouts_answer_alike_and_leave_the_same_timeline() {
    let services = Services::start([0; 3]).await.unwrap();
    let rust = start(page("checkout/zerver-rust.yaml", &services), vec![crate::checkout::checkout()]).await;
    let yaml = start(page("checkout/zerver.yaml", &services), Vec::new()).await;

    let bill = json!({ "hello": "Good day, ada", "items": ["teapot", "cup"], "cents": 2990 });
    let guest = json!({ "hello": "Good day", "items": ["teapot", "cup"], "cents": 2990 });
    let cases: [(Option<&str>, u16, Value); 4] = [
        (Some("ada"), 200, bill),
        (Some("bob"), 200, guest),
        (Some("eve"), 504, json!("step_timeout")),
        (None, 502, json!("upstream_status")),
    ];
    for (n, (token, status, expected)) in cases.into_iter().enumerate() {
        let (a, b) = (ask(rust.address, "/checkout", token).await, ask(yaml.address, "/checkout", token).await);
        assert_eq!(a, b, "{token:?}");
        let told = if a.0 == 200 { &a.1 } else { &a.1["code"] };
        assert_eq!((a.0, told), (status, &expected), "{token:?}");
        let (a, b) = (timelines_of(&rust, n + 1).await, timelines_of(&yaml, n + 1).await);
        let (a, b) = (&a[n], &b[n]);
        a.check().and(b.check()).unwrap();
        assert_eq!(shape(a), shape(b), "{token:?}");
        assert!(shape(a).iter().any(|node| node.starts_with("user.accounts Effect")), "{:?}", shape(a));
    }
    rust.stop().await;
    yaml.stop().await;
    services.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_says_hello() {
    let path = crate::folder().join(Path::new("hello/zerver.yaml"));
    let source = std::fs::read_to_string(path).unwrap().replace("127.0.0.1:8080", "127.0.0.1:0");
    let source = format!("{source}admin: {{ listen: '127.0.0.1:0' }}\n");
    let gateway = start(Page::Text { name: "hello".into(), source }, Vec::new()).await;
    assert_eq!(ask(gateway.address, "/", None).await, (200, json!("hello\n")));
    let (status, problem) = ask(gateway.address, "/nowhere", None).await;
    assert_eq!((status, &problem["code"]), (404, &json!("no_route")));
    gateway.stop().await;
}
