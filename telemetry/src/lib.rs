//! The always-on timeline of every request: recorder, ring, collector, comparison and export.
//!
//! This crate is the ground floor of zerver: it knows no HTTP type and no flow.

pub mod clock;
pub mod event;
pub mod explain;
pub mod id;
pub mod names;
pub mod timeline;
