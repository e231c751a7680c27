//! The exporter against receivers that answer, refuse, are away, or hang.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

use super::*;
use crate::export::settings::{Destination, Protocol, Readings};
use crate::export::{DropCause, ExportCounters};
use crate::logs::{Record, Severity};
use crate::sampling::Reason;
use crate::span::{SpanSettings, spans};

fn offer(exporter: &Exporter) {
    exporter.offer(&crate::timeline::sample(), Reason::Sampled, &SpanSettings::default());
}

/// Spans of what [`offer`] offers.
fn each() -> u64 {
    spans(&crate::timeline::sample(), Reason::Sampled, &SpanSettings::default()).len() as u64
}

fn settings(listener: &TcpListener) -> ExportSettings {
    let base = format!("http://{}", listener.local_addr().expect("it is bound"));
    let to = Destination::at(Signal::Traces, Protocol::Http, &base);
    ExportSettings { traces: Some(to), ..ExportSettings::default() }
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

/// A receiver that answers its requests like this in order, the last one from then on: a status with what belongs to
/// its head, and a body.
fn receiver(answers: &'static [(&str, &[u8])]) -> (TcpListener, mpsc::Receiver<(String, usize)>) {
    let listener = bind();
    let accepting = listener.try_clone().expect("a listener can be shared");
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut answers = answers.iter().copied();
        let mut last = ("200 OK", &b""[..]);
        for stream in accepting.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            while let Some(request) = read(&mut stream) {
                last = answers.next().unwrap_or(last);
                let mut answer =
                    format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n\r\n", last.0, last.1.len()).into_bytes();
                answer.extend(last.1);
                if stream.get_mut().write_all(&answer).is_err() || tell.send(request).is_err() {
                    break;
                }
            }
        }
    });
    (listener, told)
}

const OK: (&str, &[u8]) = ("200 OK", b"");
const BUSY: (&str, &[u8]) = ("503 Busy", b"");

fn balanced(counters: &ExportCounters) {
    assert_eq!(counters.offered, counters.sent + counters.dropped_in_all() + counters.waiting, "{counters:?}");
}

#[test]
fn spans_arrive_and_are_counted() {
    let (listener, told) = receiver(&[OK]);
    let mut settings = settings(&listener);
    let to = settings.traces.as_mut().expect("spans are sent");
    to.headers.insert("x-key".into(), "secret".into());
    let exporter = Exporter::start(&settings).expect("it starts");
    offer(&exporter);
    assert!(exporter.flush(Duration::from_secs(20)));
    let (head, length) = told.recv().expect("a request arrived");
    assert!(head.starts_with("POST /v1/traces ") && head.contains("x-key: secret"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf") && length > 500, "{head}");
    let counters = exporter.stop(Duration::from_secs(2)).traces;
    assert_eq!((counters.sent, counters.waiting, counters.failures), (each(), 0, 0));
    offer(&exporter);
    assert_eq!(exporter.counters().traces.dropped_for(DropCause::Shutdown), each());
}

#[test]
fn a_refused_batch_is_not_tried_again() {
    let (listener, _told) = receiver(&[("400 Bad Request", b""), OK]);
    let exporter = Exporter::start(&settings(&listener)).expect("it starts");
    offer(&exporter);
    assert!(exporter.flush(Duration::from_secs(20)));
    offer(&exporter);
    assert!(exporter.flush(Duration::from_secs(20)));
    let counters = exporter.counters().traces;
    let each = each();
    assert_eq!((counters.dropped_for(DropCause::Rejected), counters.sent, counters.failures), (each, each, 1));
    assert!(counters.last_error.as_deref().is_some_and(|error| error.contains("400")), "{counters:?}");
}

#[test]
fn a_busy_receiver_gets_the_batch_again() {
    let (listener, told) = receiver(&[BUSY, BUSY, OK]);
    let exporter = Exporter::start(&settings(&listener)).expect("it starts");
    offer(&exporter);
    assert!(exporter.flush(Duration::from_secs(30)));
    let counters = exporter.counters().traces;
    assert_eq!((counters.sent, counters.failures, counters.dropped_in_all()), (each(), 2, 0));
    let lengths: Vec<usize> = told.iter().take(3).map(|(_, length)| length).collect();
    assert!(lengths[0] > 0 && lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
}

#[test]
fn a_receiver_that_asks_for_time_gets_it() {
    let clock = Clock::real();
    let (listener, _told) = receiver(&[("429 Slow Down\r\nretry-after: 1", b""), OK]);
    let exporter = Exporter::start(&settings(&listener)).expect("it starts");
    let before = clock.now();
    offer(&exporter);
    assert!(exporter.flush(Duration::from_secs(30)));
    // Our own first pause would have been over in a third of that.
    assert!(clock.since(before) >= Duration::from_secs(1), "{:?}", clock.since(before));
    assert_eq!(exporter.counters().traces.sent, each());
}

#[test]
fn a_receiver_that_lies_changes_no_sum() {
    // It refuses two spans; then more than there are; then it talks of something else; then it talks without end.
    let (listener, _told) = receiver(&[
        ("200 OK", b"\x0a\x02\x08\x02"),
        ("200 OK", b"\x0a\x04\x08\xff\xff\x03"),
        ("200 OK\r\ncontent-type: text/html", b"<html>Welcome!</html>"),
        ("200 OK", &[b'x'; 200_000]),
        OK,
    ]);
    let exporter = Exporter::start(&settings(&listener)).expect("it starts");
    for _ in 0..5 {
        offer(&exporter);
        assert!(exporter.flush(Duration::from_secs(20)));
    }
    let counters = exporter.counters().traces;
    balanced(&counters);
    let each = each();
    assert_eq!((counters.dropped_for(DropCause::Partial), counters.sent), (2 + each, 4 * each - 2));
    assert_eq!((counters.odd_answers, counters.failures), (2, 0), "{counters:?}");
}

#[test]
fn a_receiver_that_is_away_costs_its_time_and_no_more() {
    let listener = bind();
    let spans = Waiting { retry_for: Duration::from_millis(300), ..Waiting::default() };
    let settings = ExportSettings { spans, ..settings(&listener) };
    drop(listener);
    let exporter = Exporter::start(&settings).expect("it starts");
    offer(&exporter);
    assert!(exporter.flush(Duration::from_secs(20)));
    let counters = exporter.counters().traces;
    assert_eq!(counters.dropped_for(DropCause::Unreachable), each());
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
            offer(&exporter);
        }
        let before = clock.now();
        let counters = exporter.stop(Duration::from_millis(300)).traces;
        assert!(clock.since(before) < Duration::from_secs(2), "{:?}", clock.since(before));
        assert_eq!(counters.dropped_for(DropCause::Shutdown), 200 * each(), "{counters:?}");
        balanced(&counters);
    }
}

#[test]
fn metrics_are_read_at_intervals_at_a_flush_and_at_the_end() {
    let (listener, told) = receiver(&[OK]);
    let base = format!("http://{}", listener.local_addr().expect("it is bound"));
    let readings = Readings { interval: Duration::from_millis(20), ..Readings::default() };
    let metrics = Some(Destination::at(Signal::Metrics, Protocol::Http, &base));
    let exporter = Exporter::start(&ExportSettings { metrics, readings, ..ExportSettings::default() });
    let exporter = exporter.expect("it starts");
    // Nothing is watched yet, and spans go nowhere.
    offer(&exporter);
    assert!(exporter.flush(Duration::from_secs(20)) && !exporter.sends(Signal::Traces));
    assert_eq!(exporter.counters(), Exported::default());
    let metrics = Arc::new(Metrics::new());
    metrics.register(Arc::new(exporter.clone()));
    metrics.observe(&crate::timeline::sample());
    exporter.watch(&metrics);
    for _ in 0..3 {
        let (head, length) = told.recv().expect("a reading arrived");
        assert!(head.starts_with("POST /v1/metrics ") && length > 1_000, "{head}");
    }
    let before = exporter.counters().metrics.offered;
    let after = exporter.stop(Duration::from_secs(20)).metrics;
    balanced(&after);
    assert!(after.offered > before && after.sent == after.offered, "{before} {after:?}");
    assert_eq!(exporter.stop(Duration::ZERO).metrics, after, "it ends once");
}

#[test]
fn log_records_go_their_own_way() {
    let (listener, told) = receiver(&[OK]);
    let hanging = bind();
    let base = format!("http://{}", listener.local_addr().expect("it is bound"));
    let logs = Some(Destination::at(Signal::Logs, Protocol::Http, &base));
    let exporter = Exporter::start(&ExportSettings { logs, ..settings(&hanging) }).expect("it starts");
    // The spans' receiver hangs, which is nothing to the log records.
    offer(&exporter);
    for _ in 0..3 {
        crate::logs::Sink::offer(&exporter, said());
    }
    assert!(told.recv().is_ok_and(|(head, _)| head.starts_with("POST /v1/logs ")));
    let stopped = exporter.stop(Duration::from_millis(50));
    assert_eq!((stopped.logs.sent, stopped.logs.dropped_in_all()), (3, 0));
    assert_eq!(stopped.traces.dropped_for(DropCause::Shutdown), each());
}

#[test]
fn while_the_receiver_hangs_the_newest_spans_stay() {
    let hanging = bind();
    let each = each() as usize;
    let spans = Waiting { items: each * 10, batch: each, ..Waiting::default() };
    let settings = ExportSettings { spans, ..settings(&hanging) };
    let exporter = Exporter::start(&settings).expect("it starts");
    for _ in 0..100 {
        offer(&exporter);
    }
    let counters = exporter.counters().traces;
    balanced(&counters);
    assert_eq!(counters.waiting, 10 * each as u64);
    // They are counted by the bytes that they are.
    let one = Encoder::default().spans(&crate::timeline::sample(), Reason::Sampled, &SpanSettings::default());
    assert_eq!((counters.waiting_bytes, one.bytes), (10 * one.part.len() as u64, one.part.len()));
    assert_eq!(counters.dropped_for(DropCause::QueueFull), 90 * each as u64);
    balanced(&exporter.stop(Duration::ZERO).traces);
}

fn said() -> Entry {
    Entry::Record(Box::new(Record {
        unix_ns: 1,
        severity: Severity::Info,
        scope: "zerver::reload".into(),
        body: "said".into(),
        attributes: Vec::new(),
        trace_id: None,
        span_id: None,
        request_id: None,
    }))
}
