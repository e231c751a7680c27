//! What leaves with a request's calls to other services: the flags of its trace, and what its caller wants carried on.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Log;
use crate::event::NodeId;
use crate::id::traceparent_with;
use crate::logbook::{RANDOM, SAMPLED};
use crate::propagation::Carried;

impl Log {
    /// Whether the trace is sampled: the flag that goes out with calls to other services.
    #[must_use]
    pub fn sampled(&self) -> bool {
        self.book.flags.load(Relaxed) & SAMPLED != 0
    }

    /// Sets the sampled flag, for routes with a sampling ratio of their own. Only before the first call to another
    /// service goes out: what left with it cannot be taken back.
    pub fn set_sampled(&self, sampled: bool) {
        if sampled {
            self.book.flags.fetch_or(SAMPLED, Relaxed);
        } else {
            self.book.flags.fetch_and(!SAMPLED, Relaxed);
        }
    }

    /// The `traceparent` of a call whose node is `node`: the same flags for every call of the request.
    #[must_use]
    pub fn traceparent(&self, node: NodeId) -> [u8; 55] {
        let flags = self.book.flags.load(Relaxed);
        traceparent_with(self.trace_id(), self.span_id(node), flags & SAMPLED != 0, flags & RANDOM != 0)
    }

    /// Says what goes on with the request's calls, once, before the first of them; a second word is not heard.
    pub fn carry(&self, carried: impl Into<Arc<Carried>>) {
        self.book.carry(carried.into());
    }

    /// What goes on with the request's calls; none where nobody said so, and then it is the trace alone.
    #[must_use]
    pub fn carried(&self) -> Option<Arc<Carried>> {
        self.book.carried()
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::id::{TraceContext, TraceId};
    use crate::names::Name;
    use crate::propagation::Carried;
    use crate::recorder::Recorder;

    #[test]
    fn flags_and_what_is_carried_are_those_of_one_request() {
        let clock = Clock::manual();
        let recorder = Recorder::for_tests(clock.clone());
        let context = TraceContext { sampled: true, ..TraceContext::begin(TraceId(9), false) };
        let first = recorder.start(clock.now(), Some(context), false);
        let node = crate::event::NodeId(4);
        let flags = |text: [u8; 55]| String::from_utf8(text.to_vec()).expect("hex")[53..].to_owned();
        assert_eq!((first.sampled(), flags(first.traceparent(node))), (true, "03".to_owned()));
        first.set_sampled(false);
        assert_eq!((first.sampled(), flags(first.traceparent(node))), (false, "02".to_owned()));
        first.set_sampled(true);
        first.carry(Carried { baggage: "tenant=a".into(), ..Carried::default() });
        first.carry(Carried { baggage: "tenant=b".into(), ..Carried::default() });
        assert_eq!(first.carried().map(|carried| carried.baggage.clone()).as_deref(), Some("tenant=a"));
        first.finish(clock.now(), crate::event::Outcome::Ok, 200, Name::NONE);
        assert!(recorder.timelines()[0].sampled);
        // The next request takes the same logbook.
        let context = TraceContext { random: false, ..context };
        let second = recorder.start(clock.now(), Some(TraceContext { sampled: false, ..context }), true);
        assert_eq!(recorder.counters().logbooks, 1);
        assert_eq!((second.carried().is_none(), flags(second.traceparent(node))), (true, "00".to_owned()));
    }
}
