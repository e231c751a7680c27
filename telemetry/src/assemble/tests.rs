//! What becomes of a logbook's records.

use super::*;
use crate::recorder::{Opening, Recorder};
use std::time::Duration;

fn read(recorder: &Recorder) -> Vec<Timeline> {
    let mut timelines = Vec::new();
    let mut assembler = Assembler::new(recorder.clock().clone(), Arc::clone(recorder.names()), recorder.redaction());
    recorder.drain(&mut Vec::new(), |book| timelines.extend(assembler.timeline(book)));
    for timeline in &timelines {
        timeline.check().expect("a timeline from a logbook holds the rules");
    }
    timelines
}

#[test]
fn a_request_with_a_step_and_an_effect_reads_back_tiled() {
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    let names = recorder.names().clone();
    let rec = recorder.start(clock.now(), None, false);
    rec.route(names.intern("checkout"), names.intern("checkout"), 3);
    clock.advance(Duration::from_millis(1));
    let step = rec.open(clock.now(), Opening::running(names.intern("price"), NodeKind::Step, NodeId::ROOT));
    rec.state(clock.now(), NodeId::ROOT, Cause::Join, Name::NONE, None);
    let effect = rec.open(
        clock.now(),
        Opening::running(names.intern("quotes"), NodeKind::Effect, step)
            .in_state(Cause::Permit, names.intern("quotes")),
    );
    rec.state(clock.now(), step, Cause::Join, Name::NONE, None);
    clock.advance(Duration::from_millis(5));
    rec.state(clock.now(), effect, Cause::Io, names.intern("quotes"), None);
    rec.attr_text(effect, names.intern("peer"), "127.0.0.1:9");
    rec.attr_int(effect, names.intern("size"), 42);
    clock.advance(Duration::from_millis(10));
    rec.close(clock.now(), effect, Outcome::Ok, 200, Name::NONE);
    rec.state(clock.now(), step, Cause::Worker, Name::NONE, Some(effect));
    clock.advance(Duration::from_millis(2));
    rec.state(clock.now(), step, Cause::Run, Name::NONE, None);
    rec.close(clock.now(), step, Outcome::Ok, 0, Name::NONE);
    rec.state(clock.now(), NodeId::ROOT, Cause::Run, Name::NONE, Some(step));
    clock.advance(Duration::from_millis(1));
    rec.finish(clock.now(), Outcome::Ok, 200, Name::NONE);

    let timelines = read(&recorder);
    let t = &timelines[0];
    assert_eq!((&*t.route, t.config_version, t.status, t.latency_ns), ("checkout", 3, 200, 19_000_000));
    assert_eq!(t.path(NodeId(2)), "price.quotes");
    let split = t.nodes[2].split();
    assert_eq!((split.queue_ns, split.park_ns, split.run_ns), (5_000_000, 10_000_000, 0));
    assert_eq!(t.nodes[1].split().queue_ns, 2_000_000);
    assert_eq!(t.root().split().total_ns(), t.latency_ns);
    assert_eq!(t.nodes[2].attr("peer").unwrap().to_string(), "127.0.0.1:9");
    let text = serde_json::to_string(t).unwrap();
    assert_eq!(&serde_json::from_str::<Timeline>(&text).unwrap(), t);
}

#[test]
fn an_abandoned_request_is_cancelled_and_its_nodes_with_it() {
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    let rec = recorder.start(clock.now(), None, true);
    rec.open(clock.now(), Opening::running(recorder.names().intern("price"), NodeKind::Step, NodeId::ROOT));
    clock.advance(Duration::from_millis(3));
    drop(rec);
    let t = read(&recorder).remove(0);
    assert_eq!((t.outcome, t.nodes[1].outcome, t.latency_ns), (Outcome::Cancelled, Outcome::Cancelled, 3_000_000));
    assert_eq!(recorder.counters().in_flight, 0);
}

#[test]
fn span_ids_are_those_handed_out_even_where_an_opening_was_lost() {
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    let rec = recorder.start(clock.now(), None, true);
    let name = recorder.names().intern("quotes");
    let opening = Opening::running(name, NodeKind::Effect, NodeId::ROOT);
    // A number taken by a task that never came to write its opening leaves a hole before the next.
    rec.skip_node_number();
    let effect = rec.open(clock.now(), opening);
    let sent = rec.span_id(effect);
    rec.finish(clock.now(), Outcome::Ok, 200, Name::NONE);
    let t = read(&recorder).remove(0);
    assert_eq!((effect, t.nodes[1].id, t.nodes[1].span_id), (NodeId(2), NodeId(1), sent));
    assert_eq!(t.root().span_id, t.span_id);
}

#[test]
fn a_streaming_request_keeps_every_nanosecond() {
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    let out = recorder.names().intern("client");
    let rec = recorder.start(clock.now(), None, false);
    for n in 0..50_000_u64 {
        clock.advance(Duration::from_nanos(n % 7));
        let cause = if n % 2 == 0 { Cause::Write } else { Cause::Run };
        rec.state(clock.now(), NodeId::ROOT, cause, out, None);
    }
    rec.finish(clock.now(), Outcome::Ok, 200, Name::NONE);
    let t = read(&recorder).remove(0);
    assert!(t.root().states.iter().any(|s| s.folded && s.cause == Cause::Write));
    assert_eq!((t.root().split().total_ns(), t.lost_events), (t.latency_ns, 0));
}

#[test]
fn a_logbook_still_held_elsewhere_is_not_reused() {
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    let rec = recorder.start(clock.now(), None, false);
    let late = (*rec).clone();
    rec.finish(clock.now(), Outcome::Ok, 200, Name::NONE);
    read(&recorder);
    let next = recorder.start(clock.now(), None, false);
    late.open(clock.now(), Opening::running(Name::NONE, NodeKind::Step, NodeId::ROOT));
    next.finish(clock.now(), Outcome::Ok, 200, Name::NONE);
    assert_eq!((read(&recorder).remove(0).nodes.len(), recorder.counters().logbooks), (1, 2));
}

#[test]
fn the_pool_serves_a_steady_load_without_new_logbooks() {
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    for _ in 0..100 {
        recorder.start(clock.now(), None, false).finish(clock.now(), Outcome::Ok, 200, Name::NONE);
        read(&recorder);
    }
    assert_eq!(recorder.counters().logbooks, 1);
}

#[test]
fn a_state_that_stands_before_its_nodes_opening_is_not_lost() {
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    let rec = recorder.start(clock.now(), None, false);
    let opening = |parent| Event::Open {
        node: NodeId::ROOT,
        name: Name::NONE,
        kind: NodeKind::Step,
        parent: Some(parent),
        after: None,
        attempt: 1,
        occurrence: 1,
        cause: Cause::Run,
        cause_name: Name::NONE,
    };
    let book = rec.book();
    let ms = |n: u64| Ticks(clock.now().0 + n * 1_000_000);
    // Another thread opens the node, in a block of its own; this one has a place left before it.
    let node = NodeId(16);
    let state = |cause| Event::State { node, cause, name: Name::NONE, woken_by: None, worker: 0 };
    rec.state(ms(4), node, Cause::Io, Name::NONE, None);
    assert_eq!(book.write_by(u32::MAX, ms(2), opening(NodeId::ROOT)), Some(16));
    book.write_by(u32::MAX, ms(3), state(Cause::Timer));
    rec.close(ms(5), node, Outcome::Ok, 0, Name::NONE);
    rec.finish(ms(6), Outcome::Ok, 200, Name::NONE);
    let t = read(&recorder).remove(0);
    let causes: Vec<(Cause, u64)> = t.nodes[1].states.iter().map(|state| (state.cause, state.len_ns())).collect();
    assert_eq!(causes, [(Cause::Run, 1_000_000), (Cause::Timer, 1_000_000), (Cause::Io, 1_000_000)]);
}

/// A request of a kind that `n` chooses: with few nodes or many, texts or none, a stream, an abandoned one.
fn varied(recorder: &Recorder, clock: &Clock, n: u64) {
    let names = recorder.names();
    let every = |k: u64| n.is_multiple_of(k);
    let rec = recorder.start(clock.now(), None, every(2));
    if !every(3) {
        rec.route(names.intern("checkout"), if every(2) { names.intern("flow") } else { Name::NONE }, 1);
    }
    for step in 0..n % 5 {
        clock.advance(Duration::from_micros(n + step));
        let opening =
            Opening::running(names.intern(["price", "cart"][(step % 2) as usize]), NodeKind::Step, NodeId::ROOT);
        let node = rec.open(clock.now(), opening);
        rec.attr_text(
            node,
            names.intern("tenant"),
            ["acme", "globex, who is longer", "token=abcdefgh"][((n + step) % 3) as usize],
        );
        rec.attr_int(node, names.intern("size"), (n * step).cast_signed());
        clock.advance(Duration::from_micros(3));
        rec.state(clock.now(), node, Cause::Io, if every(2) { names.intern("quotes") } else { Name::NONE }, None);
        if step % 2 == 0 {
            clock.advance(Duration::from_micros(9));
            let error = if every(4) { names.intern("refused") } else { Name::NONE };
            rec.close(clock.now(), node, Outcome::Error, 502, error);
        }
    }
    if every(7) {
        rec.fold(clock.now(), Cause::Write, names.intern("client"));
        clock.advance(Duration::from_micros(11));
        rec.state(clock.now(), NodeId::ROOT, Cause::Run, Name::NONE, None);
    }
    clock.advance(Duration::from_micros(5));
    if every(6) { drop(rec) } else { rec.finish(clock.now(), Outcome::Ok, 200, Name::NONE) }
}

#[test]
fn nothing_of_one_request_is_left_in_the_timeline_of_the_next() {
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    for n in (0..40).chain((0..40).rev()) {
        varied(&recorder, &clock, n);
    }
    let (mut again, mut reused) = (recorder.assembler(), blank());
    let mut seen = 0;
    recorder.drain(&mut Vec::new(), |book| {
        assert!(again.read(book, &mut reused));
        assert_eq!(Some(&reused), recorder.assembler().timeline(book).as_ref());
        reused.check().expect("it holds the rules");
        seen += 1;
    });
    assert_eq!(seen, 80);
}
