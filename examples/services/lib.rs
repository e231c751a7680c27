//! Three small HTTP services for the checkout examples to call: accounts, carts and prices.
//!
//! Who asks decides what goes wrong: `ada` is fine, `bob` has no profile, the price for `eve` never comes, and nobody
//! else is known.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The three services, running.
#[derive(Debug)]
pub struct Services {
    /// Says who a caller is, and what is known of them.
    pub accounts: SocketAddr,
    /// Knows what is in each cart.
    pub carts: SocketAddr,
    /// Knows what it costs.
    pub prices: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Services {
    /// Starts them on loopback, at these ports in the order accounts, carts, prices; 0 takes a free one.
    ///
    /// # Errors
    /// The operating system's, when a port is taken.
    pub async fn start(ports: [u16; 3]) -> std::io::Result<Self> {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); 3];
        for (port, address) in ports.into_iter().zip(&mut addresses) {
            let listener = TcpListener::bind(("127.0.0.1", port)).await?;
            *address = listener.local_addr()?;
            tasks.spawn(accept(listener, stop.clone(), tasks.clone()));
        }
        let [accounts, carts, prices] = addresses;
        Ok(Self { accounts, carts, prices, stop, tasks })
    }

    /// Ends them.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn accept(listener: TcpListener, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let io = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((io, _)) => io,
                // The client left between its SYN and us.
                Err(_) => continue,
            },
        };
        let stop = stop.clone();
        tasks.spawn(async move {
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(
                TokioIo::new(io),
                service_fn(async |request| Ok::<_, Infallible>(answer(request).await)),
            );
            tokio::select! {
                () = stop.cancelled() => {}
                // A connection that breaks is its client's to report.
                _ = serving => {}
            }
        });
    }
}

/// A real service takes its time; each of these takes as much as its kind of work would.
async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("");
    let (kind, name) = request.uri().path().trim_start_matches("/v1/").split_once('/').unwrap_or(("me", ""));
    let (status, millis, body) = match (kind, name) {
        ("me", _) => match token.strip_prefix("Bearer ") {
            Some(name @ ("ada" | "bob" | "eve")) => (200, 3, json!({ "name": name })),
            _ => (401, 1, json!({ "error": "unknown token" })),
        },
        ("profiles", "bob") => (503, 5, json!({ "error": "the profile store is down" })),
        ("profiles", name) => (200, 12, json!({ "greeting": format!("Good day, {name}") })),
        ("carts", _) => (200, 8, json!({ "items": ["teapot", "cup"] })),
        ("prices", "eve") => return std::future::pending().await,
        ("prices", _) => (200, 20, json!({ "cents": 2990 })),
        _ => (404, 1, Value::Null),
    };
    tokio::time::sleep(Duration::from_millis(millis)).await;
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
