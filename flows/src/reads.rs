//! Identical reads of one request that are in the air together: made once, the answer shared.
//!
//! Only while the first is in the air: an answer that is there already may be old, and a step that asks again wants to know.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::task::Waker;

use smallvec::SmallVec;
use zerver_telemetry::event::NodeId;

use crate::adapter::{EffectError, HttpAnswer};

type Got = Result<HttpAnswer, EffectError>;

/// The reads of one request that are in the air.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// A keyed hash function (SipHash) with a key of this request's own: 64 bits that nobody can aim at.
    hasher: RandomState,
    flying: SmallVec<[Read; 8]>,
}

#[derive(Debug)]
struct Read {
    print: u64,
    leader: NodeId,
    followers: Vec<(NodeId, Waker)>,
    /// There once the leader has landed, until every follower has fetched it.
    got: Option<Got>,
}

/// What a call is among the identical ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is made, and others may share its answer.
    Leads,
    /// It waits for the answer of this one.
    Follows(NodeId),
}

/// What a follower finds.
#[derive(Debug)]
pub(crate) enum Found {
    /// The answer is not there yet.
    Nothing,
    /// The answer.
    Answer(Got),
    /// The leader was cancelled: this one leads now.
    Lead,
}

impl Reads {
    /// Joins the identical reads in the air, as a follower of the first, or as the first.
    pub(crate) fn join(&mut self, what: &impl Hash, node: NodeId, waker: &Waker) -> Role {
        let print = self.hasher.hash_one(what);
        let flying = &mut self.flying;
        if let Some(read) = flying.iter_mut().find(|read| read.print == print && read.got.is_none()) {
            read.followers.push((node, waker.clone()));
            return Role::Follows(read.leader);
        }
        flying.push(Read { print, leader: node, followers: Vec::new(), got: None });
        Role::Leads
    }

    /// What there is for a follower.
    pub(crate) fn poll(&mut self, node: NodeId) -> Found {
        let flying = &mut self.flying;
        let Some(at) =
            flying.iter().position(|read| read.leader == node || read.followers.iter().any(|(f, _)| *f == node))
        else {
            return Found::Lead;
        };
        let read = &mut flying[at];
        if read.leader == node {
            return Found::Lead;
        }
        let Some(got) = read.got.clone() else {
            return Found::Nothing;
        };
        read.followers.retain(|(follower, _)| *follower != node);
        if read.followers.is_empty() {
            flying.remove(at);
        }
        Found::Answer(got)
    }

    /// The leader's answer is there.
    pub(crate) fn land(&mut self, leader: NodeId, got: &Got) {
        let flying = &mut self.flying;
        let Some(at) = flying.iter().position(|read| read.leader == leader && read.got.is_none()) else {
            return;
        };
        if flying[at].followers.is_empty() {
            flying.remove(at);
            return;
        }
        flying[at].got = Some(got.clone());
        flying[at].followers.iter().for_each(|(_, waker)| waker.wake_by_ref());
    }

    /// Whether no read is in the air.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.flying.is_empty()
    }

    /// A call is not needed any more. Where it led, the first of its followers leads instead.
    pub(crate) fn leave(&mut self, node: NodeId) {
        let flying = &mut self.flying;
        for at in (0..flying.len()).rev() {
            let read = &mut flying[at];
            if read.leader == node && read.got.is_none() && !read.followers.is_empty() {
                let (next, waker) = read.followers.remove(0);
                read.leader = next;
                waker.wake();
            } else {
                read.followers.retain(|(follower, _)| *follower != node);
            }
            let read = &flying[at];
            if read.followers.is_empty() && (read.leader == node || read.got.is_some()) {
                flying.remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn followers_get_the_answer_and_lead_when_the_leader_is_gone() {
        let (mut reads, waker) = (Reads::default(), Waker::noop());
        let [a, b, c, d] = [1, 2, 3, 4].map(NodeId);
        assert_eq!(reads.join(&"x", a, waker), Role::Leads);
        assert_eq!(reads.join(&"x", b, waker), Role::Follows(a));
        assert_eq!(reads.join(&"x", c, waker), Role::Follows(a));
        assert_eq!(reads.join(&"y", d, waker), Role::Leads, "another read");
        assert!(matches!(reads.poll(b), Found::Nothing));
        reads.leave(a);
        assert!(matches!(reads.poll(b), Found::Lead) && matches!(reads.poll(c), Found::Nothing));
        reads.land(b, &Ok(HttpAnswer::default()));
        assert!(matches!(reads.poll(c), Found::Answer(Ok(_))));
        assert_eq!(reads.join(&"x", a, waker), Role::Leads, "what has landed is old");
        reads.leave(d);
        reads.leave(a);
        assert!(reads.is_empty(), "{reads:?}");
    }
}
