//! The whole configuration page as it is written: every key, its unit and its default.
//!
//! The page is what a person may write, right or wrong in its references; [`crate::plan`] turns it into what is sure to
//! run. Each module owns the settings it understands; here they are only put together.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration;
use super::flows::FlowPage;
use super::logs::{AccessLog, Log};
use super::otlp::Otlp;
use super::placed::Placed;
use super::propagation::{self, Propagator};
use super::redact::Redact;
use super::sampling::{RouteSampling, Sampling};
use super::slo::Slo;
use crate::admission;
use crate::rate::RateSettings;
use crate::upstream::breaker;

/// The configuration of a gateway.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The address that clients connect to, such as `0.0.0.0:8080`. Port 0 takes a free one.
    pub listen: Placed<String>,
    /// The admin listener.
    #[serde(default)]
    pub admin: Admin,
    /// Requests that may ask to see themselves.
    #[serde(default)]
    pub debug: Debugging,
    /// Threads that serve requests; 0 is one per processor.
    #[serde(default)]
    pub workers: usize,
    /// Limits on what clients may send and how long they may take.
    #[serde(default)]
    pub limits: Limits,
    /// What is recorded, kept and exported.
    #[serde(default)]
    pub telemetry: Telemetry,
    /// The application log: what the program says.
    #[serde(default)]
    pub log: Log,
    /// The access log: a line for each request; `{}` takes the defaults (default: none).
    #[serde(default)]
    pub access_log: Option<AccessLog>,
    /// What is not shown in logs, spans, timelines, captures and debug answers.
    #[serde(default)]
    pub redact: Redact,
    /// The services behind the gateway, by name.
    #[serde(default)]
    pub upstreams: BTreeMap<String, Placed<Upstream>>,
    /// Rate limits that routes may use.
    #[serde(default)]
    pub rate_limits: Vec<Placed<RateSettings>>,
    /// Flows written in configuration.
    #[serde(default)]
    pub flows: Vec<Placed<FlowPage>>,
    /// What requests are answered by.
    pub routes: Vec<Placed<Route>>,
}

/// The admin listener: health, metrics, timelines.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Its address; an address that is not loopback needs a token.
    pub listen: Placed<String>,
    /// The token that requests must carry as `Authorization: Bearer …`. `${NAME}` takes it from the environment.
    pub token: Option<Placed<crate::config::secret::Secret>>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: Placed::nowhere("127.0.0.1:9901".into()), token: None }
    }
}

/// Requests that may ask to see themselves.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Debugging {
    /// A request to a flow that carries this text as `zerver-debug` is answered with its timeline and what each step gave,
    /// masked. `${NAME}` takes it from the environment. Without it there is no such answer.
    pub token: Option<Placed<crate::config::secret::Secret>>,
}

/// Limits on what clients may send and how long they may take.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open client connections (default 10,000); more wait in the kernel's backlog.
    pub connections: usize,
    /// Bytes of a request's head (default 65,536); more is answered 431.
    pub head_bytes: usize,
    /// Headers of a request (default 100); more is answered 431.
    pub headers: usize,
    /// Bytes of a path with its query (default 8,192); more is answered 414.
    pub path_bytes: usize,
    /// Bytes of a body that a flow reads (default 1,048,576); more is answered 413. Proxied bodies stream and have no limit
    /// unless the route sets one.
    pub body_bytes: usize,
    /// Time for a request's head to arrive once it has begun (default 10s).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub head_timeout: Duration,
    /// Time for a body that a flow reads to arrive (default 30s).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub body_timeout: Duration,
    /// Time a client connection may be idle between requests (default 75s).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub idle_timeout: Duration,
    /// Time that running requests get to end when the gateway stops (default 30s).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            head_bytes: 64 * 1024,
            headers: 100,
            path_bytes: 8 * 1024,
            body_bytes: 1024 * 1024,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// What is recorded, kept and exported.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Queue episodes longer than this become spans (default 5ms; `ZER_VER_PROMOTE_QUEUE_MS` overrides it).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub promote_queue: Duration,
    /// Park episodes longer than this become spans (default 5ms; `ZER_VER_PROMOTE_PARK_MS` overrides it).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub promote_park: Duration,
    /// Whether every queue and park episode becomes a span (default false; `ZER_VER_DEBUG_JOBS` overrides it).
    pub debug_jobs: bool,
    /// Timelines kept in memory (default 20,000).
    pub keep: usize,
    /// Which requests' spans are sent.
    pub sampling: Sampling,
    /// The headers that carry a trace on (default `[tracecontext, baggage]`). One that is not named is neither read nor
    /// passed on, so it ends here.
    pub propagators: Vec<Propagator>,
    /// Members of requests' `baggage` to note in timelines, as attributes `zerver.baggage.<name>` (default none).
    pub baggage: Vec<Placed<String>>,
    /// The export of spans, metrics and logs.
    pub otlp: Otlp,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            promote_queue: Duration::from_millis(5),
            promote_park: Duration::from_millis(5),
            debug_jobs: false,
            keep: 20_000,
            sampling: Sampling::default(),
            propagators: propagation::ALL.to_vec(),
            baggage: Vec::new(),
            otlp: Otlp::default(),
        }
    }
}

impl Telemetry {
    /// The share of requests without a caller's decision that are sampled at the start.
    #[must_use]
    pub fn head(&self) -> f64 {
        self.sampling.sample.as_ref().map_or(self.otlp.sample, |share| **share)
    }
}

/// A service behind the gateway.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Its addresses, `host:port` each. Names are resolved again every 30 seconds.
    pub peers: Vec<Placed<String>>,
    /// How a peer is chosen (default `least_request`).
    #[serde(default)]
    pub balance: Balance,
    /// How many requests may be with it at once (default: found out by itself).
    #[serde(default)]
    pub admission: admission::Settings,
    /// The protocol spoken with it (default `http1`).
    #[serde(default)]
    pub protocol: Protocol,
    /// How long to wait for it.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Tries in all, for requests that may be tried again (default 2).
    #[serde(default = "two")]
    pub tries: u16,
    /// Leave it alone for a while when too many tries fail; `{}` takes the defaults (default: no breaker).
    #[serde(default)]
    pub breaker: Option<breaker::Settings>,
}

fn two() -> u16 {
    2
}

impl Upstream {
    /// Whether another page says the same of it, so that its connections and limits may go on.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let peers = |upstream: &Self| upstream.peers.iter().map(|peer| (**peer).clone()).collect::<Vec<_>>();
        peers(self) == peers(other)
            && self.balance == other.balance
            && self.admission == other.admission
            && self.protocol == other.protocol
            && self.timeouts == other.timeouts
            && self.tries == other.tries
            && self.breaker == other.breaker
    }
}

/// How a peer is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// The less busy of two peers taken at random.
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
}

/// The protocol spoken with an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    Http2,
}

/// How long to wait for an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For a connection (default 1s).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub connect: Duration,
    /// For each next piece of the answer, the head included (default 30s).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub read: Duration,
    /// For each next piece of the request to be taken (default 30s).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub write: Duration,
    /// For which an unused connection is kept (default 60s).
    #[serde(with = "duration")]
    #[schemars(schema_with = "duration::schema")]
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            read: Duration::from_secs(30),
            write: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        }
    }
}

/// What a request must look like, and what answers it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name in timelines and metrics; unique.
    pub name: Placed<String>,
    /// What a request must look like.
    #[serde(rename = "match")]
    pub matches: Match,
    /// What answers it.
    pub to: Target,
    /// The rate limits that count it, by name.
    #[serde(default)]
    pub rate_limit: Vec<Placed<String>>,
    /// Time for the whole request; after it 504 (default: none for proxied requests, the flow's deadline for flows).
    #[serde(default, with = "duration::optional")]
    #[schemars(schema_with = "duration::schema")]
    pub timeout: Option<Duration>,
    /// How many of its requests may be served at once. A flow route has a limit that finds itself unless told otherwise; a
    /// proxy route has that of its upstream, and one of its own only when this is given.
    #[serde(default)]
    pub admission: Option<admission::Settings>,
    /// Its priority when not everything can be served (default `interactive`).
    #[serde(default)]
    pub priority: admission::Class,
    /// Whose request it is: `header:<name>` or `client_ip`; tenants share a busy upstream evenly.
    #[serde(default)]
    pub tenant: Option<Placed<String>>,
    /// Bytes of a body (default: none for proxied requests, `limits.body_bytes` for flows); more is answered 413.
    #[serde(default)]
    pub body_bytes: Option<usize>,
    /// Request headers to note in timelines, as attributes `header.<name>`; never credentials.
    #[serde(default)]
    pub note_headers: Vec<Placed<String>>,
    /// Thresholds of its own.
    #[serde(default)]
    pub promote: Promote,
    /// What it promises: objectives with their burn rates and alerts.
    #[serde(default)]
    pub slo: Option<Slo>,
    /// Sampling of its own.
    #[serde(default)]
    pub sampling: RouteSampling,
}

/// Thresholds of a route, where they differ from the gateway's.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Promote {
    /// Queue episodes longer than this become spans.
    #[serde(with = "duration::optional")]
    #[schemars(schema_with = "duration::schema")]
    pub queue: Option<Duration>,
    /// Park episodes longer than this become spans.
    #[serde(with = "duration::optional")]
    #[schemars(schema_with = "duration::schema")]
    pub park: Option<Duration>,
}

/// What a request must look like. Everything named must hold.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The host: exact, or `*.example.com` for any name below it.
    #[serde(default)]
    pub host: Option<Placed<String>>,
    /// The methods; any when none is named.
    #[serde(default)]
    pub method: Vec<Placed<String>>,
    /// The path: `/carts/{id}` takes one segment, `/files/{*rest}` takes the rest.
    pub path: Placed<String>,
    /// Headers and the values they must have; `*` for any value.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Query parameters and the values they must have; `*` for any value.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
}

/// What answers a request.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// The upstream of this name.
    Upstream(Placed<String>),
    /// The flow of this name, from this page or from the program's own steps.
    Flow(Placed<String>),
    /// This answer.
    Reply(FixedReply),
}

/// A fixed answer.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FixedReply {
    /// The status (default 200).
    #[serde(default = "ok")]
    pub status: Placed<u16>,
    /// The body.
    #[serde(default)]
    pub body: String,
    /// Its `content-type` (default `text/plain; charset=utf-8`).
    #[serde(default = "plain")]
    pub content_type: Placed<String>,
}

fn ok() -> Placed<u16> {
    Placed::nowhere(200)
}

fn plain() -> Placed<String> {
    Placed::nowhere("text/plain; charset=utf-8".into())
}
