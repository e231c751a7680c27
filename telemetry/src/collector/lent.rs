//! Timelines that were given away and may come back, so that keeping one does not cost the memory of another for ever.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::assemble::blank;
use crate::timeline::Timeline;

/// Timelines that were given away and are waited for.
const LENT: usize = 256;

/// What was given away, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Lent(VecDeque<Arc<Timeline>>);

impl Lent {
    /// Gives a timeline away; in its place comes one that may hold anything: one that was given away before, when nobody
    /// holds it any more.
    pub(super) fn give(&mut self, timeline: &mut Timeline) -> Arc<Timeline> {
        let back = if self.0.len() < LENT { None } else { self.0.pop_front() };
        let next = back.and_then(Arc::into_inner).unwrap_or_else(blank);
        let given = Arc::new(std::mem::replace(timeline, next));
        self.0.push_back(Arc::clone(&given));
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_stays_as_it_is_and_its_memory_comes_again() {
        let (mut lent, mut timeline) = (Lent::default(), blank());
        let mut give = |timeline: &mut Timeline, seq| {
            timeline.nodes.clear();
            timeline.nodes.push(crate::timeline::sample().nodes.remove(0));
            timeline.seq = seq;
            lent.give(timeline)
        };
        let held: Vec<Arc<Timeline>> = (0..2 * LENT as u64).map(|seq| give(&mut timeline, seq)).collect();
        assert!(held.iter().enumerate().all(|(n, one)| one.seq == n as u64), "nobody wrote into what is held");
        let rooms: Vec<*const _> = held[LENT..].iter().map(|one| one.nodes.as_ptr()).collect();
        drop(held);
        let found = (0..=LENT as u64).filter(|seq| rooms.contains(&give(&mut timeline, *seq).nodes.as_ptr())).count();
        assert_eq!(found, LENT, "those that came back serve again");
    }
}
