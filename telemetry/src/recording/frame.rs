//! The frames of a recording: five bytes that say what and how much, what they hold, and a sum over it.
//!
//! The five bytes are the kind, the length in three bytes, the lowest first, and a check of these four: so a damaged length
//! is not taken for a recording that ends early. The sum is CRC-32 (ISO-HDLC, as in gzip), the lowest byte first.

use std::io::{self, BufRead, Read};

use flate2::Crc;

/// Words for the dictionary.
pub(super) const WORDS: u8 = b'W';
/// A packed timeline.
pub(super) const TIMELINE: u8 = b'T';
/// The most bytes that a frame holds.
pub(super) const HOLDS_MAX: usize = (1 << 24) - 1;

/// Writes a frame of this kind behind what `out` holds. False, and nothing is written, when it would hold too much.
pub(super) fn put(out: &mut Vec<u8>, kind: u8, held: &[u8]) -> bool {
    if held.len() > HOLDS_MAX {
        return false;
    }
    let len = (held.len() as u32).to_le_bytes();
    let head = [kind, len[0], len[1], len[2]];
    out.extend_from_slice(&head);
    out.push(check(head));
    out.extend_from_slice(held);
    out.extend_from_slice(&sum(held).to_le_bytes());
    true
}

/// What a source holds next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A frame of this kind; what it holds is in the buffer.
    Frame(u8),
    /// Nothing more.
    End,
    /// A frame that was cut off, or the zeros that a crash leaves behind.
    Torn,
    /// Something that is not as it was written.
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// Whether the source stands at the next frame.
        passed: bool,
    },
}

/// Reads the next frame into `held`, and adds to `at` the bytes that it takes.
pub(super) fn next(source: &mut impl BufRead, held: &mut Vec<u8>, at: &mut u64) -> io::Result<Next> {
    held.clear();
    *at += take(source, held, 5)?;
    if held.is_empty() {
        return Ok(Next::End);
    }
    if held.iter().all(|byte| *byte == 0) {
        return zeros(source);
    }
    let Ok([kind, a, b, c, checked]) = <[u8; 5]>::try_from(&held[..]) else { return Ok(Next::Torn) };
    if check([kind, a, b, c]) != checked {
        return Ok(Next::Damaged { what: "no frame begins here", passed: false });
    }
    let len = u32::from_le_bytes([a, b, c, 0]);
    held.clear();
    let whole = u64::from(len) + 4;
    let read = take(source, held, whole)?;
    *at += read;
    if read < whole {
        return Ok(Next::Torn);
    }
    let said = held.split_off(len as usize);
    if said != sum(held).to_le_bytes() {
        return Ok(Next::Damaged { what: "a frame does not add up to its sum", passed: true });
    }
    Ok(Next::Frame(kind))
}

/// Reads up to so many bytes; memory is taken for those that are there.
fn take(source: &mut impl BufRead, held: &mut Vec<u8>, bytes: u64) -> io::Result<u64> {
    source.by_ref().take(bytes).read_to_end(held).map(|read| read as u64)
}

/// What follows a frame of zeros: nothing but zeros, as in a file that was made longer and not written, or damage.
fn zeros(source: &mut impl BufRead) -> io::Result<Next> {
    loop {
        let bytes = source.fill_buf()?;
        if bytes.is_empty() {
            return Ok(Next::Torn);
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(Next::Damaged { what: "no frame begins here", passed: false });
        }
        let read = bytes.len();
        source.consume(read);
    }
}

fn check(head: [u8; 4]) -> u8 {
    sum(&head) as u8
}

fn sum(bytes: &[u8]) -> u32 {
    let mut sum = Crc::new();
    sum.update(bytes);
    sum.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> (Vec<Next>, u64) {
        let (mut held, mut at, mut all) = (Vec::new(), 0, Vec::new());
        loop {
            let found = next(&mut bytes, &mut held, &mut at).expect("a slice does not fail");
            let goes_on = matches!(found, Next::Frame(_) | Next::Damaged { passed: true, .. });
            all.push(found);
            if !goes_on {
                return (all, at);
            }
        }
    }

    #[test]
    fn frames_are_read_torn_or_damaged() {
        let mut bytes = Vec::new();
        assert!(put(&mut bytes, WORDS, b"") && put(&mut bytes, TIMELINE, b"abc"));
        assert!(!put(&mut bytes, TIMELINE, &vec![0; HOLDS_MAX + 1]));
        assert_eq!(bytes.len(), 2 * 9 + 3);
        let sound = vec![Next::Frame(WORDS), Next::Frame(TIMELINE), Next::End];
        assert_eq!(read(&bytes), (sound, 21));
        for cut in 1..bytes.len() {
            let expected = if cut == 9 { Next::End } else { Next::Torn };
            assert_eq!(read(&bytes[..cut]).0.pop(), Some(expected), "cut at {cut}");
        }
        assert_eq!(read(&[&bytes[..], &[0; 9_000]].concat()).0.pop(), Some(Next::Torn));
        assert_eq!(read(&[&bytes[..], &[0; 3]].concat()).0.pop(), Some(Next::Torn));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            let (found, _) = read(&damaged);
            assert!(found.iter().any(|next| matches!(next, Next::Damaged { .. })), "byte {at}: {found:?}");
        }
    }
}
