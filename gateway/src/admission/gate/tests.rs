//! The gate under tokio with paused time.
