//! The spans of one request as OTLP's bytes, written while the timeline is walked: no span is made on the way.
//!
//! What stands here is the field `spans` of a `ScopeSpans` as often as there are spans, each byte as opentelemetry-proto
//! writes it; batches put them behind one another.

use opentelemetry::trace::SpanKind;

use super::protobuf::{Buffer, Open, Wire, tag, varint_len, write, write_head, write_varint};
use crate::export::queue::Group;
use crate::export::settings::ItemLimits;
use crate::sampling::Reason;
use crate::span::{Head, Key, Said, Sink, SpanSettings, walk};
use crate::timeline::Timeline;

/// Bytes that the buffer keeps between two requests.
const KEPT: usize = 256 << 10;

/// `ScopeSpans.spans`
pub(crate) const SPAN: u8 = 2;

// Fields of `Span`.
const SPAN_TRACE: u8 = tag(1, Wire::Length);
const SPAN_ID: u8 = tag(2, Wire::Length);
const SPAN_TRACE_STATE: u8 = tag(3, Wire::Length);
const SPAN_PARENT: u8 = tag(4, Wire::Length);
const SPAN_NAME: u8 = tag(5, Wire::Length);
const SPAN_KIND: u8 = tag(6, Wire::Varint);
const SPAN_START: u8 = tag(7, Wire::Fixed64);
const SPAN_END: u8 = tag(8, Wire::Fixed64);
const SPAN_ATTRIBUTE: u8 = tag(9, Wire::Length);
const SPAN_DROPPED_ATTRIBUTES: u8 = tag(10, Wire::Varint);
const SPAN_EVENT: u8 = tag(11, Wire::Length);
const SPAN_DROPPED_EVENTS: u8 = tag(12, Wire::Varint);
const SPAN_STATUS: u8 = tag(15, Wire::Length);
/// Field 16, a fixed 32-bit number.
const SPAN_FLAGS: [u8; 2] = [0x85, 0x01];
/// It is known whether the span above is another service's.
const HAS_IS_REMOTE: u32 = 0x100;
/// It is another service's.
const IS_REMOTE: u32 = 0x200;

// Fields of `Status`: its code, and the code for an error.
const STATUS_CODE: u8 = tag(3, Wire::Varint);
const ERROR: u8 = 2;

// Fields of `Event`.
const EVENT_TIME: u8 = tag(1, Wire::Fixed64);
const EVENT_NAME: u8 = tag(2, Wire::Length);
const EVENT_ATTRIBUTE: u8 = tag(3, Wire::Length);
const EVENT_DROPPED_ATTRIBUTES: u8 = tag(4, Wire::Varint);

// Fields of `KeyValue`.
const KEY: u8 = tag(1, Wire::Length);
const VALUE: u8 = tag(2, Wire::Length);

// Fields of `AnyValue`.
const TEXT: u8 = tag(1, Wire::Length);
const BOOL: u8 = tag(2, Wire::Varint);
const INT: u8 = tag(3, Wire::Varint);
const FLOAT: u8 = tag(4, Wire::Fixed64);
const LIST: u8 = tag(5, Wire::Length);
/// `ArrayValue.values`
const ELEMENT: u8 = tag(1, Wire::Length);

/// Writes the spans of requests. It keeps its buffer, so that a request costs one allocation, of what it needs to the byte.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    limits: ItemLimits,
    buffer: Buffer,
}

impl Encoder {
    pub(crate) fn new(limits: ItemLimits) -> Self {
        Self { limits, buffer: Buffer::default() }
    }

    /// The spans of one request, its own first.
    pub(crate) fn spans(&mut self, timeline: &Timeline, reason: Reason, settings: &SpanSettings) -> Group<Box<[u8]>> {
        self.buffer.clear(KEPT);
        let mut writer = Writer {
            out: &mut self.buffer,
            limits: self.limits,
            span: None,
            place: Place::Span,
            flags: 0,
            attributes: 0,
            events: 0,
            dropped_events: 0,
        };
        let items = walk(timeline, reason, settings, &mut writer);
        let part: Box<[u8]> = self.buffer.written().into();
        Group { items, bytes: part.len(), part }
    }
}

/// Appends spans to `out`.
struct Writer<'b> {
    out: &'b mut Buffer,
    limits: ItemLimits,
    span: Option<Open>,
    place: Place,
    flags: u32,
    /// Attributes that came for what stands at `place`.
    attributes: usize,
    /// Events of the span.
    events: usize,
    dropped_events: u32,
}

/// Where attributes belong.
#[derive(Clone, Copy, Debug)]
enum Place {
    Span,
    Event(Open),
    /// An event that is one too many.
    Nowhere,
}

impl Writer<'_> {
    fn fixed64(&mut self, tag: u8, number: u64) {
        // As everywhere in protobuf, a field of its own is not written when it is zero.
        if number != 0 {
            let room = self.out.room(9);
            room[0] = tag;
            room[1..].copy_from_slice(&number.to_le_bytes());
        }
    }

    fn text(&mut self, tag: u8, pieces: [&str; 3]) {
        let len = pieces.iter().map(|piece| piece.len()).sum();
        if len != 0 {
            let room = self.out.room(1 + varint_len(len as u64) + len);
            write_all(write_head(room, tag, len), &pieces);
        }
    }

    fn count(&mut self, tag: u8, number: usize) {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        if number != 0 {
            let room = self.out.room(1 + varint_len(number.into()));
            room[0] = tag;
            write_varint(&mut room[1..], number.into());
        }
    }

    /// What follows belongs elsewhere: counts what the limit has cut here.
    fn leave(&mut self) {
        let came = std::mem::take(&mut self.attributes);
        match self.place {
            Place::Span => self.count(SPAN_DROPPED_ATTRIBUTES, came.saturating_sub(self.limits.attributes)),
            Place::Event(open) => {
                self.count(EVENT_DROPPED_ATTRIBUTES, came.saturating_sub(self.limits.event_attributes));
                self.out.close(open);
            }
            Place::Nowhere => {}
        }
    }

    /// A `KeyValue`, whose lengths are all known before it is written; gives the room for its value.
    ///
    /// Most keys are constants where they are said. Inlined there, so is all that comes of their lengths.
    #[inline(always)]
    fn key_value(&mut self, tag: u8, key: Key<'_>, value_len: usize) -> &mut [u8] {
        let key_len = key.len();
        let value_field = 1 + varint_len(value_len as u64) + value_len;
        let short = 2 + key_len + value_field;
        if short < 0x80 && key_len != 0 {
            // Each length is one byte.
            let room = self.out.room(2 + short);
            room[..4].copy_from_slice(&[tag, short as u8, KEY, key_len as u8]);
            let room = write_key(&mut room[4..], key);
            room[..2].copy_from_slice(&[VALUE, value_len as u8]);
            return &mut room[2..];
        }
        let key_field = if key_len == 0 { 0 } else { 1 + varint_len(key_len as u64) + key_len };
        let len = key_field + value_field;
        let mut room = write_head(self.out.room(1 + varint_len(len as u64) + len), tag, len);
        if key_len != 0 {
            room = write_key(write_head(room, KEY, key_len), key);
        }
        write_head(room, VALUE, value_len)
    }

    #[inline(always)]
    fn text_value(&mut self, tag: u8, key: Key<'_>, pieces: &[&str]) {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let room = self.key_value(tag, key, 1 + varint_len(len as u64) + len);
        write_all(write_head(room, TEXT, len), pieces);
    }

    /// The same where a value's texts may be too long.
    fn cut_text_value(&mut self, tag: u8, key: Key<'_>, pieces: &[&str], chars: usize) {
        if pieces.iter().map(|piece| piece.len()).sum::<usize>() <= chars {
            return self.text_value(tag, key, pieces);
        }
        let mut left = chars;
        let cut = |piece: &&'_ str| {
            let end = piece.char_indices().nth(left).map_or(piece.len(), |(end, _)| end);
            left -= piece[..end].chars().count();
            end
        };
        let ends: Vec<usize> = pieces.iter().map(cut).collect();
        let cut: Vec<&str> = pieces.iter().zip(ends).map(|(piece, end)| &piece[..end]).collect();
        self.text_value(tag, key, &cut);
    }

    fn list_value(&mut self, tag: u8, key: Key<'_>, text: &str) {
        let text = match self.limits.value_chars.and_then(|chars| text.char_indices().nth(chars)) {
            Some((end, _)) => &text[..end],
            None => text,
        };
        // An `AnyValue` in an `ArrayValue` in an `AnyValue`.
        let inner = 1 + varint_len(text.len() as u64) + text.len();
        let array = 1 + varint_len(inner as u64) + inner;
        let room = self.key_value(tag, key, 1 + varint_len(array as u64) + array);
        let room = write_head(write_head(room, LIST, array), ELEMENT, inner);
        write(write_head(room, TEXT, text.len()), text.as_bytes());
    }
}

#[inline(always)]
fn write_key<'r>(room: &'r mut [u8], key: Key<'_>) -> &'r mut [u8] {
    let room = if key.before.is_empty() { room } else { write(room, key.before.as_bytes()) };
    write(room, key.own.as_bytes())
}

#[inline(always)]
fn write_all(mut room: &mut [u8], pieces: &[&str]) {
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        room = write(room, piece.as_bytes());
    }
}

impl Sink for Writer<'_> {
    fn open(&mut self, head: &Head<'_>) {
        // Most take between 128 bytes and 16 KiB.
        self.span = Some(self.out.open(tag(SPAN, Wire::Length), 2));
        let room = self.out.room(28);
        room[..2].copy_from_slice(&[SPAN_TRACE, 16]);
        room[2..18].copy_from_slice(&head.trace_id.0.to_be_bytes());
        room[18..20].copy_from_slice(&[SPAN_ID, 8]);
        room[20..].copy_from_slice(&head.span_id.0.to_be_bytes());
        self.text(SPAN_TRACE_STATE, [head.trace_state, "", ""]);
        if let Some(parent) = head.parent.filter(|parent| parent.0 != 0) {
            let room = self.out.room(10);
            room[..2].copy_from_slice(&[SPAN_PARENT, 8]);
            room[2..].copy_from_slice(&parent.0.to_be_bytes());
        }
        self.text(SPAN_NAME, head.name);
        let kind = match head.kind {
            SpanKind::Internal => 1,
            SpanKind::Server => 2,
            SpanKind::Client => 3,
            SpanKind::Producer => 4,
            SpanKind::Consumer => 5,
        };
        self.out.put([SPAN_KIND, kind]);
        self.fixed64(SPAN_START, head.from_unix_ns);
        self.fixed64(SPAN_END, head.to_unix_ns);
        self.flags = u32::from(head.sampled) | HAS_IS_REMOTE | if head.remote { IS_REMOTE } else { 0 };
        (self.place, self.attributes, self.events, self.dropped_events) = (Place::Span, 0, 0, 0);
    }

    #[inline(always)]
    fn attribute(&mut self, key: Key<'_>, said: Said<'_>) {
        let (tag, most) = match self.place {
            Place::Span => (SPAN_ATTRIBUTE, self.limits.attributes),
            Place::Event(_) => (EVENT_ATTRIBUTE, self.limits.event_attributes),
            Place::Nowhere => return,
        };
        self.attributes += 1;
        if self.attributes > most {
            return;
        }
        match (said, self.limits.value_chars) {
            (Said::Text(text), None) => self.text_value(tag, key, &[text]),
            (Said::Joined(pieces), None) => self.text_value(tag, key, pieces),
            (Said::Text(text), Some(chars)) => self.cut_text_value(tag, key, &[text], chars),
            (Said::Joined(pieces), Some(chars)) => self.cut_text_value(tag, key, pieces, chars),
            (Said::List(text), _) => self.list_value(tag, key, text),
            (Said::Bool(yes), _) => self.key_value(tag, key, 2).copy_from_slice(&[BOOL, u8::from(yes)]),
            (Said::Int(number), _) => {
                let number = number.cast_unsigned();
                let room = self.key_value(tag, key, 1 + varint_len(number));
                room[0] = INT;
                write_varint(&mut room[1..], number);
            }
            (Said::Float(number), _) => {
                let room = self.key_value(tag, key, 9);
                room[0] = FLOAT;
                room[1..9].copy_from_slice(&number.to_le_bytes());
            }
        }
    }

    fn event(&mut self, name: &'static str, unix_ns: u64) {
        self.leave();
        self.events += 1;
        if self.events > self.limits.events {
            self.place = Place::Nowhere;
            self.dropped_events = self.dropped_events.saturating_add(1);
            return;
        }
        self.place = Place::Event(self.out.open(SPAN_EVENT, 1));
        self.fixed64(EVENT_TIME, unix_ns);
        self.text(EVENT_NAME, [name, "", ""]);
    }

    fn close(&mut self, left_out: u32, failed: bool) {
        self.leave();
        self.count(SPAN_DROPPED_EVENTS, self.dropped_events.saturating_add(left_out) as usize);
        if failed {
            self.out.put([SPAN_STATUS, 2, STATUS_CODE, ERROR]);
        } else {
            self.out.put([SPAN_STATUS, 0]);
        }
        let room = self.out.room(6);
        room[..2].copy_from_slice(&SPAN_FLAGS);
        room[2..].copy_from_slice(&self.flags.to_le_bytes());
        if let Some(span) = self.span.take() {
            self.out.close(span);
        }
    }
}

#[cfg(test)]
mod tests;
