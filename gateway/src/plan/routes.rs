//! From the page's routes to the table: every name followed, every pattern read, conflicts found.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use zerver_flows::BoundFlow;
use zerver_telemetry::names::Names;
use zerver_telemetry::propagation::Share;
use zerver_telemetry::redact::Redaction;

use super::served::{Route, Target, Tenant};
use crate::admission::Gate;
use crate::config::document::{self, Document};
use crate::config::placed::Placed;
use crate::config::problem::{Problem, suggestion};
use crate::rate::RateLimit;
use crate::reply::Reply;
use crate::route::pattern::Pattern;
use crate::route::table::{Conditions, Conflict, Host, Table};
use crate::upstream::Upstream;

/// What routes may name.
pub(super) struct Known<'k> {
    pub(super) upstreams: &'k BTreeMap<String, Arc<Upstream>>,
    pub(super) rate_limits: &'k BTreeMap<String, Arc<RateLimit>>,
    /// None while a flow is wrong: then no route is blamed for leading to one.
    pub(super) flows: Option<&'k BTreeMap<String, BoundFlow>>,
    pub(super) gates: &'k BTreeMap<String, Arc<Gate>>,
    pub(super) names: &'k Names,
    pub(super) redaction: &'k Redaction,
}

/// The name of a route's own gate.
pub(super) fn gate_name(route: &str) -> String {
    format!("route {route}")
}

/// The table of the page's routes; none when a problem was found.
pub(super) fn table(document: &Document, known: &Known<'_>, problems: &mut Vec<Problem>) -> Option<Table<Arc<Route>>> {
    let Known { upstreams, rate_limits, flows, names, .. } = *known;
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
        if let Some(slo) = &page.slo {
            slo.check(&page.name, problems);
        }
        page.sampling.check(problems);
        let conditions = conditions(&page.matches, problems);
        let route = Route {
            id: names.intern(&page.name),
            text: (*page.name).clone(),
            template: names.intern(&page.matches.path),
            gate: known.gates.get(&gate_name(&page.name)).cloned(),
            gate_name: names.intern(&gate_name(&page.name)),
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
            share: page.sampling.settings().head.map(Share::new),
            class: page.priority,
            tenant: tenant(page.tenant.as_ref(), known.redaction, problems),
            body_bytes: page.body_bytes,
            note_headers: page
                .note_headers
                .iter()
                .filter_map(|name| {
                    let header = header_name(name, problems)?;
                    let key = names.intern(&format!("header.{header}"));
                    Some((header, key))
                })
                .collect(),
        };
        list.extend(conditions.map(|conditions| (conditions, Arc::new(route))));
    }
    if problems.len() > before || list.len() < document.routes.len() {
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

fn tenant(page: Option<&Placed<String>>, redaction: &Redaction, problems: &mut Vec<Problem>) -> Tenant {
    let Some(text) = page else { return Tenant::None };
    if **text == "client_ip" {
        return Tenant::ClientIp;
    }
    match text.strip_prefix("header:").map(str::parse::<HeaderName>) {
        Some(Ok(name)) if redaction.hides_header(name.as_str()) => Tenant::Hidden(name),
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
