//! One address of an upstream: where it is now, how busy it is, and whether it is left alone for a while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;
use zerver_telemetry::clock::{Clock, Ticks};
use zerver_telemetry::event::NodeId;
use zerver_telemetry::names::{Name, Names};
use zerver_telemetry::recorder::Log;

use crate::keys::Keys;

/// Failed connections in a row after which a peer is left alone.
const FAILURES: u32 = 5;
/// How long it is left alone at first; doubled with each further failure, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest time it is left alone.
const LONGEST: Duration = Duration::from_secs(30);

/// One address of an upstream.
#[derive(Debug)]
pub struct Peer {
    /// The address as written, `host:port`.
    pub text: String,
    /// The same, as a name for timelines.
    name: Name,
    /// Its host, as a name for timelines.
    host: Name,
    port: u16,
    addresses: ArcSwap<Vec<SocketAddr>>,
    turn: AtomicU32,
    in_flight: AtomicU32,
    failures: AtomicU32,
    rests_until: AtomicU64,
    requests: AtomicU64,
}

/// A peer as the admin API shows it.
#[derive(Clone, Debug, Serialize)]
pub struct PeerState {
    /// The address as written.
    pub peer: String,
    /// What it resolves to now.
    pub addresses: Vec<SocketAddr>,
    /// Requests with it now.
    pub in_flight: u32,
    /// Requests it was given so far.
    pub requests: u64,
    /// Failed connections in a row.
    pub failures: u32,
    /// Whether it is left alone for a while.
    pub resting: bool,
}

impl Peer {
    /// A peer; an IP address needs no resolving.
    #[must_use]
    pub fn new(text: &str, names: &Names) -> Self {
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let addresses: Vec<SocketAddr> = text.parse().into_iter().collect();
        Self {
            text: text.to_owned(),
            name: names.intern(text),
            host: names.intern(host.trim_matches(['[', ']'])),
            port: port.parse().unwrap_or(0),
            addresses: ArcSwap::from_pointee(addresses),
            turn: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        }
    }

    /// Whether its address is a name that has to be resolved again and again.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.text.parse::<SocketAddr>().is_err()
    }

    /// Resolves its name. What was known stays when that fails.
    ///
    /// # Cancel safety
    /// Dropping the future leaves what was known.
    pub async fn resolve(&self) -> std::io::Result<()> {
        let found: Vec<SocketAddr> = tokio::net::lookup_host(&self.text).await?.collect();
        if !found.is_empty() {
            self.addresses.store(Arc::new(found));
        }
        Ok(())
    }

    /// Its next address; none until its name was resolved.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        let addresses = self.addresses.load();
        let turn = self.turn.fetch_add(1, Relaxed) as usize;
        addresses.get(turn % addresses.len().max(1)).copied()
    }

    /// Requests with it now.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Whether a request may be given to it.
    #[must_use]
    pub fn is_fit(&self, now: Ticks) -> bool {
        self.rests_until.load(Relaxed) <= now.0 && !self.addresses.load().is_empty()
    }

    /// A connection was made, or kept one used: the peer is well.
    pub fn connected(&self) {
        self.failures.store(0, Relaxed);
    }

    /// A connection failed. From the fifth in a row on, the peer is left alone for 1 s, 2 s, … 30 s.
    pub fn failed(&self, clock: &Clock) {
        let failures = self.failures.fetch_add(1, Relaxed) + 1;
        if let Some(over) = failures.checked_sub(FAILURES) {
            let rest = SHORTEST.saturating_mul(1 << over.min(5)).min(LONGEST);
            self.rests_until.store(clock.after(clock.now(), rest).0, Relaxed);
        }
    }

    /// Notes about an effect that it goes to this peer.
    pub fn note(&self, log: &Log, node: NodeId, keys: &Keys) {
        log.attr_name(node, keys.peer, self.name);
        log.attr_name(node, keys.server_address, self.host);
        log.attr_int(node, keys.server_port, i64::from(self.port));
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self, now: Ticks) -> PeerState {
        PeerState {
            peer: self.text.clone(),
            addresses: self.addresses.load().to_vec(),
            in_flight: self.in_flight(),
            requests: self.requests.load(Relaxed),
            failures: self.failures.load(Relaxed),
            resting: self.rests_until.load(Relaxed) > now.0,
        }
    }
}

/// A peer that was given a request. Dropping it takes the request off the peer's count.
#[derive(Debug)]
pub struct Picked {
    peer: Arc<Peer>,
}

impl Picked {
    /// Counts a request on a peer.
    #[must_use]
    pub fn new(peer: Arc<Peer>) -> Self {
        peer.in_flight.fetch_add(1, Relaxed);
        peer.requests.fetch_add(1, Relaxed);
        Self { peer }
    }
}

impl std::ops::Deref for Picked {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.peer.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_fails_again_and_again_rests_longer_and_longer() {
        let clock = Clock::manual();
        let peer = Peer::new("127.0.0.1:80", &Names::new());
        for _ in 0..4 {
            peer.failed(&clock);
        }
        assert!(peer.is_fit(clock.now()));
        peer.failed(&clock);
        assert!(!peer.is_fit(clock.now()));
        clock.advance(Duration::from_secs(1));
        assert!(peer.is_fit(clock.now()));
        peer.failed(&clock);
        clock.advance(Duration::from_millis(1900));
        assert!(!peer.is_fit(clock.now()));
        peer.connected();
        clock.advance(Duration::from_millis(100));
        peer.failed(&clock);
        assert!(peer.is_fit(clock.now()));
    }

    #[test]
    fn a_request_is_counted_while_it_is_there() {
        let peer = Arc::new(Peer::new("127.0.0.1:80", &Names::new()));
        let picked = Picked::new(Arc::clone(&peer));
        assert_eq!((peer.in_flight(), picked.address()), (1, Some(([127, 0, 0, 1], 80).into())));
        drop(picked);
        assert_eq!(peer.in_flight(), 0);
    }
}
