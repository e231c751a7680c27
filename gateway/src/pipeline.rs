//! What happens to every request before it is answered, station by station; nothing here knows the edge.
//!
//! Proxy routes, flow routes and fixed replies take the same way: route → limits → rate limit → admission → target.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header};
use zerver_telemetry::event::{Cause, NodeId};
use zerver_telemetry::names::Name;

use crate::admission::{Ask, Gate, Permit, TenantKey};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::keys::Keys;
use crate::plan::{Plan, Route, Target, Tenant};
use crate::rate::{KeyBy, RateLimit};
use crate::route::table::{Asked, Found};
use crate::upstream::Upstream;
use crate::upstream::breaker::{Pass, Refused};

/// A request's head, as the stations see it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The host asked for, without its port.
    pub host: &'a str,
    /// The path, without its query, as the client sent it.
    pub path: &'a str,
    /// The query, without the question mark.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Where the client is.
    pub client: SocketAddr,
    /// Bytes of the head as they came, 0 when not known.
    pub bytes: usize,
}

/// A request that may be answered.
pub struct Entered {
    /// Its route.
    pub route: Arc<Route>,
    /// The values of the path's parameters.
    pub params: Vec<(String, String)>,
    /// The seat of the route's own gate.
    pub permit: Option<Permit>,
    /// The seat at its upstream, for proxy routes.
    pub seat: Option<Seat>,
}

/// A seat at an upstream, and the leave of its breaker to try.
pub struct Seat {
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// The seat.
    pub permit: Permit,
    /// The leave for the first try.
    pub pass: Pass,
}

/// Takes a request through the stations.
///
/// # Errors
/// The [`Error`] of the station that refused it.
///
/// # Cancel safety
/// Dropping the future leaves the queue; a seat that was taken is given back.
pub async fn enter(plan: &Plan, keys: &Keys, exchange: &mut Exchange, head: Head<'_>) -> Result<Entered, Error> {
    // The head is within its bounds, and names its host.
    limits(plan, head)?;

    // One route, by what the configuration says of host, path, method, headers and query.
    let (route, params) = find(plan, head)?;
    let log = exchange.log().clone();
    log.route(route.id, route.flow_name(), plan.version);
    log.attr_name(NodeId::ROOT, keys.route, route.template);
    // Before anything is sent on: the flag that leaves is the one that counts.
    exchange.settle(route.share.as_ref(), keys.tracestate);
    let tenant = tenant(&route.tenant, head, &plan.fingerprints);
    if let Some(tenant) = &tenant {
        log.attr_text(NodeId::ROOT, keys.tenant, tenant);
    }
    for (name, key) in &route.note_headers {
        if let Some(value) = head.headers.get(name).and_then(|value| value.to_str().ok()) {
            log.attr_text(NodeId::ROOT, *key, value);
        }
    }
    if let Some(timeout) = route.timeout {
        exchange.set_timeout(timeout);
    }
    if let (Some(max), Some(length)) = (route.body_bytes, content_length(head.headers))
        && length > max as u64
    {
        return Err(Error::BodyTooLarge);
    }

    // Every rate limit the route names.
    for limit in &route.rate_limits {
        let decision = limit.check(&rate_key(limit, &route.text, head));
        let fields = vec![("ratelimit-policy", limit.policy_field()), ("ratelimit", limit.limit_field(decision))];
        if !decision.allowed {
            let limit = limit.settings().name.clone();
            log.attr_text(NodeId::ROOT, keys.limit, &limit);
            return Err(Error::RateLimited { limit, retry_after: decision.reset, fields });
        }
        exchange.add_headers(fields);
    }

    // An upstream that is left alone is not waited for.
    if let Target::Upstream(upstream) = &route.target {
        upstream.look().map_err(|refused| broken(&refused, keys, exchange))?;
    }

    // A seat at the route's own gate, and one at the upstream. The calls of a flow take theirs as they are made.
    let permit = match &route.gate {
        Some(gate) => Some(seat(gate, route.gate_name, keys, exchange, &route, tenant.as_deref()).await?),
        None => None,
    };
    let seat = match &route.target {
        Target::Upstream(upstream) => {
            let permit = seat(&upstream.gate, upstream.id, keys, exchange, &route, tenant.as_deref()).await?;
            // It may have been closed to us during the wait.
            let pass = upstream.enter().map_err(|refused| broken(&refused, keys, exchange))?;
            Some(Seat { upstream: Arc::clone(upstream), permit, pass })
        }
        Target::Flow(_) | Target::Reply(_) => None,
    };
    Ok(Entered { route, params, permit, seat })
}

/// Whose quota a request counts against.
fn rate_key<'h>(limit: &RateLimit, route: &'h str, head: Head<'h>) -> Cow<'h, [u8]> {
    let header = |name: &str| head.headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
    match &limit.settings().key {
        KeyBy::Route => Cow::Borrowed(route.as_bytes()),
        KeyBy::ClientIp => Cow::Owned(head.client.ip().to_string().into_bytes()),
        KeyBy::TenantHeader(name) | KeyBy::ApiKeyHeader(name) => Cow::Borrowed(header(name)),
    }
}

fn limits(plan: &Plan, head: Head<'_>) -> Result<(), Error> {
    let limits = &plan.document.limits;
    if head.host.is_empty() {
        return Err(Error::BadRequest("it names no host"));
    }
    if head.bytes > limits.head_bytes || head.headers.len() > limits.headers {
        return Err(Error::HeadTooLarge);
    }
    if head.path.len() + head.query.len() > limits.path_bytes {
        return Err(Error::PathTooLong);
    }
    Ok(())
}

/// The values of a path's parameters, by name.
type Params = Vec<(String, String)>;

fn find(plan: &Plan, head: Head<'_>) -> Result<(Arc<Route>, Params), Error> {
    let Head { method, host, path, query, headers, .. } = head;
    match plan.routes.find(Asked { host, method, path, query, headers }) {
        Found::Route(route, params) => {
            let params = params.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            Ok((Arc::clone(route), params))
        }
        Found::WrongMethod(allow) => Err(Error::MethodNotAllowed { allow }),
        Found::Nothing => Err(Error::NoRoute),
    }
}

/// Takes a seat at a gate, waiting as long as the gate's queue allows.
async fn seat(
    gate: &Arc<Gate>,
    name: Name,
    keys: &Keys,
    exchange: &Exchange,
    route: &Route,
    tenant: Option<&str>,
) -> Result<Permit, Error> {
    let tenant = tenant.map_or_else(TenantKey::default, |name| TenantKey::unverified(name.as_bytes()));
    let ask = Ask { class: route.class, tenant, deadline: exchange.deadline };
    if let Some(permit) = gate.try_enter(&ask) {
        return Ok(permit);
    }
    let log = exchange.log();
    log.attr_int(NodeId::ROOT, keys.in_flight, i64::from(gate.in_use()));
    log.attr_int(NodeId::ROOT, keys.waiting, gate.waiting() as i64);
    exchange.waiting(Cause::Permit, name, None);
    let seat = gate.enter(&ask).await;
    exchange.waiting(Cause::Io, Name::NONE, None);
    seat.map_err(|shed| Error::Shed {
        reason: shed.reason.as_str(),
        retry_after: u32::try_from(shed.retry_after.as_secs()).unwrap_or(u32::MAX),
    })
}

/// The refusal of a breaker.
fn broken(refused: &Refused, keys: &Keys, exchange: &Exchange) -> Error {
    exchange.log().attr_text(NodeId::ROOT, keys.breaker, refused.state.as_str());
    Error::BreakerOpen { retry_after: refused.seconds() }
}

/// Whose request it is.
fn tenant(rule: &Tenant, head: Head<'_>, fingerprints: &RandomState) -> Option<String> {
    match rule {
        Tenant::Hidden(name) => {
            let value = head.headers.get(name)?;
            Some(format!("#{:016x}", fingerprints.hash_one(value.as_bytes())))
        }
        Tenant::None => None,
        Tenant::ClientIp => Some(head.client.ip().to_string()),
        Tenant::Header(name) => {
            head.headers.get(name).and_then(|value| value.to_str().ok()).map(|value| value.chars().take(64).collect())
        }
    }
}

/// What `content-length` says.
#[must_use]
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}
