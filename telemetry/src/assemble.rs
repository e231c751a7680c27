//! From a logbook's flat records to a [`Timeline`]: nodes with states that tile their lives.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::clock::{Clock, Ticks};
use crate::event::{Cause, Event, NodeId, NodeKind, Outcome, RawValue};
use crate::id::{SpanId, TraceId, span_id};
use crate::logbook::{Logbook, SAMPLED};
use crate::names::{Name, Names};
use crate::redact::Redactor;
use crate::timeline::{Node, State, Timeline, Value};

/// Reads one finished logbook. None when it holds no request (which a recorder never hands over).
///
/// Nodes that never closed (their task was dropped) are closed with the request as cancelled. A node whose opening
/// found no room in the logbook is left out, and so are its states; [`Timeline::lost_events`] says so.
///
/// This is the one way from a logbook to what anybody reads, so what must not be shown is redacted here: off the request's
/// path, and before any reader could forget it.
pub(crate) fn timeline(book: &Logbook, clock: &Clock, names: &Names, redactor: &mut Redactor) -> Option<Timeline> {
    until(book, clock, names, redactor, None)
}

/// Reads a logbook that is still written to, as if its request ended well at `now`.
pub(crate) fn so_far(
    book: &Logbook,
    clock: &Clock,
    names: &Names,
    redactor: &mut Redactor,
    now: Ticks,
) -> Option<Timeline> {
    until(book, clock, names, redactor, Some(now))
}

fn until(
    book: &Logbook,
    clock: &Clock,
    names: &Names,
    redactor: &mut Redactor,
    now: Option<Ticks>,
) -> Option<Timeline> {
    let text = |name: Name| (name != Name::NONE).then(|| names.get(name));
    let mut drafts: Vec<Draft> = Vec::new();
    let mut places: Vec<Option<u16>> = Vec::new();
    for (at, event) in book.events() {
        match event {
            Event::Open { node, .. } => {
                let number = usize::from(node.0);
                if places.len() <= number {
                    places.resize(number + 1, None);
                }
                places[number] = Some(u16::try_from(drafts.len()).ok()?);
                drafts.push(Draft::open(at, event)?);
            }
            Event::State { node, cause, name, woken_by, worker } => {
                if let Some(draft) = find(&mut drafts, &places, node) {
                    draft.marks.push(Mark { at, cause, name, woken_by, worker });
                }
            }
            Event::Close { node, outcome, status, error } => {
                if let Some(draft) = find(&mut drafts, &places, node) {
                    draft.close.get_or_insert((at, outcome, status, error));
                }
            }
            Event::Attr { node, key, value } => {
                if let Some(draft) = find(&mut drafts, &places, node) {
                    draft.attrs.push((key, value));
                }
            }
            Event::Fold { node, cause, name, ticks } => {
                if let Some(draft) = find(&mut drafts, &places, node) {
                    draft.folds.push((at, cause, name, ticks));
                }
            }
        }
    }
    let root = drafts.first().filter(|draft| draft.kind == NodeKind::Request)?;
    let start = root.at;
    let open = now.map_or((start, Outcome::Cancelled), |now| (now, Outcome::Ok));
    let (end, outcome, status, error) = root.close.unwrap_or((open.0, open.1, 0, Name::NONE));
    let (outcome, status, error) = (outcome, status, text(error));
    // Numbers become places: a node whose opening was lost leaves no hole.
    let place = |node: Option<NodeId>| node.and_then(|n| places.get(usize::from(n.0)).copied().flatten()).map(NodeId);
    let ns = |at: Ticks| clock.nanos_between(start, at);
    let seed = book.seed.load(Relaxed);
    let mut nodes: Vec<Node> = drafts
        .iter()
        .enumerate()
        .map(|(number, draft)| {
            let (end, outcome, status, error) = draft.close.unwrap_or((end.max(draft.at), open.1, 0, Name::NONE));
            let end_ns = ns(end.max(draft.at));
            let value = |raw: &RawValue| match *raw {
                RawValue::Int(n) => Value::Int(n),
                RawValue::Float(x) => Value::Float(x),
                RawValue::Bool(yes) => Value::Bool(yes),
                RawValue::Name(name) => Value::Text(names.get(name)),
                RawValue::Text { place, len } => Value::Text(book.text(place, len).into()),
            };
            Node {
                id: NodeId(number as u16),
                // By the number it was opened with, not by its place: that is what `Log::span_id` handed out.
                span_id: span_id(seed, draft.number),
                parent: if number == 0 { None } else { place(draft.parent).or(Some(NodeId::ROOT)) },
                after: place(draft.after),
                name: names.get(draft.name),
                kind: draft.kind,
                attempt: draft.attempt,
                occurrence: draft.occurrence,
                start_ns: ns(draft.at),
                end_ns,
                outcome,
                status,
                error: text(error),
                states: draft.states(ns, end_ns, &text, place, clock),
                attrs: draft.attrs.iter().map(|(key, raw)| (names.get(*key), value(raw))).collect(),
            }
        })
        .collect();
    redactor.redact(&mut nodes);
    let half = |n: usize| u128::from(book.trace[n].load(Relaxed));
    let parent = book.parent.load(Relaxed);
    let route = names.get(Name(book.route.load(Relaxed)));
    Some(Timeline {
        seq: 0,
        trace_id: TraceId((half(0) << 64) | half(1)),
        span_id: span_id(seed, 0),
        parent_span_id: (parent != 0).then_some(SpanId(parent)),
        sampled: book.flags.load(Relaxed) & SAMPLED != 0,
        route: if route.is_empty() { Arc::from("(none)") } else { route },
        flow: text(Name(book.flow.load(Relaxed))),
        config_version: book.config_version.load(Relaxed),
        start_unix_ns: clock.unix_ns(start),
        latency_ns: ns(end),
        outcome,
        status,
        error,
        weight: 1.0,
        kept: Vec::new(),
        lost_events: book.lost(),
        nodes,
    })
}

fn find<'a>(drafts: &'a mut [Draft], places: &[Option<u16>], node: NodeId) -> Option<&'a mut Draft> {
    drafts.get_mut(usize::from(places.get(usize::from(node.0)).copied().flatten()?))
}

/// A node while its records are gathered.
struct Draft {
    number: u16,
    at: Ticks,
    name: Name,
    kind: NodeKind,
    parent: Option<NodeId>,
    after: Option<NodeId>,
    attempt: u16,
    occurrence: u16,
    marks: Vec<Mark>,
    folds: Vec<(Ticks, Cause, Name, u64)>,
    close: Option<(Ticks, Outcome, u16, Name)>,
    attrs: Vec<(Name, RawValue)>,
}

/// The beginning of a state.
struct Mark {
    at: Ticks,
    cause: Cause,
    name: Name,
    woken_by: Option<NodeId>,
    worker: u16,
}

impl Draft {
    fn open(at: Ticks, event: Event) -> Option<Self> {
        let Event::Open { node, name, kind, parent, after, attempt, occurrence, cause, cause_name } = event else {
            return None;
        };
        let first = Mark { at, cause, name: cause_name, woken_by: None, worker: 0 };
        Some(Self {
            number: node.0,
            at,
            name,
            kind,
            parent,
            after,
            attempt,
            occurrence,
            marks: vec![first],
            folds: Vec::new(),
            close: None,
            attrs: Vec::new(),
        })
    }

    /// The states, clamped so that they tile `start..end_ns` whatever order the records came in.
    fn states(
        &self,
        ns: impl Fn(Ticks) -> u64,
        end_ns: u64,
        text: &impl Fn(Name) -> Option<Arc<str>>,
        place: impl Fn(Option<NodeId>) -> Option<NodeId>,
        clock: &Clock,
    ) -> Vec<State> {
        let folds_at = self.folds.first().map_or(end_ns, |(at, ..)| ns(*at).min(end_ns));
        let mut states: Vec<State> = Vec::with_capacity(self.marks.len() + self.folds.len());
        let mut at = ns(self.at);
        let marks = self.marks.iter().filter(|mark| self.folds.is_empty() || ns(mark.at) <= folds_at);
        for mark in marks {
            let from = ns(mark.at).clamp(at, folds_at.max(at));
            if let Some(last) = states.last_mut() {
                last.to_ns = from;
            }
            at = from;
            states.push(State {
                from_ns: from,
                to_ns: from,
                cause: mark.cause,
                name: text(mark.name),
                woken_by: place(mark.woken_by),
                worker: (mark.cause == Cause::Run).then_some(mark.worker),
                promoted: None,
                folded: false,
            });
        }
        if let Some(last) = states.last_mut() {
            last.to_ns = folds_at.max(last.from_ns);
            at = last.to_ns;
        }
        for (n, (_, cause, name, ticks)) in self.folds.iter().enumerate() {
            // The last one takes what rounding left over.
            let to = if n + 1 == self.folds.len() {
                end_ns
            } else {
                (at + clock.nanos_between(Ticks(0), Ticks(*ticks))).min(end_ns)
            };
            states.push(State {
                from_ns: at,
                to_ns: to,
                cause: *cause,
                name: text(*name),
                woken_by: None,
                worker: None,
                promoted: None,
                folded: true,
            });
            at = to;
        }
        // A state that was left the moment it was entered says nothing, unless it carries who woke the node.
        let only = states.len() == 1;
        states.retain(|state| only || state.to_ns > state.from_ns || state.woken_by.is_some());
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::{Opening, Recorder};
    use std::time::Duration;

    fn read(recorder: &Recorder) -> Vec<Timeline> {
        let mut timelines = Vec::new();
        let mut redactor = Redactor::new(recorder.redaction());
        recorder.drain(|book| timelines.extend(timeline(book, recorder.clock(), recorder.names(), &mut redactor)));
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
}
