//! The timelines of one look at what has finished, in memory that the next look uses again.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::Outcome;
use crate::id::{SpanId, TraceId};
use crate::timeline::Timeline;

/// Timelines that stay for the next look; each has the room of the largest request it ever held, a few KiB mostly.
const SPARE: usize = 1_024;
/// Nodes from which on a timeline's room is given back after its look, so that rare large requests do not add up.
const LARGE: usize = 256;
/// Timelines that were given away and may come back.
const LENT: usize = 256;

/// Timelines between assembly and the end of their way.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The first so many of these are of this look.
    timelines: Vec<Timeline>,
    used: usize,
    /// The places of this look's timelines by their end.
    order: Vec<u32>,
    lent: VecDeque<Arc<Timeline>>,
}

impl Batch {
    /// Adds what `fill` makes of a timeline that may hold anything; nothing when it says false.
    pub(super) fn add(&mut self, fill: impl FnOnce(&mut Timeline) -> bool) {
        if self.used == self.timelines.len() {
            self.timelines.push(blank());
        }
        self.used += usize::from(fill(&mut self.timelines[self.used]));
    }

    /// Hands each timeline on, in the order of their ends, and begins anew. Where `pass` says so, `keep` gets the timeline
    /// itself, and another takes its place: one that was kept before, when nobody holds it any more.
    pub(super) fn pass<C>(
        &mut self,
        context: &mut C,
        pass: impl Fn(&mut C, &mut Timeline) -> bool,
        keep: impl Fn(&mut C, &Arc<Timeline>),
    ) {
        let end = |timeline: &Timeline| timeline.start_unix_ns.saturating_add(timeline.latency_ns);
        self.order.clear();
        // A look takes what the ring holds, which is far below 2 to the 32nd.
        self.order.extend(0..self.used as u32);
        self.order.sort_by_key(|place| end(&self.timelines[*place as usize]));
        for place in &self.order {
            let timeline = &mut self.timelines[*place as usize];
            if pass(context, timeline) {
                let back = if self.lent.len() < LENT { None } else { self.lent.pop_front() };
                let next = back.and_then(Arc::into_inner).unwrap_or_else(blank);
                let kept = Arc::new(std::mem::replace(timeline, next));
                keep(context, &kept);
                self.lent.push_back(kept);
            } else if timeline.nodes.len() > LARGE {
                *timeline = blank();
            }
        }
        self.used = 0;
        self.timelines.truncate(SPARE);
    }

    /// Whether nothing was added since the last time.
    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }
}

/// A timeline that holds nothing yet, to be filled.
fn blank() -> Timeline {
    Timeline {
        seq: 0,
        trace_id: TraceId(0),
        span_id: SpanId(0),
        parent_span_id: None,
        sampled: false,
        route: Arc::default(),
        flow: None,
        config_version: 0,
        start_unix_ns: 0,
        latency_ns: 0,
        outcome: Outcome::Ok,
        status: 0,
        error: None,
        weight: 1.0,
        kept: Vec::new(),
        lost_events: 0,
        nodes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(batch: &mut Batch, seq: u64, end: u64) {
        batch.add(|timeline| {
            timeline.nodes.clear();
            timeline.nodes.push(crate::timeline::sample().nodes.remove(0));
            (timeline.seq, timeline.start_unix_ns) = (seq, end);
            true
        });
    }

    #[test]
    fn timelines_go_in_the_order_of_their_ends_and_their_memory_comes_again() {
        let mut batch = Batch::default();
        let mut rooms = Vec::new();
        for _ in 0..2 {
            for (seq, end) in [(1, 30), (2, 10), (3, 20)] {
                add(&mut batch, seq, end);
            }
            batch.add(|_| false);
            let mut seen: Vec<(u64, *const _)> = Vec::new();
            let look = |seen: &mut Vec<_>, timeline: &mut Timeline| {
                seen.push((timeline.seq, timeline.nodes.as_ptr()));
                false
            };
            batch.pass(&mut seen, look, |_, _| unreachable!("nobody keeps one"));
            assert!(batch.is_empty());
            assert_eq!(seen.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [2, 3, 1]);
            rooms.push(seen);
        }
        assert_eq!(rooms[0], rooms[1]);
    }

    #[test]
    fn what_is_kept_stays_as_it_is() {
        let mut batch = Batch::default();
        let mut kept: Vec<Arc<Timeline>> = Vec::new();
        for round in 0..3 {
            for seq in 1..=LENT as u64 {
                add(&mut batch, round * 1_000 + seq, seq);
            }
            batch.pass(&mut kept, |_, timeline| timeline.seq % 2 == 0, |kept, one| kept.push(Arc::clone(one)));
            let numbers: Vec<u64> = kept.iter().map(|one| one.seq).collect();
            let expected: Vec<u64> = (0..=round)
                .flat_map(|round| (2..=LENT as u64).step_by(2).map(move |seq| round * 1_000 + seq))
                .collect();
            assert_eq!(numbers, expected);
        }
        // Once they are let go their memory comes again.
        let rooms: Vec<*const _> = kept.iter().map(|one| one.nodes.as_ptr()).collect();
        kept.clear();
        for seq in 0..LENT as u64 {
            add(&mut batch, seq, seq);
        }
        batch.pass(&mut kept, |_, _| true, |_, _| ());
        let found = batch.timelines.iter().filter(|timeline| rooms.contains(&timeline.nodes.as_ptr())).count();
        assert_eq!(found, LENT, "those that came back stand ready");
    }
}
