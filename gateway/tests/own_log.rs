//! A program with steps of its own and the gateway's log: what a step says, and its panic, are lines of its request.
//!
//! Alone in its file: the log and the panic hook are the process's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zerver::config::file::parse;
use zerver::gateway::{Gateway, Page, check};
use zerver::logs::Logging;
use zerver_flows::{Req, Response, Result, flow, step};

#[step]
async fn fall(req: &Req) -> Result<Response> {
    tracing::info!(password = "s3cret", depth = 7, "falling");
    panic!("fell with token={}", req.query("token").unwrap_or("none"));
}

#[flow("fall", version = 1, owner = "tests")]
async fn falling(req: &Req) -> Response {
    fall(req)
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("the log is there");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[tokio::test]
async fn what_a_step_says_and_its_panic_carry_the_trace_and_no_secret() {
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let file = folder.path().join("app.log");
    let source = format!(
        "listen: 127.0.0.1:0
admin: {{ listen: '127.0.0.1:0' }}
log: {{ format: json, to: '{}' }}
routes: [{{ name: fall, match: {{ path: /fall }}, to: {{ flow: fall }} }}]
",
        file.display()
    );
    let page = Page::Text { name: "own".into(), source: source.clone() };
    let own: zerver::plan::Own = vec![falling()].into();
    let plan = check(&page, &own, &|_| None).unwrap_or_else(|rejected| panic!("{rejected}"));
    let document = parse(&source).expect("the page is sound");
    let logging = Logging::process(&document, plan.redaction).expect("the folder can be written");
    let gateway = Gateway::start_logging(page, own, Arc::new(|_| None), Arc::clone(&logging)).await;
    let gateway = gateway.unwrap_or_else(|error| panic!("{error}"));

    let mut client = TcpStream::connect(gateway.address).await.expect("it listens");
    let head = "GET /fall?token=s3cret HTTP/1.1\r\nhost: a\r\nx-request-id: mine-1\r\nconnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");

    // The answer's last byte may be here before the request is over.
    let trace = loop {
        gateway.live.collector.flush();
        match gateway.live.store.snapshot().first() {
            Some(timeline) => break timeline.trace_id.to_string(),
            None => tokio::task::yield_now().await,
        }
    };
    logging.flush(Duration::from_secs(30));
    let said = lines(&file);
    let of = |message: &str| said.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("{said:?}"));
    let (fell, panicked) = (of("falling"), of("panicked: fell with token=‹masked›"));
    for line in [fell, panicked] {
        assert_eq!((&line["trace_id"], &line["request_id"]), (&Value::from(trace.as_str()), &Value::from("mine-1")));
    }
    assert_eq!((&fell["fields"]["password"], &fell["fields"]["depth"]), (&"‹masked›".into(), &7.into()));
    assert_eq!((&panicked["level"], &fell["scope"]), (&"ERROR".into(), &"own_log".into()));
    let at = panicked["fields"]["at"].as_str().expect("a text");
    assert!(at.contains("own_log.rs:"), "{at}");
    assert!(said.iter().all(|line| !line.to_string().contains("s3cret")), "{said:?}");
    // A second log in one process is none, and the first one goes on.
    assert!(Logging::process(&document, Arc::default()).expect("the file is there").levels().level.is_none());
    tracing::warn!("still here");
    logging.flush(Duration::from_secs(30));
    assert!(lines(&file).iter().any(|line| line["message"] == "still here"));
    gateway.stop().await;
}
