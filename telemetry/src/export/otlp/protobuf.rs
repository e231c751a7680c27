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

/// A message that is being written, and the room for its length before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    from: usize,
    room: usize,
}

impl Open {
    /// Begins a message whose length will most likely take `room` bytes.
    pub(crate) fn new(out: &mut Vec<u8>, tag: u8, room: usize) -> Self {
        out.extend_from_slice(&[tag, 0, 0, 0, 0][..=room.min(4)]);
        Self { from: out.len(), room }
    }

    /// Ends it. When its length takes more or less than the room that was left, it is moved.
    pub(crate) fn close(self, out: &mut Vec<u8>) {
        let Self { from, room } = self;
        let end = out.len();
        let len = (end - from) as u64;
        let needed = varint_len(len);
        if needed > room {
            out.resize(end + needed - room, 0);
        }
        if needed != room {
            out.copy_within(from..end, from + needed - room);
            out.truncate(end + needed - room);
        }
        varint(&mut &mut out[from - room..], len);
    }
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
        }
    }

    #[test]
    fn a_length_finds_its_place_whatever_room_was_left() {
        for len in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            for room in 1..=4 {
                let mut out = vec![9];
                let open = Open::new(&mut out, tag(2, Wire::Length), room);
                out.extend((0..len).map(|n| n as u8));
                open.close(&mut out);
                let mut expected = vec![9];
                let body: Vec<u8> = (0..len).map(|n| n as u8).collect();
                prost::encoding::bytes::encode(2, &body, &mut expected);
                assert!(out == expected, "{len} bytes, room for {room}");
            }
        }
    }
}
