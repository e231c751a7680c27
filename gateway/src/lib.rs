//! zerver: an API gateway that says why its slow requests are slow.
//!
//! The stock binary is `zerver`; [`App`] builds one with flows of your own. [`gateway::Gateway`] is a gateway as a value,
//! for programs that embed one and for tests.

pub mod error;
pub mod config;
pub mod keys;
pub mod probe;
pub mod logs;
pub mod exchange;
pub mod reply;
pub mod route;
pub mod admission;
pub mod rate;
pub mod upstream;
pub mod effects;
pub mod plan;
pub mod pipeline;
pub mod undoing;
pub mod live;
mod edge;
pub mod reload;
pub mod admin;
pub mod gateway;
pub mod demo;
mod cli;
mod app;

pub use crate::app::App;
