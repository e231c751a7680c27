//! The listener: accepts within a bound, serves each connection as a task, and drains without losing what was accepted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::{HttpServerOptions, ServerApp};
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;
use zerver_telemetry::clock::Clock;

use super::phases::Phases;
use super::stream::{Connection, EdgeStream};
use super::timekeeper::Timekeeper;
use crate::live::Live;

/// pingora's proxy around our phases, measured.
type App = Timekeeper<HttpProxy<Phases>>;

/// A listener that serves.
pub(crate) struct Server {
    /// The address it listens on, with its port filled in.
    pub(crate) address: SocketAddr,
    app: Arc<App>,
    stop: watch::Sender<bool>,
    connections: TaskTracker,
    accepting: tokio::task::JoinHandle<()>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drained {
    /// Connections that were still open when the time was up, and were cut.
    pub(crate) cut: usize,
}

impl Server {
    /// Binds and serves. The listener is ready when this returns.
    ///
    /// # Errors
    /// The operating system's, when the address cannot be bound.
    pub(crate) async fn start(live: Arc<Live>, address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let limits = live.plan().document.limits.clone();
        let conf = ServerConf {
            max_retries: 16,
            upstream_keepalive_pool_size: 512,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            ..ServerConf::default()
        };
        let clock = live.recorder.clock().clone();
        let proxy = http_proxy(&Arc::new(conf), Phases { live: Arc::clone(&live) });
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        options.h2_idle_timeout = Some(limits.idle_timeout);
        let app = Arc::new(Timekeeper { proxy: Arc::new(proxy), clock, options });
        let (stop, stopping) = watch::channel(false);
        let connections = TaskTracker::new();
        let accepting = tokio::spawn(accept(
            listener,
            Accepting {
                live,
                app: Arc::clone(&app),
                stopping,
                connections: connections.clone(),
                room: Arc::new(Semaphore::new(limits.connections.max(1))),
                head_timeout: limits.head_timeout,
            },
        ));
        Ok(Self { address, app, stop, connections, accepting })
    }

    /// Stops accepting, tells idle connections to close, waits for running requests, and cuts what is left after `time`.
    pub(crate) async fn drain(self, time: Duration) -> Drained {
        // The receiver may be gone when the accept loop ended by itself.
        let _ = self.stop.send(true);
        self.accepting.abort();
        self.app.cleanup().await;
        self.connections.close();
        if tokio::time::timeout(time, self.connections.wait()).await.is_ok() {
            return Drained { cut: 0 };
        }
        Drained { cut: self.connections.len() }
    }
}

/// What the accept loop needs.
struct Accepting {
    live: Arc<Live>,
    app: Arc<App>,
    stopping: watch::Receiver<bool>,
    connections: TaskTracker,
    room: Arc<Semaphore>,
    head_timeout: Duration,
}

async fn accept(listener: TcpListener, this: Accepting) {
    loop {
        // Without room for another connection nothing is accepted: new ones wait in the kernel's bounded backlog.
        let Ok(room) = Arc::clone(&this.room).acquire_owned().await else { return };
        let (io, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most often: accepting again at once would only spin.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (app, stopping) = (Arc::clone(&this.app), this.stopping.clone());
        let clock = this.live.recorder.clock().clone();
        let head_timeout = this.head_timeout;
        this.connections.spawn(async move {
            let _room = room;
            serve(io, client, app, stopping, clock, head_timeout).await;
        });
    }
}

async fn serve(
    io: TcpStream,
    client: SocketAddr,
    app: Arc<App>,
    stopping: watch::Receiver<bool>,
    clock: Clock,
    head_timeout: Duration,
) {
    // A socket that refuses the option still serves, only with Nagle's delay.
    let _ = io.set_nodelay(true);
    let conn = Connection::new(client, clock);
    match EdgeStream::new(io, conn, head_timeout) {
        Ok(stream) => {
            app.process_new(Box::new(stream), &stopping).await;
        }
        Err(error) => tracing::debug!(%client, %error, "connection not served"),
    }
}
