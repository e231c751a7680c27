//! The other end of an export: takes every batch over loopback, counts it and throws it away, on a thread of its own.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

/// The thread's name: its processor time is the receiver's, not the exporter's.
pub(super) const THREAD: &str = "bench-receiver";

/// A receiver of OTLP over HTTP. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Receiver {
    /// Where it listens.
    pub(super) address: SocketAddr,
    bytes: Arc<AtomicU64>,
    _until: oneshot::Sender<()>,
}

impl Receiver {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let (address, bytes) = (listener.local_addr()?, Arc::<AtomicU64>::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (until, gone) = oneshot::channel::<()>();
        let seen = Arc::clone(&bytes);
        thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = gone => {}
                    // What breaks it shows at the exporter, as spans that did not arrive.
                    _ = take(listener, seen) => {}
                }
            });
        })?;
        Ok(Self { address, bytes, _until: until })
    }

    /// Bytes of all the batches it took.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

async fn take(listener: TcpListener, bytes: Arc<AtomicU64>) -> io::Result<Infallible> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (io, _) = listener.accept().await?;
        io.set_nodelay(true)?;
        let bytes = Arc::clone(&bytes);
        let answer = service_fn(move |request: Request<Incoming>| {
            let bytes = Arc::clone(&bytes);
            async move {
                let body = request.into_body().collect().await?.to_bytes();
                bytes.fetch_add(body.len() as u64, Relaxed);
                // An empty message of protobuf: everything was taken.
                let mut answer = Response::new(Full::new(Bytes::new()));
                let kind = http::HeaderValue::from_static("application/x-protobuf");
                answer.headers_mut().insert(http::header::CONTENT_TYPE, kind);
                Ok::<_, hyper::Error>(answer)
            }
        });
        let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), answer);
        tokio::spawn(async move { drop(serving.await) });
    }
}
