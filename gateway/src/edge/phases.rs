//! pingora's phases of a request, each handed on to the pipeline; the one place where a request meets pingora.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error as PingoraError, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};
use zerver_telemetry::event::{NodeId, Outcome};

use super::proxying::Proxying;
use super::stream::Connection;
use super::{answer, failure};
use crate::admission::{self, Permit};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::live::Live;
use crate::pipeline::{self, Head};
use crate::plan::{Plan, Target};
use crate::probe::{self, Probe};
use crate::reply::Reply;

/// The gateway as pingora calls it.
pub(crate) struct Phases {
    pub(crate) live: Arc<Live>,
}

/// What a request carries from phase to phase.
pub(crate) struct Ctx {
    /// Opened in the first phase.
    pub(crate) exchange: Option<Exchange>,
    /// The configuration that serves this request to its end, whatever is reloaded meanwhile.
    pub(crate) plan: Arc<Plan>,
    pub(crate) proxying: Option<Proxying>,
    /// The seat of the route's own gate, while a request is proxied.
    permit: Option<Permit>,
    conn: Option<Arc<Connection>>,
    is_h1: bool,
    body_in: u64,
    body_out: u64,
    body_max: Option<u64>,
}

impl Drop for Ctx {
    fn drop(&mut self) {
        if let (Some(conn), true) = (&self.conn, self.is_h1) {
            conn.request_over();
        }
    }
}

/// Headers that name an address, an identity or a length are set by the proxy machinery or by us, never passed on twice.
fn host(head: &RequestHeader) -> &str {
    let from_uri = head.uri.host();
    let named = || head.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = from_uri.or_else(named).unwrap_or("");
    // An IPv6 literal keeps its brackets; what follows the last colon behind them is the port.
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Bytes that are noted of the parts of a head, 1.1 KiB in all with the request's id of at most 128: a logbook has room for
/// 1.5 KiB of texts.
const PATH_MAX: usize = 256;
const QUERY_MAX: usize = 256;
const HOST_MAX: usize = 128;
const AGENT_MAX: usize = 160;
const REFERER_MAX: usize = 128;

/// The beginning of a text.
fn begin(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// The beginning of a text in whole parts: a part of a secret must not stand there, since it might not look like one.
fn whole_parts(text: &str, max: usize, separator: char) -> &str {
    if text.len() <= max {
        return text;
    }
    let cut = begin(text, max + 1);
    &cut[..cut.rfind(separator).unwrap_or(0)]
}

impl Phases {
    fn head<'h>(req: &'h RequestHeader, client: std::net::SocketAddr, bytes: usize) -> Head<'h> {
        Head {
            method: &req.method,
            host: host(req),
            path: req.uri.path(),
            query: req.uri.query().unwrap_or(""),
            headers: &req.headers,
            client,
            bytes,
        }
    }

    /// Notes what spans and the comparison read of a request's head.
    fn note(&self, exchange: &Exchange, req: &RequestHeader, is_h2: bool) {
        let (log, keys) = (exchange.log(), &self.live.keys);
        let text = |key, value: &str| log.attr_text(NodeId::ROOT, key, value);
        text(keys.method, begin(req.method.as_str(), 16));
        text(keys.path, whole_parts(req.uri.path(), PATH_MAX, '/'));
        text(keys.client_address, &exchange.client.ip().to_string());
        text(keys.server_address, begin(host(req), HOST_MAX));
        if let Some(query) = req.uri.query().filter(|query| !query.is_empty()) {
            text(keys.query, whole_parts(query, QUERY_MAX, '&'));
        }
        if let Some(id) = exchange.given_id() {
            text(keys.request_id, id);
        }
        log.attr_name(NodeId::ROOT, keys.scheme, self.live.words.http);
        let version = if is_h2 { self.live.words.http2 } else { self.live.words.http1 };
        log.attr_name(NodeId::ROOT, keys.protocol_version, version);
        for (name, key, max) in
            [(header::USER_AGENT, keys.user_agent, AGENT_MAX), (header::REFERER, keys.referer, REFERER_MAX)]
        {
            if let Some(value) = req.headers.get(name).and_then(|value| value.to_str().ok()) {
                text(key, begin(value, max));
            }
        }
    }
}

#[async_trait]
impl ProxyHttp for Phases {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx {
            exchange: None,
            plan: self.live.plan(),
            proxying: None,
            permit: None,
            conn: None,
            is_h1: false,
            body_in: 0,
            body_out: 0,
            body_max: None,
        }
    }

    /// The head is there: the exchange opens.
    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<()> {
        let limits = &ctx.plan.document.limits;
        let downstream = session.as_downstream_mut();
        let is_h2 = downstream.is_http2();
        if downstream.get_keepalive().is_some() {
            downstream.set_keepalive(Some(limits.idle_timeout.as_secs().max(1)));
        }
        downstream.set_pipelining_enabled(true);
        downstream.set_read_timeout(Some(limits.body_timeout));
        downstream.set_write_timeout(Some(limits.body_timeout));
        downstream.set_total_drain_timeout(Some(Duration::from_secs(1)));
        let conn = connection(downstream.digest());
        let now = self.live.recorder.clock().now();
        let (started, client) = match &conn {
            Some(conn) => (conn.head_read().unwrap_or(now), conn.client),
            None => (now, std::net::SocketAddr::from(([0, 0, 0, 0], 0))),
        };
        let probe = probe::current().unwrap_or_else(|| Probe::new(self.live.recorder.clock().clone()));
        let (spoken, share) = (ctx.plan.propagators, &ctx.plan.share);
        let req = downstream.req_header();
        let exchange = Exchange::open(&self.live.recorder, probe, started, client, &req.headers, spoken, share);
        exchange.note_baggage(&ctx.plan.noted);
        self.note(&exchange, req, is_h2);
        if let Some(conn) = conn.as_ref().filter(|_| !is_h2) {
            exchange.watch_client(Arc::clone(&conn.client_full), self.live.keys.client);
        }
        ctx.is_h1 = !is_h2;
        ctx.conn = conn;
        ctx.exchange = Some(exchange);
        Ok(())
    }

    /// The stations decide; flows and refusals are answered here.
    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        let Some(mut exchange) = ctx.exchange.take() else {
            return Err(PingoraError::explain(ErrorType::InternalError, "a request without an exchange"));
        };
        let bytes = session.as_downstream().as_http1().map_or(0, |h1| h1.get_headers_raw_bytes().len());
        let entered = {
            let head = Self::head(session.req_header(), exchange.client, bytes);
            pipeline::enter(&ctx.plan, &self.live.keys, &mut exchange, head).await
        };
        let entered = match entered {
            Ok(entered) => entered,
            Err(error) => {
                let written = answer::fail(session, &mut exchange, &error).await;
                ctx.exchange = Some(exchange);
                return written.map(|()| true);
            }
        };
        let mut permit = entered.permit;
        let done = match &entered.route.target {
            Target::Reply(reply) => answer::give(session, &mut exchange, reply.clone()).await.map(|()| true),
            Target::Flow(flow) => {
                let (live, plan, route) = (&self.live, &ctx.plan, &entered.route);
                let asked = answer::Asked { live, plan, route, flow, params: entered.params };
                answer::run_flow(session, &mut exchange, asked, &mut permit).await.map(|()| true)
            }
            Target::Upstream(_) => {
                ctx.body_max = entered.route.body_bytes.map(|max| max as u64);
                ctx.proxying = entered.seat.map(Proxying::new);
                Ok(false)
            }
        };
        match permit {
            // A proxied request has only begun.
            Some(permit) if ctx.proxying.is_some() => ctx.permit = Some(permit),
            Some(permit) => permit.done(seen_by_limit(&exchange)),
            None => {}
        }
        ctx.exchange = Some(exchange);
        done
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        let (Some(exchange), Some(proxying)) = (&mut ctx.exchange, &mut ctx.proxying) else {
            return Err(PingoraError::explain(ErrorType::InternalError, "a proxied request without a seat"));
        };
        let has_body = !session.as_downstream_mut().is_body_done();
        proxying.begin_try(exchange, &self.live.keys, &session.req_header().method, has_body)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Ctx,
        mut e: Box<PingoraError>,
    ) -> Box<PingoraError> {
        if let (Some(exchange), Some(proxying)) = (&ctx.exchange, &mut ctx.proxying) {
            // Nothing was sent, so any method may be tried elsewhere.
            e.set_retry(proxying.failed_to_connect(exchange));
        }
        e
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        e: Box<PingoraError>,
        ctx: &mut Ctx,
        client_reused: bool,
    ) -> Box<PingoraError> {
        let mut e = e.more_context(format!("peer {peer}"));
        let may = session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated();
        if may {
            e.retry.decide_reuse(client_reused);
        } else {
            e.set_retry(false);
        }
        if let (Some(exchange), Some(proxying)) = (&ctx.exchange, &mut ctx.proxying) {
            let error = failure::classify(&e, exchange.time_left());
            if client_reused {
                proxying.was_kept(&error);
            }
            proxying.broke(exchange, &error);
            if e.retry() && !proxying.may_retry() {
                e.set_retry(false);
            }
        }
        e
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        _digest: Option<&Digest>,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if let (Some(exchange), Some(proxying)) = (&ctx.exchange, &ctx.proxying) {
            proxying.connected(exchange, &self.live.keys, reused);
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if let (Some(exchange), Some(proxying)) = (&ctx.exchange, &ctx.proxying) {
            proxying.dress(exchange, host(session.req_header()), upstream)?;
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Ctx,
    ) -> Result<()> {
        ctx.body_in += body.as_ref().map_or(0, |piece| piece.len() as u64);
        if ctx.body_max.is_some_and(|max| ctx.body_in > max) {
            return Err(PingoraError::explain(ErrorType::HTTPStatus(413), "the body is larger than the route allows"));
        }
        if let (Some(exchange), Some(proxying)) = (&ctx.exchange, &ctx.proxying)
            && end_of_stream
        {
            proxying.request_sent(exchange);
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if let (Some(exchange), Some(proxying)) = (&ctx.exchange, &mut ctx.proxying)
            && (!head.status.is_informational() || head.status.as_u16() == 101)
        {
            proxying.answered(exchange, head.status.as_u16());
            for (name, value) in exchange.headers() {
                head.insert_header(name, value)?;
            }
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Ctx,
    ) -> Result<Option<Duration>> {
        ctx.body_out += body.as_ref().map_or(0, |piece| piece.len() as u64);
        if let (Some(exchange), Some(proxying)) = (&mut ctx.exchange, &mut ctx.proxying) {
            if end_of_stream {
                proxying.body_ended(exchange);
            } else if exchange.time_left().is_some_and(|left| left.is_zero()) {
                return Err(PingoraError::explain(ErrorType::ReadTimedout, "the request's time ran out").into_up());
            }
        }
        Ok(None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &PingoraError, ctx: &mut Ctx) -> FailToProxy {
        let Some(exchange) = &mut ctx.exchange else {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        };
        let error = failure::classify(e, exchange.time_left());
        if let Some(proxying) = &mut ctx.proxying {
            proxying.broke(exchange, &error);
        }
        let mut error_code = session.as_downstream().response_written().map_or(0, |head| head.status.as_u16());
        if error_code == 0 && error != Error::ClientGone {
            let reply = Reply::failure(&error, &exchange.request_id);
            error_code = reply.status.as_u16();
            if let Ok(head) = answer::header(&reply, exchange) {
                // A client that cannot be written to is gone; the exchange says so.
                let _ = session.as_downstream_mut().write_error_response(head, reply.body).await;
            }
        }
        exchange.failed(&error, error_code);
        tracing::debug!(request_id = exchange.request_id, error = %e, status = error_code, "request failed");
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    /// The answer is written, or never will be.
    async fn logging(&self, session: &mut Session, _e: Option<&PingoraError>, ctx: &mut Ctx) {
        let Some(exchange) = &mut ctx.exchange else { return };
        let status = session.as_downstream().response_written().map_or(0, |head| head.status.as_u16());
        if !exchange.has_failed() {
            exchange.answered(status);
        }
        let (log, keys) = (exchange.log(), &self.live.keys);
        if ctx.body_in > 0 {
            log.attr_int(NodeId::ROOT, keys.request_bytes, ctx.body_in.cast_signed());
        }
        let sent = if ctx.proxying.is_some() { ctx.body_out } else { session.as_downstream().body_bytes_sent() as u64 };
        log.attr_int(NodeId::ROOT, keys.response_bytes, sent.cast_signed());
        if let Some(proxying) = ctx.proxying.take() {
            proxying.finish(exchange, status);
        }
        if let Some(permit) = ctx.permit.take() {
            permit.done(seen_by_limit(exchange));
        }
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Ctx, _error: &PingoraError) -> bool {
        true
    }
}

/// How a request went, for the limit that let it in.
fn seen_by_limit(exchange: &Exchange) -> admission::Outcome {
    match exchange.outcome() {
        Some(Outcome::Ok) => admission::Outcome::Good,
        Some(Outcome::Timeout) => admission::Outcome::Timeout,
        Some(Outcome::Cancelled) | None => admission::Outcome::ClientGone,
        Some(Outcome::Error | Outcome::Refused | Outcome::Skipped) => admission::Outcome::Failed,
    }
}

/// The connection a session came over.
fn connection(digest: Option<&Digest>) -> Option<Arc<Connection>> {
    digest?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref::<Arc<Connection>>().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_cut_between_its_parts() {
        for (text, max, expected) in [
            ("a=1&b=2", 7, "a=1&b=2"),
            ("a=1&b=2", 6, "a=1"),
            ("a=1&b=2", 3, "a=1"),
            ("a=1&b=2", 2, ""),
            ("äää", 3, ""),
        ] {
            assert_eq!(whole_parts(text, max, '&'), expected, "{text} {max}");
        }
        assert_eq!(begin("äää", 3), "ä");
    }
}
