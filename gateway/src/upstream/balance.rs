//! Which peer takes the next request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use zerver_telemetry::clock::Ticks;
use zerver_telemetry::id::mix;

use super::peer::{Peer, Picked};
use crate::config::document::Balance;

/// Chooses among an upstream's peers.
#[derive(Debug)]
pub struct Balancer {
    rule: Balance,
    turn: AtomicU64,
}

impl Balancer {
    /// A balancer by this rule.
    #[must_use]
    pub fn new(rule: Balance) -> Self {
        Self { rule, turn: AtomicU64::new(0) }
    }

    /// A peer for a request, other than `tried` where there is another. When all rest, one of them is tried all the same:
    /// a gateway that refuses to try cannot find out that a peer is back. None when no peer has an address.
    ///
    /// `least_request` takes the less busy of two drawn at random: nearly as even as the least busy of all, at constant
    /// cost, and without the herd (M. Mitzenmacher, The Power of Two Choices, 2001).
    #[must_use]
    pub fn pick(&self, peers: &[Arc<Peer>], tried: Option<&Peer>, now: Ticks) -> Option<Picked> {
        let untried = |peer: &Arc<Peer>| tried.is_none_or(|tried| tried.text != peer.text);
        let mut fit: Vec<&Arc<Peer>> = peers.iter().filter(|peer| peer.is_fit(now) && untried(peer)).collect();
        if fit.is_empty() {
            fit = peers.iter().filter(|peer| peer.is_fit(now)).collect();
        }
        if fit.is_empty() {
            fit = peers.iter().filter(|peer| peer.address().is_some()).collect();
        }
        let count = fit.len() as u64;
        if count == 0 {
            return None;
        }
        let turn = self.turn.fetch_add(1, Relaxed);
        let chosen = match self.rule {
            Balance::RoundRobin => fit[(turn % count) as usize],
            Balance::LeastRequest => {
                let draw = mix(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let first = draw % count;
                let second = (first + 1 + (draw >> 32) % count.saturating_sub(1).max(1)) % count;
                let (a, b) = (fit[first as usize], fit[second as usize]);
                if b.in_flight() < a.in_flight() { b } else { a }
            }
        };
        Some(Picked::new(Arc::clone(chosen)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use zerver_telemetry::names::Names;

    fn peers(n: u16) -> Vec<Arc<Peer>> {
        (0..n).map(|port| Arc::new(Peer::new(&format!("127.0.0.1:{}", 8000 + port), &Names::new()))).collect()
    }

    #[test]
    fn round_robin_takes_turns_and_retries_go_elsewhere() {
        let (peers, balancer) = (peers(3), Balancer::new(Balance::RoundRobin));
        let picks: Vec<String> = (0..6).map(|_| balancer.pick(&peers, None, Ticks(0)).unwrap().text.clone()).collect();
        assert_eq!(picks[..3], picks[3..]);
        for _ in 0..9 {
            assert_ne!(balancer.pick(&peers, Some(&peers[1]), Ticks(0)).unwrap().text, peers[1].text);
        }
    }

    #[test]
    fn the_less_busy_peer_is_preferred_and_all_get_some() {
        let (peers, balancer) = (peers(3), Balancer::new(Balance::LeastRequest));
        let busy: Vec<Picked> = (0..50).map(|_| Picked::new(Arc::clone(&peers[0]))).collect();
        let mut counts = BTreeMap::new();
        for _ in 0..300 {
            *counts.entry(balancer.pick(&peers, None, Ticks(0)).unwrap().text.clone()).or_insert(0) += 1;
        }
        assert!(!counts.contains_key(&peers[0].text) && counts.len() == 2, "{counts:?}");
        drop(busy);
        let mut counts = BTreeMap::new();
        for _ in 0..300 {
            *counts.entry(balancer.pick(&peers, None, Ticks(0)).unwrap().text.clone()).or_insert(0) += 1;
        }
        assert!(counts.values().all(|n| *n > 60), "{counts:?}");
    }

    #[test]
    fn a_lone_or_resting_peer_is_still_tried() {
        let (peers, balancer) = (peers(1), Balancer::new(Balance::LeastRequest));
        assert!(balancer.pick(&peers, Some(&peers[0]), Ticks(0)).is_some());
        assert!(balancer.pick(&[], None, Ticks(0)).is_none());
        let unresolved = vec![Arc::new(Peer::new("nowhere.invalid:80", &Names::new()))];
        assert!(balancer.pick(&unresolved, None, Ticks(0)).is_none());
    }
}
