//! A service behind the gateway: its peers, its gate, and the connections that proxied requests and effects use alike.

pub mod peer;
pub mod balance;
pub mod budget;
pub mod breaker;
mod passing;
mod client;

pub(crate) use client::{TIME_LEFT, time_to_tell};

use std::sync::{Arc, Weak};
use std::time::Duration;

use pingora_core::protocols::ALPN;
use pingora_core::upstreams::peer::HttpPeer;
use serde::Serialize;
use zerver_flows::adapter::{EffectError, HttpAnswer, HttpCall};
use zerver_telemetry::clock::Clock;
use zerver_telemetry::names::{Name, Names};

use self::balance::Balancer;
use self::breaker::{Breaker, BreakerState, Pass, Refused};
use self::budget::Budget;
use self::peer::{Peer, PeerState, Picked};
use crate::admission::{Gate, GateState};
use crate::config::document;

/// How often named peers are resolved again.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);

/// A service behind the gateway.
pub struct Upstream {
    /// Its name in the configuration.
    pub name: String,
    /// The same, for timelines.
    pub id: Name,
    /// Who may be with it at once.
    pub gate: Arc<Gate>,
    /// What the configuration says of it.
    pub settings: document::Upstream,
    peers: Vec<Arc<Peer>>,
    balancer: Balancer,
    client: client::Client,
    /// How many retries it may be given.
    pub budget: Budget,
    breaker: Option<Arc<Breaker>>,
    clock: Clock,
    /// Keeps its connections apart from those of other upstreams at the same address.
    group: u64,
}

/// An upstream as the admin API shows it.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamState {
    /// Its name.
    pub upstream: String,
    /// Its limit and queue.
    pub gate: GateState,
    /// What is left of its retry budget, 0 to 1.
    pub retry_budget: f64,
    /// Its circuit breaker; none when it has none.
    pub breaker: Option<BreakerState>,
    /// Its peers.
    pub peers: Vec<PeerState>,
}

impl Upstream {
    /// Builds an upstream. No connection is made, no name resolved.
    #[must_use]
    pub fn new(name: &str, settings: &document::Upstream, names: &Names, clock: &Clock) -> Arc<Self> {
        let peers = settings.peers.iter().map(|text| Arc::new(Peer::new(text, names))).collect();
        let group = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Arc::new(Self {
            name: name.to_owned(),
            id: names.intern(name),
            gate: Gate::new(name, &settings.admission, clock.clone()),
            peers,
            balancer: Balancer::new(settings.balance),
            client: client::Client::new(settings),
            settings: settings.clone(),
            budget: Budget::new(clock.clone()),
            breaker: settings.breaker.as_ref().map(|settings| Breaker::new(name, settings, clock.clone())),
            clock: clock.clone(),
            group,
        })
    }

    /// Whether another try may go to another peer.
    #[must_use]
    pub fn has_others(&self) -> bool {
        self.peers.len() > 1
    }

    /// A peer for a request, other than `tried` where there is another.
    #[must_use]
    pub fn pick(&self, tried: Option<&Peer>) -> Option<Picked> {
        self.balancer.pick(&self.peers, tried, self.clock.now())
    }

    /// Whether its breaker may let a try pass: asked before one waits for a seat.
    ///
    /// # Errors
    /// [`Refused`] while it is open, or a probe is under way.
    pub fn look(&self) -> Result<(), Refused> {
        self.breaker.as_ref().map_or(Ok(()), |breaker| breaker.look())
    }

    /// The leave of its breaker to make a try; every try needs one.
    ///
    /// # Errors
    /// [`Refused`] while it is open, or a probe is under way.
    pub fn enter(&self) -> Result<Pass, Refused> {
        self.breaker.as_ref().map_or(Ok(Pass::default()), Breaker::enter)
    }

    /// Sends one call to a peer and reads the whole answer.
    ///
    /// # Errors
    /// [`EffectError`] when there is no answer; any status is one.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection it used.
    pub async fn send(
        &self,
        call: &HttpCall,
        left: Option<Duration>,
        peer: &Picked,
    ) -> Result<HttpAnswer, EffectError> {
        self.client.send(call, left, peer).await
    }

    /// The peer in the form that pingora connects to, its waits cut to the time the request has left.
    #[must_use]
    pub fn http_peer(&self, address: std::net::SocketAddr, time_left: Option<Duration>) -> HttpPeer {
        let mut peer = HttpPeer::new(address, false, String::new());
        let cut = |wait: Duration| Some(time_left.map_or(wait, |left| wait.min(left).max(Duration::from_millis(1))));
        let timeouts = &self.settings.timeouts;
        peer.group_key = self.group;
        peer.options.connection_timeout = cut(timeouts.connect);
        peer.options.total_connection_timeout = cut(timeouts.connect);
        peer.options.read_timeout = cut(timeouts.read);
        peer.options.write_timeout = cut(timeouts.write);
        peer.options.idle_timeout = Some(timeouts.idle);
        peer.options.max_h2_streams = 100;
        peer.options.alpn = match self.settings.protocol {
            document::Protocol::Http1 => ALPN::H1,
            document::Protocol::Http2 => ALPN::H2,
        };
        peer
    }

    /// Resolves named peers now and every 30 seconds, until the upstream is dropped. Needs a tokio runtime; does nothing
    /// when all peers are IP addresses.
    pub fn keep_resolved(self: &Arc<Self>) {
        if !self.peers.iter().any(|peer| peer.is_named()) {
            return;
        }
        let upstream: Weak<Self> = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(this) = upstream.upgrade() {
                for peer in this.peers.iter().filter(|peer| peer.is_named()) {
                    if let Err(error) = peer.resolve().await {
                        tracing::warn!(upstream = this.name, peer = peer.text, %error, "cannot resolve peer");
                    }
                }
                drop(this);
                tokio::time::sleep(RESOLVE_EVERY).await;
            }
        });
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> UpstreamState {
        let now = self.clock.now();
        UpstreamState {
            upstream: self.name.clone(),
            gate: self.gate.state(),
            retry_budget: self.budget.left(),
            breaker: self.breaker.as_ref().map(|breaker| breaker.state()),
            peers: self.peers.iter().map(|peer| peer.state(now)).collect(),
        }
    }
}
