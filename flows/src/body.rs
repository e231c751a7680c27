//! What an answer says: bytes that are there, or a stream that is made piece by piece while the client takes it.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

mod json;
mod reading;
mod sse;
mod writer;

pub use json::JsonWriter;
pub(crate) use reading::{End, Read};
pub use sse::{Event, SseWriter};
pub use writer::BodyWriter;

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// Made while it is read; see [`Response::stream`](crate::Response::stream).
    Stream(BodyStream),
}

/// Why a stream ended before its end. The client sees no more than that the connection breaks off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail} ({code})")]
pub struct Broken {
    /// A stable word: that of the failure with which the producer ended, or `stream_panicked`.
    pub code: &'static str,
    /// What only the operator may read.
    pub detail: String,
}

/// What the producer of a stream waits for while it has nothing to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The end of a pause of its own.
    Timer,
    /// Something else.
    Other,
}

/// Gives a future that is ready after some time; where a stream takes its pauses from.
pub(crate) type Timer = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

/// What a stream is read from. Everything in it is driven by whoever reads: dropping it is cancelling it.
pub(crate) trait Source: Send {
    /// Ready when there is a piece to take, or never will be another.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// The piece that is there; none when there will be no other.
    fn take(&mut self) -> Option<Result<Bytes, Broken>>;
    /// What it waited for when it was last polled.
    fn awaited(&self) -> Awaited;
    /// Where its pauses come from, from now on.
    fn timed_by(&mut self, timer: Timer);
}

/// A body that is made while it is read. Its producer runs inside [`BodyStream::poll_fill`] and nowhere else, so it makes
/// one piece more than was taken, at most; dropping the stream drops the producer wherever it waits.
pub struct BodyStream {
    /// Only a shared slot needs the lock: whoever reads owns the stream and never takes it.
    source: Mutex<Box<dyn Source>>,
}

impl BodyStream {
    pub(crate) fn new(source: impl Source + 'static) -> Self {
        Self { source: Mutex::new(Box::new(source)) }
    }

    /// Runs the producer until there is a piece to [`take`](Self::take), or never will be another.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.source.get_mut().poll_fill(cx)
    }

    /// Waits as [`BodyStream::poll_fill`] does.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn fill(&mut self) {
        poll_fn(|cx| self.poll_fill(cx)).await;
    }

    /// The piece that is there; none when the stream is at its end, or [`fill`](Self::fill) was not waited for.
    ///
    /// # Errors
    /// [`Broken`] when the producer failed: what was taken before is a part of the answer and must not pass for the whole.
    pub fn take(&mut self) -> Option<Result<Bytes, Broken>> {
        self.source.get_mut().take()
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// [`Broken`], as [`BodyStream::take`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        self.fill().await;
        self.take()
    }

    /// What the producer waited for when it was last polled without giving anything.
    #[must_use]
    pub fn awaited(&mut self) -> Awaited {
        self.source.get_mut().awaited()
    }

    pub(crate) fn timed_by(&mut self, timer: Timer) {
        self.source.get_mut().timed_by(timer);
    }
}

impl Body {
    /// All of it, unless it is a stream.
    #[must_use]
    pub fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Stream(_) => None,
        }
    }

    /// All of it, once the stream has ended. Holds all of it in memory: for tests and small bodies.
    ///
    /// # Errors
    /// [`Broken`] when the producer failed.
    pub async fn read(self) -> Result<Bytes, Broken> {
        let mut stream = match self {
            Self::Whole(bytes) => return Ok(bytes),
            Self::Stream(stream) => stream,
        };
        let mut all = BytesMut::new();
        while let Some(piece) = stream.next().await {
            all.extend_from_slice(&piece?);
        }
        Ok(all.freeze())
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        Self::Whole(bytes.into())
    }
}

/// A stream equals nothing: nobody has read it yet.
impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Body {
    fn eq(&self, other: &T) -> bool {
        self.whole().is_some_and(|bytes| *bytes == other.as_ref())
    }
}

impl fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyStream").finish_non_exhaustive()
    }
}
