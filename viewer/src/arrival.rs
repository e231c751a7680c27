//! What comes from the source to the screen: requests ready to be shown, and how the source is doing.

use crate::row::Row;
use crate::source::{Counters, Gateway};

/// How the source is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Being tried for the first time, or again.
    Connecting,
    /// Answers.
    Live,
    /// Did not answer; tried again at a moment.
    Retrying { attempt: u32, error: String, next_unix_ns: u64 },
    /// A capture that was read to its end.
    Ended,
    /// Cannot be read at all.
    Failed(String),
}

/// What one poll brought, ready for the store.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) gateway: Gateway,
    pub(crate) counters: Counters,
    pub(crate) rows: Vec<Row>,
    /// Timelines that could not be read.
    pub(crate) unreadable: u64,
}
