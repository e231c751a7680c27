//! How an event is laid out in a logbook: records of two words, 16 bytes, one or two of them for an event, more for a text.
//!
//! The second word of a record is its head: it says what the record is, and is never zero.
//!
//! | bits | 0..4 | 4..8 | 8..20 | 20..32 | 32..48 | 48..64 | first word |
//! |---|---|---|---|---|---|---|---|
//! | open | kind | kind of node, more | – | parent | name | after | moment |
//! | (more of it) | kind | cause | – | – | cause's name | – | attempt, occurrence |
//! | state | kind | cause | node | woken by | name | worker | moment |
//! | close | kind | outcome | node | – | error | status | moment |
//! | attribute | kind | kind of value | node | – | key | length of a text | value, or eight bytes of a text |
//! | text | kind | – | seven more bytes of a text: 8..64 | | | | eight bytes |
//! | fold | kind | cause | node | – | name | – | moment |
//! | (more of it) | kind | – | – | – | – | – | ticks |
//!
//! A node's number is the place of its opening, so that opening a node needs no count of nodes.

use crate::clock::Ticks;
use crate::event::{Cause, Event, NodeId, NodeKind, Outcome, RawValue};
use crate::names::Name;

/// The two words of a record, the head second.
pub(crate) type Words = [u64; 2];

/// "No node", in twelve bits.
const NO_NODE: u64 = 0xfff;
/// The number of all nodes whose opening found no room.
pub(crate) const LOST_NODE: NodeId = NodeId(0xffe);

const OPEN: u64 = 1;
const STATE: u64 = 2;
const CLOSE: u64 = 3;
const ATTR: u64 = 4;
const FOLD: u64 = 5;
const MORE: u64 = 6;
const TEXT: u64 = 7;

/// The code of an attribute whose value is a text.
const TEXT_VALUE: u64 = 4;
/// The bit of an opening's code that says that a second record follows.
const FOLLOWED: u64 = 8;

/// Bytes of a text in its attribute's record, and in each further one.
const TEXT_FIRST: usize = 8;
const TEXT_MORE: usize = 15;

/// An event as one record or two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed {
    pub(crate) first: Words,
    pub(crate) second: Option<Words>,
}

#[inline]
fn head(kind: u64, code: u64, node: NodeId, other: u64, name: Name, extra: u16) -> u64 {
    // A table of names ends before a number needs more than sixteen bits.
    let name = u64::from(u16::try_from(name.0).unwrap_or(1));
    kind | (code << 4) | ((u64::from(node.0) & 0xfff) << 8) | (other << 20) | (name << 32) | (u64::from(extra) << 48)
}

#[inline]
fn twelve(node: Option<NodeId>) -> u64 {
    node.map_or(NO_NODE, |node| u64::from(node.0) & 0xfff)
}

fn node_of(bits: u64) -> Option<NodeId> {
    let number = bits & 0xfff;
    (number != NO_NODE).then_some(NodeId(number as u16))
}

#[inline]
fn sixteen(node: Option<NodeId>) -> u16 {
    node.map_or(u16::MAX, |node| node.0)
}

fn name_of(head: u64) -> Name {
    Name(u32::from((head >> 32) as u16))
}

/// Lays a state out: what is written most is laid out without being an [`Event`] before.
#[inline]
pub(crate) fn state(at: Ticks, node: NodeId, cause: Cause, name: Name, woken_by: Option<NodeId>, worker: u16) -> Words {
    [at.0, head(STATE, cause as u64, node, twelve(woken_by), name, worker)]
}

impl Event {
    /// Lays the event out. An opening's node is left out, since it is the place it is written to; a text is
    /// [`text`]'s work.
    #[inline(always)]
    pub(crate) fn pack(self, at: Ticks) -> Packed {
        const NONE: NodeId = NodeId(0);
        match self {
            Self::Open { node: _, name, kind, parent, after, attempt, occurrence, cause, cause_name } => {
                let plain = attempt == 1 && occurrence == 1 && cause as u8 == Cause::Run as u8 && cause_name.0 == 0;
                let code = kind as u64 | if plain { 0 } else { FOLLOWED };
                let first = [at.0, head(OPEN, code, NONE, twelve(parent), name, sixteen(after))];
                let tries = u64::from(attempt) | (u64::from(occurrence) << 16);
                let more = [tries, head(MORE, cause as u64, NONE, 0, cause_name, 0)];
                Packed { first, second: (!plain).then_some(more) }
            }
            Self::State { node, cause, name, woken_by, worker } => {
                Packed { first: state(at, node, cause, name, woken_by, worker), second: None }
            }
            Self::Close { node, outcome, status, error } => {
                Packed { first: [at.0, head(CLOSE, outcome as u64, node, 0, error, status)], second: None }
            }
            Self::Attr { node, key, value } => {
                let (code, word, len) = match value {
                    RawValue::Int(n) => (0, n.cast_unsigned(), 0),
                    RawValue::Float(x) => (1, x.to_bits(), 0),
                    RawValue::Bool(yes) => (2, u64::from(yes), 0),
                    RawValue::Name(name) => (3, u64::from(name.0), 0),
                    RawValue::Text { len, .. } => (TEXT_VALUE, 0, len),
                };
                Packed { first: [word, head(ATTR, code, node, 0, key, len)], second: None }
            }
            Self::Fold { node, cause, name, ticks } => Packed {
                first: [at.0, head(FOLD, cause as u64, node, 0, name, 0)],
                second: Some([ticks, head(MORE, 0, NONE, 0, Name::NONE, 0)]),
            },
        }
    }
}

/// Whether a record is the second one of its event.
#[inline]
pub(crate) fn is_followed(head: u64) -> bool {
    match head & 0xf {
        OPEN => (head >> 4) & FOLLOWED != 0,
        FOLD => true,
        _ => false,
    }
}

/// Reads the event that begins at `place` back; none when none begins there. `second` is the record after it, where
/// [`is_followed`] asks for it.
#[inline(always)]
pub(crate) fn unpack(place: usize, first: Words, second: Words) -> Option<(Ticks, Event)> {
    let [word, head] = first;
    let code = ((head >> 4) & 0xf) as usize;
    let node = NodeId(((head >> 8) & 0xfff) as u16);
    let (name, extra) = (name_of(head), (head >> 48) as u16);
    let event = match head & 0xf {
        OPEN => {
            let followed = is_followed(head);
            let (tries, more) = if followed { (second[0], second[1]) } else { (0x1_0001, 0) };
            Event::Open {
                node: NodeId(u16::try_from(place).ok()?),
                name,
                kind: match code & 7 {
                    0 => NodeKind::Request,
                    1 => NodeKind::Station,
                    2 => NodeKind::Step,
                    3 => NodeKind::Effect,
                    _ => NodeKind::Branch,
                },
                parent: node_of(head >> 20),
                after: (extra != u16::MAX).then_some(NodeId(extra)),
                attempt: tries as u16,
                occurrence: (tries >> 16) as u16,
                cause: *Cause::ALL.get(((more >> 4) & 0xf) as usize)?,
                cause_name: name_of(more),
            }
        }
        STATE => {
            Event::State { node, cause: *Cause::ALL.get(code)?, name, woken_by: node_of(head >> 20), worker: extra }
        }
        CLOSE => Event::Close { node, outcome: *Outcome::ALL.get(code)?, status: extra, error: name },
        ATTR => {
            let value = match code {
                0 => RawValue::Int(word.cast_signed()),
                1 => RawValue::Float(f64::from_bits(word)),
                2 => RawValue::Bool(word != 0),
                3 => RawValue::Name(Name(word as u32)),
                _ => RawValue::Text { place: u16::try_from(place).ok()?, len: extra },
            };
            // What is known about a node has no moment.
            return Some((Ticks(0), Event::Attr { node, key: name, value }));
        }
        FOLD => Event::Fold { node, cause: *Cause::ALL.get(code)?, name, ticks: second[0] },
        _ => return None,
    };
    Some((Ticks(word), event))
}

/// How many records a text attribute of so many bytes takes.
pub(crate) const fn text_records(len: usize) -> usize {
    1 + len.saturating_sub(TEXT_FIRST).div_ceil(TEXT_MORE)
}

/// The longest text that so many records hold, in bytes.
pub(crate) const fn text_room(records: usize) -> usize {
    match records {
        0 => 0,
        n => TEXT_FIRST + (n - 1) * TEXT_MORE,
    }
}

/// Lays a text attribute out: its own record and those that follow it.
pub(crate) fn text(node: NodeId, key: Name, text: &str) -> (Words, impl Iterator<Item = Words>) {
    let bytes = text.as_bytes();
    let (begin, rest) = bytes.split_at(bytes.len().min(TEXT_FIRST));
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let first = [word(begin), head(ATTR, TEXT_VALUE, node, 0, key, len)];
    let more = rest.chunks(TEXT_MORE).map(|part| {
        let (low, high) = part.split_at(part.len().min(8));
        [word(low), TEXT | (word(high) << 8)]
    });
    (first, more)
}

/// The bytes that a text's own record holds, then those of a further one; what is no text holds none.
pub(crate) fn text_bytes(words: Words, own: bool) -> impl Iterator<Item = u8> {
    let [low, head] = words;
    let is_text = if own { head & 0xf == ATTR } else { head & 0xf == TEXT };
    let high = if own { 0 } else { TEXT_MORE - 8 };
    let high = (head >> 8).to_le_bytes().into_iter().take(high);
    low.to_le_bytes().into_iter().chain(high).take(if is_text { TEXT_MORE } else { 0 })
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_as_they_were_written() {
        let place = 9;
        let node = NodeId(7);
        let name = Name(65_535);
        let opening = |attempt, cause, cause_name| Event::Open {
            node: NodeId(9),
            name,
            kind: NodeKind::Effect,
            parent: Some(NodeId(3)),
            after: None,
            attempt,
            occurrence: 1,
            cause,
            cause_name,
        };
        for event in [
            opening(1, Cause::Run, Name::NONE),
            opening(2, Cause::Run, Name::NONE),
            opening(1, Cause::Permit, Name(9)),
            Event::State { node, cause: Cause::Io, name, woken_by: Some(NodeId(6)), worker: 65_535 },
            Event::State { node, cause: Cause::Worker, name: Name::NONE, woken_by: None, worker: 0 },
            Event::State { node: LOST_NODE, cause: Cause::Run, name: Name::NONE, woken_by: Some(LOST_NODE), worker: 0 },
            Event::Close { node, outcome: Outcome::Timeout, status: 504, error: name },
            Event::Fold { node, cause: Cause::Write, name, ticks: 1 << 40 },
        ] {
            let Packed { first, second } = event.pack(Ticks(11));
            assert_eq!(is_followed(first[1]), second.is_some(), "{event:?}");
            assert_eq!(unpack(place, first, second.unwrap_or_default()), Some((Ticks(11), event)));
            assert_eq!(unpack(place, second.unwrap_or_default(), [0; 2]), None, "the second record is no event");
        }
        for value in [RawValue::Int(-5), RawValue::Float(0.25), RawValue::Bool(true), RawValue::Name(Name(12))] {
            let event = Event::Attr { node, key: name, value };
            assert_eq!(unpack(place, event.pack(Ticks(11)).first, [0; 2]), Some((Ticks(0), event)));
        }
        assert_eq!(unpack(0, [0; 2], [0; 2]), None);
    }

    #[test]
    fn texts_of_every_length_read_back() {
        for len in 0..60 {
            let written: String = ('a'..='z').cycle().take(len).collect();
            let (first, more) = text(NodeId(1), Name(2), &written);
            let more: Vec<Words> = more.collect();
            assert_eq!(1 + more.len(), text_records(len));
            assert!(text_room(1 + more.len()) >= len && text_room(more.len()) <= len);
            let parts = more.iter().flat_map(|words| text_bytes(*words, false));
            let read: Vec<u8> = text_bytes(first, true).chain(parts).take(len).collect();
            assert_eq!(read, written.as_bytes());
            let value = RawValue::Text { place: 5, len: len as u16 };
            assert_eq!(
                unpack(5, first, [0; 2]),
                Some((Ticks(0), Event::Attr { node: NodeId(1), key: Name(2), value }))
            );
            assert!(more.iter().all(|words| unpack(5, *words, [0; 2]).is_none()));
        }
    }
}
