//! What spans carry, and who makes them.

use opentelemetry::InstrumentationScope;

/// What spans carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanSettings {
    /// Whether spans carry the node's lifecycle as events (default true).
    pub events: bool,
    /// The most events on one span (default 128, as in OpenTelemetry's SDKs); the rest is counted on the span.
    pub max_events: usize,
    /// Whether every station and branch has a span (default false).
    pub all_nodes: bool,
}

impl Default for SpanSettings {
    fn default() -> Self {
        Self { events: true, max_events: 128, all_nodes: false }
    }
}

/// The instrumentation scope of all spans.
#[must_use]
pub fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("zerver").with_version(env!("CARGO_PKG_VERSION")).build()
}
