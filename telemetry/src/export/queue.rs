//! The spans that wait to be sent: bounded by number and by bytes, drop-oldest, each one accounted for.

use std::collections::VecDeque;

use opentelemetry_sdk::trace::SpanData;

use crate::export::{DropCause, ExportCounters};
use crate::span::estimated_bytes;

/// What waits, and what became of the rest.
#[derive(Debug)]
pub(crate) struct Queue {
    max_spans: usize,
    max_bytes: usize,
    waiting: VecDeque<Waiting>,
    spans: usize,
    bytes: usize,
    under_way: (usize, usize),
    counters: ExportCounters,
    /// Spans that a flush waits for to be settled, counted from the start.
    pub(crate) flush_upto: u64,
    /// Nothing is taken any more.
    pub(crate) ended: bool,
}

/// The spans of one request.
#[derive(Debug)]
struct Waiting {
    spans: Vec<SpanData>,
    bytes: usize,
}

impl Queue {
    pub(crate) fn new(max_spans: usize, max_bytes: usize) -> Self {
        Self {
            max_spans,
            max_bytes,
            waiting: VecDeque::new(),
            spans: 0,
            bytes: 0,
            under_way: (0, 0),
            counters: ExportCounters::default(),
            flush_upto: 0,
            ended: false,
        }
    }

    /// Takes a request's spans in; the oldest make room.
    pub(crate) fn push(&mut self, spans: Vec<SpanData>) {
        self.counters.offered += spans.len() as u64;
        if self.ended {
            self.count_dropped(DropCause::Shutdown, spans.len());
            return;
        }
        let bytes = spans.iter().map(estimated_bytes).sum();
        self.spans += spans.len();
        self.bytes += bytes;
        self.waiting.push_back(Waiting { spans, bytes });
        // What is under way takes memory too.
        while self.spans + self.under_way.0 > self.max_spans || self.bytes + self.under_way.1 > self.max_bytes {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.spans -= oldest.spans.len();
            self.bytes -= oldest.bytes;
            self.count_dropped(DropCause::QueueFull, oldest.spans.len());
        }
    }

    /// The next batch: whole requests, until it holds at least `spans` spans. Empty when nothing waits.
    pub(crate) fn take(&mut self, spans: usize) -> Vec<SpanData> {
        let mut batch = Vec::new();
        while batch.len() < spans {
            let Some(next) = self.waiting.pop_front() else { break };
            self.spans -= next.spans.len();
            self.bytes -= next.bytes;
            self.under_way.0 += next.spans.len();
            self.under_way.1 += next.bytes;
            batch.extend(next.spans);
        }
        batch
    }

    /// What was under way arrived, or is given up.
    pub(crate) fn settle(&mut self, result: Result<(), DropCause>) {
        let (spans, _) = std::mem::take(&mut self.under_way);
        match result {
            Ok(()) => self.counters.sent += spans as u64,
            Err(cause) => self.count_dropped(cause, spans),
        }
    }

    /// Notes an attempt that failed.
    pub(crate) fn failed(&mut self, error: String) {
        self.counters.failures += 1;
        self.counters.last_error = Some(error);
    }

    /// Gives everything up that has not arrived.
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.settle(Err(DropCause::Shutdown));
        self.waiting.clear();
        self.bytes = 0;
        let left = std::mem::take(&mut self.spans);
        self.count_dropped(DropCause::Shutdown, left);
    }

    fn count_dropped(&mut self, cause: DropCause, spans: usize) {
        self.counters.dropped[cause as usize] += spans as u64;
    }

    /// Spans that wait, those under way left out.
    pub(crate) fn len(&self) -> usize {
        self.spans
    }

    /// Spans that arrived or were given up, since the start. Spans settle in the order they came.
    pub(crate) fn settled(&self) -> u64 {
        self.counters.sent + self.counters.dropped_in_all()
    }

    pub(crate) fn counters(&self) -> ExportCounters {
        let mut counters = self.counters.clone();
        counters.waiting = (self.spans + self.under_way.0) as u64;
        counters.waiting_bytes = (self.bytes + self.under_way.1) as u64;
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::Reason;
    use crate::span::{SpanSettings, spans};

    fn request() -> Vec<SpanData> {
        spans(&crate::timeline::sample(), Reason::Sampled, &SpanSettings::default())
    }

    fn balanced(queue: &Queue) -> ExportCounters {
        let c = queue.counters();
        assert_eq!(c.offered, c.sent + c.dropped_in_all() + c.waiting, "{c:?}");
        c
    }

    #[test]
    fn the_oldest_make_room_and_every_span_is_accounted_for() {
        let each = request().len();
        let mut queue = Queue::new(each * 3, usize::MAX);
        for _ in 0..3 {
            queue.push(request());
        }
        assert_eq!(queue.take(each + 1).len(), each * 2, "requests stay whole");
        balanced(&queue);
        // Two under way, one waits: no room for a fourth beside them.
        queue.push(request());
        assert_eq!(balanced(&queue).dropped_for(DropCause::QueueFull), each as u64);
        queue.settle(Ok(()));
        assert_eq!(balanced(&queue).sent, 2 * each as u64);
        queue.push(request());
        queue.take(1);
        queue.end();
        queue.push(request());
        let c = balanced(&queue);
        assert_eq!((c.waiting, c.waiting_bytes, c.dropped_for(DropCause::Shutdown)), (0, 0, 3 * each as u64));
    }

    #[test]
    fn bytes_are_a_bound_too() {
        let mut queue = Queue::new(usize::MAX, 1);
        queue.push(request());
        assert_eq!(balanced(&queue).dropped_for(DropCause::QueueFull), request().len() as u64);
        assert_eq!(balanced(&queue).waiting_bytes, 0);
    }
}
