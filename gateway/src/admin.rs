//! The admin listener: health, metrics, timelines, the comparison, limits and upstreams, stuck runs, the log's level, reload.
//!
//! Bound to loopback unless a token is set. GET only reads; POST, PUT and DELETE change something.

pub mod answer;
pub mod latencies;
mod log;
pub mod stuck;
pub mod pages;
pub mod server;
