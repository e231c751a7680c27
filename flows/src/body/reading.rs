//! Reads a stream as a client would, in a test: when each piece came, and what the request waited for meanwhile.

use std::future::poll_fn;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use zerver_telemetry::clock::Ticks;
use zerver_telemetry::event::{Cause, NodeId};
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::Log;

use crate::body::{Awaited, BodyStream, Broken};

/// The most pieces, and the most bytes, that a test reads: a stream without end ends there.
const PIECES_MAX: usize = 100_000;
const BYTES_MAX: usize = 256 << 20;

/// What was read of a stream.
#[derive(Debug)]
pub(crate) struct Read {
    /// Each piece, and when it came.
    pub(crate) pieces: Vec<(Ticks, Bytes)>,
    /// All of them.
    pub(crate) whole: BytesMut,
    /// How it ended.
    pub(crate) end: End,
}

/// How reading ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// At the end of the stream.
    Whole,
    /// The producer failed.
    Broken(Broken),
    /// The client left.
    Left,
}

impl Read {
    /// Nothing was read. Left so, it is a stream that waits for what never comes.
    pub(crate) fn new() -> Self {
        Self { pieces: Vec::new(), whole: BytesMut::new(), end: never_ends("waits for something that never comes") }
    }

    /// Reads until the stream ends or `leaves` is ready. The request's states go to `log`, as the gateway would write them
    /// for a client that takes everything at once.
    pub(crate) async fn read(
        &mut self,
        stream: &mut BodyStream,
        log: &Log,
        mut leaves: Option<BoxFuture<'static, ()>>,
    ) {
        self.end = loop {
            let next = poll_fn(|cx| {
                let next = match stream.poll_fill(cx) {
                    Poll::Ready(()) => Some(stream.take()),
                    Poll::Pending => match leaves.as_mut().map(|leaves| leaves.as_mut().poll(cx)) {
                        Some(Poll::Ready(())) => None,
                        _ => {
                            let cause = if stream.awaited() == Awaited::Timer { Cause::Timer } else { Cause::Io };
                            log.state(log.now(), NodeId::ROOT, cause, Name::NONE, None);
                            return Poll::Pending;
                        }
                    },
                };
                log.state(log.now(), NodeId::ROOT, Cause::Run, Name::NONE, None);
                Poll::Ready(next)
            })
            .await;
            match next {
                None => break End::Left,
                Some(None) => break End::Whole,
                Some(Some(Err(broken))) => break End::Broken(broken),
                Some(Some(Ok(piece))) => {
                    self.whole.extend_from_slice(&piece);
                    self.pieces.push((log.now(), piece));
                }
            }
            if self.pieces.len() == PIECES_MAX || self.whole.len() > BYTES_MAX {
                break never_ends("has given more than a test reads");
            }
        };
    }
}

fn never_ends(why: &str) -> End {
    End::Broken(Broken { code: "never_ends", detail: format!("the stream {why}") })
}
