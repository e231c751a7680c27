//! The terminal viewer of zerver: slow requests beside fast ones, and the sentence that says why.
//!
//! [`run`] takes the terminal and shows a [`Source`]: a live gateway, a capture, or a [`Feed`] in the same process.
//! [`report::text`] writes a comparison for those without a terminal, [`Headless`] is the viewer without one.
//! Comparisons are asked of an [`Engine`]; this crate computes none itself.
//! The manual is `docs/viewer.md`.

mod run;
mod terminal;
mod options;
mod source;
mod http;
mod arrival;
mod ingest;
mod stop;
mod engine;
mod analysis;
mod model;
mod update;
mod keys;
mod line;
mod filter;
mod row;
mod store;
mod routes;
mod histogram;
mod draw;
mod layout;
mod pen;
mod theme;
mod units;
pub mod report;
mod headless;
#[cfg(test)]
mod sample;

pub use crate::engine::Engine;
pub use crate::headless::{Attached, Headless};
pub use crate::keys::markdown as keys_markdown;
pub use crate::options::Options;
pub use crate::run::{ViewerError, run};
pub use crate::source::{Batch, Counters, Feed, Gateway, Source};
pub use crate::theme::Theme;
