//! What the walk over a timeline says of each span, and who takes it down: the contract between the two.
//!
//! Nothing of it is owned. A sink that writes bytes copies each text once, to where it is sent from.

use opentelemetry::trace::SpanKind;

use crate::id::{SpanId, TraceId};

/// Takes spans down, one after the other: each is opened, given its attributes, then its events, and closed.
pub(crate) trait Sink {
    /// A span begins.
    fn open(&mut self, head: &Head<'_>);

    /// An attribute of the latest event of the open span, or of the span itself while it has none. No key comes twice.
    fn attribute(&mut self, key: Key<'_>, said: Said<'_>);

    /// An event of the open span; the attributes that follow are its own.
    fn event(&mut self, name: &'static str, unix_ns: u64);

    /// The open span is complete. `left_out` events of it were not told; it is an error, or not.
    fn close(&mut self, left_out: u32, failed: bool);
}

/// What a span begins with.
#[derive(Clone, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    /// The span above; none, or zero, for a trace that begins here.
    pub(crate) parent: Option<SpanId>,
    /// Whether the span above is another service's.
    pub(crate) remote: bool,
    /// What vendors noted along the trace, as it went out with the request's calls; empty for nothing.
    pub(crate) trace_state: &'a str,
    /// The flag of the trace.
    pub(crate) sampled: bool,
    pub(crate) kind: SpanKind,
    /// Its name, in pieces.
    pub(crate) name: [&'a str; 3],
    pub(crate) from_unix_ns: u64,
    pub(crate) to_unix_ns: u64,
}

/// The key of an attribute: what stands before it everywhere, and its own part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) before: &'static str,
    pub(crate) own: &'a str,
}

impl<'a> Key<'a> {
    pub(crate) const fn of(own: &'a str) -> Self {
        Self { before: "", own }
    }

    pub(crate) const fn len(&self) -> usize {
        self.before.len() + self.own.len()
    }

    fn bytes(&self) -> impl Iterator<Item = u8> {
        self.before.bytes().chain(self.own.bytes())
    }
}

/// Two keys are one when they read alike, wherever they are cut.
impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && if self.before.len() == other.before.len() {
                self.own == other.own && self.before == other.before
            } else {
                self.bytes().eq(other.bytes())
            }
    }
}

/// The value of an attribute.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Said<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    /// One text, in pieces.
    Joined(&'a [&'a str]),
    /// A list of one text.
    List(&'a str),
}

/// The keys that a span has so far: one must not stand twice, and what was said first stands.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    /// A bit for each key that stands, shared by a few: most keys that are new are known to be by that alone.
    bits: u128,
    all: Vec<Key<'a>>,
}

impl<'a> Keys<'a> {
    pub(crate) fn new() -> Self {
        Self { bits: 0, all: Vec::with_capacity(32) }
    }

    /// The next span has none.
    pub(crate) fn clear(&mut self) {
        self.bits = 0;
        self.all.clear();
    }

    /// Takes a key in; says whether it is new.
    #[inline(always)]
    pub(crate) fn add(&mut self, key: Key<'a>) -> bool {
        let end = key.own.as_bytes();
        let byte = |back: usize| end.len().checked_sub(back).map_or(0, |at| usize::from(end[at]));
        let bit = 1 << ((key.len() * 5 + byte(1) + byte(3) * 3) % 128);
        if self.bits & bit != 0 && self.all.contains(&key) {
            return false;
        }
        self.bits |= bit;
        self.all.push(key);
        true
    }
}

/// A number in decimal digits, without a heap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digits {
    bytes: [u8; 20],
    from: usize,
}

impl Digits {
    pub(crate) fn of(mut number: u64) -> Self {
        let mut digits = Self { bytes: [b'0'; 20], from: 20 };
        loop {
            digits.from -= 1;
            digits.bytes[digits.from] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return digits;
            }
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.from..]).expect("digits are ASCII")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_what_it_reads_wherever_it_is_cut() {
        let cut = Key { before: "zerver.", own: "tenant" };
        assert_eq!(cut, Key::of("zerver.tenant"));
        assert_ne!(cut, Key::of("zerver.tenants"));
        assert_ne!(cut, Key::of("zerver_tenant"));
        assert_ne!(Key { before: "a", own: "b" }, Key { before: "b", own: "a" });
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_key_is_new_once(keys in prop::collection::vec("[ab.]{0,3}", 0..40), cut in any::<bool>()) {
            let (mut seen, mut known) = (Keys::new(), std::collections::HashSet::new());
            for key in &keys {
                let as_key = match key.strip_prefix("a.") {
                    Some(own) if cut => Key { before: "a.", own },
                    _ => Key::of(key),
                };
                prop_assert_eq!(seen.add(as_key), known.insert(key));
            }
            seen.clear();
            prop_assert!(keys.iter().take(1).all(|key| seen.add(Key::of(key))));
        }

        #[test]
        fn digits_are_those_of_the_number(number in any::<u64>()) {
            for number in [number, number % 1_000, 0] {
                let (digits, expected) = (Digits::of(number), number.to_string());
                prop_assert_eq!(digits.as_str(), expected);
            }
        }
    }
}
