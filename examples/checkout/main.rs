//! The checkout example.
fn main() {}
