//! A secret planted anywhere in what a request notes is found in nothing that is made of it.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use zerver_telemetry::clock::Clock;
use zerver_telemetry::event::{NodeId, NodeKind, Outcome};
use zerver_telemetry::logs::{AccessForm, Counts, Entry, Forms, RecordForm, Sink as _, Target, Writer, WriterSettings};
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::{Opening, Recorder};
use zerver_telemetry::recording;
use zerver_telemetry::redact::{Redaction, Rules};
use zerver_telemetry::sampling::Reason;
use zerver_telemetry::span::{SpanSettings, spans};

/// What every planted secret begins with, and nothing else does.
const MARK: &str = "s3cr3t";

/// A place that says of itself that it holds a secret: an attribute's key, and its value around the secret.
const TELLING: [(&str, &str); 13] = [
    ("url.query", "page=2&access_token=SECRET&x=1"),
    ("url.query", "sig=SECRET"),
    ("url.query", "promo=SECRET"),
    ("url.path", "/users/SECRET/carts"),
    ("url.path", "/reset/SECRET/now"),
    ("url.full", "https://ada:SECRET@shop/a"),
    ("http.request.header.referer", "https://shop/?code=SECRET"),
    ("header.x-internal-id", "SECRET"),
    ("header.authorization", "Bearer SECRET"),
    ("password", "SECRET"),
    ("mood", "SECRET"),
    ("note", "the password: SECRET was wrong"),
    ("http.response.header.set-cookie", "SECRET"),
];

/// A place that tells nothing; the secret is known from the other.
const SILENT: [(&str, &str); 4] = [
    ("note", "asked for SECRET twice"),
    ("url.path", "/internal/SECRET"),
    ("user_agent.original", "agent/SECRET"),
    ("zerver.stream.error", "broken: SECRET"),
];

fn rules() -> Redaction {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let rules = Rules {
        headers: list(&["x-internal-*"]),
        query: list(&["promo"]),
        path: list(&["user", "/reset/{code}/now"]),
        fields: list(&["mood"]),
        ..Rules::default()
    };
    Redaction::new(&rules).expect("the rules are sound")
}

#[test]
fn a_secret_is_in_no_timeline_recording_span_record_or_line() {
    let folder = std::env::temp_dir().join(format!("zerver-redaction-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    let forms = [
        (RecordForm::Json, AccessForm::Json),
        (RecordForm::Text, AccessForm::Common),
        (RecordForm::Text, AccessForm::Combined),
    ];
    let writers: Vec<(Writer, std::path::PathBuf)> = forms
        .iter()
        .enumerate()
        .map(|(n, (record, access))| {
            let file = folder.join(format!("{n}.log"));
            let forms = Forms { record: *record, access: *access, colour: false };
            let target = Target::File(file.clone());
            let writer = Writer::open(&target, forms, WriterSettings::default(), Arc::<Counts>::default());
            (writer.expect("the file can be made"), file)
        })
        .collect();
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    recorder.redact_by(Arc::new(rules()));
    let names = recorder.names();
    let secrets = "[A-Za-z0-9]{4,20}".prop_map(|tail| format!("{MARK}{tail}"));
    let plan = (secrets, vec(0..TELLING.len(), 1..4), vec((0..SILENT.len(), any::<bool>()), 0..4));
    let check = |(secret, telling, silent): (String, Vec<usize>, Vec<(usize, bool)>)| {
        let rec = recorder.start(clock.now(), None, true);
        rec.attr_name(NodeId::ROOT, names.intern("http.route"), names.intern("/users/{user}/carts"));
        let call = rec.open(clock.now(), Opening::running(names.intern("shop"), NodeKind::Effect, NodeId::ROOT));
        let note = |node, (key, text): (&str, &str)| {
            rec.attr_text(node, names.intern(key), &text.replace("SECRET", &secret));
        };
        // The silent places first: what is learnt later counts for them too.
        for (place, of_call) in silent {
            note(if of_call { call } else { NodeId::ROOT }, SILENT[place]);
        }
        telling.iter().for_each(|place| note(NodeId::ROOT, TELLING[*place]));
        let so_far = serde_json::to_string(&rec.so_far()).expect("a timeline is written");
        clock.advance(Duration::from_millis(1));
        rec.close(clock.now(), call, Outcome::Error, 500, names.intern("upstream_status"));
        rec.finish(clock.now(), Outcome::Ok, 200, Name::NONE);
        let timeline = Arc::new(recorder.timelines().remove(0));
        // Texts stand in either form as they are.
        let recorded = |header: recording::Header| {
            let mut recording = recording::Writer::new(Vec::new(), &header).expect("it takes all");
            recording.write(&timeline).expect("it takes all");
            let bytes = recording.finish().expect("it takes all");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert!(text.contains("http.route"), "what is not hidden can be found: {text}");
            text
        };
        let mut outputs = vec![
            ("request's own view", so_far),
            ("timeline", serde_json::to_string(&timeline).expect("a timeline is written")),
            ("recording", recorded(recording::Header::new("gw", 1))),
            ("recording of lines", recorded(recording::Header::new("gw", 1).in_lines())),
            ("spans", format!("{:?}", spans(&timeline, Reason::Sampled, &SpanSettings::default()))),
        ];
        for entry in [Entry::Request(Arc::clone(&timeline)), Entry::Steps(timeline)] {
            outputs.push(("records", format!("{:?}", entry.records())));
            writers.iter().for_each(|(writer, _)| writer.offer(entry.clone()));
        }
        for (name, output) in outputs {
            prop_assert!(!output.contains(MARK), "the {name} shows {secret}: {output}");
        }
        Ok(())
    };
    TestRunner::new(Config { cases: 512, failure_persistence: None, ..Config::default() })
        .run(&plan, check)
        .unwrap_or_else(|failure| panic!("{failure}"));
    for (writer, file) in writers {
        assert!(writer.stop(Duration::from_secs(30)));
        let lines = std::fs::read_to_string(&file).expect("it is there");
        assert!(!lines.contains(MARK), "{lines}");
        assert!(lines.lines().count() >= 1_024, "each request is a line, and its call another");
    }
    std::fs::remove_dir_all(folder).expect("it is there");
}
