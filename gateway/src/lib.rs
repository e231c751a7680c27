//! zerver: an API gateway that says why its slow requests are slow.

pub mod error;
pub mod config;
pub mod keys;
pub mod probe;
pub mod exchange;
pub mod reply;
pub mod route;
pub mod admission;
pub mod rate;
pub mod upstream;
pub mod plan;
pub mod pipeline;
pub mod live;
mod edge;
pub mod reload;
pub mod admin;
