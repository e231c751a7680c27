//! The viewer as its users see it: screens as text, a live gateway, a capture, any key at any size.

#[path = "viewer/fixture.rs"]
mod fixture;
#[path = "viewer/golden.rs"]
mod golden;
#[path = "viewer/screens.rs"]
mod screens;
#[path = "viewer/manual.rs"]
mod manual;
#[path = "viewer/live.rs"]
mod live;
