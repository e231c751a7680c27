//! A viewer's source against real sockets and files, on a screen that is a text.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use zerver_telemetry::recording::{Header, Writer};
use zerver_viewer::{Batch, Counters, Feed, Headless, Options, Source};

use crate::fixture::{batch, engine, gateway, timeline};

/// A gateway that gives one canned answer after the other, each on whatever connection asks; then it hangs up.
struct Gateway {
    addr: String,
    requests: JoinHandle<Vec<String>>,
}

enum Answer {
    /// With a length, and the connection kept.
    Sized(String),
    /// In chunks of so many bytes.
    Chunked(String, usize),
    Status(u16),
    /// The connection is closed without a word.
    HangUp,
}

impl Gateway {
    fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address").to_string();
        let requests = thread::spawn(move || {
            let (mut seen, mut kept) = (Vec::new(), None);
            for answer in answers {
                let mut stream: BufReader<TcpStream> =
                    kept.take().unwrap_or_else(|| BufReader::new(listener.accept().expect("a client").0));
                seen.push(head(&mut stream));
                let out = stream.get_mut();
                let written = match answer {
                    Answer::Sized(body) => {
                        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                        let written = out.write_all(text.as_bytes());
                        kept = Some(stream);
                        written
                    }
                    Answer::Chunked(body, size) => {
                        let mut text =
                            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".to_owned();
                        for chunk in body.as_bytes().chunks(size) {
                            text.push_str(&format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
                        }
                        text.push_str("0\r\n\r\n");
                        out.write_all(text.as_bytes())
                    }
                    Answer::Status(status) => {
                        let text = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                        out.write_all(text.as_bytes())
                    }
                    Answer::HangUp => Ok(()),
                };
                written.expect("the client reads");
            }
            seen
        });
        Self { addr, requests }
    }

    fn source(&self, token: Option<&str>) -> Source {
        Source::Live { addr: format!("http://{}", self.addr), token: token.map(str::to_owned) }
    }

    fn seen(self) -> Vec<String> {
        self.requests.join().expect("the gateway served all its answers")
    }
}

fn head(stream: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a request");
        if line.trim().is_empty() {
            return head;
        }
        head.push_str(&line);
    }
}

fn json(batch: &Batch) -> String {
    serde_json::to_string(batch).expect("a batch is JSON")
}

/// A viewer that reads `source` until its screen says what is wanted.
fn until(source: Source, wanted: impl Fn(&str) -> bool) -> String {
    let mut viewer = Headless::new("gateway", &Options::default(), engine(), (120, 36));
    let feed = viewer.attach(source).expect("a thread");
    while feed.next(&mut viewer) {
        let text = viewer.text();
        if wanted(&text) {
            return text;
        }
    }
    viewer.text()
}

#[test]
fn a_live_gateway_is_polled_on_one_connection_with_the_token() {
    let answers = vec![Answer::Sized(json(&batch(0, 30))), Answer::Sized(json(&batch(30, 20)))];
    let live = Gateway::start(answers);
    let text = until(live.source(Some("s3cret")), |text| text.contains("kept 50/"));
    assert!(text.contains("LIVE") && text.contains("checkout"), "{text}");
    let seen = live.seen();
    assert!(seen[0].starts_with("GET /timelines?since=0&limit=512 HTTP/1.1\r\n"), "{}", seen[0]);
    assert!(seen[1].starts_with("GET /timelines?since=30&"), "{}", seen[1]);
    assert!(seen.iter().all(|head| head.contains("Authorization: Bearer s3cret\r\n")));
}

#[test]
fn chunked_answers_are_read() {
    let live = Gateway::start(vec![Answer::Chunked(json(&batch(0, 40)), 1000)]);
    let text = until(live.source(None), |text| text.contains("kept 40/"));
    assert!(text.contains("kept 40/"), "{text}");
    assert!(!live.seen()[0].contains("Authorization"));
}

#[test]
fn after_a_failure_it_says_so_and_tries_again() {
    let answers =
        vec![Answer::Status(401), Answer::HangUp, Answer::Sized("no json".into()), Answer::Sized(json(&batch(0, 10)))];
    let live = Gateway::start(answers);
    let failures = Mutex::new(Vec::new());
    let text = until(live.source(None), |text| {
        failures.lock().expect("one thread").push(text.to_owned());
        text.contains("kept 10/")
    });
    assert!(text.contains("LIVE"), "{text}");
    let failures = failures.into_inner().expect("one thread").join("\n");
    for words in ["401: give the admin token", "attempt 2, next try in", "attempt 3", "not the timelines' JSON"] {
        assert!(failures.contains(words), "{words}: {failures}");
    }
    live.seen();
}

#[test]
fn a_restarted_gateway_is_read_from_its_beginning() {
    let answers = vec![
        Answer::Sized(json(&batch(500, 5))),
        Answer::Sized(json(&Batch { next: 3, ..batch(0, 3) })),
        Answer::Sized(json(&batch(0, 3))),
    ];
    let live = Gateway::start(answers);
    let text = until(live.source(None), |text| text.contains("kept 8/"));
    assert!(text.contains("kept 8/"), "{text}");
    assert!(live.seen()[2].contains("since=0&"));
}

#[test]
fn a_capture_is_read_to_its_end_and_bad_lines_are_counted() {
    let path = std::env::temp_dir().join(format!("zerver-viewer-{}.zrec", std::process::id()));
    let mut text = "{\"zrec\":1,\"gateway\":{\"name\":\"gw-file\"}}\n".to_owned();
    for seq in 0..700 {
        text.push_str(&serde_json::to_string(&timeline(seq)).expect("a timeline is JSON"));
        text.push('\n');
    }
    text.push_str("half a li");
    std::fs::write(&path, text).expect("a file");
    let text = until(Source::File(path.clone()), |text| text.contains("capture"));
    assert!(text.contains("gw-file") && text.contains("kept 700/") && text.contains("lost 1"), "{text}");
    // The other form, and a frame of it that is damaged.
    let mut writer = Writer::new(Vec::new(), &Header::new("gw-packed", 5)).expect("a vector takes all");
    for seq in 0..600 {
        writer.write(&timeline(seq)).expect("a vector takes all");
    }
    let mut bytes = writer.finish().expect("a vector takes all");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("a file");
    let text = until(Source::File(path.clone()), |text| text.contains("capture"));
    assert!(text.contains("gw-packed") && text.contains("kept 599/") && text.contains("lost 1"), "{text}");
    std::fs::write(&path, "not a capture\n").expect("a file");
    let text = until(Source::File(path.clone()), |text| text.contains("failed"));
    assert!(text.contains("not a capture"), "{text}");
    std::fs::remove_file(&path).expect("it is there");
    let text = until(Source::File(path), |text| text.contains("failed"));
    assert!(text.contains("No such file"), "{text}");
}

#[test]
fn a_feed_in_the_same_process_is_polled_by_its_cursor() {
    struct Steps(Mutex<Vec<u64>>);
    impl Feed for Steps {
        fn poll(&self, since: u64, limit: usize) -> Batch {
            self.0.lock().expect("one thread").push(since);
            let count = (1100 - since).min(limit as u64);
            Batch { counters: Counters::default(), gateway: gateway(1), ..batch(since, count) }
        }
    }
    let feed = Arc::new(Steps(Mutex::default()));
    let text = until(Source::Memory(feed.clone()), |text| text.contains("kept 1,100/"));
    assert!(text.contains("kept 1,100/"), "{text}");
    assert_eq!(feed.0.lock().expect("the reader does not panic")[..3], [0, 512, 1024]);
}
