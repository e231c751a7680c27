//! The contract between a flow's effects and whoever performs them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use zerver_telemetry::clock::Ticks;
use zerver_telemetry::event::NodeId;
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::Log;

use crate::upload::Upload;

/// One HTTP call a step asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCall {
    /// The named upstream, as the configuration declares it.
    pub target: Arc<str>,
    /// The method.
    pub method: Method,
    /// Path and query, beginning with `/`.
    pub path_and_query: String,
    /// The headers, `traceparent` among them.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The request's own body, in the place of `body`: to be opened once, with its first piece, and sent as it comes.
    pub upload: Option<Upload>,
    /// When the answer stops being of use: the earliest of the flow's, the step's and the call's own deadline.
    pub deadline: Option<Ticks>,
    /// For methods that are not idempotent: the same for every attempt, and for a replay. It is in the headers too.
    pub idempotency_key: Option<String>,
    /// Who goes first at a target that has no room for all.
    pub priority: Priority,
}

/// Who goes first at a target that has no room for all; see the classes of a gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Somebody waits for the answer.
    #[default]
    Interactive,
    /// It may take its time.
    Batch,
    /// Before all others: for what an operator needs.
    Critical,
}

impl Priority {
    /// The word for it in attributes and configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
            Self::Critical => "critical",
        }
    }

    /// The priority of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Interactive, Self::Batch, Self::Critical].into_iter().find(|priority| priority.as_str() == word)
    }
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status, whatever it is.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl HttpAnswer {
    /// How long it asks to be left alone: whole seconds of `Retry-After` (RFC 9110, section 10.2.3); a date is not read.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim().parse::<u16>().ok()?;
        Some(Duration::from_secs(u64::from(seconds)))
    }
}

/// Where an effect is written to.
#[derive(Clone, Copy, Debug)]
pub struct Traced<'r> {
    /// The request's log.
    pub log: &'r Log,
    /// The effect's own node, open and parked in I/O. The adapter moves it through its states (permit queue, I/O)
    /// and notes what it learns (`peer`); the engine closes it.
    pub node: NodeId,
    /// The step it belongs to: the parent of nodes for further attempts.
    pub parent: NodeId,
    /// The name of the node, the target's: further attempts carry it too.
    pub name: Name,
    /// Its number among the step's calls to the same target.
    pub occurrence: u16,
    /// 1 for the step's first try, 2 for its second.
    pub attempt: u16,
    /// What is left of the request's retries.
    pub retries: &'r Retries,
}

/// The retries of one request, of all its steps and calls together: so that a request with many calls does not multiply
/// the load on what is already slow.
#[derive(Debug)]
pub struct Retries(AtomicU32);

impl Retries {
    /// The retries of one request.
    pub const PER_REQUEST: u32 = 10;

    /// Takes one; false when none is left.
    #[must_use]
    pub fn spend(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// As many as are left.
    pub(crate) fn rest(&self) -> Self {
        Self(AtomicU32::new(self.0.load(Relaxed)))
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self(AtomicU32::new(Self::PER_REQUEST))
    }
}

/// Why no answer came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EffectError {
    /// The target is not declared.
    #[error("target `{0}` is not declared; declare an upstream of that name")]
    UnknownTarget(String),
    /// What the step asked for is no HTTP request.
    #[error("the call cannot be made: {0}")]
    BadCall(String),
    /// No connection could be had.
    #[error("could not connect: {0}")]
    Connect(String),
    /// The connection broke, or what came was no HTTP.
    #[error("the call failed: {0}")]
    Broken(String),
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The gateway did not send it: the target's gate has no room for it now. It took nothing of the target.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The answer is larger than allowed.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
}

/// What a gate that gives no seat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why: a word of the gate's closed list (`predicted_wait`, `queue_full`, …).
    pub reason: &'static str,
    /// When another try makes sense.
    pub retry_after: Duration,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, room may be there in {:?}", self.reason, self.retry_after)
    }
}

impl EffectError {
    /// The stable word for this error: the node's error in the timeline, the failure's code. A refusal's is the gate's
    /// own reason.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownTarget(_) => "unknown_target",
            Self::BadCall(_) => "bad_call",
            Self::Connect(_) => "upstream_connect",
            Self::Broken(_) => "upstream_broken",
            Self::Timeout => "upstream_timeout",
            Self::Refused(refusal) => refusal.reason,
            Self::TooLarge { .. } => "upstream_too_large",
        }
    }
}

/// Performs effects. The gateway's is its HTTP client with pools, balancing, limits and retries.
pub trait Adapter: Send + Sync {
    /// Performs one call.
    ///
    /// # Errors
    /// [`EffectError`] when there is no answer; an answer with status 500 is an answer.
    ///
    /// # Cancel safety
    /// The future is dropped when nobody needs the answer any more; the connection must not go back into a pool then.
    fn http<'a>(&'a self, call: HttpCall, traced: Traced<'a>) -> BoxFuture<'a, Result<HttpAnswer, EffectError>>;

    /// Whether a target of this name is declared.
    fn has_target(&self, name: &str) -> bool;
}
