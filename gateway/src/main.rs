//! The stock gateway.
fn main() {}
