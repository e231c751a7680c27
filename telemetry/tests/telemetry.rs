//! The whole way of a request through the public interface: recorded, collected, counted, kept, exported, read back.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use zerver_telemetry::clock::Clock;
use zerver_telemetry::collector::{Collector, CollectorSettings};
use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::export::otlp::Exporter;
use zerver_telemetry::export::settings::{Compression, Destination, ExportSettings, Protocol};
use zerver_telemetry::export::{DropCause, Signal};
use zerver_telemetry::id::{SpanId, TraceContext};
use zerver_telemetry::logs::{Entry, Record, Severity, Sink};
use zerver_telemetry::metrics::Metrics;
use zerver_telemetry::names::Name;
use zerver_telemetry::propagation::tracestate;
use zerver_telemetry::recorder::{Opening, Recorder};
use zerver_telemetry::recording::{Header, Reader, Writer};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// Records one request of a caller's trace: a step that queues for 8 ms, and its call, which is answered with 503.
/// Gives the span ids of the request, the step and the call, as they were sent.
fn request(recorder: &Recorder, clock: &Clock) -> [SpanId; 3] {
    let names = recorder.names();
    let name = |text: &str| names.intern(text);
    let context = TraceContext::parse(&format!("00-{TRACE}-{CALLER}-01")).expect("a valid header");
    let rec = recorder.start(clock.now(), Some(context), false);
    rec.route(name("checkout"), name("checkout"), 3);
    rec.attr_name(NodeId::ROOT, name("http.request.method"), name("GET"));
    rec.attr_name(NodeId::ROOT, name("http.route"), name("/checkout/{cart}"));
    rec.attr_text(NodeId::ROOT, name("url.path"), "/checkout/42");
    rec.attr_text(NodeId::ROOT, name(tracestate::NOTED), "ot=th:c,vendor=1");
    rec.attr_name(NodeId::ROOT, name("url.scheme"), name("http"));
    let opening = Opening::running(name("price"), NodeKind::Step, NodeId::ROOT);
    let step = rec.open(clock.now(), opening.in_state(Cause::Permit, name("seats")));
    rec.state(clock.now(), NodeId::ROOT, Cause::Join, Name::NONE, None);
    clock.advance(Duration::from_millis(8));
    rec.state(clock.now(), step, Cause::Run, Name::NONE, None);
    let opening = Opening::running(name("quotes"), NodeKind::Effect, step).in_state(Cause::Io, name("quotes"));
    let effect = rec.open(clock.now(), opening);
    rec.attr_name(effect, name("http.request.method"), name("POST"));
    rec.attr_name(effect, name("server.address"), name("quotes.internal"));
    rec.attr_int(effect, name("server.port"), 8081);
    rec.attr_text(effect, name("peer"), "10.0.0.5:8081");
    rec.state(clock.now(), step, Cause::Join, Name::NONE, None);
    clock.advance(Duration::from_millis(2));
    rec.close(clock.now(), effect, Outcome::Error, 503, name("upstream_status"));
    rec.state(clock.now(), step, Cause::Run, Name::NONE, Some(effect));
    rec.close(clock.now(), step, Outcome::Ok, 0, Name::NONE);
    rec.state(clock.now(), NodeId::ROOT, Cause::Run, Name::NONE, Some(step));
    let ids = [NodeId::ROOT, step, effect].map(|node| rec.span_id(node));
    rec.finish(clock.now(), Outcome::Ok, 200, Name::NONE);
    ids
}

#[test]
fn workers_record_side_by_side_and_every_request_is_accounted_for() {
    let clock = Clock::real();
    let recorder = Recorder::for_tests(clock.clone());
    let metrics = Arc::new(Metrics::new());
    let settings = CollectorSettings::default();
    let collector =
        Collector::start(recorder.clone(), settings, Arc::clone(&metrics), None, Vec::new()).expect("it starts");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    request(&recorder, &clock);
                }
            });
        }
        // Readers read meanwhile.
        scope.spawn(|| {
            for _ in 0..20 {
                assert!(collector.store().snapshot().iter().all(|timeline| timeline.check().is_ok()));
                assert!(!metrics.snapshot().families.is_empty());
            }
        });
    });
    collector.flush();
    let counters = recorder.counters();
    assert_eq!((counters.started, counters.finished, counters.in_flight), (8_000, 8_000, 0));
    let retained = collector.store().retained();
    assert_eq!(retained.seen + counters.lost_timelines, 8_000);
    let kept = collector.store().snapshot();
    assert_eq!(collector.store().by_trace(TRACE.parse().expect("an id")).len(), kept.len());

    let mut writer = Writer::new(Vec::new(), &Header::new("gw-1", 1)).expect("a vector takes all");
    for timeline in &kept {
        writer.write(timeline).expect("a vector takes all");
    }
    let file = writer.finish().expect("a vector takes all");
    let read: Vec<_> = Reader::new(file.as_slice()).expect("a header").map(|t| t.expect("a timeline")).collect();
    assert!(read.iter().zip(&kept).all(|(read, kept)| read == &**kept) && read.len() == kept.len());
}

/// A collector of OpenTelemetry's kind, ended with the test.
struct Rotel(Child, PathBuf);

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_file(&self.1);
    }
}

/// Starts a collector that writes one signal down; its addresses for gRPC and HTTP, and its lines. None where there is
/// no collector, which some runs do not allow.
fn rotel(signal: &str) -> Option<(Rotel, [String; 2], mpsc::Receiver<String>)> {
    let Ok(agent) = std::env::var("ZERVER_TEST_ROTEL") else {
        assert!(std::env::var("ZERVER_TEST_REQUIRE").is_err(), "ZERVER_TEST_ROTEL is not set, and tools are required");
        let _ = writeln!(std::io::stderr(), "skipped: ZERVER_TEST_ROTEL does not name a rotel agent");
        return None;
    };
    let [grpc, http] = [(), ()].map(|()| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        listener.local_addr().expect("it is bound").to_string()
    });
    let pid_file = std::env::temp_dir().join(format!("zerver-rotel-{signal}-{}.pid", std::process::id()));
    let mut child = Command::new(agent)
        .args(["start", "--exporter", "blackhole", "--debug-log", signal, "--debug-log-verbosity", "detailed"])
        .args(["--otlp-grpc-endpoint", &grpc, "--otlp-http-endpoint", &http])
        .arg("--pid-file")
        .arg(&pid_file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the agent starts");
    let out = child.stdout.take().expect("its output is piped");
    let (tell, told) = mpsc::channel();
    thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    Some((Rotel(child, pid_file), [grpc, http], told))
}

fn next(lines: &mpsc::Receiver<String>) -> String {
    lines.recv_timeout(Duration::from_secs(60)).expect("the agent logs what it has received")
}

#[test]
fn a_real_collector_reads_log_records_over_both_protocols() {
    let Some((_rotel, [grpc, http], lines)) = rotel("logs") else { return };
    for (protocol, address) in [(Protocol::Grpc, grpc), (Protocol::Http, http)] {
        let said = format!("the configuration was reloaded over {protocol:?}");
        let logs = Some(Destination::at(Signal::Logs, protocol, &format!("http://{address}")));
        let exporter = Exporter::start(&ExportSettings { logs, ..ExportSettings::default() }).expect("it starts");
        let record = Record {
            unix_ns: 1_790_000_000_000_000_000,
            severity: Severity::Info,
            scope: "zerver::reload".into(),
            body: said.clone(),
            attributes: Vec::new(),
            trace_id: Some(TRACE.parse().expect("hexadecimal digits")),
            span_id: None,
            request_id: None,
        };
        Sink::offer(&exporter, Entry::Record(Box::new(record)));
        assert!(exporter.flush(Duration::from_secs(60)), "{:?}", exporter.counters());
        assert_eq!(exporter.counters().logs.sent, 1, "{:?}", exporter.counters());
        let mut read = next(&lines);
        while !read.contains(&said) || !read.contains(TRACE) {
            read.push_str(&next(&lines));
        }
        assert!(read.contains("zerver::reload") && read.contains("INFO"), "{read}");
    }
}

#[test]
fn a_real_collector_reads_metrics_whose_attributes_say_whose_they_are() {
    let Some((_rotel, [_, http], lines)) = rotel("metrics") else { return };
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    let metrics = Some(Destination::at(Signal::Metrics, Protocol::Http, &format!("http://{http}")));
    let exporter = Exporter::start(&ExportSettings { metrics, ..ExportSettings::default() }).expect("it starts");
    let settings = CollectorSettings::default();
    let collector = Collector::start(recorder.clone(), settings, Arc::default(), Some(exporter.clone()), Vec::new())
        .expect("starts");
    request(&recorder, &clock);
    collector.flush();
    assert!(exporter.flush(Duration::from_secs(60)), "{:?}", exporter.counters());
    let mut missing = std::collections::BTreeSet::from([
        "zerver.requests: zerver.route: Str(checkout)",
        "zerver.requests: http.response.status_code: Int(200)",
        "zerver.requests: zerver.outcome: Str(ok)",
        "zerver.effect.duration: zerver.effect.target: Str(quotes)",
        "zerver.promoted_episodes: zerver.job.promoted_by: Str(threshold)",
        "zerver.export.sent: zerver.export.signal: Str(metrics)",
        "http.server.request.duration: http.route: Str(/checkout/{cart})",
    ]);
    let mut metric = String::new();
    while !missing.is_empty() {
        let line = next(&lines);
        let Some(said) = line.trim().strip_prefix("-> ") else { continue };
        match said.strip_prefix("Name: ") {
            Some(name) => metric = name.to_owned(),
            None => {
                // What the collector says of its own accord begins with a capital.
                let key = said.split(':').next().unwrap_or_default();
                assert!(key.contains('.') || key.starts_with(|c: char| c.is_ascii_uppercase()), "{metric}: {said}");
                missing.remove(&*format!("{metric}: {said}"));
            }
        }
    }
    assert!(collector.stop(Duration::from_secs(2)).complete);
}

#[test]
fn a_real_collector_reads_back_what_was_recorded() {
    let Some((rotel, [grpc, _], told)) = rotel("traces") else { return };
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    let to = Destination::at(Signal::Traces, Protocol::Grpc, &format!("http://{grpc}"));
    let traces = Some(Destination { compression: Compression::Gzip, ..to });
    let settings = ExportSettings { traces, ..ExportSettings::default() };
    let exporter = Exporter::start(&settings).expect("it starts");
    let collector = Collector::start(
        recorder.clone(),
        CollectorSettings::default(),
        Arc::default(),
        Some(exporter.clone()),
        Vec::new(),
    )
    .expect("it starts");
    let ids = request(&recorder, &clock);
    collector.flush();
    // The agent may still be starting: until it listens, the batch is tried again.
    assert!(exporter.flush(Duration::from_secs(60)), "{:?}", exporter.counters());
    assert_eq!(exporter.counters().traces.sent, 4, "{:?}", exporter.counters());
    let mut read: Vec<Vec<String>> = vec![Vec::new()];
    // The call is the last span; what its only event waits for is the last thing said about it.
    while !read.last().is_some_and(|span| span.iter().any(|l| l.contains("zerver.job.waits_for: Str(quotes)"))) {
        let line = next(&told);
        if line.starts_with("Span #") {
            read.push(Vec::new());
        }
        read.last_mut().expect("one was put there").push(line.trim().to_owned());
    }
    assert_eq!(read.len(), 5, "{read:#?}");
    let has =
        |span: usize, line: &str| assert!(read[span].iter().any(|l| l == line), "no `{line}` in {:#?}", read[span]);
    has(0, "-> service.name: Str(zerver)");
    has(0, &format!("-> service.version: Str({})", env!("CARGO_PKG_VERSION")));
    let [root, step, call] = ids;
    let (root, step) = (root.to_string(), step.to_string());
    for (span, parent, name, kind, status) in [
        (1, CALLER, "GET /checkout/{cart}", "SERVER", "UNSET"),
        (2, &root, "zerver.step price", "INTERNAL", "UNSET"),
        (3, &step, "zerver.job.queue", "INTERNAL", "UNSET"),
        (4, &step, "POST", "CLIENT", "ERROR"),
    ] {
        has(span, &format!("Trace ID       : {TRACE}"));
        has(span, &format!("Parent ID      : {parent}"));
        has(span, &format!("Name           : {name}"));
        has(span, &format!("Kind           : SPAN_KIND_{kind}"));
        has(span, &format!("Status code    : STATUS_CODE_{status}"));
        has(span, "Status message :");
        has(span, "TraceState     : ot=th:c,vendor=1");
    }
    for (span, id) in [(1, &root), (2, &step), (4, &call.to_string())] {
        has(span, &format!("ID             : {id}"));
    }
    for line in ["Start time: 1000000000", "End time: 1008000000", "-> zerver.job.promoted_by: Str(threshold)"] {
        has(3, line);
    }
    for line in [
        "-> http.response.status_code: Int(200)",
        "-> http.route: Str(/checkout/{cart})",
        "-> zerver.retained.reason: Str(sampled)",
        "-> zerver.config.version: Int(3)",
    ] {
        has(1, line);
    }
    for line in [
        "-> server.port: Int(8081)",
        "-> network.peer.port: Int(8081)",
        "-> error.type: Str(503)",
        "-> zerver.job.park_wait: Double(0.002)",
    ] {
        has(4, line);
    }

    // The receiver dies: what is recorded from then on is lost, on time, and counted.
    drop(rotel);
    request(&recorder, &clock);
    let stopped = collector.stop(Duration::from_millis(300));
    let export = stopped.export.expect("there is an exporter").traces;
    assert!(stopped.complete);
    assert_eq!((export.offered, export.sent, export.dropped_for(DropCause::Shutdown)), (8, 4, 4), "{export:?}");
}
