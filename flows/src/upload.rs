//! A request's body as it arrives: looked at from its beginning, then passed on, and never held whole.
//!
//! Each piece is asked for before it is read, so a body moves as fast as its slower side, and one that nobody looks at is
//! never asked for.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use smallvec::SmallVec;
use zerver_telemetry::clock::{Clock, Ticks};

mod pieces;
mod writer;
#[cfg(test)]
mod tests;

pub use pieces::Pieces;
pub use writer::UploadWriter;

/// The most that can be looked at before a body is passed on: 64 KiB.
pub const PEEK_MAX: usize = 64 * 1024;

/// Why a body did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// It is larger than the route allows.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The bound, in bytes.
        limit: u64,
    },
    /// Its next piece did not come in time.
    #[error("the body did not arrive in time")]
    Timeout,
    /// The client left in the middle of it.
    #[error("the body broke off")]
    Broken,
}

/// The body of one request. Clones are the same body.
#[derive(Clone)]
pub struct Upload(Arc<Inner>);

struct Inner {
    /// Its bytes in all, where the client said how many.
    length: Option<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What has arrived and was not passed on.
    front: VecDeque<Bytes>,
    /// What was looked at, as far as anybody looked.
    seen: Bytes,
    ended: Option<Result<(), UploadError>>,
    /// Somebody wants the next piece.
    wanted: bool,
    readers: SmallVec<[Waker; 1]>,
    writer: Option<Waker>,
    /// It is being passed on.
    open: bool,
    /// Bytes that were passed on.
    passed: u64,
    /// Something was passed on.
    begun: bool,
    clock: Option<Clock>,
    /// Since when whoever it is passed to waits for the client.
    waits_since: Option<Ticks>,
    waited: Duration,
}

impl Upload {
    /// A body of `length` bytes, where that is known, which the writer is asked for piece by piece.
    #[must_use]
    pub fn channel(length: Option<u64>) -> (Self, UploadWriter) {
        let upload = Self(Arc::new(Inner { length, state: Mutex::default() }));
        (upload.clone(), UploadWriter::of(upload))
    }

    /// A body that is there already.
    #[must_use]
    pub fn whole(body: Bytes) -> Self {
        let state = State { ended: Some(Ok(())), ..State::default() };
        let upload = Self(Arc::new(Inner { length: u64::try_from(body.len()).ok(), state: Mutex::new(state) }));
        if !body.is_empty() {
            upload.0.state.lock().front.push_back(body);
        }
        upload
    }

    /// Its bytes in all, where the client said how many.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.0.length
    }

    /// Opens it for passing on, what was looked at included. None when that has begun already.
    #[must_use]
    pub fn open(&self) -> Option<Pieces> {
        let mut state = self.0.state.lock();
        let free = !(state.open || state.begun);
        state.open = true;
        free.then(|| Pieces::of(self))
    }

    /// Whether any of it was passed on: what is gone cannot be sent again.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        self.0.state.lock().begun
    }

    /// Why it did not arrive, when it did not.
    #[must_use]
    pub fn error(&self) -> Option<UploadError> {
        self.0.state.lock().ended.and_then(Result::err)
    }

    /// Bytes that were passed on, and whether more of them could not be, because the client has not sent them yet.
    #[must_use]
    pub fn progress(&self) -> (u64, bool) {
        let state = self.0.state.lock();
        (state.passed, state.wanted)
    }

    /// How long whoever it was passed to had to wait for the client.
    #[must_use]
    pub fn waited(&self) -> Duration {
        let state = self.0.state.lock();
        let now = || state.waits_since.zip(state.clock.as_ref()).map(|(since, clock)| clock.since(since));
        state.waited + now().unwrap_or_default()
    }

    /// From now on it is measured how long the one that it is passed to waits.
    pub(crate) fn measure(&self, clock: &Clock) {
        self.0.state.lock().clock = Some(clock.clone());
    }

    /// What was looked at.
    pub(crate) fn seen(&self) -> Bytes {
        self.0.state.lock().seen.clone()
    }

    /// Its first `bytes`, or all when it has fewer.
    pub(crate) fn poll_peek(&self, bytes: usize, cx: &mut Context<'_>) -> Poll<Result<Bytes, UploadError>> {
        let mut state = self.0.state.lock();
        if state.begun {
            // What was looked at before is known all the same.
            let seen = state.seen.slice(..bytes.min(state.seen.len()));
            let all = seen.len() == bytes || state.ended == Some(Ok(()));
            return Poll::Ready(if all { Ok(seen) } else { Err(UploadError::Broken) });
        }
        let there: usize = state.front.iter().map(Bytes::len).sum();
        match state.ended {
            _ if there >= bytes => {}
            Some(Ok(())) => {}
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => {
                state.want(cx.waker());
                return Poll::Pending;
            }
        }
        let first = state.first();
        let first = first.slice(..bytes.min(first.len()));
        if first.len() > state.seen.len() {
            state.seen = first.clone();
        }
        Poll::Ready(Ok(first))
    }
}

impl State {
    /// All that has arrived, as one piece.
    fn first(&mut self) -> Bytes {
        if self.front.len() > 1 {
            let all = self.front.drain(..).fold(BytesMut::new(), |mut all, piece| {
                all.extend_from_slice(&piece);
                all
            });
            self.front.push_back(all.freeze());
        }
        self.front.front().cloned().unwrap_or_default()
    }

    /// Asks for the next piece; `waker` is woken when it is there.
    fn want(&mut self, waker: &Waker) {
        if !self.readers.iter().any(|known| known.will_wake(waker)) {
            self.readers.push(waker.clone());
        }
        if !self.wanted {
            self.wanted = true;
            if let Some(writer) = self.writer.take() {
                writer.wake();
            }
        }
    }

    /// Something has arrived.
    fn arrived(&mut self) -> SmallVec<[Waker; 1]> {
        self.wanted = false;
        std::mem::take(&mut self.readers)
    }
}

impl PartialEq for Upload {
    /// Whether it is the same body, not one that is alike.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Upload {}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, waits) = self.progress();
        f.debug_struct("Upload")
            .field("length", &self.0.length)
            .field("passed", &passed)
            .field("waits", &waits)
            .finish_non_exhaustive()
    }
}
