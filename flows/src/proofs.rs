//! The engine held to its promises: every join in every situation, and random graphs, against models written in plain Rust.

mod model;
mod joins;
mod plan;
mod reference;
mod make;
mod dags;
