//! The client's socket: knows when a request's first byte came, and cuts off clients that never finish a head.

use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use pingora_http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use zerver_telemetry::clock::{Clock, Ticks};

/// The bytes every HTTP/2 connection begins with (RFC 9113, 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A head is being read (also: nothing came since accept); a deadline runs.
const HEAD: u8 = 0;
/// A request is being served, or the connection is HTTP/2, which has its own ways.
const BUSY: u8 = 1;
/// Between two requests of a kept connection.
const IDLE: u8 = 2;

/// What a connection and its requests share.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Where the client is.
    pub(crate) client: SocketAddr,
    clock: Clock,
    /// Ticks of the first byte of the request being read; 0 while none came.
    first_byte: AtomicU64,
    /// Where the connection is with its requests: one of [`HEAD`], [`BUSY`], [`IDLE`].
    phase: AtomicU8,
    /// True while the kernel takes no more bytes for the client.
    pub(crate) client_full: Arc<AtomicBool>,
}

impl Connection {
    pub(crate) fn new(client: SocketAddr, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            client,
            clock,
            first_byte: AtomicU64::new(0),
            phase: AtomicU8::new(HEAD),
            client_full: Arc::default(),
        })
    }

    /// The head is complete: its deadline ends. Gives the moment its first byte came.
    pub(crate) fn head_read(&self) -> Option<Ticks> {
        self.phase.store(BUSY, Relaxed);
        let at = self.first_byte.swap(0, Relaxed);
        (at != 0).then_some(Ticks(at))
    }

    /// An HTTP/1.1 request is over: the next byte begins a new head.
    pub(crate) fn request_over(&self) {
        self.first_byte.store(0, Relaxed);
        self.phase.store(IDLE, Relaxed);
    }
}

/// The socket of a client.
pub(crate) struct EdgeStream {
    io: TcpStream,
    conn: Arc<Connection>,
    digest: Arc<ProxyDigest>,
    socket: Arc<SocketDigest>,
    head_timeout: Duration,
    /// Runs while a head is being read.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes read to tell HTTP/2 from HTTP/1.1, not yet given on.
    peeked: BytesMut,
}

impl EdgeStream {
    pub(crate) fn new(io: TcpStream, conn: Arc<Connection>, head_timeout: Duration) -> io::Result<Self> {
        // pingora carries a stream's proxy digest to each of its sessions: the legal way from socket to request.
        let header = ResponseHeader::build(200, Some(0)).map_err(|e| io::Error::other(e.to_string()))?;
        let digest = Arc::new(ProxyDigest::new(Box::new(header), Some(Box::new(Arc::clone(&conn)))));
        let socket = Arc::new(SocketDigest::from_raw_fd(io.as_raw_fd()));
        let deadline = Some(Box::pin(sleep(head_timeout)));
        Ok(Self { io, conn, digest, socket, head_timeout, deadline, peeked: BytesMut::new() })
    }

    /// Reads from the socket, under the head's deadline while a head is being read.
    fn read_socket(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = polled
            && buf.filled().len() > before
        {
            let phase = self.conn.phase.load(Relaxed);
            if phase == IDLE {
                self.conn.phase.store(HEAD, Relaxed);
                self.deadline = None;
            }
            if phase != BUSY && self.conn.first_byte.load(Relaxed) == 0 {
                self.conn.first_byte.store(self.conn.clock.now().0.max(1), Relaxed);
            }
        }
        if self.conn.phase.load(Relaxed) != HEAD {
            self.deadline = None;
        } else if polled.is_pending() {
            let timeout = self.head_timeout;
            let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(timeout)));
            if deadline.as_mut().poll(cx).is_ready() {
                let late = io::Error::new(io::ErrorKind::TimedOut, "the request's head did not arrive in time");
                return Poll::Ready(Err(late));
            }
        }
        polled
    }
}

impl AsyncRead for EdgeStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.peeked.is_empty() {
            let n = this.peeked.len().min(buf.remaining());
            buf.put_slice(&this.peeked[..n]);
            this.peeked.advance(n);
            return Poll::Ready(Ok(()));
        }
        this.read_socket(cx, buf)
    }
}

impl AsyncWrite for EdgeStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write(cx, buf);
        this.conn.client_full.store(polled.is_pending(), Relaxed);
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.conn.client_full.store(polled.is_pending(), Relaxed);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[async_trait]
impl Peek for EdgeStream {
    /// Waits until the bytes are, or cannot be, HTTP/2's preface; under the head's deadline. `buf` then holds what came,
    /// and the bytes will be read again.
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        std::future::poll_fn(|cx| {
            loop {
                let seen = self.peeked.len().min(H2_PREFACE.len());
                if seen == H2_PREFACE.len() || self.peeked[..seen] != H2_PREFACE[..seen] {
                    let n = seen.min(buf.len());
                    buf[..n].copy_from_slice(&self.peeked[..n]);
                    return Poll::Ready(Ok(true));
                }
                let mut room = [0; 1024];
                let mut read = ReadBuf::new(&mut room);
                ready!(self.read_socket(cx, &mut read))?;
                if read.filled().is_empty() {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                self.peeked.extend_from_slice(read.filled());
            }
        })
        .await
    }
}

#[async_trait]
impl Shutdown for EdgeStream {
    async fn shutdown(&mut self) {
        // The client may be gone already; there is nobody to tell.
        let _ = AsyncWriteExt::shutdown(&mut self.io).await;
    }
}

impl UniqueID for EdgeStream {
    fn id(&self) -> UniqueIDType {
        self.io.as_raw_fd()
    }
}

impl Ssl for EdgeStream {}

impl GetTimingDigest for EdgeStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for EdgeStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl GetSocketDigest for EdgeStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.socket))
    }
}

impl fmt::Debug for EdgeStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeStream").field("client", &self.conn.client).finish_non_exhaustive()
    }
}
