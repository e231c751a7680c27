//! A cheap hash for keys that nobody outside the gateway chooses: addresses, small numbers, names of the configuration.
//!
//! A few multiplications where the standard library's SipHash takes some 20 ns. Whoever can choose keys can make them
//! collide, so never for what a client sends.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// A map with cheap keys.
pub(crate) type Map<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Cheap>>;

/// The hasher of [`Map`]. Method: the folded multiplication of wyhash (Wang Yi, 2019).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cheap(u64);

/// Where a shared text stands in memory. Two texts that are held never have the same one, so whoever holds what it knows by
/// this finds it without reading the text.
#[inline]
pub(crate) fn address(text: &Arc<str>) -> usize {
    Arc::as_ptr(text).addr()
}

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Cheap {
    #[inline]
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ ODD).wrapping_mul(u128::from(ODD.rotate_left(32) ^ word | 1));
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

impl Hasher for Cheap {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.fold(u64::from_le_bytes(last) ^ (rest.len() as u64) << 56);
    }

    #[inline]
    fn write_u8(&mut self, n: u8) {
        self.fold(n.into());
    }

    #[inline]
    fn write_u16(&mut self, n: u16) {
        self.fold(n.into());
    }

    #[inline]
    fn write_u32(&mut self, n: u32) {
        self.fold(n.into());
    }

    #[inline]
    fn write_u64(&mut self, n: u64) {
        self.fold(n);
    }

    #[inline]
    fn write_usize(&mut self, n: usize) {
        self.fold(n as u64);
    }
}

/// Values by names of the configuration, up to a number of them.
#[derive(Debug)]
pub(crate) struct ByName<T> {
    places: Map<Arc<str>, u32>,
    values: Vec<T>,
    max: usize,
}

impl<T: Default> ByName<T> {
    pub(crate) fn new(max: usize) -> Self {
        Self { places: Map::default(), values: Vec::new(), max: max.min(u32::MAX as usize) }
    }

    /// The value of a name, which is entered when it is new; none where there is no room for it.
    #[inline]
    pub(crate) fn enter(&mut self, name: &Arc<str>) -> Option<&mut T> {
        if let Some(place) = self.places.get(name) {
            return self.values.get_mut(*place as usize);
        }
        if self.values.len() >= self.max {
            return None;
        }
        self.places.insert(Arc::clone(name), self.values.len() as u32);
        self.values.push(T::default());
        self.values.last_mut()
    }

    /// The value of a name that was entered.
    pub(crate) fn get(&self, name: &str) -> Option<&T> {
        self.values.get(*self.places.get(name)? as usize)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &T)> {
        self.places.iter().filter_map(|(name, place)| Some((name, self.values.get(*place as usize)?)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher, BuildHasherDefault};

    use super::*;

    #[test]
    fn keys_that_look_alike_land_far_apart() {
        let hash = BuildHasherDefault::<Cheap>::default();
        // The map takes the place from the low bits and a mark from the seven highest.
        for bits in [|hash: u64| hash & 0xffff, |hash: u64| hash >> 48] {
            let addresses: HashSet<u64> = (0..10_000_u64).map(|n| bits(hash.hash_one(0x7f00_0000 + n * 16))).collect();
            let numbers: HashSet<u64> = (0..10_000_u64).map(|n| bits(hash.hash_one(n))).collect();
            let names: HashSet<u64> = (0..10_000).map(|n| bits(hash.hash_one(format!("route-{n}").as_str()))).collect();
            // 10,000 draws of 65,536 leave some 9,270 different ones.
            for found in [addresses.len(), numbers.len(), names.len()] {
                assert!(found > 8_800, "{found}");
            }
        }
        let equal = ["", "a", "ab", "route", "a longer name than a word"];
        let all: HashSet<u64> = equal.iter().map(|name| hash.hash_one(name)).collect();
        assert_eq!(all.len(), equal.len());
    }

    #[test]
    fn values_by_name_are_bounded() {
        let mut counts: ByName<u32> = ByName::new(2);
        for name in ["a", "b", "a", "c", "b", "b"] {
            if let Some(count) = counts.enter(&name.into()) {
                *count += 1;
            }
        }
        assert_eq!(["a", "b", "c"].map(|name| counts.get(name).copied()), [Some(2), Some(3), None]);
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u32>(), 5);
    }
}
