//! The services as one thing that starts and stops: a port for each, the till behind them all.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::answer;
use crate::till::Till;

/// The six services, running.
#[derive(Debug)]
pub struct Services {
    addresses: Vec<SocketAddr>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Services {
    /// Their names, in the order of their ports.
    pub const NAMES: [&str; 6] = ["accounts", "carts", "prices-eu", "prices-us", "pay", "orders"];

    /// Starts them on loopback, at this port and those that follow it; 0 takes free ones.
    ///
    /// # Errors
    /// The operating system's, when a port is taken.
    pub async fn start(first_port: u16) -> std::io::Result<Self> {
        let (stop, tasks, till) = (CancellationToken::new(), TaskTracker::new(), Arc::new(Till::default()));
        let mut addresses = Vec::new();
        for (n, name) in (0..).zip(Self::NAMES) {
            let port = if first_port == 0 { 0 } else { first_port.saturating_add(n) };
            let listener = TcpListener::bind(("127.0.0.1", port)).await?;
            addresses.push(listener.local_addr()?);
            tasks.spawn(accept(name, listener, Arc::clone(&till), stop.clone(), tasks.clone()));
        }
        Ok(Self { addresses, stop, tasks })
    }

    /// Each name with where it listens.
    pub fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        Self::NAMES.into_iter().zip(self.addresses.iter().copied())
    }

    /// Ends them. What they have charged is forgotten.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn accept(
    service: &'static str,
    listener: TcpListener,
    till: Arc<Till>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let io = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((io, _)) => io,
                // The client left between its SYN and us.
                Err(_) => continue,
            },
        };
        let (stop, till) = (stop.clone(), Arc::clone(&till));
        tasks.spawn(async move {
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(
                TokioIo::new(io),
                service_fn(async |request| Ok::<_, Infallible>(answer(service, request, &till).await)),
            );
            tokio::select! {
                () = stop.cancelled() => {}
                // A connection that breaks is its client's to report.
                _ = serving => {}
            }
        });
    }
}
