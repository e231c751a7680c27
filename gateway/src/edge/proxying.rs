//! A proxied request on its way: its seat, its tries, and the effect node that each try is in the timeline.

use std::sync::Arc;

use http::{HeaderValue, Method};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error as PingoraError, ErrorType, Result};
use pingora_http::RequestHeader;
use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::{Log, Opening};

use super::showing::ASK;
use crate::admission::{self, Permit};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::keys::Keys;
use crate::pipeline::Seat;
use crate::reply::REQUEST_ID;
use crate::upstream::breaker::{Pass, Verdict};
use crate::upstream::peer::Picked;
use crate::upstream::{TIME_LEFT, Upstream, time_to_tell};

/// A proxied request on its way.
pub(crate) struct Proxying {
    upstream: Arc<Upstream>,
    permit: Permit,
    tries: u16,
    /// The effect of the try that is under way.
    node: Option<NodeId>,
    peer: Option<Picked>,
    status: u16,
    /// The leave of the upstream's breaker for the try that is under way, until that is judged.
    pass: Pass,
    /// The leave for the next try.
    next: Pass,
}

impl Proxying {
    pub(crate) fn new(seat: Seat) -> Self {
        let Seat { upstream, permit, pass } = seat;
        upstream.budget.earn();
        Self { upstream, permit, tries: 0, node: None, peer: None, status: 0, pass: Pass::default(), next: pass }
    }

    /// Chooses a peer for the next try and opens its effect.
    pub(crate) fn begin_try(
        &mut self,
        exchange: &mut Exchange,
        keys: &Keys,
        method: &Method,
        has_body: bool,
    ) -> Result<Box<HttpPeer>> {
        let left = exchange.time_left();
        if left.is_some_and(|left| left.is_zero()) {
            return Err(PingoraError::explain(ErrorType::ReadTimedout, "the request's time ran out").into_up());
        }
        let tried = self.peer.take();
        let picked = self.upstream.pick(tried.as_deref());
        let address = picked.as_ref().and_then(|peer| peer.address());
        let (Some(peer), Some(address)) = (picked, address) else {
            return Err(PingoraError::explain(ErrorType::Custom(NO_PEER), "the upstream has no address").into_up());
        };
        self.tries += 1;
        self.pass = std::mem::take(&mut self.next);
        let log = exchange.log();
        let mut opening =
            Opening::running(self.upstream.id, NodeKind::Effect, NodeId::ROOT).in_state(Cause::Io, self.upstream.id);
        opening.attempt = self.tries;
        let node = log.open(log.now(), opening);
        log.attr_text(node, keys.method, method.as_str());
        peer.note(log, node, keys);
        if self.pass.is_probe() {
            log.attr_text(node, keys.breaker, "probe");
        }
        if has_body {
            exchange.waiting(Cause::Read, keys.client, None);
        } else {
            exchange.waiting(Cause::Join, Name::NONE, Some(node));
        }
        let http_peer = self.upstream.http_peer(address, left);
        self.node = Some(node);
        self.peer = Some(peer);
        Ok(Box::new(http_peer))
    }

    /// No connection. Whether another try may be made.
    pub(crate) fn failed_to_connect(&mut self, exchange: &Exchange) -> bool {
        if let Some(peer) = &self.peer {
            peer.failed(exchange.log().recorder().clock());
        }
        self.pass.settle(Verdict::Failure);
        self.close(exchange, Outcome::Error, 0, Error::UpstreamConnect.name());
        self.may_retry()
    }

    /// Whether another try may be made; takes it out of the upstream's retry budget, and the breaker's leave with it.
    pub(crate) fn may_retry(&mut self) -> bool {
        if self.tries >= self.upstream.settings.tries {
            return false;
        }
        let Ok(pass) = self.upstream.enter() else { return false };
        let may = self.upstream.budget.spend();
        if may {
            self.next = pass;
        }
        may
    }

    pub(crate) fn connected(&self, exchange: &Exchange, keys: &Keys, reused: bool) {
        if let (Some(peer), Some(node)) = (&self.peer, self.node) {
            peer.connected();
            exchange.log().attr_bool(node, keys.reused, reused);
        }
    }

    /// Adds to the upstream's request what it needs to know: who asked, for which host, under which trace, until when.
    pub(crate) fn dress(&self, exchange: &Exchange, host: &str, request: &mut RequestHeader) -> Result<()> {
        let log = exchange.log();
        let client = exchange.client.ip();
        let forwarded = match request.headers.get("x-forwarded-for").map(HeaderValue::to_str) {
            Some(Ok(before)) => format!("{before}, {client}"),
            _ => client.to_string(),
        };
        request.insert_header("x-forwarded-for", forwarded)?;
        request.insert_header("x-forwarded-proto", "http")?;
        if !request.headers.contains_key("x-forwarded-host") {
            request.insert_header("x-forwarded-host", host)?;
        }
        request.insert_header(REQUEST_ID, &exchange.request_id)?;
        self.carry_on(log, request)?;
        // Its token is between the client and us.
        request.remove_header(&ASK);
        if let Some(left) = exchange.time_left() {
            request.insert_header(TIME_LEFT, time_to_tell(left).to_string())?;
        }
        Ok(())
    }

    /// The trace with this try as its parent, and what the caller wants carried on; nothing that we do not speak.
    fn carry_on(&self, log: &Log, request: &mut RequestHeader) -> Result<()> {
        let carried = log.carried();
        for name in ["traceparent", "tracestate", "baggage"] {
            request.remove_header(name);
        }
        if let Some(node) = self.node.filter(|_| carried.as_ref().is_none_or(|carried| carried.trace)) {
            request.insert_header("traceparent", &log.traceparent(node)[..])?;
        }
        let Some(carried) = carried else { return Ok(()) };
        for (name, text) in [("tracestate", &carried.tracestate), ("baggage", &carried.baggage)] {
            if !text.is_empty() {
                request.insert_header(name, text.as_str())?;
            }
        }
        Ok(())
    }

    /// The whole request is with the upstream: from now on it is waited for.
    pub(crate) fn request_sent(&self, exchange: &Exchange) {
        exchange.waiting(Cause::Join, Name::NONE, self.node);
    }

    /// The head of the answer came; its body streams from here on, in pieces too many to write down one by one.
    pub(crate) fn answered(&mut self, exchange: &Exchange, status: u16) {
        self.status = status;
        let verdict = self.pass.verdict(status);
        // A probe's answer may stream for hours: its head says enough. An ordinary one may still break.
        if self.pass.is_probe() || verdict == Verdict::Failure {
            self.pass.settle(verdict);
        }
        exchange.waiting(Cause::Io, self.upstream.id, None);
        let log = exchange.log();
        log.fold(log.now(), Cause::Run, Name::NONE);
    }

    /// The body's last piece came.
    pub(crate) fn body_ended(&mut self, exchange: &Exchange) {
        self.pass.settle(Verdict::Success);
        let (outcome, error) = if self.status >= 500 { (Outcome::Error, "upstream_status") } else { (Outcome::Ok, "") };
        self.close(exchange, outcome, self.status, error);
    }

    /// What breaks is a kept connection: an upstream may close those when it likes, so that is not held against it.
    pub(crate) fn was_kept(&mut self, error: &Error) {
        if self.status == 0 && *error == Error::UpstreamReset {
            self.pass.settle(Verdict::Unknown);
        }
    }

    /// The exchange with the upstream broke.
    pub(crate) fn broke(&mut self, exchange: &Exchange, error: &Error) {
        let outcome = match error {
            Error::ClientGone => Outcome::Cancelled,
            Error::UpstreamTimeout | Error::Deadline => Outcome::Timeout,
            _ => Outcome::Error,
        };
        self.pass.settle(match error {
            Error::UpstreamTimeout | Error::UpstreamReset | Error::UpstreamConnect => Verdict::Failure,
            // The deadline is the operator's word on how long is too long.
            Error::Deadline => Verdict::Failure,
            _ => Verdict::Unknown,
        });
        self.close(exchange, outcome, self.status, error.name());
    }

    /// The request is over: the seat is given back, and the limit learns.
    pub(crate) fn finish(mut self, exchange: &Exchange, status: u16) {
        let gone = exchange.is_client_gone();
        if self.status != 0 && !gone {
            // An answer without a body has no last piece.
            self.pass.settle(Verdict::Success);
        }
        if self.node.is_some() {
            let outcome = if gone { Outcome::Cancelled } else { Outcome::Ok };
            self.close(exchange, outcome, self.status, "");
        }
        match (gone, self.status, status) {
            // The upstream goes on working on what nobody reads any more: its seat is kept until it would have ended.
            (true, 0, _) => self.permit.linger(admission::Outcome::ClientGone),
            (true, ..) => self.permit.done(admission::Outcome::ClientGone),
            (false, 0, 504) => self.permit.done(admission::Outcome::Timeout),
            (false, 0, _) | (false, 500.., _) => self.permit.done(admission::Outcome::Failed),
            (false, ..) => self.permit.done(admission::Outcome::Good),
        }
    }

    fn close(&mut self, exchange: &Exchange, outcome: Outcome, status: u16, error: &str) {
        if let Some(node) = self.node.take() {
            let log = exchange.log();
            let error = if error.is_empty() { Name::NONE } else { log.name(error) };
            log.close(log.now(), node, outcome, status, error);
        }
    }
}

/// The pingora error that says that there is no peer to try.
pub(super) const NO_PEER: &str = "NoPeer";
