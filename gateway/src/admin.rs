//! The admin listener: health, metrics, timelines, the comparison, how limits and upstreams stand, and reload.
//!
//! Bound to loopback unless a token is set. Everything but `POST /reload` only reads.

pub mod latencies;
pub mod pages;
pub mod server;
