//! The collector's observer that hands finished requests to the access log, and their steps to whoever follows a fault.

use std::sync::Arc;

use parking_lot::RwLock;

use super::access::Only;
use super::entry::{Entry, Sink};
use crate::collector::Observer;
use crate::sampling::Reason;
use crate::timeline::Timeline;

/// Which requests are logged, and where to.
#[derive(Clone, Default)]
pub struct Choice {
    /// Where the access log goes; nowhere when there is none.
    pub access: Vec<Arc<dyn Sink>>,
    /// Which requests it has.
    pub only: Only,
    /// With [`Only::Slow`], from which length on a request is slow, in nanoseconds.
    pub slow_ns: u64,
    /// Where the records of steps and calls go.
    pub steps: Vec<Arc<dyn Sink>>,
}

impl std::fmt::Debug for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Choice").field("only", &self.only).field("slow_ns", &self.slow_ns).finish_non_exhaustive()
    }
}

/// Whether the records of steps and calls are wanted now: a log's level may change at any time.
type Wanted = Box<dyn Fn() -> bool + Send>;

/// Hands finished requests to sinks. Cheap: an entry is a pointer to the timeline, and lines are made elsewhere.
pub struct Follower {
    choice: Arc<RwLock<Choice>>,
    steps_wanted: Wanted,
}

impl Follower {
    /// Follows `choice`, which may be replaced at any time.
    #[must_use]
    pub fn new(choice: Arc<RwLock<Choice>>, steps_wanted: impl Fn() -> bool + Send + 'static) -> Self {
        Self { choice, steps_wanted: Box::new(steps_wanted) }
    }
}

impl Choice {
    /// Whether the access log has this request.
    fn has(&self, timeline: &Timeline) -> bool {
        !self.access.is_empty() && self.only.wants(timeline, self.slow_ns)
    }
}

impl Follower {
    fn follows_steps(&self, choice: &Choice) -> bool {
        !choice.steps.is_empty() && (self.steps_wanted)()
    }
}

impl Observer for Follower {
    /// Nothing to do yet: lines are made elsewhere, of a timeline that lives longer than this look.
    fn timeline(&mut self, _timeline: &Timeline, _exported: Option<Reason>) {}

    fn keeps(&self, timeline: &Timeline) -> bool {
        let choice = self.choice.read();
        choice.has(timeline) || self.follows_steps(&choice)
    }

    fn keep(&mut self, timeline: &Arc<Timeline>) {
        let choice = self.choice.read();
        if choice.has(timeline) {
            choice.access.iter().for_each(|sink| sink.offer(Entry::Request(Arc::clone(timeline))));
        }
        if self.follows_steps(&choice) {
            choice.steps.iter().for_each(|sink| sink.offer(Entry::Steps(Arc::clone(timeline))));
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::event::Outcome;

    #[derive(Default)]
    struct Seen(Mutex<Vec<&'static str>>);

    impl Sink for Seen {
        fn offer(&self, entry: Entry) {
            self.0.lock().push(match entry {
                Entry::Record(_) => "record",
                Entry::Request(_) => "request",
                Entry::Steps(_) => "steps",
            });
        }
    }

    #[test]
    fn requests_go_where_the_choice_of_the_moment_says() {
        let (seen, choice) = (Arc::new(Seen::default()), Arc::new(RwLock::new(Choice::default())));
        let wanted = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let asked = Arc::clone(&wanted);
        let mut follower = Follower::new(Arc::clone(&choice), move || asked.load(std::sync::atomic::Ordering::Relaxed));
        let mut look = |outcome| {
            let timeline = Arc::new(Timeline { outcome, ..crate::timeline::sample() });
            let wanted = follower.keeps(&timeline);
            follower.keep(&timeline);
            assert_eq!(wanted, !seen.0.lock().is_empty());
            std::mem::take(&mut *seen.0.lock())
        };
        assert!(look(Outcome::Ok).is_empty());
        let sink = || vec![Arc::clone(&seen) as Arc<dyn Sink>];
        *choice.write() = Choice { access: sink(), only: Only::Errors, slow_ns: 0, steps: sink() };
        assert!(look(Outcome::Ok).is_empty());
        assert_eq!(look(Outcome::Error), ["request"]);
        wanted.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(look(Outcome::Ok), ["steps"]);
    }
}
