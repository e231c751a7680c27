//! Who writes where: the places of a logbook are handed out in blocks, and a block belongs to one thread.
//!
//! A request is nearly always worked on by one thread at a time, so a locked operation for each record would be paid for
//! nothing. Here a thread takes a block with one atomic add and then hands out its places to itself with plain loads and
//! stores. When another thread writes, it takes a block of its own, and the rest of the first one stays empty.
//!
//! Why no place is handed out twice: each block comes from one atomic add on `len`. What is left of it stands in `block`
//! together with its owner's number, in one word. Only the owner ever stores that number, always with a smaller rest than
//! before, and a thread sees its own latest store or a later one. A store of the owner may overwrite that of another thread,
//! and then the other one's rest is forgotten and it takes a new block; nothing else can happen to it.

use std::sync::atomic::Ordering::Relaxed;

use crate::sync::{AtomicU32, AtomicU64};

/// Places that a thread takes at once when nobody else writes.
const BLOCK: u32 = if cfg!(feature = "loom") { 2 } else { 16 };
/// The same when threads take turns: fewer, since the rest may stay empty.
const TURNS: u32 = if cfg!(feature = "loom") { 1 } else { 4 };

/// The bit of an owner's number that says that the request's states are added up instead of written.
const FOLDING: u32 = 1 << 31;

/// The places of one logbook.
#[derive(Debug)]
pub(crate) struct Places {
    bound: u32,
    /// From so many places on the request's states are added up.
    fold_from: u32,
    /// Places that were handed out as part of a block.
    len: AtomicU32,
    /// What is left of the latest block: its owner in the upper half, then the next place, then how many are left.
    block: AtomicU64,
    /// [`FOLDING`] or nothing.
    folding: AtomicU32,
    /// How often there was no place.
    lost: AtomicU32,
}

/// The first of `count` places and what is left of a block, where it has so many.
#[inline]
fn split(word: u64, count: u32) -> Option<(usize, u64)> {
    let left = u32::from(word as u16);
    // The next place goes up by as much as the rest goes down.
    (left >= count).then(|| (usize::from((word >> 16) as u16), word + u64::from(count) * 0xffff))
}

#[inline]
fn owner(word: u64) -> u32 {
    (word >> 32) as u32
}

impl Places {
    /// `bound` places, less than 65,536; from `fold_from` places on states are added up.
    pub(crate) fn new(bound: u32, fold_from: u32) -> Self {
        let (len, block, folding, lost) = (AtomicU32::new(0), AtomicU64::new(0), AtomicU32::new(0), AtomicU32::new(0));
        Self { bound, fold_from, len, block, folding, lost }
    }

    /// All places are free again. The caller holds the only reference that is used.
    pub(crate) fn reset(&self) {
        self.len.store(0, Relaxed);
        self.block.store(0, Relaxed);
        self.folding.store(0, Relaxed);
        self.lost.store(0, Relaxed);
    }

    /// The first of `count` places in a row for `thread`, the number of the thread that asks; none when there is no room,
    /// which is counted.
    #[inline]
    pub(crate) fn take(&self, thread: u32, count: u32) -> Option<usize> {
        let word = self.block.load(Relaxed);
        if owner(word) & !FOLDING == thread
            && let Some((place, rest)) = split(word, count)
        {
            self.block.store(rest, Relaxed);
            return Some(place);
        }
        self.take_block(thread, count, word)
    }

    /// A place for a state, while states are written and the thread's block has one left.
    #[inline]
    pub(crate) fn take_quickly(&self, thread: u32) -> Option<usize> {
        let word = self.block.load(Relaxed);
        if owner(word) != thread {
            return None;
        }
        let (place, rest) = split(word, 1)?;
        self.block.store(rest, Relaxed);
        Some(place)
    }

    #[cold]
    fn take_block(&self, thread: u32, count: u32, word: u64) -> Option<usize> {
        let mine = owner(word) & !FOLDING == thread;
        let want = count.max(if mine || word == 0 { BLOCK } else { TURNS });
        let start = self.len.fetch_add(want, Relaxed);
        if start >= self.bound {
            // Put the length back to its bound, so that it cannot run over.
            self.len.store(self.bound, Relaxed);
        }
        let end = (start + want).min(self.bound);
        let (next, left) = (u32::from((word >> 16) as u16), u32::from(word as u16));
        // A block that follows one's own lengthens it.
        let next = if mine && start == next + left { next } else { start };
        let left = end.saturating_sub(next);
        if left < count {
            self.lose();
            return None;
        }
        let folding = if end >= self.fold_from { FOLDING } else { self.folding.load(Relaxed) };
        self.folding.store(folding, Relaxed);
        let block = (u64::from(thread | folding) << 32) | (u64::from(next) << 16) | u64::from(left);
        let (place, rest) = split(block, count)?;
        self.block.store(rest, Relaxed);
        Some(place)
    }

    /// From now on the request's states are added up. `thread` says so.
    pub(crate) fn fold(&self, thread: u32) {
        self.folding.store(FOLDING, Relaxed);
        // From now on its owner must ask for each state. What is left of another thread's block is forgotten.
        let word = self.block.load(Relaxed);
        let mine = owner(word) & !FOLDING == thread;
        self.block.store(if mine { word | (u64::from(FOLDING) << 32) } else { 0 }, Relaxed);
    }

    /// Whether the request's states are added up.
    pub(crate) fn folding(&self) -> bool {
        self.folding.load(Relaxed) != 0
    }

    /// Counts something that was not written.
    pub(crate) fn lose(&self) {
        self.lost.fetch_add(1, Relaxed);
    }

    /// Every place that was handed out is below this one.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Relaxed).min(self.bound) as usize
    }

    /// How often there was no place.
    pub(crate) fn lost(&self) -> u32 {
        self.lost.load(Relaxed)
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn one_thread_fills_every_place_and_then_loses() {
        let places = Places::new(100, 100);
        let mut expected = 0;
        while let Some(place) = places.take(7, 1 + expected % 3) {
            assert_eq!(place, expected as usize, "no gap");
            expected += 1 + expected % 3;
        }
        assert!(expected > 97 && places.lost() == 1 && places.len() == 100, "{expected}");
        places.reset();
        assert_eq!((places.len(), places.lost(), places.take(9, 1)), (0, 0, Some(0)));
    }

    #[test]
    fn threads_that_take_turns_never_get_the_same_place_and_waste_little() {
        let places = Places::new(4_000, 4_000);
        let mut taken = Vec::new();
        // Each writes a few, as tasks do between two polls, and comes back later.
        for turn in 0..300_u32 {
            for _ in 0..3 {
                taken.extend(places.take(1 + turn % 3, 1));
            }
        }
        assert_eq!(taken.len(), 900);
        assert!(taken.is_sorted(), "who comes later writes behind");
        taken.dedup();
        assert_eq!((taken.len(), places.lost()), (900, 0));
        assert!(places.len() < 1_300, "{}", places.len());
    }

    #[test]
    fn many_writers_side_by_side_get_places_of_their_own() {
        for _ in 0..50 {
            let places = Places::new(2_000, 1_000);
            let mut taken: Vec<usize> = std::thread::scope(|scope| {
                let writers: Vec<_> = (1..=4)
                    .map(|thread| {
                        let places = &places;
                        scope.spawn(move || (0..90).filter_map(|n| places.take(thread, 1 + n % 2)).collect::<Vec<_>>())
                    })
                    .collect();
                writers.into_iter().flat_map(|writer| writer.join().expect("no panic")).collect()
            });
            taken.sort_unstable();
            assert!(taken.windows(2).all(|two| two[0] != two[1]), "{taken:?}");
        }
    }
}
