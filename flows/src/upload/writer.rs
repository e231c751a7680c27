//! The end of a body at which it arrives.

use std::future::poll_fn;
use std::task::{Poll, Waker};

use bytes::Bytes;

use super::{Upload, UploadError};

/// The other end: whoever reads the request's connection.
///
/// Dropping it before [`UploadWriter::end`] breaks the body off.
#[derive(Debug)]
pub struct UploadWriter(Upload);

impl UploadWriter {
    pub(super) fn of(upload: Upload) -> Self {
        Self(upload)
    }

    /// Ready when somebody wants the next piece.
    pub async fn wanted(&mut self) {
        poll_fn(|cx| {
            let mut state = self.0.0.state.lock();
            if state.wanted {
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The next piece.
    pub fn push(&mut self, piece: Bytes) {
        let readers = {
            let mut state = self.0.0.state.lock();
            state.front.push_back(piece);
            state.arrived()
        };
        readers.into_iter().for_each(Waker::wake);
    }

    /// There is no more, or there is no more to come.
    pub fn end(self, how: Result<(), UploadError>) {
        self.over(how);
    }

    fn over(&self, how: Result<(), UploadError>) {
        let readers = {
            let mut state = self.0.0.state.lock();
            state.ended.get_or_insert(how);
            state.arrived()
        };
        readers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for UploadWriter {
    fn drop(&mut self) {
        self.over(Err(UploadError::Broken));
    }
}
