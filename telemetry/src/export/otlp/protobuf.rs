//! As much of protobuf's wire format as messages need that are written straight into their buffer.
//!
//! Source: "Protocol Buffers: Encoding". A length stands before what it measures: where it is not known beforehand, room is
//! left for it, and it is written when its message is complete.

use bytes::{BufMut, BytesMut};
use prost::Message;

/// How a field's value stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Length = 2,
}

/// The first byte of a field below 16.
pub(crate) const fn tag(field: u8, wire: Wire) -> u8 {
    assert!(field < 16, "its tag has more than one byte");
    field << 3 | wire as u8
}

/// How many bytes a number takes.
pub(crate) const fn varint_len(number: u64) -> usize {
    // Seven bits in each.
    (70 - (number | 1).leading_zeros() as usize) / 7
}

/// Appends a number.
pub(crate) fn varint(out: &mut impl BufMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// A field that is a message whose length is known: what stands before it.
pub(crate) fn head(out: &mut BytesMut, field: u8, len: usize) {
    out.put_u8(tag(field, Wire::Length));
    varint(out, len as u64);
}

/// How many bytes a field takes that is a message of this length.
pub(crate) const fn field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// A field that is a message of prost's.
pub(crate) fn message(out: &mut BytesMut, field: u8, message: &impl Message) {
    head(out, field, message.encoded_len());
    message.encode_raw(out);
}

/// Bytes that are written from front to back, and are there before they are: what is written asks for its room once.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    end: usize,
}

impl Buffer {
    /// What was written.
    pub(crate) fn written(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    /// Forgets what was written; of its memory at most `keep` bytes stay.
    pub(crate) fn clear(&mut self, keep: usize) {
        self.end = 0;
        self.bytes.truncate(keep);
        self.bytes.shrink_to(keep);
    }

    /// The next `len` bytes, all of which are to be written.
    #[inline(always)]
    pub(crate) fn room(&mut self, len: usize) -> &mut [u8] {
        let (from, to) = (self.end, self.end + len);
        if self.bytes.len() < to {
            self.grow(to);
        }
        self.end = to;
        &mut self.bytes[from..to]
    }

    #[cold]
    fn grow(&mut self, to: usize) {
        self.bytes.resize(to.max(2 * self.bytes.len()).max(4_096), 0);
    }

    pub(crate) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.room(N).copy_from_slice(&bytes);
    }

    /// Begins a message whose length will most likely take `room` bytes, 4 at most.
    pub(crate) fn open(&mut self, tag: u8, room: usize) -> Open {
        self.room(1 + room)[0] = tag;
        Open { from: self.end, room }
    }

    /// Ends it. When its length takes more or less than the room that was left, it is moved.
    pub(crate) fn close(&mut self, open: Open) {
        let Open { from, room } = open;
        let end = self.end;
        let len = end - from;
        let needed = varint_len(len as u64);
        if needed != room {
            self.room(needed.saturating_sub(room));
            self.bytes.copy_within(from..end, from + needed - room);
            self.end = end + needed - room;
        }
        write_varint(&mut self.bytes[from - room..], len as u64);
    }
}

/// A message that is being written, and the room for its length before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    from: usize,
    room: usize,
}

/// Writes a field's tag and its length; gives what is left.
#[inline(always)]
pub(crate) fn write_head(room: &mut [u8], tag: u8, len: usize) -> &mut [u8] {
    let (head, rest) = room.split_at_mut(1);
    head[0] = tag;
    write_varint(rest, len as u64)
}

/// Writes a number; gives what is left.
#[inline(always)]
pub(crate) fn write_varint(room: &mut [u8], mut number: u64) -> &mut [u8] {
    let mut at = 0;
    while number >= 0x80 {
        room[at] = number as u8 | 0x80;
        number >>= 7;
        at += 1;
    }
    room[at] = number as u8;
    &mut room[at + 1..]
}

/// Writes bytes; gives what is left.
#[inline(always)]
pub(crate) fn write<'r>(room: &'r mut [u8], bytes: &[u8]) -> &'r mut [u8] {
    let (to, rest) = room.split_at_mut(bytes.len());
    to.copy_from_slice(bytes);
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_and_take_what_is_said() {
        for number in (0..64).flat_map(|bit| [(1 << bit) - 1, 1_u64 << bit]).chain([u64::MAX]) {
            let mut out = Vec::new();
            varint(&mut out, number);
            assert_eq!(out.len(), varint_len(number), "{number}");
            assert_eq!(prost::encoding::decode_varint(&mut &*out), Ok(number));
            let mut room = [0xff; 12];
            assert_eq!(write_varint(&mut room, number).len(), 12 - out.len());
            assert_eq!(room[..out.len()], out);
        }
    }

    #[test]
    fn a_length_finds_its_place_whatever_room_was_left() {
        for len in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            for room in 1..=4 {
                let mut out = Buffer::default();
                out.put([9]);
                let open = out.open(tag(2, Wire::Length), room);
                out.room(len).iter_mut().enumerate().for_each(|(n, byte)| *byte = n as u8);
                out.close(open);
                let mut expected = vec![9];
                let body: Vec<u8> = (0..len).map(|n| n as u8).collect();
                prost::encoding::bytes::encode(2, &body, &mut expected);
                assert!(out.written() == expected, "{len} bytes, room for {room}");
            }
        }
    }
}
