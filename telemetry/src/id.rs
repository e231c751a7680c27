//! Trace and span identities, and the W3C `traceparent` header that carries them between services.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The 16 bytes that name a trace (W3C Trace Context, level 2). Never all zero when valid.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TraceId(pub u128);

/// The 8 bytes that name a span within a trace. Never zero when valid.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SpanId(pub u64);

/// What a `traceparent` header says: the trace, the caller's span, and whether the caller sampled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace this request belongs to.
    pub trace_id: TraceId,
    /// The caller's span, the parent of ours.
    pub parent: Option<SpanId>,
    /// The sampled flag, honoured for export.
    pub sampled: bool,
    /// The random flag: the last 7 bytes of the trace's identity are random. It goes on as it came.
    pub random: bool,
}

/// Why a text is not an identity or a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid trace context: {0}")]
pub struct InvalidContext(&'static str);

impl TraceContext {
    /// A new trace, whose first span is ours.
    #[must_use]
    pub fn begin(trace_id: TraceId, sampled: bool) -> Self {
        Self { trace_id, parent: None, sampled, random: true }
    }

    /// What the `traceparent` fields of a request say; none where there is not exactly one, or it is malformed: then a
    /// new trace begins, and nothing of the old one goes on. Source: W3C Trace Context, level 2, section 4.3.
    pub fn read<'h>(fields: impl IntoIterator<Item = &'h [u8]>) -> Option<Self> {
        let mut fields = fields.into_iter();
        let (only, None) = (fields.next()?, fields.next()) else { return None };
        Self::parse(std::str::from_utf8(only).ok()?).ok()
    }

    /// Reads a `traceparent` value: `00-<32 hex>-<16 hex>-<2 hex>`; later versions are read by their first four fields.
    /// Of the flags, those that level 2 knows are read.
    ///
    /// # Errors
    /// [`InvalidContext`] when a field is missing, not lower-case hex, all zero, or the version is `ff`.
    /// Source: W3C Trace Context, level 2, section 3.2.
    pub fn parse(text: &str) -> Result<Self, InvalidContext> {
        // Optional whitespace of HTTP, and no other.
        let text = text.trim_matches([' ', '\t']);
        let mut fields = text.split('-');
        let version = fields.next().ok_or(InvalidContext("empty"))?;
        let trace = fields.next().ok_or(InvalidContext("no trace id"))?;
        let span = fields.next().ok_or(InvalidContext("no parent id"))?;
        let flags = fields.next().ok_or(InvalidContext("no flags"))?;
        let version = hex(version, 2).ok_or(InvalidContext("version"))?;
        if version == 0xff || (version == 0 && fields.next().is_some()) {
            return Err(InvalidContext("version"));
        }
        let trace_id = TraceId(hex(trace, 32).ok_or(InvalidContext("trace id"))?);
        let parent = SpanId(hex(span, 16).ok_or(InvalidContext("parent id"))? as u64);
        let flags = hex(flags, 2).ok_or(InvalidContext("flags"))?;
        if trace_id.0 == 0 || parent.0 == 0 {
            return Err(InvalidContext("all zero"));
        }
        Ok(Self { trace_id, parent: Some(parent), sampled: flags & 1 == 1, random: flags & 2 == 2 })
    }
}

/// Writes the `traceparent` value that a call to another service carries: ASCII, without allocating.
#[must_use]
pub fn traceparent(trace_id: TraceId, span: SpanId, sampled: bool) -> [u8; 55] {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    write_hex(&mut text[3..35], &trace_id.0.to_be_bytes());
    write_hex(&mut text[36..52], &span.0.to_be_bytes());
    text[54] += u8::from(sampled);
    text
}

fn write_hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (digits, byte) in text.chunks_exact_mut(2).zip(bytes) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// The same with all flags of level 2.
pub(crate) fn traceparent_with(trace_id: TraceId, span: SpanId, sampled: bool, random: bool) -> [u8; 55] {
    let mut text = traceparent(trace_id, span, sampled);
    text[54] += u8::from(random) << 1;
    text
}

/// Reads exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != digits || !text.bytes().all(lower) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TraceId {
    type Err = InvalidContext;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex(text, 32).filter(|id| *id != 0).map(Self).ok_or(InvalidContext("a trace id is 32 lower-case hex digits"))
    }
}

impl FromStr for SpanId {
    type Err = InvalidContext;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex(text, 16)
            .filter(|id| *id != 0)
            .map(|id| Self(id as u64))
            .ok_or(InvalidContext("a span id is 16 lower-case hex digits"))
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for SpanId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for SpanId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A source of identities: a seeded counter mixed into random-looking numbers, one atomic add per request.
///
/// Span ids of a request are derived from its seed and the node's ordinal, so that none needs a random number.
#[derive(Debug)]
pub struct IdSource {
    next: std::sync::atomic::AtomicU64,
    salt: u64,
}

impl IdSource {
    /// A source whose sequence is fixed by `seed`; two processes must not share one.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { next: std::sync::atomic::AtomicU64::new(mix(seed)), salt: mix(seed ^ 0x9e37_79b9_7f4a_7c15) }
    }

    /// A source seeded from the operating system's randomness.
    #[must_use]
    pub fn random() -> Self {
        use std::hash::{BuildHasher, Hasher};
        // The standard library's hasher keys are the one source of OS randomness it exposes.
        let seed = std::collections::hash_map::RandomState::new().build_hasher().finish();
        Self::new(seed ^ u64::from(std::process::id()))
    }

    /// A new 64-bit number, never zero.
    #[must_use]
    pub fn next_u64(&self) -> u64 {
        self.any_u64() | 1
    }

    fn any_u64(&self) -> u64 {
        let n = self.next.fetch_add(0x9e37_79b9_7f4a_7c15, std::sync::atomic::Ordering::Relaxed);
        mix(n ^ self.salt)
    }

    /// The number of this source that belongs to `n`: for who has a number of its own for each. Costs no atomic operation.
    #[must_use]
    pub fn nth(&self, n: u64) -> u64 {
        mix(n ^ self.salt)
    }

    /// A new trace identity. Its last 8 bytes are any number, as the random flag promises of the last 7.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        TraceId((u128::from(self.next_u64()) << 64) | u128::from(self.any_u64()))
    }
}

/// The span identity of node `ordinal` of a request whose seed is `seed`.
#[must_use]
pub fn span_id(seed: u64, ordinal: u16) -> SpanId {
    SpanId(mix(seed.wrapping_add(u64::from(ordinal).wrapping_mul(STRIDE))).max(1))
}

/// How far apart the spans of a request lie before they are mixed.
const STRIDE: u64 = 0xd6e8_feb8_6659_fd93;

/// The number that the span `of` was made with, when it is of the request whose own span, number 0, is `root`.
pub(crate) fn ordinal_of(root: SpanId, of: SpanId) -> Option<u16> {
    let steps = unmix(of.0).wrapping_sub(unmix(root.0)).wrapping_mul(inverse(STRIDE));
    u16::try_from(steps).ok().filter(|ordinal| span_id(seed_of(root), *ordinal) == of)
}

/// The seed of the request whose own span, number 0, is `root`: that of [`span_id`].
pub(crate) fn seed_of(root: SpanId) -> u64 {
    unmix(root.0)
}

/// SplitMix64's finaliser: a bijection that spreads consecutive numbers over all 64 bits.
#[must_use]
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What [`mix`] made `z` of.
fn unmix(mut z: u64) -> u64 {
    z = (z ^ (z >> 31) ^ (z >> 62)).wrapping_mul(const { inverse(0x94d0_49bb_1331_11eb) });
    z = (z ^ (z >> 27) ^ (z >> 54)).wrapping_mul(const { inverse(0xbf58_476d_1ce4_e5b9) });
    z ^ (z >> 30) ^ (z >> 60)
}

/// The number that `odd` times it is 1, modulo 2 to the 64th. Newton's method: each turn doubles the bits that are right.
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut turn = 0;
    while turn < 6 {
        x = x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)));
        turn += 1;
    }
    x
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn traceparent_is_read_and_written() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(text).unwrap();
        assert!(context.sampled);
        assert_eq!(&traceparent(context.trace_id, context.parent.unwrap(), context.sampled), text.as_bytes());
    }

    #[test]
    fn bad_traceparents_are_refused() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(TraceContext::parse(bad).is_err(), "{bad} was read");
        }
        // A later version may carry more fields; the flags that we know are read, and no others.
        for later in [
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0a-x",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02",
        ] {
            let context = TraceContext::parse(later).expect("a later version");
            assert!(!context.sampled && context.random, "{later}");
        }
        for cut in [
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",
        ] {
            assert!(TraceContext::parse(cut).is_err(), "{cut} was read");
        }
    }

    #[test]
    fn only_one_traceparent_is_read() {
        let one = &b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03"[..];
        let context = TraceContext::read([one]).expect("it is sound");
        assert!(context.sampled && context.random);
        assert_eq!(traceparent_with(context.trace_id, context.parent.unwrap(), true, true), one);
        for bad in [&[][..], &[one, one], &[one, b"bad"], &[b"\xff"], &[b""]] {
            assert_eq!(TraceContext::read(bad.iter().copied()), None, "{bad:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever comes is read or refused, and what is read goes out again as it came.
        #[test]
        fn what_is_read_is_written_alike(text in "[0-9a-f\\-xA ]{0,70}", flags in 0_u8..4, trace in 1_u128.., span in 1_u64..) {
            if let Ok(context) = TraceContext::parse(&text) {
                prop_assert!(context.trace_id.0 != 0 && context.parent.is_some());
            }
            let (sampled, random) = (flags & 1 == 1, flags & 2 == 2);
            let sent = traceparent_with(TraceId(trace), SpanId(span), sampled, random);
            let read = TraceContext::read([&sent[..]]).expect("we write what we read");
            prop_assert_eq!(read, TraceContext { trace_id: TraceId(trace), parent: Some(SpanId(span)), sampled, random });
        }

        /// One wrong byte anywhere makes it another context or none, and never a panic.
        #[test]
        fn one_wrong_byte_is_never_taken_for_the_same(at in 0_usize..55, byte in any::<u8>()) {
            let sound = *b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            let mut other = sound;
            other[at] = byte;
            let hex = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            let read = TraceContext::read([&other[..]]);
            prop_assert!(hex || other == sound || read.is_none() || sound[at] == byte, "{:?}", read);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_number_of_a_span_is_found_again(seed in any::<u64>(), ordinal in any::<u16>(), other in any::<u64>()) {
            let root = span_id(seed, 0);
            prop_assert_eq!(unmix(mix(seed)), seed);
            prop_assert_eq!(ordinal_of(root, span_id(seed, ordinal)), Some(ordinal));
            prop_assert_eq!(span_id(seed_of(root), ordinal), span_id(seed, ordinal));
            // What is said to follow does; zero never does.
            prop_assert!(ordinal_of(root, SpanId(other)).is_none_or(|n| span_id(seed_of(root), n) == SpanId(other)));
            prop_assert_eq!(ordinal_of(root, SpanId(0)), None);
        }
    }

    #[test]
    fn identities_differ() {
        let ids = IdSource::new(7);
        let mut seen: Vec<_> = (0..1000).map(|_| ids.trace_id()).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
        let mut spans: Vec<_> = (0..500).map(|n| span_id(ids.next_u64() ^ 5, n)).collect();
        spans.sort();
        spans.dedup();
        assert_eq!(spans.len(), 500);
    }
}
