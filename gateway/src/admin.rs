//! The admin listener: health, metrics, timelines, the comparison, how limits and upstreams stand, stuck runs, and reload.
//!
//! Bound to loopback unless a token is set. GET only reads; POST and DELETE change something.

pub mod answer;
pub mod latencies;
pub mod stuck;
pub mod pages;
pub mod server;
