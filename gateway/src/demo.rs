//! The demo: a gateway, three small services with a fault that is known, and bounded load, all on loopback.
//!
//! It is a test that people can run: the verdict should name what was injected.

pub mod fault;
pub mod flow;
pub mod load;
pub mod services;

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::fault::Fault;
use self::load::Tally;
use self::services::Services;
use crate::gateway::{Gateway, Page, StartError};

/// A running demo.
pub struct Demo {
    /// Its gateway.
    pub gateway: Gateway,
    services: Services,
    world: Runtime,
    load: Option<(CancellationToken, JoinHandle<Arc<Tally>>)>,
}

impl Demo {
    /// Starts services and gateway on loopback. `admin` is the admin listener's address.
    ///
    /// The services and the load have threads of their own, as they would have machines of their own: what the gateway
    /// computes does not hold them up.
    ///
    /// # Errors
    /// [`StartError`], most often a port that is taken.
    pub async fn start(fault: Fault, listen: &str, admin: &str) -> Result<Self, StartError> {
        let world = Builder::new_multi_thread().worker_threads(2).thread_name("demo-world").enable_all().build()?;
        let services = world.spawn(Services::start(fault)).await.map_err(std::io::Error::other)??;
        let source = page(fault, &services, listen, admin);
        let page = Page::Text { name: "demo".into(), source };
        let env = Arc::new(crate::config::load::process_env);
        let gateway = Gateway::start(page, vec![flow::checkout()].into(), env).await?;
        Ok(Self { gateway, services, world, load: None })
    }

    /// Sends `rate` requests a second from now on.
    pub fn send(&mut self, rate: f64) {
        let stop = CancellationToken::new();
        let sending = self.world.spawn(load::run(self.gateway.address, rate, stop.clone()));
        self.load = Some((stop, sending));
    }

    /// Ends the load, and says what came of it once the last answer is there.
    pub async fn settle(&mut self) -> Option<Arc<Tally>> {
        let (stop, sending) = self.load.take()?;
        stop.cancel();
        sending.await.ok()
    }

    /// Ends all of it.
    pub async fn stop(mut self) {
        self.settle().await;
        self.gateway.stop().await;
        self.services.stop().await;
        self.world.shutdown_background();
    }
}

/// The page of the demo's gateway, as a person would have written it.
fn page(fault: Fault, services: &Services, listen: &str, admin: &str) -> String {
    let peers =
        |addresses: &[std::net::SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    // A pool for two where the load needs three now and then.
    let limit = if fault == Fault::SmallPool {
        "admission: { limit: { fixed: 2 }, queue: { interactive_wait: 500ms } }"
    } else {
        ""
    };
    format!(
        "listen: {listen}
admin: {{ listen: '{admin}' }}
limits: {{ drain_timeout: 2s }}
upstreams:
  carts:
    peers: [{carts}]
  profiles:
    peers: [{profiles}]
  quotes:
    peers: [{quotes}]
    balance: round_robin
    {limit}
routes:
  - name: checkout
    match: {{ method: [GET], path: /checkout }}
    to: {{ flow: checkout }}
    tenant: header:x-tenant
  - name: carts
    match: {{ path: '/carts/{{*rest}}' }}
    to: {{ upstream: carts }}
    tenant: header:x-tenant
",
        carts = peers(&services.carts),
        profiles = peers(&services.profiles),
        quotes = peers(&services.quotes),
    )
}
