//! The items of one signal that wait to be sent: bounded by number and by bytes, drop-oldest, each one accounted for.

use std::collections::VecDeque;

use crate::export::{DropCause, ExportCounters};

/// What waits, and what became of the rest.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    max_items: usize,
    max_bytes: usize,
    waiting: VecDeque<Group<T>>,
    items: usize,
    bytes: usize,
    under_way: (usize, usize),
    counters: ExportCounters,
    /// Items that a flush waits for to be settled, counted from the start.
    pub(crate) flush_upto: u64,
    /// Nothing is taken any more.
    pub(crate) ended: bool,
}

/// What was offered together and stays together: the spans of one request, one reading of all metrics.
#[derive(Debug)]
pub(crate) struct Group<T> {
    /// What is sent.
    pub(crate) part: T,
    /// How many items that is: spans, data points, log records.
    pub(crate) items: usize,
    /// Memory it takes while it waits: of spans to the byte, as they are sent; of the others by estimate.
    pub(crate) bytes: usize,
}

impl<T> Queue<T> {
    pub(crate) fn new(max_items: usize, max_bytes: usize) -> Self {
        Self {
            max_items,
            max_bytes,
            waiting: VecDeque::new(),
            items: 0,
            bytes: 0,
            under_way: (0, 0),
            counters: ExportCounters::default(),
            flush_upto: 0,
            ended: false,
        }
    }

    /// Takes a group in; the oldest make room.
    pub(crate) fn push(&mut self, group: Group<T>) {
        self.counters.offered += group.items as u64;
        if self.ended {
            self.count_dropped(DropCause::Shutdown, group.items);
            return;
        }
        self.items += group.items;
        self.bytes += group.bytes;
        self.waiting.push_back(group);
        // What is under way takes memory too.
        while self.items + self.under_way.0 > self.max_items || self.bytes + self.under_way.1 > self.max_bytes {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.items -= oldest.items;
            self.bytes -= oldest.bytes;
            self.count_dropped(DropCause::QueueFull, oldest.items);
        }
    }

    /// The next batch: whole groups, until it holds at least `items` items. Empty when nothing waits.
    pub(crate) fn take(&mut self, items: usize) -> Vec<T> {
        let mut batch = Vec::new();
        let mut taken = 0;
        while taken < items {
            let Some(next) = self.waiting.pop_front() else { break };
            taken += next.items;
            self.items -= next.items;
            self.bytes -= next.bytes;
            self.under_way.0 += next.items;
            self.under_way.1 += next.bytes;
            batch.push(next.part);
        }
        batch
    }

    /// What was under way arrived, but for `refused` items of it, or is given up.
    pub(crate) fn settle(&mut self, result: Result<u64, DropCause>) {
        let (items, _) = std::mem::take(&mut self.under_way);
        match result {
            Ok(refused) => {
                // Nobody can refuse more than was sent, whatever the answer says.
                let refused = usize::try_from(refused).unwrap_or(usize::MAX).min(items);
                self.counters.sent += (items - refused) as u64;
                self.count_dropped(DropCause::Partial, refused);
            }
            Err(cause) => self.count_dropped(cause, items),
        }
    }

    /// Notes an attempt that failed.
    pub(crate) fn failed(&mut self, error: String) {
        self.counters.failures += 1;
        self.counters.last_error = Some(error);
    }

    /// Notes what an answer said that is no failure of the attempt.
    pub(crate) fn remarked(&mut self, remark: String, odd: bool) {
        self.counters.odd_answers += u64::from(odd);
        self.counters.last_error = Some(remark);
    }

    /// Gives everything up that has not arrived.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.settle(Err(DropCause::Shutdown));
        self.waiting.clear();
        self.bytes = 0;
        let left = std::mem::take(&mut self.items);
        self.count_dropped(DropCause::Shutdown, left);
    }

    fn count_dropped(&mut self, cause: DropCause, items: usize) {
        self.counters.dropped[cause as usize] += items as u64;
    }

    /// Items that wait, those under way left out.
    pub(crate) fn len(&self) -> usize {
        self.items
    }

    /// Items that arrived or were given up, since the start. Items settle in the order they came.
    pub(crate) fn settled(&self) -> u64 {
        self.counters.sent + self.counters.dropped_in_all()
    }

    pub(crate) fn counters(&self) -> ExportCounters {
        let mut counters = self.counters.clone();
        counters.waiting = (self.items + self.under_way.0) as u64;
        counters.waiting_bytes = (self.bytes + self.under_way.1) as u64;
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: usize = 4;

    fn group() -> Group<u8> {
        Group { part: 1, items: EACH, bytes: 100 }
    }

    fn balanced(queue: &Queue<u8>) -> ExportCounters {
        let c = queue.counters();
        assert_eq!(c.offered, c.sent + c.dropped_in_all() + c.waiting, "{c:?}");
        c
    }

    #[test]
    fn the_oldest_make_room_and_every_item_is_accounted_for() {
        let mut queue = Queue::new(EACH * 3, usize::MAX);
        for _ in 0..3 {
            queue.push(group());
        }
        assert_eq!(queue.take(EACH + 1).len(), 2, "groups stay whole");
        balanced(&queue);
        // Two under way, one waits: no room for a fourth beside them.
        queue.push(group());
        assert_eq!(balanced(&queue).dropped_for(DropCause::QueueFull), EACH as u64);
        queue.settle(Ok(0));
        assert_eq!(balanced(&queue).sent, 2 * EACH as u64);
        queue.push(group());
        queue.take(1);
        queue.end();
        queue.push(group());
        let c = balanced(&queue);
        assert_eq!((c.waiting, c.waiting_bytes, c.dropped_for(DropCause::Shutdown)), (0, 0, 3 * EACH as u64));
    }

    #[test]
    fn bytes_are_a_bound_too() {
        let mut queue = Queue::new(usize::MAX, 99);
        queue.push(group());
        assert_eq!(balanced(&queue).dropped_for(DropCause::QueueFull), EACH as u64);
        assert_eq!(balanced(&queue).waiting_bytes, 0);
    }

    #[test]
    fn a_receiver_cannot_refuse_more_than_it_got() {
        let mut queue = Queue::new(usize::MAX, usize::MAX);
        for (refused, sent) in [(1, EACH as u64 - 1), (u64::MAX, 0), (0, EACH as u64)] {
            let before = queue.counters().sent;
            queue.push(group());
            queue.take(1);
            queue.settle(Ok(refused));
            assert_eq!(balanced(&queue).sent - before, sent, "{refused} refused");
        }
        assert_eq!(balanced(&queue).dropped_for(DropCause::Partial), 1 + EACH as u64);
    }
}
