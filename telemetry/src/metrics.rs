//! The metrics of one gateway.

pub mod histogram;
