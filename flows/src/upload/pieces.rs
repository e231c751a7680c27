//! The end of a body at which it leaves.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use zerver_telemetry::clock::Clock;

use super::{Upload, UploadError};

/// A body on its way to somebody else.
///
/// # Cancel safety
/// Dropped before its first piece was taken, it leaves the body whole, to be opened again.
#[derive(Debug)]
pub struct Pieces(Upload);

impl Pieces {
    pub(super) fn of(upload: &Upload) -> Self {
        Self(upload.clone())
    }

    /// Bytes that are still to come, where that is known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        let passed = self.0.0.state.lock().passed;
        self.0.length().map(|length| length.saturating_sub(passed))
    }

    /// Whether there is nothing more to come.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let state = self.0.0.state.lock();
        state.front.is_empty() && state.ended == Some(Ok(()))
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, UploadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.0.state.lock();
        if let Some(since) = state.waits_since.take() {
            let waited = state.clock.as_ref().map(|clock| clock.since(since)).unwrap_or_default();
            state.waited += waited;
        }
        if let Some(piece) = state.front.pop_front() {
            state.begun = true;
            state.passed += piece.len() as u64;
            return Poll::Ready(Some(Ok(piece)));
        }
        match state.ended {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                state.waits_since = state.clock.as_ref().map(Clock::now);
                state.want(cx.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let mut state = self.0.0.state.lock();
        state.open = false;
        if let Some(since) = state.waits_since.take() {
            let waited = state.clock.as_ref().map(|clock| clock.since(since)).unwrap_or_default();
            state.waited += waited;
        }
    }
}
