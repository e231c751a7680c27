//! Runs with steps to undo, when the gateway stops: told to undo before they are cut, and waited for a little.

use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long a gateway that stops waits for runs to undo what they did, after its time to drain. Undoing takes longer where
/// its target does not answer; such a run is stuck.
pub const TIME: Duration = Duration::from_secs(5);

/// The runs of one gateway that have steps to undo.
#[derive(Debug, Default)]
pub struct Undoing {
    told: CancellationToken,
    running: TaskTracker,
}

impl Undoing {
    /// Counts a run, until what this gives is dropped.
    pub fn begin(&self) -> TaskTrackerToken {
        self.running.token()
    }

    /// Ready when runs have to give up and undo.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub fn told(&self) -> WaitForCancellationFuture<'_> {
        self.told.cancelled()
    }

    /// Tells every run to give up and undo, and waits for them, at most [`TIME`].
    pub async fn end(&self) {
        self.told.cancel();
        self.running.close();
        if tokio::time::timeout(TIME, self.running.wait()).await.is_err() {
            tracing::error!(runs = self.running.len(), "runs are cut while they undo what they did");
        }
    }
}
