//! zerver: an API gateway that says why its slow requests are slow.

pub mod config;
pub mod admission;
pub mod rate;
