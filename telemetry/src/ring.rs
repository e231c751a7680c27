//! Where finished logbooks land: bounded shards, drop-oldest, each loss counted.
//!
//! Whole logbooks change hands, so a timeline is kept whole or lost whole. The shards are plain bounded queues of
//! pointers; a request goes to the shard its trace hashes to, so that workers seldom meet at one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_queue::ArrayQueue;

use crate::logbook::Logbook;

/// Finished logbooks on their way to the collector.
#[derive(Debug)]
pub(crate) struct Ring {
    shards: Box<[ArrayQueue<Arc<Logbook>>]>,
    lost: AtomicU64,
}

impl Ring {
    /// A ring of `shards` queues that together hold about `capacity` logbooks.
    pub(crate) fn new(shards: usize, capacity: usize) -> Self {
        let shards = shards.max(1);
        let each = capacity.div_ceil(shards).max(1);
        Self { shards: (0..shards).map(|_| ArrayQueue::new(each)).collect(), lost: AtomicU64::new(0) }
    }

    /// Hands a logbook over. When its shard is full the oldest one there makes room and is given back, to be reused.
    pub(crate) fn push(&self, book: Arc<Logbook>) -> Option<Arc<Logbook>> {
        let shard = (book.trace[1].load(Relaxed) % self.shards.len() as u64) as usize;
        let displaced = self.shards[shard].force_push(book);
        if displaced.is_some() {
            self.lost.fetch_add(1, Relaxed);
        }
        displaced
    }

    /// Takes everything that has landed.
    pub(crate) fn drain(&self, mut take: impl FnMut(Arc<Logbook>)) {
        for shard in &self.shards {
            // At most what was there at the start, so that a busy gateway cannot hold the collector here.
            for _ in 0..shard.len() {
                let Some(book) = shard.pop() else { break };
                take(book);
            }
        }
    }

    /// Timelines lost because the collector was too slow.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(trace: u64) -> Arc<Logbook> {
        let book = Logbook::new(0);
        book.trace[1].store(trace, Relaxed);
        Arc::new(book)
    }

    #[test]
    fn a_full_ring_drops_the_oldest_and_counts_it() {
        let ring = Ring::new(1, 2);
        assert!(ring.push(book(1)).is_none());
        assert!(ring.push(book(2)).is_none());
        let displaced = ring.push(book(3)).expect("the ring was full");
        assert_eq!((displaced.trace[1].load(Relaxed), ring.lost()), (1, 1));
        let mut taken = Vec::new();
        ring.drain(|book| taken.push(book.trace[1].load(Relaxed)));
        assert_eq!(taken, [2, 3]);
    }
}
