//! What can go wrong with a request: a closed list, each with its side, its name and whether another try makes sense.
//!
//! A leaf: it knows no other room. [`crate::reply`] is the one place where an error becomes a status.

use std::time::Duration;

/// On whose side an error lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's: it asked wrongly, too much, or left.
    Client,
    /// An upstream's.
    Upstream,
    /// Ours.
    Us,
}

/// Why a request was not answered as it should have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request breaks HTTP's rules.
    #[error("the request is malformed: {0}")]
    BadRequest(&'static str),
    /// No route matches host and path.
    #[error("no route matches this host and path")]
    NoRoute,
    /// A route matches the path, but not the method.
    #[error("this path does not take this method")]
    MethodNotAllowed {
        /// The methods it takes, for the `Allow` header.
        allow: String,
    },
    /// The head has too many bytes or headers.
    #[error("the request's head is too large")]
    HeadTooLarge,
    /// The path is too long.
    #[error("the request's path is too long")]
    PathTooLong,
    /// The body has too many bytes.
    #[error("the request's body is too large")]
    BodyTooLarge,
    /// The body did not arrive in time.
    #[error("the request's body did not arrive in time")]
    BodyTimeout,
    /// The caller is over its quota.
    #[error("over the rate limit `{limit}`")]
    RateLimited {
        /// The limit's name.
        limit: String,
        /// When a request would be taken again.
        retry_after: Duration,
        /// The `RateLimit-Policy` and `RateLimit` fields.
        fields: Vec<(&'static str, String)>,
    },
    /// There is no room for it now.
    #[error("there is no room for this request now ({reason})")]
    Shed {
        /// The reason's word.
        reason: &'static str,
        /// When to come again, in seconds.
        retry_after: u32,
    },
    /// The upstream's circuit breaker is open.
    #[error("the upstream fails and is left alone for now")]
    BreakerOpen {
        /// When to come again, in seconds.
        retry_after: u32,
    },
    /// No address of the upstream is known or fit for use.
    #[error("the upstream has no address that can be used")]
    NoPeer,
    /// No connection to the upstream.
    #[error("could not connect to the upstream")]
    UpstreamConnect,
    /// The upstream did not answer in time.
    #[error("the upstream did not answer in time")]
    UpstreamTimeout,
    /// The upstream broke off or answered nonsense.
    #[error("the upstream broke off")]
    UpstreamReset,
    /// The request's own time ran out.
    #[error("the request's time ran out")]
    Deadline,
    /// A flow ended with a failure.
    #[error("{message}")]
    Flow {
        /// The status it asks for.
        status: u16,
        /// Its code, a stable word.
        code: String,
        /// What the client may read.
        message: String,
        /// When to come again, in seconds.
        retry_after: Option<u32>,
        /// Whether it ended because the gate of an upstream gave a call no seat.
        refused: bool,
    },
    /// The producer of a streamed answer failed behind the head.
    #[error("the answer broke off")]
    StreamFailed,
    /// A fault of the gateway, a panic among them.
    #[error("the gateway failed")]
    Internal,
    /// The client left before its answer.
    #[error("the client left")]
    ClientGone,
}

impl Error {
    /// Its stable name in headers, counters, timelines and spans.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::NoRoute => "no_route",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::HeadTooLarge => "head_too_large",
            Self::PathTooLong => "path_too_long",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimeout => "body_timeout",
            Self::RateLimited { .. } => "rate_limited",
            Self::Shed { reason, .. } => reason,
            Self::BreakerOpen { .. } => "breaker_open",
            Self::NoPeer => "no_peer",
            Self::UpstreamConnect => "upstream_connect",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamReset => "upstream_reset",
            Self::Deadline => "deadline",
            Self::Flow { code, .. } => code,
            Self::StreamFailed => "stream_failed",
            Self::Internal => "internal",
            Self::ClientGone => "client_gone",
        }
    }

    /// On whose side it lies.
    #[must_use]
    pub fn side(&self) -> Side {
        match self {
            Self::BadRequest(_)
            | Self::NoRoute
            | Self::MethodNotAllowed { .. }
            | Self::HeadTooLarge
            | Self::PathTooLong
            | Self::BodyTooLarge
            | Self::BodyTimeout
            | Self::RateLimited { .. }
            | Self::ClientGone => Side::Client,
            Self::BreakerOpen { .. }
            | Self::NoPeer
            | Self::UpstreamConnect
            | Self::UpstreamTimeout
            | Self::UpstreamReset => Side::Upstream,
            Self::Flow { status, .. } => match status {
                400..=499 => Side::Client,
                502 | 504 => Side::Upstream,
                _ => Side::Us,
            },
            Self::Shed { .. } | Self::Deadline | Self::StreamFailed | Self::Internal => Side::Us,
        }
    }

    /// Whether the gateway refused the request, or a call without which a flow could not answer it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. } | Self::Shed { .. } | Self::BreakerOpen { .. } | Self::Flow { refused: true, .. }
        )
    }
}
