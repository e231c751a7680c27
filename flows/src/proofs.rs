//! The engine held to its promises: every join in every situation, and random graphs, against models written in plain Rust.

mod joins;
mod model;
