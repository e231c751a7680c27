//! A route that is sure to serve: its target found, its limits at hand, its names interned.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use zerver_flows::BoundFlow;
use zerver_telemetry::names::Name;
use zerver_telemetry::propagation::Share;

use crate::admission::{Class, Gate};
use crate::rate::RateLimit;
use crate::reply::Reply;
use crate::upstream::Upstream;

/// A checked route.
pub struct Route {
    /// Its name in timelines and metrics.
    pub id: Name,
    /// The same as text.
    pub text: String,
    /// The path's pattern, for spans.
    pub template: Name,
    /// What answers.
    pub target: Target,
    /// Who may be served at once, besides the upstream's own limit.
    pub gate: Option<Arc<Gate>>,
    /// The same name for timelines.
    pub gate_name: Name,
    /// The rate limits that count it.
    pub rate_limits: Vec<Arc<RateLimit>>,
    /// Time for the whole request.
    pub timeout: Option<Duration>,
    /// The share of its requests that are sampled, where it has one of its own.
    pub share: Option<Share>,
    /// Its priority.
    pub class: Class,
    /// Whose request it is.
    pub tenant: Tenant,
    /// Bytes of a body.
    pub body_bytes: Option<usize>,
    /// Headers to note, with their attribute's name.
    pub note_headers: Vec<(HeaderName, Name)>,
}

/// What answers a request.
pub enum Target {
    /// An upstream.
    Upstream(Arc<Upstream>),
    /// A flow.
    Flow(BoundFlow),
    /// Always the same.
    Reply(Reply),
}

/// Whose request it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenant {
    /// Nobody's in particular.
    None,
    /// That of the client's address.
    ClientIp,
    /// That of this header's value.
    Header(HeaderName),
    /// The same where the value is not shown: a fingerprint stands for it, which tells tenants apart and nobody's secret.
    Hidden(HeaderName),
}

impl Route {
    /// The flow's name, or none.
    #[must_use]
    pub fn flow_name(&self) -> Name {
        match &self.target {
            Target::Flow(flow) => flow.name(),
            _ => Name::NONE,
        }
    }
}

/// A route as the admin API and `zerver routes` show it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct RouteLine {
    /// Its name.
    pub route: String,
    /// Host, methods and path.
    pub matches: String,
    /// What answers.
    pub to: String,
}
