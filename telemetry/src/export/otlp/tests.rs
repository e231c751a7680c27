//! The exporter against receivers that answer, refuse, are away, or hang.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

use super::*;
use crate::clock::Clock;
use crate::sampling::Reason;
use crate::span::{SpanSettings, spans};

fn request() -> Vec<SpanData> {
    spans(&crate::timeline::sample(), Reason::Sampled, &SpanSettings::default())
}

fn settings(listener: &TcpListener) -> ExportSettings {
    let address = listener.local_addr().expect("it is bound");
    ExportSettings { endpoint: format!("http://{address}/v1/traces"), ..ExportSettings::default() }
}

fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("loopback has a free port")
}

/// One request read from `stream`: its head and the length of its body. None when the peer has closed.
fn read(stream: &mut BufReader<TcpStream>) -> Option<(String, usize)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    stream.read_exact(&mut vec![0; length]).ok()?;
    Some((head, length))
}

/// A receiver that answers its requests with these statuses in order, the last one from then on.
fn receiver(statuses: &'static [u16]) -> (TcpListener, mpsc::Receiver<(String, usize)>) {
    let listener = bind();
    let accepting = listener.try_clone().expect("a listener can be shared");
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut statuses = statuses.iter().copied();
        let mut last = 200;
        for stream in accepting.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            while let Some(request) = read(&mut stream) {
                last = statuses.next().unwrap_or(last);
                let answer = format!("HTTP/1.1 {last} X\r\ncontent-length: 0\r\n\r\n");
                if stream.get_mut().write_all(answer.as_bytes()).is_err() || tell.send(request).is_err() {
                    break;
                }
            }
        }
    });
    (listener, told)
}

fn balanced(counters: &ExportCounters) {
    assert_eq!(counters.offered, counters.sent + counters.dropped_in_all() + counters.waiting, "{counters:?}");
}

#[test]
fn spans_arrive_and_are_counted() {
    let (listener, told) = receiver(&[200]);
    let mut settings = settings(&listener);
    settings.headers.insert("x-key".into(), "secret".into());
    let exporter = Exporter::start(&settings).expect("it starts");
    exporter.offer(request());
    assert!(exporter.flush(Duration::from_secs(20)));
    let (head, length) = told.recv().expect("a request arrived");
    assert!(head.starts_with("POST /v1/traces ") && head.contains("x-key: secret"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf") && length > 500, "{head}");
    let counters = exporter.stop(Duration::from_secs(2));
    assert_eq!((counters.sent, counters.waiting, counters.failures), (request().len() as u64, 0, 0));
    exporter.offer(request());
    assert_eq!(exporter.counters().dropped_for(DropCause::Shutdown), request().len() as u64);
}

#[test]
fn a_refused_batch_is_not_tried_again() {
    let (listener, _told) = receiver(&[400, 200]);
    let exporter = Exporter::start(&settings(&listener)).expect("it starts");
    exporter.offer(request());
    assert!(exporter.flush(Duration::from_secs(20)));
    exporter.offer(request());
    assert!(exporter.flush(Duration::from_secs(20)));
    let counters = exporter.counters();
    let each = request().len() as u64;
    assert_eq!((counters.dropped_for(DropCause::Rejected), counters.sent, counters.failures), (each, each, 1));
    assert!(counters.last_error.as_deref().is_some_and(|error| error.contains("400")), "{counters:?}");
}

#[test]
fn a_busy_receiver_gets_the_batch_again() {
    // The transport tries four times by itself; the fifth is ours.
    let (listener, told) = receiver(&[503, 503, 503, 503, 200]);
    let exporter = Exporter::start(&settings(&listener)).expect("it starts");
    exporter.offer(request());
    assert!(exporter.flush(Duration::from_secs(30)));
    let counters = exporter.counters();
    assert_eq!((counters.sent, counters.failures, counters.dropped_in_all()), (request().len() as u64, 1, 0));
    assert_eq!(told.iter().take(5).count(), 5);
}

#[test]
fn a_receiver_that_is_away_costs_its_time_and_no_more() {
    let listener = bind();
    let settings = ExportSettings { retry_for: Duration::from_millis(300), ..settings(&listener) };
    drop(listener);
    let exporter = Exporter::start(&settings).expect("it starts");
    exporter.offer(request());
    assert!(exporter.flush(Duration::from_secs(20)));
    let counters = exporter.counters();
    assert_eq!(counters.dropped_for(DropCause::Unreachable), request().len() as u64);
    balanced(&counters);
}

#[test]
fn the_end_keeps_its_deadline_whatever_the_receiver_does() {
    let clock = Clock::real();
    // One is away; the other accepts (the kernel does) and never answers.
    let (away, hanging) = (bind(), bind());
    let (to_away, to_hanging) = (settings(&away), settings(&hanging));
    drop(away);
    for settings in [to_away, to_hanging] {
        let exporter = Exporter::start(&settings).expect("it starts");
        for _ in 0..200 {
            exporter.offer(request());
        }
        let before = clock.now();
        let counters = exporter.stop(Duration::from_millis(300));
        assert!(clock.since(before) < Duration::from_secs(2), "{:?}", clock.since(before));
        assert_eq!(counters.dropped_for(DropCause::Shutdown), 200 * request().len() as u64, "{counters:?}");
        balanced(&counters);
    }
}

#[test]
fn while_the_receiver_hangs_the_newest_spans_stay() {
    let hanging = bind();
    let each = request().len();
    let settings = ExportSettings { queue_spans: each * 10, batch_spans: each, ..settings(&hanging) };
    let exporter = Exporter::start(&settings).expect("it starts");
    for _ in 0..100 {
        exporter.offer(request());
    }
    let counters = exporter.counters();
    balanced(&counters);
    assert_eq!(counters.waiting, 10 * each as u64);
    assert_eq!(counters.dropped_for(DropCause::QueueFull), 90 * each as u64);
    balanced(&exporter.stop(Duration::ZERO));
}
