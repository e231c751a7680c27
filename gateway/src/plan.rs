//! What is sure to run: a configuration whose every reference was followed, every pattern checked, every name interned.
//!
//! A request takes the plan of its beginning to its end; a reload makes a new plan beside it. Upstreams and rate limits
//! whose settings did not change are carried over, with their connections, limits and counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use zerver_flows::{BoundFlow, Engine, Flow};
use zerver_telemetry::clock::Clock;
use zerver_telemetry::collector::Rules;
use zerver_telemetry::names::{Name, Names};
use zerver_telemetry::promote::{PromotionSettings, RouteThresholds};
use zerver_telemetry::sampling::SamplingSettings;
use zerver_telemetry::span::SpanSettings;

use crate::admission::Class;
use crate::config::document::{self, Document};
use crate::config::placed::Placed;
use crate::config::problem::{Problem, suggestion};
use crate::keys::Keys;
use crate::rate::RateLimit;
use crate::reply::Reply;
use crate::route::pattern::Pattern;
use crate::route::table::{Conditions, Conflict, Host, Table};
use crate::upstream::Upstream;
use crate::upstream::client::Effects;

/// A checked configuration, ready to serve.
pub struct Plan {
    /// 1 for the first, one more with each reload.
    pub version: u32,
    /// The page it was made of.
    pub document: Document,
    /// The routes, in order of precedence.
    pub routes: Table<Arc<Route>>,
    /// The upstreams, by name.
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    /// The rate limits, by name.
    pub rate_limits: BTreeMap<String, Arc<RateLimit>>,
    /// The flows, by name.
    pub flows: BTreeMap<String, BoundFlow>,
    /// Who performs the flows' effects.
    pub engine: Arc<Engine>,
}

/// A checked route.
pub struct Route {
    /// Its name in timelines and metrics.
    pub id: Name,
    /// The same as text.
    pub text: String,
    /// What answers.
    pub target: Target,
    /// The rate limits that count it.
    pub rate_limits: Vec<Arc<RateLimit>>,
    /// Time for the whole request.
    pub timeout: Option<Duration>,
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

/// What a plan is made with, besides the page.
pub struct Makings<'m> {
    /// Flows written in Rust.
    pub flows: &'m [Flow],
    /// The recorder's names.
    pub names: &'m Names,
    /// The clock of limits and queues.
    pub clock: &'m Clock,
    /// The attribute keys.
    pub keys: Keys,
    /// The plan before, whose upstreams and limits go on where nothing changed.
    pub before: Option<&'m Plan>,
}

impl Plan {
    /// Checks a page and makes its plan. Nothing is connected, resolved or started.
    ///
    /// # Errors
    /// Every [`Problem`] found, in the order of the page.
    pub fn make(document: Document, makings: &Makings<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let Makings { names, clock, before, .. } = makings;

        check_listeners(&document, &mut problems);
        let mut upstreams = BTreeMap::new();
        for (name, settings) in &document.upstreams {
            check_upstream(name, settings, &mut problems);
            let kept = before.and_then(|plan| plan.upstreams.get(name)).filter(|up| up.settings.same_as(settings));
            let upstream = kept.cloned().unwrap_or_else(|| Upstream::new(name, settings, names, clock));
            upstreams.insert(name.clone(), upstream);
        }
        let mut rate_limits = BTreeMap::new();
        for settings in &document.rate_limits {
            let name = settings.name.clone();
            let kept =
                before.and_then(|plan| plan.rate_limits.get(&name)).filter(|kept| kept.settings() == &**settings);
            let limit = match kept {
                Some(kept) => Ok(Arc::clone(kept)),
                None => RateLimit::new((**settings).clone(), (*clock).clone()).map(Arc::new),
            };
            match limit {
                Ok(_) if rate_limits.contains_key(&name) => problems.push(
                    Problem::at(settings.place(), format!("two rate limits are named `{name}`")).help("rename one"),
                ),
                Ok(limit) => {
                    rate_limits.insert(name, limit);
                }
                Err(error) => problems.push(Problem::at(settings.place(), error.to_string())),
            }
        }
        let before_flows = problems.len();
        let flows = flows(&document, makings, &upstreams, &mut problems);
        // Where a flow is wrong, a route that leads to it is not: then no route's flow is looked for.
        let known = (problems.len() == before_flows).then_some(&flows);
        let routes = routes(&document, makings, &upstreams, &rate_limits, known, &mut problems);
        let Some(routes) = routes.filter(|_| problems.is_empty()) else {
            problems.sort_by_key(|problem| problem.place.map(|place| (place.line, place.column)));
            return Err(problems);
        };
        let effects = Effects::new(upstreams.values().cloned(), makings.keys);
        let version = before.map_or(1, |plan| plan.version + 1);
        let engine = Engine::new(Arc::new(effects));
        Ok(Self { version, document, routes, upstreams, rate_limits, flows, engine })
    }
}

impl Plan {
    /// What the collector does by: thresholds of promotion, shares of sampling.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let telemetry = &self.document.telemetry;
        let routes = self
            .document
            .routes
            .iter()
            .map(|route| {
                let thresholds = RouteThresholds { queue: route.promote.queue, park: route.promote.park };
                ((*route.name).clone(), thresholds)
            })
            .collect();
        let promotion = PromotionSettings {
            queue: telemetry.promote_queue,
            park: telemetry.promote_park,
            routes,
            debug_jobs: telemetry.debug_jobs,
            ..PromotionSettings::default()
        };
        let sampling = SamplingSettings { head: telemetry.otlp.sample, ..SamplingSettings::default() };
        Rules { promotion, sampling, spans: SpanSettings::default() }
    }

    /// The routes, the most exact first.
    #[must_use]
    pub fn route_list(&self) -> Vec<RouteLine> {
        self.routes
            .iter()
            .map(|(conditions, route)| RouteLine {
                route: route.text.clone(),
                matches: conditions.to_string(),
                to: match &route.target {
                    Target::Upstream(upstream) => format!("upstream {}", upstream.name),
                    Target::Flow(flow) => format!("flow {}@{}", flow.flow().slug(), flow.flow().version()),
                    Target::Reply(reply) => format!("reply {}", reply.status.as_u16()),
                },
            })
            .collect()
    }
}

fn check_listeners(document: &Document, problems: &mut Vec<Problem>) {
    for listen in [&document.listen, &document.admin.listen] {
        if listen.parse::<std::net::SocketAddr>().is_err() {
            problems.push(
                Problem::at(listen.place(), format!("`{}` is no address to listen on", **listen))
                    .help("write an IP address and a port, such as `127.0.0.1:8080` or `[::1]:8080`"),
            );
        }
    }
    let admin = &document.admin;
    let remote = admin.listen.parse::<std::net::SocketAddr>().is_ok_and(|at| !at.ip().is_loopback());
    if remote && admin.token.is_none() {
        problems.push(
            Problem::at(admin.listen.place(), "the admin listener is reachable from other machines but has no token")
                .help("listen on `127.0.0.1`, or set `admin.token`"),
        );
    }
}

fn check_upstream(name: &str, settings: &Placed<document::Upstream>, problems: &mut Vec<Problem>) {
    if settings.peers.is_empty() {
        problems.push(
            Problem::at(settings.place(), format!("upstream `{name}` has no peers"))
                .help("give at least one address: `peers: [127.0.0.1:8081]`"),
        );
    }
    for peer in &settings.peers {
        let port = peer.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        if port.is_none_or(|(host, port)| host.is_empty() || port == 0 || host.contains('/')) {
            problems.push(
                Problem::at(peer.place(), format!("`{}` is no address of a peer", **peer))
                    .help("write host and port, such as `127.0.0.1:8081` or `carts.internal:80`, without a scheme"),
            );
        }
    }
    if settings.tries == 0 {
        problems.push(
            Problem::at(settings.place(), format!("upstream `{name}`: `tries` is 0, so no request would be sent"))
                .help("1 sends each request once, 2 tries a failed one again"),
        );
    }
}

/// The flows of the program and of the page, bound to the recorder's names.
fn flows(
    document: &Document,
    makings: &Makings<'_>,
    upstreams: &BTreeMap<String, Arc<Upstream>>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, BoundFlow> {
    let mut flows: BTreeMap<String, BoundFlow> = BTreeMap::new();
    for flow in makings.flows {
        for target in flow.targets() {
            if !upstreams.contains_key(target) {
                problems.push(
                    Problem::whole(format!("flow `{}` calls `{target}`, but no upstream has that name", flow.slug()))
                        .help(suggestion(target, upstreams.keys().map(String::as_str))),
                );
            }
        }
        flows.insert(flow.slug().to_owned(), flow.bind(makings.names));
    }
    let targets: Vec<&str> = upstreams.keys().map(String::as_str).collect();
    for page in &document.flows {
        match crate::config::flows::load(page, &targets) {
            Ok(flow) if flows.contains_key(flow.slug()) => problems.push(
                Problem::at(page.place(), format!("a flow named `{}` is there already", flow.slug()))
                    .help("a flow's name is unique, in the page and among the program's own flows: rename one"),
            ),
            Ok(flow) => {
                flows.insert(flow.slug().to_owned(), flow.bind(makings.names));
            }
            Err(found) => problems.extend(found),
        }
    }
    flows
}

fn routes(
    document: &Document,
    makings: &Makings<'_>,
    upstreams: &BTreeMap<String, Arc<Upstream>>,
    rate_limits: &BTreeMap<String, Arc<RateLimit>>,
    flows: Option<&BTreeMap<String, BoundFlow>>,
    problems: &mut Vec<Problem>,
) -> Option<Table<Arc<Route>>> {
    let before = problems.len();
    let mut list = Vec::new();
    for (n, page) in document.routes.iter().enumerate() {
        if let Some(other) = document.routes[..n].iter().find(|other| *other.name == *page.name) {
            problems.push(
                Problem::at(page.name.place(), format!("two routes are named `{}`", *page.name))
                    .and(other.name.place(), "the first one")
                    .help("a route's name is its name in timelines and metrics: rename one"),
            );
        }
        let conditions = conditions(&page.matches, problems);
        let route = Route {
            id: makings.names.intern(&page.name),
            text: (*page.name).clone(),
            target: match target(&page.to, upstreams, flows, problems) {
                Some(target) => target,
                None => continue,
            },
            rate_limits: page
                .rate_limit
                .iter()
                .filter_map(|name| {
                    let found = rate_limits.get(&**name).cloned();
                    if found.is_none() {
                        problems.push(
                            Problem::at(name.place(), format!("no rate limit is named `{}`", **name))
                                .help(suggestion(name, rate_limits.keys().map(String::as_str))),
                        );
                    }
                    found
                })
                .collect(),
            timeout: page.timeout,
            class: page.priority,
            tenant: tenant(page.tenant.as_ref(), problems),
            body_bytes: page.body_bytes,
            note_headers: page
                .note_headers
                .iter()
                .filter_map(|name| {
                    let header = header_name(name, problems)?;
                    let key = makings.names.intern(&format!("header.{header}"));
                    Some((header, key))
                })
                .collect(),
        };
        list.extend(conditions.map(|conditions| (conditions, Arc::new(route))));
    }
    if problems.len() > before {
        return None;
    }
    match Table::new(list) {
        Ok(table) => Some(table),
        Err(Conflict { first, second }) => {
            let (a, b) = (&document.routes[first], &document.routes[second]);
            problems.push(
                Problem::at(
                    b.matches.path.place(),
                    format!("route `{}` takes the same requests as route `{}`", *b.name, *a.name),
                )
                .and(a.matches.path.place(), "which stands here")
                .help("give one of them another path, host, method, header or query condition, or remove it"),
            );
            None
        }
    }
}

fn conditions(page: &document::Match, problems: &mut Vec<Problem>) -> Option<Conditions> {
    let before = problems.len();
    let path = Pattern::parse(&page.path)
        .map_err(|error| problems.push(Problem::at(page.path.place(), error.to_string())))
        .ok();
    let methods = page
        .method
        .iter()
        .filter_map(|text| {
            let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];
            let method = text.to_ascii_uppercase().parse::<Method>().ok();
            if !known.contains(&text.to_ascii_uppercase().as_str()) {
                problems.push(
                    Problem::at(text.place(), format!("`{}` is no method of HTTP", **text))
                        .help(suggestion(&text.to_ascii_uppercase(), known)),
                );
            }
            method
        })
        .collect();
    let mut headers = Vec::new();
    for (name, value) in &page.headers {
        match (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            (Ok(name), Ok(exact)) => headers.push((name, (value != "*").then_some(exact))),
            _ => problems.push(Problem::at(page.path.place(), format!("`{name}: {value}` is no header of HTTP"))),
        }
    }
    let query = page.query.iter().map(|(name, value)| (name.clone(), (value != "*").then(|| value.clone()))).collect();
    let host =
        page.host.as_ref().map(|host| {
            if host.contains(['/', ':']) || host.trim_start_matches("*.").contains('*') {
                problems.push(Problem::at(host.place(), format!("`{}` is no host", **host)).help(
                    "write a name without scheme and port: `shop.example.com`, or `*.example.com` for all below it",
                ));
            }
            Host::parse(host)
        });
    (problems.len() == before).then_some(())?;
    Some(Conditions { host, methods, path: path?, headers, query })
}

fn target(
    page: &document::Target,
    upstreams: &BTreeMap<String, Arc<Upstream>>,
    flows: Option<&BTreeMap<String, BoundFlow>>,
    problems: &mut Vec<Problem>,
) -> Option<Target> {
    match page {
        document::Target::Upstream(name) => {
            if let Some(upstream) = upstreams.get(&**name) {
                return Some(Target::Upstream(Arc::clone(upstream)));
            }
            problems.push(
                Problem::at(name.place(), format!("no upstream is named `{}`", **name))
                    .help(suggestion(name, upstreams.keys().map(String::as_str))),
            );
            None
        }
        document::Target::Flow(name) => {
            let flows = flows?;
            if let Some(flow) = flows.get(&**name) {
                return Some(Target::Flow(flow.clone()));
            }
            problems.push(
                Problem::at(name.place(), format!("no flow is named `{}`", **name))
                    .help(suggestion(name, flows.keys().map(String::as_str))),
            );
            None
        }
        document::Target::Reply(reply) => {
            let status = StatusCode::from_u16(*reply.status).ok().filter(|status| status.as_u16() >= 200);
            let kind = HeaderValue::from_str(&reply.content_type).ok();
            if status.is_none() {
                problems.push(
                    Problem::at(reply.status.place(), format!("{} is no status of an answer", *reply.status))
                        .help("a status lies between 200 and 599"),
                );
            }
            if kind.is_none() {
                problems.push(Problem::at(
                    reply.content_type.place(),
                    format!("`{}` is no content type", *reply.content_type),
                ));
            }
            Some(Target::Reply(Reply::fixed(status?, kind?, Bytes::from(reply.body.clone()))))
        }
    }
}

fn tenant(page: Option<&Placed<String>>, problems: &mut Vec<Problem>) -> Tenant {
    let Some(text) = page else { return Tenant::None };
    if **text == "client_ip" {
        return Tenant::ClientIp;
    }
    match text.strip_prefix("header:").map(str::parse::<HeaderName>) {
        Some(Ok(name)) => Tenant::Header(name),
        _ => {
            problems.push(
                Problem::at(text.place(), format!("`{}` does not say whose request it is", **text))
                    .help("write `header:x-tenant` for the value of a header, or `client_ip`"),
            );
            Tenant::None
        }
    }
}

fn header_name(text: &Placed<String>, problems: &mut Vec<Problem>) -> Option<HeaderName> {
    let name = text.parse().ok();
    if name.is_none() {
        problems.push(Problem::at(text.place(), format!("`{}` is no name of a header", **text)));
    }
    name
}
