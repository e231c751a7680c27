//! A scripted server behind the gateway: answers as the test says, and notes what it was asked.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::client::{Body, full};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

/// What an origin has seen and is doing.
#[derive(Default)]
pub(crate) struct Notes {
    seen: Mutex<Vec<Seen>>,
    open: AtomicUsize,
    running: AtomicUsize,
}

/// A running origin; it ends with its test's runtime.
pub(crate) struct Origin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    notes: Arc<Notes>,
    accepting: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Counts while it lives.
struct Count(Arc<Notes>, fn(&Notes) -> &AtomicUsize);

impl Count {
    fn new(notes: &Arc<Notes>, which: fn(&Notes) -> &AtomicUsize) -> Self {
        which(notes).fetch_add(1, SeqCst);
        Self(Arc::clone(notes), which)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, SeqCst);
    }
}

impl Origin {
    /// Starts one that answers like this.
    pub(crate) async fn start<A, F>(answer: A) -> Self
    where
        A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (notes, answer) = (Arc::new(Notes::default()), Arc::new(answer));
        let shared = Arc::clone(&notes);
        let accepting = tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                let open = Count::new(&shared, |notes| &notes.open);
                let (notes, answer) = (Arc::clone(&shared), Arc::clone(&answer));
                let service = service_fn(move |request: Request<Incoming>| {
                    notes
                        .seen
                        .lock()
                        .expect("nobody panics with it")
                        .push(Seen { path: request.uri().to_string(), headers: request.headers().clone() });
                    let running = Count::new(&notes, |notes| &notes.running);
                    let answer = answer(request);
                    async move {
                        let _running = running;
                        Ok::<_, Infallible>(answer.await)
                    }
                });
                tokio::spawn(async move {
                    let _open = open;
                    // A connection that breaks is what some tests are about.
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service).await;
                });
            }
        });
        Self { address, notes, accepting }
    }

    /// Starts one that answers every request with its own path.
    pub(crate) async fn echo() -> Self {
        Self::start(|request| {
            let path = request.uri().to_string();
            async { Response::new(full(path)) }
        })
        .await
    }

    /// What it was asked, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.notes.seen.lock().expect("nobody panics with it").clone()
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.notes.open.load(SeqCst)
    }

    /// Requests whose answers have not begun.
    pub(crate) fn running(&self) -> usize {
        self.notes.running.load(SeqCst)
    }
}

/// An answer with this status and body.
pub(crate) fn answer(status: u16, body: impl Into<bytes::Bytes>) -> Response<Body> {
    Response::builder().status(status).body(full(body)).expect("the answer is sound")
}

/// An answer in JSON.
pub(crate) fn json(status: u16, body: &serde_json::Value) -> Response<Body> {
    let mut answer = answer(status, body.to_string());
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    answer
}
