//! Point 3, the good ways: proxying to a real nginx and to a sink, over HTTP/1.1 and HTTP/2, in flat memory.

use std::convert::Infallible;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Version};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tempfile::TempDir;

use crate::binary::{Gateway, HEAD};
use crate::client::{Body, Client, ask};
use crate::origin::{Origin, answer};
use crate::support::{Guard, eventually, need, on_free_port};

const LARGE: u64 = 100 * 1024 * 1024;

/// An nginx of the test's own, serving a folder of its own.
struct Nginx {
    peer: std::net::SocketAddr,
    folder: TempDir,
    _child: Guard,
}

async fn nginx() -> Option<Nginx> {
    let program = need("nginx")?;
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let at = folder.path().to_owned();
    std::fs::create_dir(at.join("www")).expect("a folder is made");
    std::fs::write(at.join("www/hello.txt"), "hello from nginx\n").expect("a page is written");
    let large = std::fs::File::create(at.join("www/large.bin")).expect("a page is made");
    large.set_len(LARGE).expect("the file system has room");
    let (child, peer) = on_free_port("nginx listens", |port| {
        let conf = at.join("nginx.conf");
        std::fs::write(&conf, configuration(&at, port)).expect("the configuration is written");
        let mut command = Command::new(&program);
        command.arg("-p").arg(&at).arg("-e").arg(at.join("error.log")).arg("-c").arg(conf);
        command
    })
    .await;
    Some(Nginx { peer, folder, _child: child })
}

fn configuration(at: &Path, port: u16) -> String {
    let at = at.display();
    format!(
        "daemon off;
master_process off;
pid {at}/nginx.pid;
events {{ worker_connections 256; }}
http {{
  access_log {at}/access.log combined;
  client_body_temp_path {at}/body;
  proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi;
  scgi_temp_path {at}/scgi;
  log_format connections '$connection $request';
  access_log {at}/connections.log connections;
  server {{
    listen 127.0.0.1:{port};
    root {at}/www;
  }}
}}
"
    )
}

fn page(peer: std::net::SocketAddr) -> String {
    format!(
        "{HEAD}upstreams: {{ web: {{ peers: ['{peer}'] }} }}
routes: [{{ name: web, match: {{ path: '/{{*rest}}' }}, to: {{ upstream: web }} }}]
"
    )
}

/// Kilobytes of memory that a process had at its most; none where there is no `/proc`.
fn memory_peak_kb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

fn grew_little(gateway: &Gateway, before: Option<u64>) {
    if let (Some(before), Some(after)) = (before, memory_peak_kb(gateway.pid())) {
        assert!(
            after.saturating_sub(before) < 40 * 1024,
            "100 MB passed through, and memory grew from {before} to {after} kB"
        );
    }
}

#[tokio::test]
async fn pages_of_nginx_pass_through() {
    let Some(nginx) = nginx().await else { return };
    let gateway = Gateway::start(&page(nginx.peer)).await;
    for (client, version) in [(Client::http1(), Version::HTTP_11), (Client::http2(), Version::HTTP_2)] {
        let got = client.get(gateway.address, "/hello.txt").await;
        assert_eq!((got.status, got.text().as_str()), (200, "hello from nginx\n"));
        assert!(got.header("server").starts_with("nginx"), "{got:?}");
        assert!(!got.header("etag").is_empty() && !got.header("x-request-id").is_empty(), "{got:?}");

        // Once its timeline is there a request has ended, and its connection to nginx is free for the next one.
        gateway.timeline_of(&got).await;
        let head = client.send(ask("HEAD", gateway.address, "/hello.txt")).await;
        assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "17", 0));

        gateway.timeline_of(&head).await;
        let missing = client.get(gateway.address, "/no-such-page").await;
        assert_eq!((missing.status, missing.header("zerver-reason")), (404, ""), "nginx's own 404");
        assert!(missing.text().contains("nginx"), "{missing:?}");

        gateway.timeline_of(&missing).await;
        let again = client.get(gateway.address, "/hello.txt").await;
        assert_eq!((again.version, again.text()), (version, got.text()));
        gateway.timeline_of(&again).await;
        let timeline = gateway.timeline_of(&got).await;
        let spoken = timeline.root().attr("network.protocol.version").expect("it is noted").to_string();
        assert_eq!(spoken, if version == Version::HTTP_2 { "2" } else { "1.1" });
    }
    // Eight requests to nginx, one after the other, need one connection. It writes each down after its answer has gone out.
    let file = nginx.folder.path().join("connections.log");
    let mut connections: Vec<String> = eventually("nginx has noted eight requests", async || {
        let log = std::fs::read_to_string(&file).expect("nginx has a log");
        let lines = log.lines().filter(|line| line.contains('/'));
        let noted: Vec<String> = lines.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
        (noted.len() >= 8).then_some(noted)
    })
    .await;
    assert_eq!(connections.len(), 8, "{connections:?}");
    connections.dedup();
    assert_eq!(connections.len(), 1, "{connections:?}");
}

#[tokio::test]
async fn curl_speaks_http2_by_prior_knowledge() {
    let origin = Origin::echo().await;
    let gateway = Gateway::start(&page(origin.address)).await;
    let url = format!("http://{}/from-curl", gateway.address);
    let mut curl = Command::new("curl");
    curl.args(["-s", "--http2-prior-knowledge", "-w", " %{http_version}", &url]);
    let Ok(output) = tokio::task::spawn_blocking(move || curl.output()).await.expect("waiting does not panic") else {
        // There is no curl here; hyper's client says the same in the other tests.
        return;
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/from-curl 2", "{output:?}");
}

#[tokio::test]
async fn a_large_download_leaves_memory_flat() {
    let Some(nginx) = nginx().await else { return };
    let gateway = Gateway::start(&page(nginx.peer)).await;
    for client in [Client::http1(), Client::http2()] {
        client.get(gateway.address, "/hello.txt").await;
        let before = memory_peak_kb(gateway.pid());
        let answer = client.begin(ask("GET", gateway.address, "/large.bin")).await.expect("an answer");
        let (mut body, mut bytes) = (answer.into_body(), 0);
        while let Some(frame) = body.frame().await {
            bytes += frame.expect("the body is whole").data_ref().map_or(0, |data| data.len() as u64);
        }
        assert_eq!(bytes, LARGE);
        grew_little(&gateway, before);
    }
}

/// An origin that reads a body away and answers with its length.
async fn sink() -> Origin {
    Origin::start(|request| async {
        let (mut body, mut bytes) = (request.into_body(), 0);
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
        }
        answer(200, bytes.to_string())
    })
    .await
}

#[tokio::test]
async fn a_large_upload_leaves_memory_flat() {
    const PIECE: usize = 64 * 1024;
    let sink = sink().await;
    let gateway = Gateway::start(&page(sink.address)).await;
    for client in [Client::http1(), Client::http2()] {
        client.get(gateway.address, "/").await;
        let before = memory_peak_kb(gateway.pid());
        let piece = Bytes::from(vec![7; PIECE]);
        let pieces = (0..LARGE as usize / PIECE).map(move |_| Ok::<_, Infallible>(Frame::data(piece.clone())));
        let body: Body = StreamBody::new(stream::iter(pieces)).boxed();
        let request = Request::post(format!("http://{}/sink", gateway.address)).body(body).expect("it is sound");
        let answer = client.send(request).await;
        assert_eq!((answer.status, answer.text()), (200, LARGE.to_string()));
        grew_little(&gateway, before);
        let timeline = gateway.timeline_of(&answer).await;
        assert_eq!(timeline.root().attr("http.request.body.size").map(ToString::to_string), Some(LARGE.to_string()));
    }
}
