//! Who asks for a seat: the class of the request and the tenant it belongs to.

use std::hash::{BuildHasher, Hash};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a request is weighed against others while seats are short.
///
/// Classes come from the route and from verified identity; a client's own wish may only lower its class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Served before all others, without a share: for what an operator needs while everything else is refused. Keep it
    /// rare: nothing protects the other classes from it.
    Critical,
    /// Somebody waits for the answer. Nine seats of ten while batch work waits as well.
    #[default]
    Interactive,
    /// Nobody waits for the answer. One seat of ten while interactive work waits, and every idle one.
    Batch,
}

impl Class {
    /// Every class, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Interactive, Self::Batch];

    /// The word for this class in headers, labels and on screens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// How fast the class's virtual time runs: a batch second costs as much as nine interactive ones.
    pub(super) const fn price(self) -> u64 {
        match self {
            Self::Critical => 0,
            Self::Interactive => 1,
            Self::Batch => 9,
        }
    }
}

/// Whose request it is, for fairness: tenants share what seats there are, whatever each of them asks for.
///
/// Holds a hash, never the name. Two names meet in one hash once in 2^64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TenantKey {
    hash: u64,
    verified: bool,
}

impl TenantKey {
    /// Nobody in particular: all such requests are one tenant.
    pub const ANONYMOUS: Self = Self { hash: 0, verified: true };

    /// An identity that was proved (an API key, a token, a client certificate): it gets a queue of its own.
    #[must_use]
    pub fn verified(identity: &[u8]) -> Self {
        Self { hash: hash(identity), verified: true }
    }

    /// A name that anybody could write (an address, a plain header). Such names share 256 queues, four for each and a
    /// new hand every minute, so that one client under many names cannot open queues without end.
    #[must_use]
    pub fn unverified(name: &[u8]) -> Self {
        Self { hash: hash(name), verified: false }
    }

    /// The queue of its own, for a verified tenant.
    pub(super) const fn own_line(self) -> Option<u64> {
        // Odd numbers are tenants' own lines, even ones below 512 the shared lines.
        if self.verified { Some(self.hash | 1) } else { None }
    }

    /// The four shared queues an unverified name may stand in during `epoch`.
    pub(super) fn hand(self, epoch: u64) -> [u64; 4] {
        let mixed = mix(self.hash ^ mix(epoch));
        [0, 8, 16, 24].map(|shift| ((mixed >> shift) & 0xff) << 1)
    }
}

fn hash(bytes: &[u8]) -> u64 {
    foldhash::quality::FixedState::default().hash_one(Bytes(bytes))
}

struct Bytes<'a>(&'a [u8]);

impl Hash for Bytes<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(self.0);
    }
}

/// One step of splitmix64: a number that looks random, and is the same each time. Source: Steele, Lea, Flood,
/// "Fast splittable pseudorandom number generators" (OOPSLA 2014).
pub(super) const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The same number as a fraction in `0.0..1.0`.
pub(super) fn fraction(seed: u64) -> f64 {
    (mix(seed) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verified_and_shared_lines_never_meet() {
        let own = TenantKey::verified(b"acme").own_line();
        assert!(own.is_some_and(|line| line % 2 == 1));
        assert_ne!(own, TenantKey::verified(b"bolt").own_line());
        let guest = TenantKey::unverified(b"203.0.113.7");
        assert_eq!(guest.own_line(), None);
        assert!(guest.hand(3).iter().all(|line| line % 2 == 0 && *line < 512));
        assert_eq!(guest.hand(3), guest.hand(3));
        assert_ne!(guest.hand(3), guest.hand(4));
    }

    #[test]
    fn fractions_are_even() {
        let n = 10_000;
        let mean = (0..n).map(fraction).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert!((0..n).map(fraction).all(|x| (0.0..1.0).contains(&x)));
    }
}
