//! A request's body as it arrives: looked at from its beginning, then passed on, and never held whole.
//!
//! Each piece is asked for before it is read, so a body moves as fast as its slower side, and one that nobody looks at is
//! never asked for.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::StatusCode;
use parking_lot::Mutex;
use smallvec::SmallVec;
use zerver_telemetry::clock::{Clock, Ticks};

use crate::exit::Fail;

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

/// The other end: whoever reads the request's connection.
///
/// Dropping it before [`UploadWriter::end`] breaks the body off.
#[derive(Debug)]
pub struct UploadWriter(Upload);

/// A body on its way to somebody else.
///
/// # Cancel safety
/// Dropped before its first piece was taken, it leaves the body whole, to be opened again.
#[derive(Debug)]
pub struct Pieces(Upload);

impl Upload {
    /// A body of `length` bytes, where that is known, which the writer is asked for piece by piece.
    #[must_use]
    pub fn channel(length: Option<u64>) -> (Self, UploadWriter) {
        let upload = Self(Arc::new(Inner { length, state: Mutex::default() }));
        (upload.clone(), UploadWriter(upload))
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
        free.then(|| Pieces(self.clone()))
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

impl UploadWriter {
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

impl Pieces {
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

impl From<UploadError> for Fail {
    /// The client's doing: 413, 408, or 400 for a body that broke off.
    fn from(error: UploadError) -> Self {
        let (status, code, message) = match error {
            UploadError::TooLarge { .. } => (413, "body_too_large", "the body is too large"),
            UploadError::Timeout => (408, "body_timeout", "the body did not arrive in time"),
            UploadError::Broken => (400, "body_broken", "the body broke off"),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        Self::new(status, message).with_code(code).with_detail(error.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt as _, StreamExt as _};
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn peek(upload: &Upload, bytes: usize) -> Option<Result<Bytes, UploadError>> {
        poll_fn(|cx| upload.poll_peek(bytes, cx)).now_or_never()
    }

    fn rest(pieces: &mut Pieces) -> Vec<Result<Bytes, UploadError>> {
        std::iter::from_fn(|| pieces.next().now_or_never().flatten()).take(9).collect()
    }

    #[test]
    fn what_was_looked_at_is_passed_on_too() {
        let (upload, mut writer) = Upload::channel(Some(6));
        assert_eq!(writer.wanted().now_or_never(), None, "nobody looks, so nothing is read");
        assert_eq!(peek(&upload, 3), None);
        assert_eq!(writer.wanted().now_or_never(), Some(()));
        writer.push("ab".into());
        assert_eq!(writer.wanted().now_or_never(), None, "one piece for one wish");
        assert_eq!(peek(&upload, 3), None);
        writer.push("cd".into());
        assert_eq!(peek(&upload, 3), Some(Ok("abc".into())));
        assert_eq!(peek(&upload, 1), Some(Ok("a".into())));
        let mut pieces = upload.open().expect("it was not passed on yet");
        assert_eq!(rest(&mut pieces), [Ok(Bytes::from("abcd"))]);
        writer.push("ef".into());
        writer.end(Ok(()));
        assert_eq!((pieces.left(), pieces.is_over()), (Some(2), false));
        assert_eq!((rest(&mut pieces), pieces.is_over()), (vec![Ok(Bytes::from("ef"))], true));
        assert_eq!((upload.progress(), upload.seen()), ((6, false), "abc".into()));
        assert_eq!(peek(&upload, 2), Some(Ok("ab".into())), "what was seen stays known");
    }

    #[test]
    fn it_is_passed_on_once_and_may_be_opened_again_while_nothing_was_taken() {
        let upload = Upload::whole("abc".into());
        let first = upload.open().expect("it is free");
        assert!(upload.open().is_none(), "somebody has it");
        drop(first);
        let mut second = upload.open().expect("nothing was taken");
        assert_eq!(rest(&mut second), [Ok(Bytes::from("abc"))]);
        drop(second);
        assert!(upload.open().is_none() && upload.is_begun());
    }

    #[test]
    fn every_way_in_which_it_does_not_arrive_is_told() {
        for (how, status) in
            [(UploadError::TooLarge { limit: 3 }, 413), (UploadError::Timeout, 408), (UploadError::Broken, 400)]
        {
            let (upload, mut writer) = Upload::channel(None);
            let mut pieces = upload.open().expect("it is free");
            writer.push("ab".into());
            if how == UploadError::Broken {
                drop(writer)
            } else {
                writer.end(Err(how))
            }
            assert_eq!(rest(&mut pieces)[..2], [Ok(Bytes::from("ab")), Err(how)]);
            assert_eq!((upload.error(), Fail::from(how).status.as_u16()), (Some(how), status));
        }
    }

    #[test]
    fn all_who_look_are_woken_and_a_wait_for_the_client_is_measured() {
        let clock = Clock::manual();
        let (upload, mut writer) = Upload::channel(None);
        upload.measure(&clock);
        let wakes: [Arc<Count>; 2] = std::array::from_fn(|_| Arc::default());
        let look = |n: usize| {
            let waker = Waker::from(Arc::clone(&wakes[n]));
            upload.poll_peek(1, &mut Context::from_waker(&waker))
        };
        assert!(look(0).is_pending() && look(1).is_pending() && look(1).is_pending());
        writer.push("a".into());
        assert_eq!(wakes.each_ref().map(|count| count.0.load(Relaxed)), [1, 1]);
        assert!(look(0).is_ready() && look(1).is_ready());
        let mut pieces = upload.open().expect("it is free");
        rest(&mut pieces);
        clock.advance(Duration::from_millis(3));
        assert_eq!(upload.waited(), Duration::from_millis(3));
        writer.push("b".into());
        rest(&mut pieces);
        assert_eq!(upload.waited(), Duration::from_millis(3));
    }
}
