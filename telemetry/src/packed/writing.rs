//! Packing: a timeline becomes bytes.

use std::sync::Arc;

use super::bytes::{fold, put, put_both, put_difference, put_text};
use super::dictionary::Dictionary;
use super::form::{
    Expected, KEPT, KEPT_LIST, NO_SPAN, NODES_MAX, PARTS_MAX, VERSION, end, expected_name, head, name, node as of_node,
    span, state as of_state, value,
};
use crate::event::{NodeId, Outcome};
use crate::id::{SpanId, ordinal_of, seed_of, span_id};
use crate::timeline::{Node, PromotedBy, State, Timeline, Value};

/// Packs `timeline` behind what `out` holds. New names are entered into `dictionary`; [`unpack`](super::unpack) needs its
/// words.
///
/// Takes about 1 µs for a request of ten nodes, and allocates only to enlarge `out` or to enter a name.
pub fn pack(timeline: &Timeline, dictionary: &mut Dictionary, out: &mut Vec<u8>) {
    Packing { out, dictionary, expected: Expected::default(), root: timeline.span_id, seed: seed_of(timeline.span_id) }
        .timeline(timeline);
}

/// Whether a timeline has no more parts than are read.
pub(crate) fn fits(timeline: &Timeline) -> bool {
    let parts = |node: &Node| node.states.len() + node.attrs.len();
    timeline.nodes.len() <= NODES_MAX
        && timeline.nodes.len() + timeline.nodes.iter().map(parts).sum::<usize>() <= PARTS_MAX
}

struct Packing<'a> {
    out: &'a mut Vec<u8>,
    dictionary: &'a mut Dictionary,
    expected: Expected,
    /// The request's span, from which those of its nodes follow, and what it was made of.
    root: SpanId,
    seed: u64,
}

impl Packing<'_> {
    fn timeline(&mut self, timeline: &Timeline) {
        let Timeline { seq, trace_id, span_id, parent_span_id, sampled, route, flow, config_version, .. } = timeline;
        let flag = |yes: bool, flag: u64| if yes { flag } else { 0 };
        let flow_is_route = flow.as_ref() == Some(route);
        let as_first = |first: &Node| {
            let theirs = (first.end_ns, first.outcome, first.status, &first.error);
            theirs == (timeline.latency_ns, timeline.outcome, timeline.status, &timeline.error)
        };
        let own_end = !timeline.nodes.first().is_some_and(as_first);
        let weight = timeline.weight.to_bits();
        let flags = flag(*sampled, head::SAMPLED)
            | flag(parent_span_id.is_some(), head::PARENT)
            | flag(flow.is_some() && !flow_is_route, head::FLOW)
            | flag(flow_is_route, head::FLOW_IS_ROUTE)
            | flag(own_end, head::OWN_END)
            | flag(weight != 1_f32.to_bits(), head::WEIGHT)
            | flag(!timeline.kept.is_empty(), head::KEPT)
            | flag(timeline.lost_events != 0, head::LOST);
        self.out.push(VERSION);
        put(self.out, flags);
        put(self.out, *seq);
        self.out.extend_from_slice(&trace_id.0.to_le_bytes());
        self.out.extend_from_slice(&span_id.0.to_le_bytes());
        if let Some(parent) = parent_span_id {
            self.out.extend_from_slice(&parent.0.to_le_bytes());
        }
        self.name(route);
        if let Some(flow) = flow.as_ref().filter(|_| !flow_is_route) {
            self.name(flow);
        }
        put(self.out, (*config_version).into());
        self.out.extend_from_slice(&timeline.start_unix_ns.to_le_bytes());
        if own_end {
            put(self.out, timeline.latency_ns);
            self.end(timeline.outcome, timeline.status, timeline.error.as_ref());
        }
        if flags & head::WEIGHT != 0 {
            // Powers of two have their bits on one side.
            put(self.out, weight.reverse_bits().into());
        }
        if flags & head::KEPT != 0 {
            self.kept(timeline);
        }
        if flags & head::LOST != 0 {
            put(self.out, timeline.lost_events.into());
        }
        put(self.out, timeline.nodes.len() as u64);
        for (place, node) in timeline.nodes.iter().enumerate() {
            self.node(place as u64, node);
        }
    }

    fn kept(&mut self, timeline: &Timeline) {
        let set = KEPT.iter().enumerate().filter(|(_, why)| timeline.kept.contains(why));
        let mask = set.clone().fold(0, |mask, (place, _)| mask | 1 << place);
        if timeline.kept.iter().eq(set.map(|(_, why)| why)) {
            put(self.out, mask);
            return;
        }
        put(self.out, KEPT_LIST + timeline.kept.len() as u64);
        let place = |why| KEPT.iter().position(|one| *one == why).unwrap_or_default() as u8;
        self.out.extend(timeline.kept.iter().map(|why| place(*why)));
    }

    fn node(&mut self, place: u64, node: &Node) {
        let kind = node.kind as usize;
        let first_ordinal = place == 0;
        let expected_ordinal = if first_ordinal { Some(0) } else { self.expected.ordinal.checked_add(1) };
        let span_follows = expected_ordinal.is_some_and(|ordinal| span_id(self.seed, ordinal) == node.span_id);
        let plain_end = node.outcome == Outcome::Ok && node.status == 0 && node.error.is_none();
        let last_ns = node.states.last().map_or(node.start_ns, |state| state.to_ns);
        let flag = |yes: bool, flag: u64| if yes { flag } else { 0 };
        let flags = kind as u64
            | flag(node.after.is_some(), of_node::AFTER)
            | flag(node.parent != self.expected.parents[kind], of_node::PARENT)
            | flag(!plain_end, of_node::END)
            | flag(!node.attrs.is_empty(), of_node::ATTRS)
            | flag(node.attempt != 1, of_node::ATTEMPT)
            | flag(node.occurrence != 1, of_node::OCCURRENCE)
            | flag(u64::from(node.id.0) != place, of_node::ID)
            | flag(!span_follows, of_node::SPAN)
            | flag(node.end_ns != last_ns, of_node::END_NS);
        put(self.out, flags);
        self.name(&node.name);
        if let Some(after) = node.after {
            self.other(place, after);
        }
        if flags & of_node::PARENT != 0 {
            self.expected.parents[kind] = node.parent;
            match node.parent {
                // In a sound timeline a parent has a lower number.
                Some(parent) => put(self.out, 1 + fold(place.wrapping_sub(parent.0.into()).cast_signed())),
                None => put(self.out, 0),
            }
        }
        if !plain_end {
            self.end(node.outcome, node.status, node.error.as_ref());
        }
        for (number, rare) in
            [(node.attempt, of_node::ATTEMPT), (node.occurrence, of_node::OCCURRENCE), (node.id.0, of_node::ID)]
        {
            if flags & rare != 0 {
                put(self.out, number.into());
            }
        }
        match expected_ordinal {
            Some(ordinal) if span_follows => self.expected.ordinal = ordinal,
            _ => self.span(node.span_id, expected_ordinal.unwrap_or_default()),
        }
        put_difference(self.out, self.expected.start_ns, node.start_ns);
        self.expected.start_ns = node.start_ns;
        put(self.out, node.states.len() as u64);
        let mut at = node.start_ns;
        for state in &node.states {
            self.state(place, at, &node.name, state);
            at = state.to_ns;
        }
        if flags & of_node::END_NS != 0 {
            put_difference(self.out, at, node.end_ns);
        }
        if !node.attrs.is_empty() {
            put(self.out, node.attrs.len() as u64);
            for (key, value) in &node.attrs {
                self.name(key);
                self.value(value);
            }
        }
    }

    fn span(&mut self, id: SpanId, expected: u16) {
        if id == NO_SPAN {
            put(self.out, span::ZERO);
        } else if let Some(ordinal) = ordinal_of(self.root, id) {
            put(self.out, span::NUMBER + fold(i64::from(ordinal) - i64::from(expected)));
            self.expected.ordinal = ordinal;
        } else {
            put(self.out, span::LITERAL);
            self.out.extend_from_slice(&id.0.to_le_bytes());
        }
    }

    fn state(&mut self, place: u64, at: u64, node: &Arc<str>, state: &State) {
        let rule = match state.promoted {
            None => 0,
            Some(PromotedBy::Threshold) => 1,
            Some(PromotedBy::Adaptive) => 2,
            Some(PromotedBy::Debug) => 3,
        };
        let own_name = state.name.as_ref() != expected_name(state.cause, node);
        let own_worker = state.worker != self.expected.worker(state.cause);
        let flag = |yes: bool, flag: u64| if yes { flag } else { 0 };
        let flags = state.cause as u64
            | flag(own_name, of_state::NAME)
            | flag(state.woken_by.is_some(), of_state::WOKEN_BY)
            | flag(own_worker, of_state::WORKER)
            | rule << of_state::PROMOTED_SHIFT
            | flag(state.folded, of_state::FOLDED)
            | flag(state.from_ns != at, of_state::FROM_NS);
        let ns = state.to_ns.wrapping_sub(state.from_ns);
        if flags & of_state::FIELDS == 0 {
            return put_both(self.out, flags, ns);
        }
        put(self.out, flags);
        if own_name {
            match &state.name {
                Some(text) => self.name(text),
                None => put(self.out, name::NONE),
            }
        }
        if let Some(woken_by) = state.woken_by {
            self.other(place, woken_by);
        }
        if own_worker {
            put(self.out, state.worker.map_or(0, |worker| u64::from(worker) + 1));
            self.expected.worker = state.worker.unwrap_or(self.expected.worker);
        }
        if state.from_ns != at {
            put_difference(self.out, at, state.from_ns);
        }
        put(self.out, ns);
    }

    /// Another node, by how far it stands from this one.
    fn other(&mut self, place: u64, other: NodeId) {
        put_difference(self.out, place, other.0.into());
    }

    fn end(&mut self, outcome: Outcome, status: u16, error: Option<&Arc<str>>) {
        let code = match status {
            0 => end::STATUS_NONE,
            200 => end::STATUS_200,
            _ if status == self.expected.status => end::STATUS_AGAIN,
            _ => end::STATUS_OTHER,
        };
        let error_flag = if error.is_some() { end::ERROR } else { 0 };
        self.out.push(outcome as u8 | code << end::STATUS_SHIFT | error_flag);
        if code == end::STATUS_OTHER {
            put(self.out, status.into());
            self.expected.status = status;
        }
        if let Some(error) = error {
            self.name(error);
        }
    }

    fn name(&mut self, text: &Arc<str>) {
        if let Some(number) = self.dictionary.name(text) {
            return put(self.out, name::WORD + u64::from(number));
        }
        put(self.out, name::TEXT);
        put_text(self.out, text);
    }

    fn value(&mut self, of: &Value) {
        match of {
            Value::Bool(false) => put(self.out, value::FALSE),
            Value::Bool(true) => put(self.out, value::TRUE),
            Value::Int(n) => {
                put(self.out, value::INT);
                put(self.out, fold(*n));
            }
            Value::Float(x) => {
                put(self.out, value::FLOAT);
                self.out.extend_from_slice(&x.to_bits().to_le_bytes());
            }
            Value::Text(text) => match self.dictionary.text(text) {
                Some(number) => put(self.out, value::WORD + u64::from(number)),
                None => {
                    put(self.out, value::TEXT);
                    put_text(self.out, text);
                }
            },
        }
    }
}
