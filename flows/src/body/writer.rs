//! The hand-over between the producer of a stream and whoever reads it: room for one piece, and both wait for the other.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use parking_lot::Mutex;

use crate::body::{Awaited, Body, BodyStream, Broken, Source, Timer};
use crate::exit::{Exit, Fail, Result};
use crate::response::Response;
use crate::run::Shell;

/// Bytes that gather before they are handed over: small pieces cost a system call and a frame each.
const CHUNK: usize = 8 * 1024;

impl Response {
    /// An answer with status 200 whose body is made while the client takes it.
    ///
    /// `producer` gets the writer and runs until it returns. It owns what it needs: the flow's slots are gone by then.
    /// It is polled by whoever reads the body, so it runs no further than one piece ahead of the client, and is dropped
    /// where it waits when the client leaves. It may await anything; what it waits for is shown as I/O, and as a timer
    /// where it is [`BodyWriter::pause`]. It never runs where no body is due (HEAD, 204, 304).
    ///
    /// The head goes out first, so a failure cannot change the status any more: the connection breaks off, and no client
    /// takes the part for the whole. What may fail should do so in the step.
    ///
    /// ```
    /// use zerver_flows::{Response, Result, step};
    ///
    /// #[step]
    /// async fn count() -> Result<Response> {
    ///     Ok(Response::stream("text/plain", |mut out| async move {
    ///         for n in 0..3 {
    ///             out.write(format!("{n}\n")).await?;
    ///         }
    ///         Ok(())
    ///     }))
    /// }
    /// ```
    #[must_use]
    pub fn stream<P, F>(content_type: &'static str, producer: P) -> Self
    where
        P: FnOnce(BodyWriter) -> F + Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let handover = Arc::new(Handover::default());
        let start: Start = Box::new(move |out| Box::pin(producer(out)));
        let stream = BodyStream::new(Produced { handover, state: State::Idle(start), broken: None, quiet: None });
        let mut response = Self { body: Body::Stream(stream), ..Self::default() };
        response.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }

    /// The same, with pauses that the shell of its run makes.
    pub(crate) fn timed_by(mut self, shell: &Arc<dyn Shell>) -> Self {
        if let Body::Stream(stream) = &mut self.body {
            let shell = Arc::clone(shell);
            stream.timed_by(Arc::new(move |wait| shell.timer(wait)));
        }
        self
    }
}

type Start = Box<dyn FnOnce(BodyWriter) -> BoxFuture<'static, Result<()>> + Send>;

/// The producer's end of a stream.
#[derive(Debug)]
pub struct BodyWriter {
    handover: Arc<Handover>,
}

impl BodyWriter {
    /// Hands a piece over and waits until the connection took it. An empty piece is nothing.
    ///
    /// # Errors
    /// `client_gone` when nobody reads any more. Only a writer that outlives its producer sees it: the producer itself is
    /// dropped then.
    ///
    /// # Cancel safety
    /// Dropped before the piece before was taken, nothing is sent; dropped later, the piece goes out all the same.
    pub async fn write(&mut self, piece: impl Into<Bytes>) -> Result<()> {
        let piece = piece.into();
        self.flush().await?;
        if piece.is_empty() {
            return Ok(());
        }
        self.handover.put(piece);
        self.free().await
    }

    /// Waits for `time`. The request is parked on a timer meanwhile; in a test the time is virtual.
    ///
    /// Outside of a run (a step called by itself) it needs a tokio runtime with timers.
    pub async fn pause(&self, time: Duration) {
        let timer = self.handover.timer(time);
        let _pausing = Pausing::begin(&self.handover);
        timer.await;
    }

    /// Adds to what is sent when [`CHUNK`] bytes have gathered, or when the producer waits for something.
    pub(super) async fn gather(&mut self, add: impl FnOnce(&mut BytesMut) -> Result<()>) -> Result<()> {
        // Out of the room while somebody else's code writes into it: no lock is held then.
        let mut bytes = std::mem::take(&mut self.handover.room.lock().gathered);
        if bytes.is_empty() {
            bytes.reserve(CHUNK + CHUNK / 4);
        }
        let before = bytes.len();
        let added = add(&mut bytes);
        if added.is_err() {
            bytes.truncate(before);
        }
        let gathered = bytes.len();
        self.handover.room.lock().gathered = bytes;
        added?;
        if gathered < CHUNK { Ok(()) } else { self.flush().await }
    }

    /// Hands over what was gathered, and waits until the connection took it.
    pub(super) async fn flush(&mut self) -> Result<()> {
        self.free().await?;
        let gathered = {
            let mut room = self.handover.room.lock();
            room.gathered.split().freeze()
        };
        if gathered.is_empty() {
            return Ok(());
        }
        self.handover.put(gathered);
        self.free().await
    }

    /// Sends this piece whenever nothing else went out for so long; `None` stops it.
    pub(super) fn when_quiet(&self, every: Option<Duration>, piece: &'static [u8]) {
        self.handover.room.lock().keep_alive = every.map(|every| KeepAlive { every, piece });
    }

    async fn free(&self) -> Result<()> {
        poll_fn(|cx| self.handover.poll_free(cx)).await
    }
}

/// What the two ends share.
#[derive(Default)]
struct Handover {
    room: Mutex<Room>,
    timer: OnceLock<Timer>,
}

#[derive(Debug, Default)]
struct Room {
    piece: Option<Bytes>,
    /// Small pieces that wait for company.
    gathered: BytesMut,
    keep_alive: Option<KeepAlive>,
    /// Pauses that the producer is in.
    pausing: u32,
    /// Nobody reads any more, or the producer has ended.
    closed: bool,
    /// The reader runs the producer now: it looks itself, and need not be woken.
    driven: bool,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

#[derive(Clone, Copy, Debug)]
struct KeepAlive {
    every: Duration,
    piece: &'static [u8],
}

impl Handover {
    /// Ready when there is room for a piece.
    fn poll_free(&self, cx: &Context<'_>) -> Poll<Result<()>> {
        let mut room = self.room.lock();
        if room.closed {
            return Poll::Ready(Err(Fail::internal("client_gone", "nobody reads the stream any more").into()));
        }
        if room.piece.is_none() {
            return Poll::Ready(Ok(()));
        }
        room.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn put(&self, piece: Bytes) {
        let mut room = self.room.lock();
        room.piece = Some(piece);
        let reader = if room.driven { None } else { room.reader.take() };
        drop(room);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn take(&self) -> Option<Bytes> {
        let mut room = self.room.lock();
        let piece = room.piece.take().or_else(|| {
            let gathered = room.gathered.split().freeze();
            (!gathered.is_empty()).then_some(gathered)
        });
        // A producer that waits as the reader does is polled with it anyway; waking it would only poll it twice.
        let writer = room.writer.take();
        let own = |writer: &Waker| room.reader.as_ref().is_some_and(|reader| reader.will_wake(writer));
        let writer = writer.filter(|writer| !own(writer));
        drop(room);
        if let Some(writer) = writer {
            writer.wake();
        }
        piece
    }

    fn close(&self) {
        let mut room = self.room.lock();
        room.closed = true;
        let writer = room.writer.take();
        drop(room);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    fn timer(&self, time: Duration) -> BoxFuture<'static, ()> {
        match self.timer.get() {
            Some(timer) => timer(time),
            None => Box::pin(tokio::time::sleep(time)),
        }
    }
}

/// A pause of the producer, counted while it lasts.
struct Pausing<'h>(&'h Handover);

impl<'h> Pausing<'h> {
    fn begin(handover: &'h Handover) -> Self {
        handover.room.lock().pausing += 1;
        Self(handover)
    }
}

impl Drop for Pausing<'_> {
    fn drop(&mut self) {
        self.0.room.lock().pausing -= 1;
    }
}

/// The reader's end: it runs the producer.
struct Produced {
    handover: Arc<Handover>,
    state: State,
    /// Why the producer failed, until it was told.
    broken: Option<Broken>,
    /// Runs while nothing is sent, for streams that are kept alive.
    quiet: Option<(Duration, BoxFuture<'static, ()>)>,
}

enum State {
    Idle(Start),
    Running(BoxFuture<'static, Result<()>>),
    Ended,
}

impl Produced {
    /// Polls the producer once.
    fn run(&mut self, cx: &mut Context<'_>) {
        let handover = &self.handover;
        let polled = catch_unwind(AssertUnwindSafe(|| {
            if let State::Idle(_) = self.state {
                let State::Idle(start) = std::mem::replace(&mut self.state, State::Ended) else { return Poll::Pending };
                self.state = State::Running(start(BodyWriter { handover: Arc::clone(handover) }));
            }
            match &mut self.state {
                State::Running(producer) => producer.as_mut().poll(cx),
                State::Idle(_) | State::Ended => Poll::Pending,
            }
        }));
        let ended = match polled {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(ended)) => ended.map_err(broken),
            Err(panic) => Err(Broken { code: "stream_panicked", detail: panicked(&*panic) }),
        };
        self.broken = ended.err();
        self.stop();
    }

    /// Ends the producer wherever it is. A piece that is there stays.
    fn stop(&mut self) {
        self.handover.close();
        let state = std::mem::replace(&mut self.state, State::Ended);
        // A destructor that panics has nobody left to tell.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(state)));
    }

    /// Puts the piece that keeps the connection alive when nothing was sent for its time.
    fn poll_quiet(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(KeepAlive { every, piece }) = self.handover.room.lock().keep_alive else {
            self.quiet = None;
            return Poll::Pending;
        };
        if self.quiet.as_ref().is_none_or(|(time, _)| *time != every) {
            self.quiet = Some((every, self.handover.timer(every)));
        }
        let over = self.quiet.as_mut().is_some_and(|(_, timer)| timer.as_mut().poll(cx).is_ready());
        if !over {
            return Poll::Pending;
        }
        self.handover.room.lock().piece.get_or_insert(Bytes::from_static(piece));
        Poll::Ready(())
    }
}

impl Source for Produced {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut room = self.handover.room.lock();
            if room.piece.is_some() || matches!(self.state, State::Ended) {
                return Poll::Ready(());
            }
            room.driven = true;
            if !room.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
                room.reader = Some(cx.waker().clone());
            }
        }
        self.run(cx);
        let there = {
            let mut room = self.handover.room.lock();
            room.driven = false;
            room.piece.is_some() || !room.gathered.is_empty()
        };
        if there || matches!(self.state, State::Ended) { Poll::Ready(()) } else { self.poll_quiet(cx) }
    }

    fn take(&mut self) -> Option<std::result::Result<Bytes, Broken>> {
        let piece = self.handover.take();
        if piece.is_some() {
            self.quiet = None;
        }
        piece.map(Ok).or_else(|| self.broken.take().map(Err))
    }

    fn awaited(&self) -> Awaited {
        if self.handover.room.lock().pausing > 0 { Awaited::Timer } else { Awaited::Other }
    }

    fn timed_by(&mut self, timer: Timer) {
        // A stream has one run, and so one timer.
        let _ = self.handover.timer.set(timer);
    }
}

impl Drop for Produced {
    fn drop(&mut self) {
        self.stop();
    }
}

fn broken(exit: Exit) -> Broken {
    match exit {
        Exit::Fail(fail) => {
            let Fail { code, detail, message, .. } = *fail;
            Broken { code, detail: detail.map_or_else(|| message.into_owned(), String::from) }
        }
        Exit::Done(_) | Exit::Replace(_) => {
            Broken { code: "answered_twice", detail: "the stream is the answer; it has no other".to_owned() }
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the producer panicked: {}", text.as_deref().unwrap_or("(no text)"))
}

impl std::fmt::Debug for Handover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handover").field("room", &self.room).finish_non_exhaustive()
    }
}
