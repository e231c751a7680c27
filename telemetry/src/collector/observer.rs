//! Who sees each timeline on its way: the contract of access logs and objectives.

use std::sync::Arc;

use crate::sampling::Reason;
use crate::slo::Slos;
use crate::timeline::Timeline;

/// Someone who wants to see each timeline as it is collected: an access log, a recording.
///
/// Runs on the collector's thread, so it must not block; what it costs delays everything after it.
pub trait Observer: Send {
    /// Sees one timeline. `exported` says why its spans are exported, or that they are not. The collector uses its memory
    /// again for the next one: who wants it for longer says so in [`Observer::keeps`].
    fn timeline(&mut self, timeline: &Timeline, exported: Option<Reason>);

    /// Whether it wants this timeline, which it has seen just now, for itself. That costs the collector the memory of
    /// another one.
    fn keeps(&self, timeline: &Timeline) -> bool {
        let _ = timeline;
        false
    }

    /// Takes a timeline that somebody keeps: this observer, or maybe another one alone.
    fn keep(&mut self, timeline: &Arc<Timeline>) {
        let _ = timeline;
    }

    /// All that had finished was seen: a moment to write buffers out.
    fn pause(&mut self) {}
}

impl Observer for Arc<Slos> {
    fn timeline(&mut self, timeline: &Timeline, _: Option<Reason>) {
        self.observe(timeline);
    }
}
