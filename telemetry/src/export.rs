//! What leaves the gateway.

pub mod prometheus;
