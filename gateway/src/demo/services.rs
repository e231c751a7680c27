//! The demo's three services: carts, profiles and three replicas of quotes, with times that vary as real ones do.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zerver_telemetry::id::mix;

use super::fault::Fault;

/// The running services.
pub struct Services {
    /// The carts service.
    pub carts: Vec<SocketAddr>,
    /// The profiles service.
    pub profiles: Vec<SocketAddr>,
    /// The replicas of the quotes service.
    pub quotes: Vec<SocketAddr>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Which service answers.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Carts,
    Profiles,
    Quotes { replica: usize },
}

impl Services {
    /// Starts them on free ports of loopback.
    ///
    /// # Errors
    /// The operating system's, when there is no port.
    pub async fn start(fault: Fault) -> std::io::Result<Self> {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let draws = Arc::new(AtomicU64::new(1));
        let mut addresses = Vec::new();
        let quotes = (0..3).map(|replica| Kind::Quotes { replica });
        for kind in [Kind::Carts, Kind::Profiles].into_iter().chain(quotes) {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            addresses.push(listener.local_addr()?);
            tasks.spawn(accept(
                listener,
                Service { kind, fault, draws: Arc::clone(&draws) },
                stop.clone(),
                tasks.clone(),
            ));
        }
        Ok(Self {
            carts: addresses[..1].to_vec(),
            profiles: addresses[1..2].to_vec(),
            quotes: addresses[2..].to_vec(),
            stop,
            tasks,
        })
    }

    /// Ends them.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[derive(Clone, Debug)]
struct Service {
    kind: Kind,
    fault: Fault,
    draws: Arc<AtomicU64>,
}

async fn accept(listener: TcpListener, service: Service, stop: CancellationToken, tasks: TaskTracker) {
    loop {
        let io = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((io, _)) => io,
                Err(_) => continue,
            },
        };
        // Without it the answers of a service wait for the client's acknowledgements.
        let _ = io.set_nodelay(true);
        let (service, stop) = (service.clone(), stop.clone());
        tasks.spawn(async move {
            let answers = service_fn(move |request| {
                let service = service.clone();
                async move { Ok::<_, Infallible>(service.answer(&request).await) }
            });
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), answers);
            tokio::select! {
                () = stop.cancelled() => {}
                // A connection that breaks is the gateway's to report.
                _ = serving => {}
            }
        });
    }
}

impl Service {
    /// A number from 0 to 1, the next of a fixed sequence.
    fn draw(&self) -> f64 {
        mix(self.draws.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed)) as f64 / u64::MAX as f64
    }

    async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let tenant = path.rsplit('/').next().unwrap_or("");
        let items: u64 =
            request.uri().query().and_then(|query| query.strip_prefix("items=")?.parse().ok()).unwrap_or(1);
        // Most answers come in a few milliseconds, some take a little longer: an exponential tail.
        let (least, tail, body) = match self.kind {
            Kind::Carts => {
                (3.0, 1.5, json!({ "tenant": tenant, "items": items, "heavy": self.fault == Fault::HeavyStep }))
            }
            Kind::Profiles => (2.0, 1.0, json!({ "tenant": tenant, "tier": "gold" })),
            Kind::Quotes { replica } => (4.0, 2.0, json!({ "tenant": tenant, "cents": 990, "replica": replica })),
        };
        let fault = match (self.fault, self.kind) {
            (Fault::SlowReplica, Kind::Quotes { replica: 1 }) => 60.0,
            (Fault::ColdCache, Kind::Profiles) if tenant == "acme" => 50.0,
            _ => 0.0,
        };
        let wait = least - tail * (1.0 - self.draw()).max(1e-4).ln() + fault;
        tokio::time::sleep(Duration::from_secs_f64(wait / 1000.0)).await;
        let fails = self.fault == Fault::Flaky && matches!(self.kind, Kind::Carts) && self.draw() < 1.0 / 12.0;
        let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
        if fails {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response
    }
}
