//! From a logbook's flat records to a [`Timeline`]: nodes with states that tile their lives.

mod words;
mod blank;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::assemble::blank::blank_node;
use crate::assemble::words::Words;
use crate::clock::{Clock, Ticks};
use crate::event::{Cause, Event, NodeId, NodeKind, Outcome, RawValue};
use crate::id::{SpanId, TraceId, span_id};
use crate::logbook::{Logbook, SAMPLED};
use crate::names::{Name, Names};
use crate::redact::{Redaction, Redactor};
use crate::timeline::{Node, State, Timeline, Value};

pub(crate) use blank::blank;

/// Reads logbooks. What one timeline needed in memory serves the next: on a gateway whose requests look alike nothing is
/// allocated but for texts that differ.
///
/// This is the one way from a logbook to what anybody reads, so what must not be shown is redacted here: off the request's
/// path, and before any reader could forget it.
#[derive(Debug)]
pub(crate) struct Assembler {
    clock: Clock,
    words: Words,
    redactor: Redactor,
    /// The place of each node in the timeline, by the number it was opened with.
    places: Vec<u16>,
    /// For each node of the timeline what is known of it only while its records are read.
    drafts: Vec<Draft>,
    folds: Vec<Sum>,
    /// Events of nodes whose opening stands behind them, as it can when two threads wrote at the same moment.
    late: Vec<(Ticks, Event)>,
    text: String,
    /// Nodes that an earlier timeline had and a later one may use.
    spare: Vec<Node>,
}

const NO_PLACE: u16 = u16::MAX;
/// Nodes that are kept for later timelines.
const SPARE: usize = 256;

/// What is known of a node while its records are read.
#[derive(Clone, Copy, Debug, Default)]
struct Draft {
    /// States and attributes that were written over those of the node that stood here before.
    states: usize,
    attrs: usize,
    closed: bool,
}

/// Folded time of a node.
#[derive(Clone, Copy, Debug)]
struct Sum {
    place: u16,
    since_ns: u64,
    cause: Cause,
    name: Name,
    ns: u64,
}

impl Assembler {
    pub(crate) fn new(clock: Clock, names: Arc<Names>, rules: Arc<Redaction>) -> Self {
        Self {
            clock,
            words: Words::new(names),
            redactor: Redactor::new(rules),
            places: Vec::new(),
            drafts: Vec::new(),
            folds: Vec::new(),
            late: Vec::new(),
            text: String::new(),
            spare: Vec::new(),
        }
    }

    /// From the next timeline on these rules hold.
    pub(crate) fn redact_by(&mut self, rules: Arc<Redaction>) {
        self.redactor.follow(rules);
    }

    /// Reads one finished logbook. None when it holds no request (which a recorder never hands over).
    pub(crate) fn timeline(&mut self, book: &Logbook) -> Option<Timeline> {
        let mut timeline = blank();
        self.fill(book, None, &mut timeline).then_some(timeline)
    }

    /// Reads a logbook that is still written to, as if its request ended well at `now`.
    pub(crate) fn so_far(&mut self, book: &Logbook, now: Ticks) -> Option<Timeline> {
        let mut timeline = blank();
        self.fill(book, Some(now), &mut timeline).then_some(timeline)
    }

    /// Reads one finished logbook into a timeline that may have been another request's; false when it holds no request.
    pub(crate) fn read(&mut self, book: &Logbook, timeline: &mut Timeline) -> bool {
        self.fill(book, None, timeline)
    }

    /// Nodes that never closed (their task was dropped) are closed with the request as cancelled. A node whose opening
    /// found no room in the logbook is left out, and so are its states; [`Timeline::lost_events`] says so.
    fn fill(&mut self, book: &Logbook, now: Option<Ticks>, timeline: &mut Timeline) -> bool {
        self.places.clear();
        self.drafts.clear();
        self.folds.clear();
        self.late.clear();
        let seed = book.seed.load(Relaxed);
        let nodes = &mut timeline.nodes;
        let mut began = None;
        book.each(|at, event| match began {
            Some(start) => {
                if !self.note(book, start, seed, at, event, nodes) {
                    self.late.push((at, event));
                }
            }
            // The first of all is the request's own.
            None => {
                if let Event::Open { kind: NodeKind::Request, .. } = event {
                    began = Some(at);
                    self.open(at, at, event, seed, nodes);
                }
            }
        });
        let Some(start) = began else { return false };
        for n in 0..self.late.len() {
            let (at, event) = self.late[n];
            // Of a node whose opening found no room there is nothing to tell.
            self.note(book, start, seed, at, event, nodes);
        }
        while nodes.len() > self.drafts.len() {
            let node = nodes.pop().filter(|_| self.spare.len() < SPARE);
            self.spare.extend(node);
        }

        let open = now.map_or((0, Outcome::Cancelled), |now| (self.ns(start, now), Outcome::Ok));
        let end = if self.drafts[0].closed { nodes[0].end_ns } else { open.0 };
        for (place, node) in nodes.iter_mut().enumerate() {
            if !self.drafts[place].closed {
                (node.end_ns, node.outcome) = (end.max(node.start_ns), open.1);
            }
            self.finish(place, node);
        }
        self.redactor.redact(nodes);
        let half = |n: usize| u128::from(book.trace[n].load(Relaxed));
        let parent = book.parent.load(Relaxed);
        let root = &nodes[0];
        (timeline.latency_ns, timeline.outcome, timeline.status) = (root.end_ns, root.outcome, root.status);
        if timeline.error != root.error {
            timeline.error.clone_from(&root.error);
        }
        timeline.seq = 0;
        timeline.trace_id = TraceId((half(0) << 64) | half(1));
        timeline.span_id = span_id(seed, 0);
        timeline.parent_span_id = (parent != 0).then_some(SpanId(parent));
        timeline.sampled = book.flags.load(Relaxed) & SAMPLED != 0;
        match Name(book.route.load(Relaxed)) {
            Name::NONE if &*timeline.route == NO_ROUTE => {}
            Name::NONE => timeline.route = NO_ROUTE.into(),
            route => self.words.put(route, &mut timeline.route),
        }
        self.words.put_optional(Name(book.flow.load(Relaxed)), &mut timeline.flow);
        timeline.config_version = book.config_version.load(Relaxed);
        timeline.start_unix_ns = self.clock.unix_ns(start);
        timeline.weight = 1.0;
        timeline.kept.clear();
        timeline.lost_events = book.lost();
        true
    }

    fn ns(&self, start: Ticks, at: Ticks) -> u64 {
        self.clock.nanos_between(start, at)
    }

    /// The node of this number, unless its opening was lost.
    fn place(&self, node: NodeId) -> Option<usize> {
        let place = *self.places.get(usize::from(node.0))?;
        (place != NO_PLACE).then_some(usize::from(place))
    }

    /// Takes one event in; false when its node is not known yet.
    fn note(
        &mut self,
        book: &Logbook,
        start: Ticks,
        seed: u64,
        at: Ticks,
        event: Event,
        nodes: &mut Vec<Node>,
    ) -> bool {
        let (Event::Open { node, .. }
        | Event::State { node, .. }
        | Event::Close { node, .. }
        | Event::Attr { node, .. }
        | Event::Fold { node, .. }) = event;
        if let Event::Open { .. } = event {
            self.open(start, at, event, seed, nodes);
            return true;
        }
        let Some(place) = self.place(node) else { return false };
        match event {
            Event::Open { .. } => {}
            Event::State { cause, name, woken_by, worker, .. } => {
                let woken_by = woken_by.and_then(|id| self.place(id)).map(|place| NodeId(place as u16));
                let worker = (cause == Cause::Run).then_some(worker);
                let state = Entered { from_ns: self.ns(start, at), cause, name, woken_by, worker };
                self.state(place, state, &mut nodes[place]);
            }
            Event::Close { outcome, status, error, .. } if !self.drafts[place].closed => {
                self.drafts[place].closed = true;
                let (end_ns, node) = (self.ns(start, at), &mut nodes[place]);
                node.end_ns = end_ns.max(node.start_ns);
                (node.outcome, node.status) = (outcome, status);
                self.words.put_optional(error, &mut node.error);
            }
            Event::Close { .. } => {}
            Event::Attr { key, value, .. } => self.attribute(book, place, key, value, &mut nodes[place]),
            Event::Fold { cause, name, ticks, .. } => {
                let ns = self.ns(Ticks(0), Ticks(ticks));
                self.folds.push(Sum { place: place as u16, since_ns: self.ns(start, at), cause, name, ns });
            }
        }
        true
    }

    fn open(&mut self, start: Ticks, at: Ticks, event: Event, seed: u64, nodes: &mut Vec<Node>) {
        let Event::Open { node: number, name, kind, parent, after, attempt, occurrence, cause, cause_name } = event
        else {
            return;
        };
        let place = self.drafts.len();
        let numbered = usize::from(number.0);
        if self.places.len() <= numbered {
            self.places.resize(numbered + 1, NO_PLACE);
        }
        self.places[numbered] = place as u16;
        // Numbers become places: a node whose opening was lost leaves no hole.
        let parent = parent.and_then(|id| self.place(id)).map(|place| NodeId(place as u16));
        let after = after.and_then(|id| self.place(id)).map(|place| NodeId(place as u16));
        self.drafts.push(Draft::default());
        if nodes.len() <= place {
            nodes.push(self.spare.pop().unwrap_or_else(blank_node));
        }
        let node = &mut nodes[place];
        node.id = NodeId(place as u16);
        // By the number it was opened with, not by its place: that is what `Log::span_id` handed out.
        node.span_id = span_id(seed, number.0);
        node.parent = if place == 0 { None } else { parent.or(Some(NodeId::ROOT)) };
        node.after = after;
        self.words.put(name, &mut node.name);
        (node.kind, node.attempt, node.occurrence) = (kind, attempt, occurrence);
        node.start_ns = self.ns(start, at);
        (node.end_ns, node.status) = (node.start_ns, 0);
        node.error = None;
        let worker = (cause == Cause::Run).then_some(0);
        let state = Entered { from_ns: node.start_ns, cause, name: cause_name, woken_by: None, worker };
        self.state(place, state, node);
    }

    /// The next state of a node, in the place of one of an earlier timeline where there is one: what it names is often
    /// the same.
    fn state(&mut self, place: usize, entered: Entered, node: &mut Node) {
        let Entered { from_ns, cause, name, woken_by, worker } = entered;
        let nth = self.drafts[place].states;
        self.drafts[place].states += 1;
        if node.states.len() <= nth {
            node.states.push(State {
                from_ns,
                to_ns: from_ns,
                cause,
                name: None,
                woken_by: None,
                worker: None,
                promoted: None,
                folded: false,
            });
        }
        let state = &mut node.states[nth];
        (state.from_ns, state.to_ns, state.cause, state.woken_by, state.worker) =
            (from_ns, from_ns, cause, woken_by, worker);
        (state.promoted, state.folded) = (None, false);
        self.words.put_optional(name, &mut state.name);
    }

    fn attribute(&mut self, book: &Logbook, place: usize, key: Name, raw: RawValue, node: &mut Node) {
        let nth = self.drafts[place].attrs;
        self.drafts[place].attrs += 1;
        if node.attrs.len() <= nth {
            node.attrs.push((self.words.get(key), Value::Bool(false)));
        }
        let (known, value) = &mut node.attrs[nth];
        self.words.put(key, known);
        match raw {
            RawValue::Int(n) => *value = Value::Int(n),
            RawValue::Float(x) => *value = Value::Float(x),
            RawValue::Bool(yes) => *value = Value::Bool(yes),
            RawValue::Name(name) => match value {
                Value::Text(text) => self.words.put(name, text),
                _ => *value = Value::Text(self.words.get(name)),
            },
            RawValue::Text { place, len } => {
                book.read_text(place, len, &mut self.text);
                if !matches!(value, Value::Text(text) if **text == *self.text) {
                    *value = Value::Text(self.text.as_str().into());
                }
            }
        }
    }

    /// Makes the states tile the node's life, whatever order the records came in.
    fn finish(&mut self, place: usize, node: &mut Node) {
        let Draft { states: count, attrs, .. } = self.drafts[place];
        node.states.truncate(count);
        node.attrs.truncate(attrs);
        if !node.states.is_sorted_by_key(|state| state.from_ns) {
            node.states.sort_by_key(|state| state.from_ns);
        }
        let end_ns = node.end_ns;
        let folds = || self.folds.iter().filter(|sum| usize::from(sum.place) == place);
        let folded = if self.folds.is_empty() { 0 } else { folds().count() };
        let folds_at =
            if folded == 0 { end_ns } else { folds().map(|sum| sum.since_ns.min(end_ns)).next().unwrap_or(end_ns) };
        if folded > 0 {
            // What came after folding began is in the sums.
            node.states.retain(|state| state.from_ns <= folds_at);
        }
        let mut at = node.start_ns;
        for state in &mut node.states {
            at = state.from_ns.clamp(at, folds_at.max(at));
            state.from_ns = at;
        }
        let mut to = folds_at.max(at);
        let last = to;
        for state in node.states.iter_mut().rev() {
            state.to_ns = to;
            to = state.from_ns;
        }
        let mut at = if node.states.is_empty() { node.start_ns } else { last };
        for (n, sum) in folds().enumerate().take(folded) {
            // The last one takes what rounding left over.
            let to = if n + 1 == folded { end_ns } else { (at + sum.ns).min(end_ns) };
            node.states.push(State {
                from_ns: at,
                to_ns: to,
                cause: sum.cause,
                name: self.words.optional(sum.name),
                woken_by: None,
                worker: None,
                promoted: None,
                folded: true,
            });
            at = to;
        }
        // A state that was left the moment it was entered says nothing, unless it carries who woke the node.
        if node.states.len() > 1 {
            node.states.retain(|state| state.to_ns > state.from_ns || state.woken_by.is_some());
        }
    }
}

/// The route of a request that none matched.
const NO_ROUTE: &str = "(none)";

/// A state as its node entered it.
#[derive(Clone, Copy, Debug)]
struct Entered {
    from_ns: u64,
    cause: Cause,
    name: Name,
    woken_by: Option<NodeId>,
    worker: Option<u16>,
}

#[cfg(test)]
mod tests;
