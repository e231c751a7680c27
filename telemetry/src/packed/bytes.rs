//! Numbers and texts as bytes: varints of seven bits a byte, signed ones folded, and a reader that never runs past the end.

/// Why bytes are no packed timeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the packed timeline: {what}")]
pub struct UnpackError {
    /// Where, counted from 0.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// Writes a number in as few bytes as it needs: seven bits each, the lowest first.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, n: u64) {
    if n < 0x80 {
        out.push(n as u8);
    } else if n < 1 << 28 {
        // Most times are here: four bytes at once, and the spare ones taken back, instead of one by one.
        let (bits, bytes) = spread(n as u32);
        let end = out.len() + bytes;
        out.extend_from_slice(&bits.to_le_bytes());
        out.truncate(end);
    } else {
        put_long(out, n);
    }
}

/// Writes two numbers, the first of which is mostly below 128.
#[inline]
pub(super) fn put_both(out: &mut Vec<u8>, small: u64, n: u64) {
    if small < 0x80 && n < 1 << 28 {
        let (bits, bytes) = spread(n as u32);
        let end = out.len() + 1 + bytes;
        out.extend_from_slice(&(u64::from(bits) << 8 | small).to_le_bytes());
        out.truncate(end);
    } else {
        put(out, small);
        put(out, n);
    }
}

/// The bytes of a number of up to 28 bits, the first the lowest, and how many they are.
#[inline]
fn spread(n: u32) -> (u32, usize) {
    let bits = (n & 0x7f) | (n << 1 & 0x7f00) | (n << 2 & 0x7f_0000) | (n << 3 & 0x7f00_0000);
    let bytes = 1 + usize::from(n >= 1 << 7) + usize::from(n >= 1 << 14) + usize::from(n >= 1 << 21);
    let more = 0x0080_8080 & ((1 << (8 * (bytes - 1))) - 1);
    (bits | more, bytes)
}

#[inline(never)]
fn put_long(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Writes `to - from` so that small differences take few bytes, whatever their sign. Any two numbers have one: it wraps.
#[inline]
pub(super) fn put_difference(out: &mut Vec<u8>, from: u64, to: u64) {
    put(out, fold(to.wrapping_sub(from).cast_signed()));
}

/// Writes a length and the text.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// 0, -1, 1, -2, … as 0, 1, 2, 3, ….
#[inline]
pub(super) const fn fold(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

#[inline]
pub(super) const fn unfold(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -((n & 1).cast_signed())
}

/// Bytes that are read from their beginning on.
#[derive(Debug)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, len: bytes.len() }
    }

    /// What is wrong here.
    #[cold]
    pub(super) fn wrong(&self, what: &'static str) -> UnpackError {
        UnpackError { at: self.len - self.rest.len(), what }
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, UnpackError> {
        let (byte, rest) = self.rest.split_first().ok_or_else(|| self.wrong("it ends too early"))?;
        self.rest = rest;
        Ok(*byte)
    }

    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], UnpackError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| self.wrong("it ends too early"))?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// A varint.
    #[inline]
    pub(super) fn number(&mut self) -> Result<u64, UnpackError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(first.into());
        }
        let mut n = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                break;
            }
            n |= bits << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(self.wrong("a number has more than 64 bits"))
    }

    /// A varint of at most 16 bits.
    pub(super) fn small(&mut self) -> Result<u16, UnpackError> {
        let n = self.number()?;
        u16::try_from(n).map_err(|_| self.wrong("a number is too large for what it says"))
    }

    /// What lies so much after `from`.
    #[inline]
    pub(super) fn difference(&mut self, from: u64) -> Result<u64, UnpackError> {
        Ok(from.wrapping_add(unfold(self.number()?).cast_unsigned()))
    }

    /// A length and a text.
    pub(super) fn text(&mut self) -> Result<&'a str, UnpackError> {
        let len = self.number()?;
        let len = usize::try_from(len).ok().filter(|len| *len <= self.rest.len());
        let (text, rest) = self.rest.split_at(len.ok_or_else(|| self.wrong("a text ends too early"))?);
        let text = std::str::from_utf8(text).map_err(|_| self.wrong("a text is not UTF-8"))?;
        self.rest = rest;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn numbers_read_back(n in any::<u64>(), shift in 0_u32..64, from in any::<u64>()) {
            let n = n >> shift;
            let mut out = Vec::new();
            put(&mut out, n);
            prop_assert!(out.len() as u32 == n.checked_ilog2().map_or(1, |bits| bits / 7 + 1));
            put_difference(&mut out, from, n);
            put_both(&mut out, from >> shift, n);
            let mut input = Input::new(&out);
            prop_assert_eq!((input.number(), input.difference(from)), (Ok(n), Ok(n)));
            prop_assert_eq!((input.number(), input.number(), input.left()), (Ok(from >> shift), Ok(n), 0));
            prop_assert_eq!(unfold(fold(n.cast_signed())), n.cast_signed());
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bytes in [&[][..], &[0x80], &[0xff; 10], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]] {
            assert!(Input::new(bytes).number().is_err(), "{bytes:?}");
        }
        assert!(Input::new(&[3, b'a', b'b']).text().is_err());
        assert!(Input::new(&[1, 0xff]).text().is_err());
        assert!(Input::new(&[0x80, 0x80, 4]).small().is_err());
    }
}
