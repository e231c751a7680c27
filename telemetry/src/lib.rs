//! The always-on timeline of every request: recorder, ring, collector, comparison and export.
//!
//! This crate is the ground floor of zerver: it knows no HTTP type and no flow.
//!
//! A request's life is written through a [`recorder::Log`], handed over whole when it ends, and read back as a
//! [`timeline::Timeline`], which everything else here takes: promotion, spans, metrics, retention, the comparison.

pub mod clock;
pub mod id;
pub mod percent;
pub mod propagation;
pub mod names;
pub mod event;
pub mod worker;
mod sync;
mod logbook;
mod ring;
mod inflight;
pub mod recorder;
pub mod timeline;
mod hash;
pub mod packed;
pub mod semconv;
pub mod redact;
mod assemble;
pub mod promote;
pub mod span;
pub mod sampling;
pub mod exemplars;
pub mod metrics;
pub mod slo;
pub mod export;
pub mod collector;
pub mod logs;
pub mod recording;
pub mod explain;

pub use inflight::Running;
