//! The checkout in Rust and in YAML, each in a gateway of its own, in front of the services.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use zerver::gateway::{Gateway, Page};
use zerver::plan::Own;
use zerver_examples::Services;
use zerver_flows::{Req, Result, step};
use zerver_telemetry::timeline::Timeline;

/// A page of the examples with free ports and with the services where they are.
fn page(file: &str, services: &Services) -> Page {
    let path = crate::folder().join(file);
    let mut source = std::fs::read_to_string(&path).unwrap().replace("127.0.0.1:8080", "127.0.0.1:0");
    for (n, (name, address)) in (9001..).zip(services.addresses()) {
        let line = format!("{name}: {{ peers: [127.0.0.1:{n}] }}");
        assert!(source.contains(&line), "{file} has no `{line}`");
        source = source.replace(&format!("127.0.0.1:{n}"), &address.to_string());
    }
    Page::Text { name: file.to_owned(), source: format!("{source}admin: {{ listen: '127.0.0.1:0' }}\n") }
}

async fn start(page: Page, own: impl Into<Own>) -> Gateway {
    Gateway::start(page, own.into(), Arc::new(|_| None)).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Status and body; of a problem document what does not name the request.
async fn ask(server: SocketAddr, method: Method, path: &str, token: Option<&str>) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(format!("http://{server}{path}"));
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

/// The nodes as `path kind outcome`, in an order that does not hang on who was first. A branch of a hedge has the name of
/// what it does, which is a Rust step here and a method there.
fn shape(timeline: &Timeline) -> Vec<String> {
    let node = |node: &zerver_telemetry::timeline::Node| {
        let path = timeline.path(node.id).replace("price.quote", "price.get");
        format!("{path} {:?} {:?}", node.kind, node.outcome)
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

/// What `pay` has charged.
async fn charges(services: &Services) -> Value {
    let (_, pay) = services.addresses().find(|(name, _)| *name == "pay").unwrap();
    ask(pay, Method::GET, "/v1/charges", None).await.1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_checkouts_answer_alike_and_leave_the_same_timeline_and_the_same_charges() {
    // Services of their own, so that both number their charges from 1.
    let (for_rust, for_yaml) = (Services::start(0).await.unwrap(), Services::start(0).await.unwrap());
    let rust = start(page("checkout/zerver-rust.yaml", &for_rust), vec![crate::flow::checkout()]).await;
    let yaml = start(page("checkout/zerver.yaml", &for_yaml), Own::default()).await;

    let sold = |hello: &str, order: u32| {
        let order = format!("order-of-charge-{order}");
        json!({ "hello": hello, "items": ["teapot", "cup"], "cents": 2990, "order": order })
    };
    let receipt = |charge: u32, user: &str, refunded: bool| json!({ "id": format!("charge-{charge}"), "user": user, "cents": 2990, "refunded": refunded });
    // Who asks, what they get, and what they are charged.
    let cases: [(Option<&str>, u16, Value, Option<Value>); 6] = [
        (Some("ada"), 200, sold("Good day, ada", 1), Some(receipt(1, "ada", false))),
        (Some("bob"), 200, sold("Good day", 2), Some(receipt(2, "bob", false))),
        (Some("cat"), 200, sold("Good day, cat", 3), Some(receipt(3, "cat", false))),
        (Some("dan"), 502, json!("upstream_status"), Some(receipt(4, "dan", true))),
        (Some("eve"), 200, sold("Good day, eve", 5), Some(receipt(5, "eve", false))),
        (None, 502, json!("upstream_status"), None),
    ];
    let mut charged = Vec::new();
    for (n, (token, status, expected, charge)) in cases.into_iter().enumerate() {
        let a = ask(rust.address, Method::POST, "/checkout", token).await;
        let b = ask(yaml.address, Method::POST, "/checkout", token).await;
        assert_eq!(a, b, "{token:?}");
        let told = if a.0 == 200 { &a.1 } else { &a.1["code"] };
        assert_eq!((a.0, told), (status, &expected), "{token:?}");
        charged.extend(charge);
        let lists = (charges(&for_rust).await, charges(&for_yaml).await);
        assert_eq!(lists, (json!(charged), json!(charged)), "{token:?}");
        let (a, b) = (timelines_of(&rust, n + 1).await, timelines_of(&yaml, n + 1).await);
        a[n].check().and(b[n].check()).unwrap();
        let (mut a, mut b) = (shape(&a[n]), shape(&b[n]));
        let eve = token == Some("eve");
        for nodes in [&mut a, &mut b] {
            // Only for eve is it sure who gives the price: a busy machine may make any price late.
            nodes.retain(|node| eve || !node.starts_with("price."));
        }
        assert_eq!(a, b, "{token:?}");
        let has = |begin: &str| a.iter().any(|node| node.starts_with(begin));
        assert!(has("user.accounts Effect"), "{a:?}");
        assert_eq!(
            (has("undo_receipt"), has("price.get.prices-eu Effect Cancelled")),
            (token == Some("dan"), eve),
            "{a:?}"
        );
    }
    for gateway in [rust, yaml] {
        gateway.stop().await;
    }
    for services in [for_rust, for_yaml] {
        services.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hello_says_hello() {
    let path = crate::folder().join(Path::new("hello/zerver.yaml"));
    let source = std::fs::read_to_string(path).unwrap().replace("127.0.0.1:8080", "127.0.0.1:0");
    let source = format!("{source}admin: {{ listen: '127.0.0.1:0' }}\n");
    let gateway = start(Page::Text { name: "hello".into(), source }, Own::default()).await;
    assert_eq!(ask(gateway.address, Method::GET, "/", None).await, (200, json!("hello\n")));
    let (status, problem) = ask(gateway.address, Method::GET, "/nowhere", None).await;
    assert_eq!((status, &problem["code"]), (404, &json!("no_route")));
    gateway.stop().await;
}

/// Who is greeted, and how.
#[step(expose)]
async fn greet(name: &str, loudly: Option<&bool>, req: &Req) -> Result<Value> {
    let mark = if loudly.is_some_and(|loudly| *loudly) { "!" } else { "" };
    Ok(json!({ "text": format!("hello, {name}{mark}"), "path": req.path }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_calls_a_step_of_the_binary_that_serves_it() {
    let source = r#"
listen: 127.0.0.1:0
admin: { listen: 127.0.0.1:0 }
flows:
  - flow: greeting
    steps:
      said: { call: greet, args: { name: "${request.params.name}", loudly: true } }
    respond: { json: "${said}" }
routes:
  - { name: greet, match: { path: "/greet/{name}" }, to: { flow: greeting } }
"#;
    let page = Page::Text { name: "greet.yaml".into(), source: source.into() };
    let gateway = start(page.clone(), Own { flows: Vec::new(), steps: vec![greet::exposed()] }).await;
    let (status, body) = ask(gateway.address, Method::GET, "/greet/ada", None).await;
    assert_eq!((status, body), (200, json!({ "text": "hello, ada!", "path": "/greet/ada" })));
    let timelines = timelines_of(&gateway, 1).await;
    assert!(shape(&timelines[0]).contains(&"said Step Ok".to_owned()), "{:?}", shape(&timelines[0]));
    gateway.stop().await;

    // The stock binary has no such step.
    let refused = Gateway::start(page, Own::default(), Arc::new(|_| None)).await.err().unwrap().to_string();
    let says = "no step is called `greet`";
    let help = "Rust steps are added to a gateway of your own: zerver::App::new().step(…)";
    assert!(refused.contains(says) && refused.contains(help), "{refused}");
}
