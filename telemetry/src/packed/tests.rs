//! What is packed comes out as it went in; what is no packed timeline is refused, whatever it is.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::form::KINDS;
use super::*;
use crate::clock::Clock;
use crate::event::{Cause, NodeId, NodeKind, Outcome};
use crate::id::{SpanId, TraceId, span_id};
use crate::names::Name;
use crate::recorder::{Opening, Recorder};
use crate::timeline::{Kept, Node, PromotedBy, State, Timeline, Value};

fn packed(timeline: &Timeline, dictionary: &mut Dictionary) -> Vec<u8> {
    let mut out = Vec::new();
    pack(timeline, dictionary, &mut out);
    out
}

fn check(timeline: &Timeline) -> usize {
    let mut dictionary = Dictionary::new();
    let bytes = packed(timeline, &mut dictionary);
    let read = unpack(&bytes, &dictionary.words()).expect("what was packed is unpacked");
    // Bit by bit: a number that is none equals nothing, itself included.
    assert_eq!(packed(&read, &mut dictionary), bytes);
    assert_eq!(format!("{read:?}"), format!("{timeline:?}"));
    bytes.len()
}

/// The request of the benchmarks: 4 steps, 6 effects, 46 records, each of so many microseconds.
fn request(recorder: &Recorder, clock: &Clock, us: u64) -> Timeline {
    let names = recorder.names();
    let tick = || {
        clock.advance(Duration::from_nanos(us * 1_000 + 377));
        clock.now()
    };
    let log = recorder.start(clock.now(), None, false);
    let route = names.intern("checkout");
    log.route(route, route, 1);
    log.state(tick(), NodeId::ROOT, Cause::Join, Name::NONE, None);
    let targets = [&["users", "carts"][..], &["stock", "prices"], &["tax"], &["mail"]];
    let mut before = None;
    for (step, targets) in ["auth", "cart", "quote", "respond"].into_iter().zip(targets) {
        let opening = Opening::running(names.intern(step), NodeKind::Step, NodeId::ROOT).after(before);
        let step = log.open(clock.now(), opening.in_state(Cause::Worker, Name::NONE));
        log.state(tick(), step, Cause::Run, Name::NONE, None);
        let calls: Vec<NodeId> = targets
            .iter()
            .map(|target| {
                let target = names.intern(target);
                let opening = Opening::running(target, NodeKind::Effect, step).in_state(Cause::Io, target);
                let call = log.open(tick(), opening);
                log.attr_name(call, names.intern("peer"), names.intern(targets[0]));
                call
            })
            .collect();
        log.state(tick(), step, Cause::Join, Name::NONE, None);
        for call in &calls {
            log.close(tick(), *call, Outcome::Ok, 200, Name::NONE);
        }
        log.state(clock.now(), step, Cause::Worker, Name::NONE, calls.last().copied());
        log.state(tick(), step, Cause::Run, Name::NONE, None);
        log.close(tick(), step, Outcome::Ok, 0, Name::NONE);
        before = Some(step);
    }
    log.state(clock.now(), NodeId::ROOT, Cause::Run, Name::NONE, before);
    log.finish(tick(), Outcome::Ok, 200, Name::NONE);
    recorder.timelines().remove(0)
}

#[test]
fn a_request_of_46_records_takes_at_most_300_bytes() {
    let clock = Clock::manual();
    let recorder = Recorder::for_tests(clock.clone());
    for (us, at_most) in [(1, 260), (1_000, 300)] {
        let timeline = request(&recorder, &clock, us);
        timeline.check().expect("it is sound");
        assert_eq!(timeline.nodes.len(), 11);
        let bytes = check(&timeline);
        assert!(bytes <= at_most, "{bytes} bytes at {us} us a record");
    }
}

#[test]
fn numbers_of_spans_need_not_be_places() {
    let mut timeline = crate::timeline::sample();
    timeline.span_id = span_id(77, 0);
    for (node, ordinal) in timeline.nodes.iter_mut().zip([0, 1, 7, 3, u16::MAX]) {
        node.span_id = span_id(77, ordinal);
    }
    let dense = check(&timeline);
    timeline.nodes[2].span_id = SpanId(0);
    timeline.nodes[3].span_id = SpanId(5);
    assert_eq!(check(&timeline), dense + 8, "only what follows from nothing is written out");
}

#[test]
fn anything_can_be_packed() {
    let sample = crate::timeline::sample();
    check(&sample);
    check(&Timeline { nodes: Vec::new(), ..sample.clone() });
    check(&Timeline { latency_ns: 1, kept: vec![Kept::Slow, Kept::Recent, Kept::Slow], ..sample.clone() });
    let floats = [f64::NAN, -0.0, f64::MIN_POSITIVE, f64::from_bits(0x7ff0_dead_beef_0001)];
    let mut odd = Timeline { weight: f32::from_bits(0x7fa0_0001), ..sample };
    odd.nodes[1].attrs = floats.map(|x| ("x".into(), Value::Float(x))).to_vec();
    check(&odd);
}

/// Recordings outlive the build that wrote them: another form has another number, and the old one stays readable.
#[test]
fn the_form_is_the_documented_one() {
    let mut dictionary = Dictionary::new();
    let bytes = packed(&crate::timeline::sample(), &mut dictionary);
    let document = include_str!("../../../docs/timeline.md");
    let hex: String = bytes[..42].iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(document.contains(&format!("`{hex}`")), "docs/timeline.md shows the beginning of its example: {hex}");
    let mut sum = flate2::Crc::new();
    sum.update(&bytes);
    assert_eq!((VERSION, bytes.len(), sum.sum()), (1, 474, 3_359_972_517));
}

#[test]
fn it_says_what_is_wrong() {
    let mut dictionary = Dictionary::new();
    let sound = packed(&crate::timeline::sample(), &mut dictionary);
    let words = dictionary.words();
    let refusal = |bytes: &[u8]| unpack(bytes, &words).expect_err("it is damaged").to_string();
    assert_eq!(refusal(&[9]), "byte 1 of the packed timeline: another version of the form");
    assert_eq!(refusal(&sound[..20]), "byte 20 of the packed timeline: it ends too early");
    assert!(refusal(&[&sound[..], &[0]].concat()).ends_with("bytes follow its end"));
    let unknown = unpack(&sound, &words[..3]).expect_err("words are missing").to_string();
    assert!(unknown.ends_with("there is no word of this number"), "{unknown}");
}

#[test]
fn memory_is_taken_for_what_there_is() {
    let mut dictionary = Dictionary::new();
    let mut timeline = crate::timeline::sample();
    timeline.nodes.truncate(1);
    let state =
        State { promoted: None, woken_by: None, name: None, worker: None, ..timeline.nodes[0].states[1].clone() };
    timeline.nodes[0].states = vec![state; PARTS_MAX];
    let bytes = packed(&timeline, &mut dictionary);
    let error = unpack(&bytes, &dictionary.words()).expect_err("there are too many");
    assert_eq!(error.what, "it has too many nodes, states and attributes");
    timeline.nodes[0].states.clear();
    timeline.nodes[0].attrs.clear();
    timeline.nodes = vec![timeline.nodes.remove(0); form::NODES_MAX + 1];
    assert!(!fits(&timeline));
    let bytes = packed(&timeline, &mut dictionary);
    let error = unpack(&bytes, &dictionary.words()).expect_err("there are too many");
    assert_eq!(error.what, "it has more nodes than there are numbers for");
    timeline.nodes.pop();
    let bytes = packed(&timeline, &mut dictionary);
    assert_eq!(unpack(&bytes, &dictionary.words()).expect("that many are read").nodes.len(), form::NODES_MAX);
}

fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![Just(Arc::from("")), "[a-f]{1,3}".prop_map(Arc::from), ".{0,12}".prop_map(Arc::from),]
}

fn ns() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..1_000, any::<u32>().prop_map(u64::from), any::<u64>()]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        text().prop_map(Value::Text),
    ]
}

/// Any state; `true` makes it one that tiles.
fn state() -> impl Strategy<Value = (State, bool)> {
    let promoted = prop_oneof![
        3 => Just(None),
        1 => Just(Some(PromotedBy::Threshold)),
        1 => Just(Some(PromotedBy::Adaptive)),
        1 => Just(Some(PromotedBy::Debug)),
    ];
    let optional = (prop::option::of(text()), prop::option::of(any::<u16>()), prop::option::of(0_u16..70));
    (ns(), ns(), 0..Cause::ALL.len(), optional, promoted, any::<bool>(), prop::bool::weighted(0.9)).prop_map(
        |(from_ns, to_ns, cause, (name, woken_by, worker), promoted, folded, tiles)| {
            let cause = Cause::ALL[cause];
            (State { from_ns, to_ns, cause, name, woken_by: woken_by.map(NodeId), worker, promoted, folded }, tiles)
        },
    )
}

fn ending() -> impl Strategy<Value = (Outcome, u16, Option<Arc<str>>)> {
    let status = prop_oneof![Just(0), Just(200), Just(404), any::<u16>()];
    (0..Outcome::ALL.len(), status, prop::option::of(text()))
        .prop_map(|(n, status, error)| (Outcome::ALL[n], status, error))
}

fn node() -> impl Strategy<Value = Node> {
    let numbers = (any::<u16>(), prop::option::of(0_u16..20), prop::option::of(0_u16..20), 1_u16..4, 1_u16..4);
    let states = prop::collection::vec(state(), 0..5);
    let attrs = prop::collection::vec((text(), value()), 0..4);
    let times = (ns(), ns(), prop::bool::weighted(0.8));
    (numbers, text(), 0..KINDS.len(), times, ending(), states, attrs, (0_u8..4, any::<u64>(), any::<u16>())).prop_map(
        |((id, parent, after, attempt, occurrence), name, kind, (start_ns, end_ns, ends), end, states, attrs, span)| {
            let mut at = start_ns;
            let states: Vec<State> = states
                .into_iter()
                .map(|(mut state, tiles)| {
                    if tiles {
                        state.from_ns = at;
                        state.to_ns = at.saturating_add(state.to_ns);
                    }
                    at = state.to_ns;
                    state
                })
                .collect();
            let span_id = match span {
                (0, any, _) => SpanId(any),
                (1, ..) => SpanId(0),
                (_, _, ordinal) => span_id(SEED, ordinal),
            };
            let (outcome, status, error) = end;
            Node {
                id: NodeId(id),
                span_id,
                parent: parent.map(NodeId),
                after: after.map(NodeId),
                name,
                kind: KINDS[kind],
                attempt,
                occurrence,
                start_ns,
                end_ns: if ends { at } else { end_ns },
                outcome,
                status,
                error,
                states,
                attrs,
            }
        },
    )
}

const SEED: u64 = 0x0123_4567_89ab_cdef;

/// Any timeline, sound or not; with `true` its nodes have their places as numbers and follow each other's spans.
fn timeline() -> impl Strategy<Value = Timeline> {
    let ids = (any::<u64>(), any::<u128>(), any::<u64>(), prop::option::of(any::<u64>()), any::<bool>());
    let kept = prop::collection::vec(0_usize..4, 0..5);
    let weight = prop_oneof![Just(1.0_f32), Just(0.0), Just(8.0), any::<u32>().prop_map(f32::from_bits)];
    let rest = (any::<u32>(), any::<u64>(), ns(), weight, kept, prop_oneof![Just(0_u32), any::<u32>()]);
    let nodes = prop::collection::vec(node(), 0..6);
    (ids, (text(), prop::option::of(text()), any::<bool>()), rest, ending(), nodes, any::<bool>()).prop_map(
        |((seq, trace, span, parent, sampled), (route, flow, same), rest, end, mut nodes, regular)| {
            let (config_version, start_unix_ns, latency_ns, weight, kept, lost_events) = rest;
            let (outcome, status, error) = end;
            if regular {
                for (place, node) in nodes.iter_mut().enumerate() {
                    (node.id, node.span_id) = (NodeId(place as u16), span_id(SEED, place as u16));
                }
            }
            let ours = if regular { span_id(SEED, 0) } else { SpanId(span) };
            let kept = kept.into_iter().map(|n| [Kept::Recent, Kept::Uniform, Kept::Slow, Kept::Error][n]).collect();
            let mut timeline = Timeline {
                seq,
                trace_id: TraceId(trace),
                span_id: ours,
                parent_span_id: parent.map(SpanId),
                sampled,
                flow: if same { Some(Arc::clone(&route)) } else { flow },
                route,
                config_version,
                start_unix_ns,
                latency_ns,
                outcome,
                status,
                error,
                weight,
                kept,
                lost_events,
                nodes,
            };
            if let Some(first) = timeline.nodes.first().filter(|_| regular) {
                (timeline.latency_ns, timeline.outcome, timeline.status) = (first.end_ns, first.outcome, first.status);
                timeline.error.clone_from(&first.error);
            }
            timeline
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_out_went_in(timelines in prop::collection::vec(timeline(), 1..4)) {
        let mut dictionary = Dictionary::new();
        let mut repeating = Dictionary::with_repeats();
        let all: Vec<_> =
            timelines.iter().map(|one| (packed(one, &mut dictionary), packed(one, &mut repeating))).collect();
        for (timeline, (bytes, repeated)) in timelines.iter().zip(all) {
            let read = unpack(&bytes, &dictionary.words()).expect("what was packed is unpacked");
            prop_assert_eq!(format!("{timeline:?}"), format!("{read:?}"));
            prop_assert_eq!(packed(&read, &mut dictionary), bytes);
            prop_assert_eq!(unpack(&repeated, &repeating.words()).map(|read| format!("{read:?}")), Ok(format!("{timeline:?}")));
        }
    }

    /// Damaged bytes are refused or are another timeline, which can be packed and unpacked like any other.
    #[test]
    fn damage_is_no_danger(
        timeline in timeline(),
        wounds in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut dictionary = Dictionary::new();
        let mut bytes = packed(&timeline, &mut dictionary);
        for (at, byte) in wounds {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        if let Ok(read) = unpack(&bytes, &dictionary.words()) {
            check(&read);
        }
    }

    #[test]
    fn any_bytes_are_no_danger(mut bytes in prop::collection::vec(any::<u8>(), 0..400), small in any::<bool>()) {
        if let Some(first) = bytes.first_mut() {
            *first = VERSION;
        }
        if small {
            bytes.iter_mut().skip(40).for_each(|byte| *byte &= 7);
        }
        if let Ok(read) = unpack(&bytes, &["a".into(), "b".into()]) {
            check(&read);
        }
    }
}
