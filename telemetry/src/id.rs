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
}

/// Why a text is not an identity or a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid trace context: {0}")]
pub struct InvalidContext(&'static str);

impl TraceContext {
    /// Reads a `traceparent` value: `00-<32 hex>-<16 hex>-<2 hex>`; later versions are read by their first four fields.
    ///
    /// # Errors
    /// [`InvalidContext`] when a field is missing, not lower-case hex, all zero, or the version is `ff`.
    /// Source: W3C Trace Context, section 3.2.
    pub fn parse(text: &str) -> Result<Self, InvalidContext> {
        let text = text.trim();
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
        Ok(Self { trace_id, parent: Some(parent), sampled: flags & 1 == 1 })
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
        let n = self.next.fetch_add(0x9e37_79b9_7f4a_7c15, std::sync::atomic::Ordering::Relaxed);
        mix(n ^ self.salt) | 1
    }

    /// A new trace identity.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        TraceId((u128::from(self.next_u64()) << 64) | u128::from(self.next_u64()))
    }
}

/// The span identity of node `ordinal` of a request whose seed is `seed`.
#[must_use]
pub fn span_id(seed: u64, ordinal: u16) -> SpanId {
    SpanId(mix(seed.wrapping_add(u64::from(ordinal).wrapping_mul(0xd6e8_feb8_6659_fd93))).max(1))
}

/// SplitMix64's finaliser: a bijection that spreads consecutive numbers over all 64 bits.
#[must_use]
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
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
        // A later version may carry more fields.
        assert!(TraceContext::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x").is_ok());
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
