//! How large a recorder is, and what it counts.

use serde::{Deserialize, Serialize};

/// Sizes of the recorder. All of it is bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderSettings {
    /// Finished timelines that may wait for the collector (default 8,192; 1.5 to 35 KiB each while they wait).
    pub ring: usize,
    /// Queues the ring is split into (default 4).
    pub shards: usize,
}

impl Default for RecorderSettings {
    fn default() -> Self {
        Self { ring: 8_192, shards: 4 }
    }
}

/// What the recorder has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecorderCounters {
    /// Requests whose recording began.
    pub started: u64,
    /// Requests whose recording ended.
    pub finished: u64,
    /// Requests recorded now.
    pub in_flight: u64,
    /// Whole timelines lost because the collector was too slow.
    pub lost_timelines: u64,
    /// Logbooks made; stands still once the pool is warm.
    pub logbooks: u64,
}
