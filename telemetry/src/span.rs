//! From a timeline to spans: the tree a tracing backend shows.
//!
//! | node | span | kind |
//! |---|---|---|
//! | the request | `{method} {http.route}` | server |
//! | a step | `zerver.step {name}` | internal |
//! | a station, a branch | `zerver.station {name}`, `zerver.branch {name}`: only when one of its waits was promoted, or it did not end well | internal |
//! | a call | `{method}` or `{method} {url.template}`; without a method the target's name | client |
//! | a promoted wait | `zerver.job.queue`, `zerver.job.park`, below the span of its node | internal |
//!
//! What has no span of its own hands its children to the next one above that has. Waits that were not promoted stay
//! as events on the node's span.

mod settings;
mod sink;
mod facts;
mod walk;
mod data;

use opentelemetry_sdk::trace::SpanData;

use crate::sampling::Reason;
use crate::timeline::Timeline;

pub use settings::{SpanSettings, scope};
pub(crate) use sink::{Head, Key, Said, Sink};
pub(crate) use walk::walk;

/// The spans of one request, its own first, for an exporter of one's own. `reason` says why they are exported.
///
/// [`crate::export::otlp::Exporter`] sends the same spans for a fraction of the time: it writes what goes over the wire without
/// making these.
#[must_use]
pub fn spans(timeline: &Timeline, reason: Reason, settings: &SpanSettings) -> Vec<SpanData> {
    let mut data = data::Data::new(timeline.nodes.len() + 4);
    walk(timeline, reason, settings, &mut data);
    data.spans
}

#[cfg(test)]
mod tests;
