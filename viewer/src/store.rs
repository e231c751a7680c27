//! The bounded memory of requests: the oldest leave when it is full, except those a person pinned.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::row::Row;

/// More pins than this are refused.
pub(crate) const PINS_MAX: usize = 64;

/// Requests by a number of their own, which grows by one with each and is never used again.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    rows: VecDeque<Arc<Row>>,
    /// The number of `rows[0]`.
    first: u64,
    capacity: usize,
    pinned: Vec<(u64, Arc<Row>)>,
    /// Requests that left to make room.
    pub(crate) evicted: u64,
}

impl Store {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { rows: VecDeque::new(), first: 0, capacity: capacity.max(1), pinned: Vec::new(), evicted: 0 }
    }

    pub(crate) fn push(&mut self, row: Row) {
        if self.rows.len() == self.capacity {
            self.rows.pop_front();
            self.first += 1;
            self.evicted += 1;
        }
        self.rows.push_back(Arc::new(row));
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Arc<Row>> {
        let live = id.checked_sub(self.first).and_then(|place| self.rows.get(usize::try_from(place).ok()?));
        live.or_else(|| self.pinned.iter().find(|(pin, _)| *pin == id).map(|(_, row)| row))
    }

    /// All requests with their numbers, pinned ones that left the memory first, then the oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Arc<Row>)> + Clone {
        let first = self.first;
        let live = self.rows.iter().enumerate().map(move |(place, row)| (first + place as u64, row));
        self.pinned.iter().filter(move |(id, _)| *id < first).map(|(id, row)| (*id, row)).chain(live)
    }

    /// The number that the next request will get.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.rows.len() as u64
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn is_pinned(&self, id: u64) -> bool {
        self.pinned.iter().any(|(pin, _)| *pin == id)
    }

    /// Pins a request, or lets a pinned one go; answers whether it is pinned now, or none when there is no room.
    pub(crate) fn toggle_pin(&mut self, id: u64) -> Option<bool> {
        if let Some(place) = self.pinned.iter().position(|(pin, _)| *pin == id) {
            self.pinned.remove(place);
            return Some(false);
        }
        if self.pinned.len() >= PINS_MAX {
            return None;
        }
        let row = Arc::clone(self.get(id)?);
        self.pinned.push((id, row));
        self.pinned.sort_by_key(|(id, _)| *id);
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::sample;

    #[test]
    fn the_oldest_leave_and_pinned_ones_stay() {
        let mut store = Store::new(3);
        for n in 0..3 {
            store.push(Row::new(Arc::new(sample(n, "r", 1.0, 200))));
        }
        assert_eq!(store.toggle_pin(0), Some(true));
        for n in 3..5 {
            store.push(Row::new(Arc::new(sample(n, "r", 1.0, 200))));
        }
        assert_eq!(store.iter().map(|(id, _)| id).collect::<Vec<_>>(), [0, 2, 3, 4]);
        assert_eq!((store.len(), store.evicted), (3, 2));
        assert_eq!(store.get(0).map(|row| row.timeline.seq), Some(0));
        assert!(store.get(1).is_none() && store.get(9).is_none());
        assert_eq!(store.toggle_pin(0), Some(false));
        assert!(store.get(0).is_none());
        assert_eq!(store.toggle_pin(77), None);
    }

    #[test]
    fn pins_are_bounded() {
        let mut store = Store::new(PINS_MAX + 1);
        for n in 0..=PINS_MAX as u64 {
            store.push(Row::new(Arc::new(sample(n, "r", 1.0, 200))));
        }
        for id in 0..PINS_MAX as u64 {
            assert_eq!(store.toggle_pin(id), Some(true));
        }
        assert_eq!(store.toggle_pin(PINS_MAX as u64), None);
    }
}
