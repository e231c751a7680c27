//! The recorder by itself: time and allocations per event and per request, with the clock's share told apart.

use std::error::Error;
use std::hint::black_box;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use zerver_telemetry::clock::{Clock, Ticks};
use zerver_telemetry::collector::{Collector, CollectorSettings};
use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::id::IdSource;
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::{Opening, Recorder, RecorderSettings, Recording};

use crate::alloc;
use crate::length::Length;
use crate::machine::Threads;
use crate::race::{Runner, race};
use crate::sample::Sample;
use crate::table::{Row, Table};
use crate::telemetry::request::{self, RECORDS, Stamps, Words};

/// Events of one kind in a request that has only those: below the number from which states are folded.
const EVENTS: u64 = 400;
/// Texts of eight bytes in a request: as many as it has room for.
const TEXTS: u64 = 60;
/// Requests between two looks of the collector: those of 20,000 a second, at its 50 ms.
const BATCH: u64 = 1_000;

/// Measures the recorder into `table`.
pub(super) fn measure(table: &mut Table, length: Length) -> Result<(), Box<dyn Error>> {
    let rounds = if length == Length::Quick { 40 } else { 600 };
    hot(table, rounds);
    events(table, rounds / 2);
    allocations(table);
    collected(table, if length == Length::Quick { 40 } else { 240 })
}

/// The request's own path: what the thread that serves it pays, the hand-over to the ring included.
fn hot(table: &mut Table, rounds: usize) {
    let (real, manual) = (Clock::real(), Clock::manual());
    let (on_real, on_manual, cold) = (warm(&real), warm(&manual), Recorder::for_tests(real.clone()));
    let (words, manual_words) = (Words::new(on_real.names()), Words::new(on_manual.names()));
    let cold_words = Words::new(cold.names());
    let shared_count = AtomicU32::new(0);
    let [empty, add, clock, per_record, shared, no_clock, bare, in_memory] = race(
        &real,
        rounds,
        [
            Runner::new(|times| {
                for n in 0..times {
                    black_box(n);
                }
            }),
            Runner::new(|times| {
                for _ in 0..times {
                    black_box(shared_count.fetch_add(1, Relaxed));
                }
            }),
            Runner::new(|times| {
                for _ in 0..times {
                    black_box(real.now());
                }
            }),
            Runner::new(|times| (0..times).for_each(|_| request::record(&on_real, &words, Stamps::Each, false))),
            Runner::new(|times| (0..times).for_each(|_| request::record(&on_real, &words, Stamps::Shared, false))),
            Runner::new(|times| {
                (0..times).for_each(|_| request::record(&on_manual, &manual_words, Stamps::Each, false))
            }),
            Runner::new(|times| (0..times).for_each(|_| finish(&on_manual, begin(&on_manual)))),
            Runner::new(|times| (0..times).for_each(|_| request::record(&cold, &cold_words, Stamps::Shared, false))),
        ],
    );
    let (each, few) = (Stamps::Each.reads(), Stamps::Shared.reads());
    table.add(Row::new("empty loop, one turn", empty, "ns"));
    table.add(Row::new("atomic add: one (16 records need one)", add.clone(), "ns"));
    table.add(Row::new("clock: one read", clock.clone(), "ns"));
    table.add(
        Row::new(format!("request of {RECORDS} records, {few} clock reads (as flows write)"), shared.clone(), "ns")
            .against("clock reads alone", few as f64 * clock.median())
            .at_most(1200.0),
    );
    table.add(
        Row::new(format!("request of {RECORDS} records, a clock read each ({each})"), per_record.clone(), "ns")
            .against("clock reads alone", each as f64 * clock.median())
            .at_most(1200.0),
    );
    table.add(
        Row::new(
            format!("request of {RECORDS} records, {few} clock reads, logbooks not in the cache"),
            in_memory,
            "ns",
        )
        .against("logbooks in the cache", shared.median())
        .at_most(1200.0),
    );
    table.add(Row::new(format!("request of {RECORDS} records, a clock that stands still"), no_clock.clone(), "ns"));
    table.add(Row::new("of it: begin, finish and hand over", bare.clone(), "ns"));
    let one = per_record.times(1.0 / RECORDS as f64);
    let one_bare = no_clock.with(&bare, |all, ends| (all - ends) / (RECORDS - 2) as f64);
    table.add(Row::new("record, with its own clock read", one.clone(), "ns").at_most(26.0));
    table.add(
        Row::new("record, with its own clock read, against the read", one.over(&clock), "x")
            .against("one clock read, ns", clock.median())
            .at_most(1.4),
    );
    table.add(
        Row::new("record, without the clock", one_bare, "ns").against("one atomic add, ns", add.median()).at_most(5.0),
    );
    table.add(Row::new(
        "clock's share of the request (a read each)",
        per_record.with(&no_clock, |a, b| 1.0 - b / a),
        "part",
    ));
}

/// One kind of event at a time, at a moment that is known: what the clock costs stands above.
fn events(table: &mut Table, rounds: usize) {
    let clock = Clock::manual();
    let recorder = warm(&clock);
    let words = Words::new(recorder.names());
    let at = clock.now();
    let (recorder, words) = (&recorder, &words);
    let with = |count: u64, event: fn(&Recording, NodeId, Ticks, &Words)| {
        Runner::new(move |times| {
            for _ in 0..times {
                let recording = begin(recorder);
                let node = recording.open(at, Opening::running(words.steps[0], NodeKind::Step, NodeId::ROOT));
                for _ in 0..count {
                    event(&recording, node, at, words);
                }
                finish(recorder, recording);
            }
        })
    };
    let [none, state, root_state, int, text, child] = race(
        &Clock::real(),
        rounds,
        [
            with(0, |_, _, _, _| ()),
            with(EVENTS, |log, node, at, _| log.state(at, node, Cause::Run, Name::NONE, None)),
            with(EVENTS, |log, _, at, _| log.state(at, NodeId::ROOT, Cause::Run, Name::NONE, None)),
            with(EVENTS, |log, node, _, words| log.attr_int(node, words.attribute, 7)),
            with(TEXTS, |log, node, _, words| log.attr_text(node, words.attribute, "10.0.0.1")),
            with(EVENTS / 2, |log, _, at, words| {
                let node = log.open(at, Opening::running(words.targets[0], NodeKind::Effect, NodeId::ROOT));
                log.close(at, node, Outcome::Ok, 200, Name::NONE);
            }),
        ],
    );
    let kinds = [
        ("state of a step or effect", state, EVENTS),
        ("state of the request itself", root_state, EVENTS),
        ("attribute, a number", int, EVENTS),
        ("attribute, a text of 8 bytes", text, TEXTS),
        ("opening or end of a node", child, EVENTS),
    ];
    for (name, sample, count) in kinds {
        let per = sample.with(&none, |all, ends| (all - ends) / count as f64);
        table.add(Row::new(format!("event without the clock: {name}"), per, "ns").at_most(5.0));
    }
}

/// Allocations of the request's own path, once the pool is warm.
fn allocations(table: &mut Table) {
    let recorder = Recorder::for_tests(Clock::real());
    let words = Words::new(recorder.names());
    let go = |requests: u64| (0..requests).for_each(|_| request::record(&recorder, &words, Stamps::Each, false));
    // More than the ring holds: from here on each logbook was used before.
    go(20_000);
    let seen = alloc::counted(|| go(10_000));
    table.add(Row::new("allocations per request, its own path", seen.calls as f64 / 10_000.0, "").at_most(0.0));
    table.add(
        Row::new("allocations per event, its own path", seen.calls as f64 / (10_000 * RECORDS) as f64, "").at_most(0.0),
    );
}

/// The whole way: recorded, handed over, and made a timeline, metrics and a kept example by the collector's thread.
fn collected(table: &mut Table, batches: u64) -> Result<(), Box<dyn Error>> {
    let clock = Clock::real();
    let recorder = Recorder::for_tests(clock.clone());
    let words = Words::new(recorder.names());
    // It looks only when it is asked to, so that no look falls between two stamps.
    let settings = CollectorSettings { interval: std::time::Duration::from_secs(3_600), ..Default::default() };
    let collector = Collector::start(recorder.clone(), settings, Arc::default(), None, Vec::new())?;
    let batch = || {
        let began = clock.now();
        (0..BATCH).for_each(|_| request::record(&recorder, &words, Stamps::Shared, false));
        let hot = clock.nanos_between(began, clock.now()) as f64 / BATCH as f64;
        collector.flush();
        hot
    };
    // Until the store is full and every logbook was used before.
    for _ in 0..30 {
        batch();
    }
    let (mut hot, mut background) = (Sample::default(), Sample::default());
    for _ in 0..batches {
        let before = Threads::of(process::id())?;
        hot.0.push(batch());
        let used = Threads::of(process::id())?.since(&before, "zerver-collect");
        background.0.push(used.as_nanos() as f64 / BATCH as f64);
    }
    let total = hot.with(&background, |a, b| a + b);
    let seen = alloc::counted(|| {
        for _ in 0..4 {
            batch();
        }
    });
    let per_request = |count: u64| count as f64 / (4 * BATCH) as f64;
    table.add(Row::new("request's own path, with a collector that takes all of them", hot, "ns").at_most(1200.0));
    table.add(
        Row::new("CPU per request on the collector's thread", background.clone(), "ns")
            .against("own path and collector, ns", total.median()),
    );
    table.add(Row::new("allocations per request, all threads", per_request(seen.calls), "").at_most(0.0));
    table.add(Row::new("bytes allocated per request, all threads", per_request(seen.bytes), "B"));
    let lost = recorder.counters().lost_timelines;
    table.add(Row::new("timelines lost meanwhile", lost as f64, "").at_most(0.0));
    Ok(())
}

/// A recorder of so few logbooks that they stay in the processor's cache, as they do in a gateway that is not busy. The
/// default ring holds 8,192, each of which is used again only after all the others.
fn warm(clock: &Clock) -> Recorder {
    let settings = RecorderSettings { ring: 64, ..RecorderSettings::default() };
    Recorder::new(clock.clone(), Arc::default(), IdSource::new(1), &settings)
}

fn begin(recorder: &Recorder) -> Recording {
    recorder.start(recorder.clock().now(), None, false)
}

fn finish(recorder: &Recorder, recording: Recording) {
    recording.finish(recorder.clock().now(), Outcome::Ok, 200, Name::NONE);
}
