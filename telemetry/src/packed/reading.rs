//! Unpacking: bytes become a timeline, or a sentence about what is wrong with them.

use std::sync::Arc;

use super::bytes::{Input, UnpackError, unfold};
use super::form::{
    Expected, KEPT, KEPT_LIST, KINDS, NO_SPAN, NODES_MAX, PARTS_MAX, RULES, VERSION, blank, end, expected_name, head,
    name, node as of_node, span, state as of_state, value,
};
use crate::event::{Cause, NodeId, Outcome};
use crate::id::{SpanId, TraceId, seed_of, span_id};
use crate::timeline::{Node, State, Timeline, Value};

/// Unpacks a timeline. `words` are those of the dictionary that it was packed with, or more.
///
/// Any bytes may come: memory is taken for what they hold, and for no more than [`PARTS_MAX`] parts. What comes out may
/// break the rules of [`Timeline::check`], as what went in.
///
/// # Errors
/// The first thing that is wrong.
pub fn unpack(bytes: &[u8], words: &[Arc<str>]) -> Result<Timeline, UnpackError> {
    let mut unpacking = Unpacking { input: Input::new(bytes), words, expected: Expected::default(), seed: 0, parts: 0 };
    let timeline = unpacking.timeline()?;
    match unpacking.input.left() {
        0 => Ok(timeline),
        _ => Err(unpacking.input.wrong("bytes follow its end")),
    }
}

struct Unpacking<'a> {
    input: Input<'a>,
    words: &'a [Arc<str>],
    expected: Expected,
    /// What the request's span was made of, and so those of its nodes.
    seed: u64,
    parts: usize,
}

impl Unpacking<'_> {
    fn timeline(&mut self) -> Result<Timeline, UnpackError> {
        if self.input.byte()? != VERSION {
            return Err(self.input.wrong("another version of the form"));
        }
        let flags = self.flags(head::ALL)?;
        let is = |flag: u64| flags & flag != 0;
        let seq = self.input.number()?;
        let trace_id = TraceId(u128::from_le_bytes(self.input.fixed()?));
        let span_id = SpanId(u64::from_le_bytes(self.input.fixed()?));
        self.seed = seed_of(span_id);
        let parent_span_id =
            if is(head::PARENT) { Some(SpanId(u64::from_le_bytes(self.input.fixed()?))) } else { None };
        let route = self.name()?;
        let flow = match (is(head::FLOW), is(head::FLOW_IS_ROUTE)) {
            (true, _) => Some(self.name()?),
            (false, true) => Some(Arc::clone(&route)),
            (false, false) => None,
        };
        let config_version = self.number_of("a version is too large")?;
        let start_unix_ns = u64::from_le_bytes(self.input.fixed()?);
        let own_end = if is(head::OWN_END) { Some((self.input.number()?, self.end()?)) } else { None };
        let weight = if is(head::WEIGHT) {
            f32::from_bits(self.number_of::<u32>("a weight is too large")?.reverse_bits())
        } else {
            1.0
        };
        let kept = if is(head::KEPT) { self.kept()? } else { Vec::new() };
        let lost_events = if is(head::LOST) { self.number_of("a count is too large")? } else { 0 };
        // Four bytes are the fewest that a node takes.
        let count = self.count(4)?;
        if count > NODES_MAX {
            return Err(self.input.wrong("it has more nodes than there are numbers for"));
        }
        let mut nodes = Vec::with_capacity(count);
        for place in 0..=u16::MAX {
            if nodes.len() == count {
                break;
            }
            nodes.push(self.node(place)?);
        }
        let (latency_ns, (outcome, status, error)) = match (own_end, nodes.first()) {
            (Some(end), _) => end,
            (None, Some(first)) => (first.end_ns, (first.outcome, first.status, first.error.clone())),
            (None, None) => return Err(self.input.wrong("it has neither an end nor a node")),
        };
        Ok(Timeline {
            seq,
            trace_id,
            span_id,
            parent_span_id,
            sampled: is(head::SAMPLED),
            route,
            flow,
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
        })
    }

    fn kept(&mut self) -> Result<Vec<crate::timeline::Kept>, UnpackError> {
        let code = self.input.number()?;
        if code < KEPT_LIST {
            let set = KEPT.into_iter().enumerate().filter(|(place, _)| code >> place & 1 == 1);
            return Ok(set.map(|(_, why)| why).collect());
        }
        let len = usize::try_from(code - KEPT_LIST).unwrap_or(usize::MAX);
        if len > self.input.left() {
            return Err(self.input.wrong("a list ends too early"));
        }
        let mut kept = Vec::with_capacity(len.min(PARTS_MAX));
        for _ in 0..len {
            let place = usize::from(self.input.byte()?);
            kept.push(*KEPT.get(place).ok_or_else(|| self.input.wrong("no such reason to keep it"))?);
        }
        Ok(kept)
    }

    fn node(&mut self, place: u16) -> Result<Node, UnpackError> {
        let flags = self.flags(of_node::ALL)?;
        let is = |flag: u64| flags & flag != 0;
        let number = (flags & 7) as usize;
        let kind = *KINDS.get(number).ok_or_else(|| self.input.wrong("no such kind of node"))?;
        let mut node = blank(self.name()?, kind, place);
        if is(of_node::AFTER) {
            node.after = Some(self.other(place)?);
        }
        if is(of_node::PARENT) {
            self.expected.parents[number] = match self.input.number()? {
                0 => None,
                code => {
                    let parent = i64::from(place).wrapping_sub(unfold(code - 1));
                    Some(NodeId(u16::try_from(parent).map_err(|_| self.input.wrong("no such parent"))?))
                }
            };
        }
        node.parent = self.expected.parents[number];
        if is(of_node::END) {
            (node.outcome, node.status, node.error) = self.end()?;
        }
        if is(of_node::ATTEMPT) {
            node.attempt = self.input.small()?;
        }
        if is(of_node::OCCURRENCE) {
            node.occurrence = self.input.small()?;
        }
        if is(of_node::ID) {
            node.id = NodeId(self.input.small()?);
        }
        node.span_id = self.span(place, is(of_node::SPAN))?;
        node.start_ns = self.input.difference(self.expected.start_ns)?;
        self.expected.start_ns = node.start_ns;
        let mut at = node.start_ns;
        // Two bytes are the fewest that a state or an attribute takes.
        let states = self.count(2)?;
        node.states.reserve_exact(states);
        for _ in 0..states {
            let state = self.state(place, at, &node.name)?;
            at = state.to_ns;
            node.states.push(state);
        }
        node.end_ns = if is(of_node::END_NS) { self.input.difference(at)? } else { at };
        if is(of_node::ATTRS) {
            let attrs = self.count(2)?;
            node.attrs.reserve_exact(attrs);
            for _ in 0..attrs {
                let key = self.name()?;
                node.attrs.push((key, self.value()?));
            }
        }
        Ok(node)
    }

    fn span(&mut self, place: u16, own: bool) -> Result<SpanId, UnpackError> {
        let expected = if place == 0 { Some(0) } else { self.expected.ordinal.checked_add(1) };
        let ordinal = if own {
            match self.input.number()? {
                span::LITERAL => return Ok(SpanId(u64::from_le_bytes(self.input.fixed()?))),
                span::ZERO => return Ok(NO_SPAN),
                code => {
                    let by = unfold(code - span::NUMBER);
                    let ordinal = i64::from(expected.unwrap_or_default()).checked_add(by);
                    ordinal.and_then(|ordinal| u16::try_from(ordinal).ok())
                }
            }
        } else {
            expected
        };
        self.expected.ordinal = ordinal.ok_or_else(|| self.input.wrong("no such span"))?;
        Ok(span_id(self.seed, self.expected.ordinal))
    }

    fn state(&mut self, place: u16, at: u64, node: &Arc<str>) -> Result<State, UnpackError> {
        let flags = self.flags(of_state::ALL)?;
        let is = |flag: u64| flags & flag != 0;
        let cause = *Cause::ALL.get((flags & 15) as usize).ok_or_else(|| self.input.wrong("no such cause"))?;
        let name = if is(of_state::NAME) { self.optional_name()? } else { expected_name(cause, node).map(Arc::clone) };
        let woken_by = if is(of_state::WOKEN_BY) { Some(self.other(place)?) } else { None };
        let worker = if is(of_state::WORKER) {
            match self.input.number()? {
                0 => None,
                n => {
                    let worker = u16::try_from(n - 1).map_err(|_| self.input.wrong("no such worker"))?;
                    self.expected.worker = worker;
                    Some(worker)
                }
            }
        } else {
            self.expected.worker(cause)
        };
        let rule = (flags >> of_state::PROMOTED_SHIFT & 3) as usize;
        let from_ns = if is(of_state::FROM_NS) { self.input.difference(at)? } else { at };
        let to_ns = from_ns.wrapping_add(self.input.number()?);
        let promoted = rule.checked_sub(1).map(|rule| RULES[rule]);
        Ok(State { from_ns, to_ns, cause, name, woken_by, worker, promoted, folded: is(of_state::FOLDED) })
    }

    fn end(&mut self) -> Result<(Outcome, u16, Option<Arc<str>>), UnpackError> {
        let code = self.input.byte()?;
        let outcome = Outcome::ALL.get(usize::from(code & 7)).filter(|_| code & !end::ALL == 0);
        let outcome = *outcome.ok_or_else(|| self.input.wrong("no such outcome"))?;
        let status = match code >> end::STATUS_SHIFT & 3 {
            end::STATUS_NONE => 0,
            end::STATUS_200 => 200,
            end::STATUS_AGAIN => self.expected.status,
            _ => {
                self.expected.status = self.input.small()?;
                self.expected.status
            }
        };
        let error = if code & end::ERROR != 0 { Some(self.name()?) } else { None };
        Ok((outcome, status, error))
    }

    fn value(&mut self) -> Result<Value, UnpackError> {
        Ok(match self.input.number()? {
            value::TEXT => Value::Text(self.input.text()?.into()),
            value::FALSE => Value::Bool(false),
            value::TRUE => Value::Bool(true),
            value::INT => Value::Int(unfold(self.input.number()?)),
            value::FLOAT => Value::Float(f64::from_bits(u64::from_le_bytes(self.input.fixed()?))),
            code => Value::Text(self.word(code - value::WORD)?),
        })
    }

    fn name(&mut self) -> Result<Arc<str>, UnpackError> {
        self.optional_name()?.ok_or_else(|| self.input.wrong("a name is missing"))
    }

    fn optional_name(&mut self) -> Result<Option<Arc<str>>, UnpackError> {
        Ok(match self.input.number()? {
            name::NONE => None,
            name::TEXT => Some(self.input.text()?.into()),
            code => Some(self.word(code - name::WORD)?),
        })
    }

    fn word(&mut self, number: u64) -> Result<Arc<str>, UnpackError> {
        let word = usize::try_from(number).ok().and_then(|number| self.words.get(number));
        word.map(Arc::clone).ok_or_else(|| self.input.wrong("there is no word of this number"))
    }

    fn other(&mut self, place: u16) -> Result<NodeId, UnpackError> {
        let number = self.input.difference(place.into())?;
        u16::try_from(number).map(NodeId).map_err(|_| self.input.wrong("no such node"))
    }

    fn flags(&mut self, all: u64) -> Result<u64, UnpackError> {
        let flags = self.input.number()?;
        if flags & !all == 0 { Ok(flags) } else { Err(self.input.wrong("an unknown flag")) }
    }

    fn number_of<N: TryFrom<u64>>(&mut self, what: &'static str) -> Result<N, UnpackError> {
        let n = self.input.number()?;
        N::try_from(n).map_err(|_| self.input.wrong(what))
    }

    /// How many of something follow, each of which takes at least so many bytes: no more than there is room for.
    fn count(&mut self, bytes_each: usize) -> Result<usize, UnpackError> {
        let count = self.input.number()?;
        let room = self.input.left() / bytes_each;
        let count = usize::try_from(count).ok().filter(|count| *count <= room);
        let count = count.ok_or_else(|| self.input.wrong("a list ends too early"))?;
        self.parts += count;
        if self.parts > PARTS_MAX {
            return Err(self.input.wrong("it has too many nodes, states and attributes"));
        }
        Ok(count)
    }
}
