//! Where requests come in and answers go out: sockets, pingora's phases, and nothing that decides.

mod arriving;
mod answer;
mod failure;
mod phases;
mod proxying;
pub(crate) mod server;
mod stream;
mod streaming;
mod showing;
mod timekeeper;
