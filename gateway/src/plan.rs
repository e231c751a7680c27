//! What is sure to run: a configuration whose every reference was followed, every pattern checked, every name interned.
//!
//! A request takes the plan of its beginning to its end; a reload makes a new plan beside it. Upstreams and rate limits
//! whose settings did not change are carried over, with their connections, limits and counts.

mod served;
mod listeners;
mod logs;
mod routes;

use std::collections::BTreeMap;
use std::hash::RandomState;
use std::sync::Arc;

use zerver_flows::declare;
use zerver_flows::stuck::{Stuck, StuckRuns};
use zerver_flows::{BoundFlow, Engine, Exposed, Flow};
use zerver_telemetry::clock::Clock;
use zerver_telemetry::collector::Rules;
use zerver_telemetry::names::{Name, Names};
use zerver_telemetry::promote::{PromotionSettings, RouteThresholds};
use zerver_telemetry::propagation::{Propagators, Share};
use zerver_telemetry::redact::Redaction;
use zerver_telemetry::sampling::SamplingSettings;
use zerver_telemetry::slo::Objective;
use zerver_telemetry::span::SpanSettings;

use self::listeners::{check_listeners, check_otlp, check_upstream};
use self::logs::check_logs;
use self::routes::{Known, gate_name};
pub use self::served::{Route, RouteLine, Target, Tenant};
use crate::admission::Gate;
use crate::config::document::{self, Document};
use crate::config::problem::{Problem, suggestion};
use crate::config::propagation;
use crate::effects::Effects;
use crate::keys::Keys;
use crate::rate::RateLimit;
use crate::route::table::Table;
use crate::upstream::Upstream;

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
    /// The gates of single routes, by name, with the settings they were opened with.
    pub gates: BTreeMap<String, Arc<Gate>>,
    /// The flows, by name.
    pub flows: BTreeMap<String, BoundFlow>,
    /// Who performs the flows' effects.
    pub engine: Arc<Engine>,
    /// What is not shown of what requests note and say.
    pub redaction: Arc<Redaction>,
    /// What fingerprints of hidden tenants are made with, anew in each process: they tell nothing elsewhere.
    pub fingerprints: RandomState,
    /// Which headers carry a trace on.
    pub propagators: Propagators,
    /// The share of the traces that begin here and are sampled, where a route has none of its own.
    pub share: Share,
    /// Members of the baggage to note, each with its attribute's name.
    pub noted: Vec<(String, Name)>,
}

/// What a program brings to its gateway besides the page; the stock binary brings nothing.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Flows written in Rust.
    pub flows: Vec<Flow>,
    /// Steps written in Rust that the flows of the page may call.
    pub steps: Vec<Exposed>,
}

impl From<Vec<Flow>> for Own {
    fn from(flows: Vec<Flow>) -> Self {
        Self { flows, steps: Vec::new() }
    }
}

/// What a plan is made with, besides the page.
pub struct Makings<'m> {
    /// What the program brings.
    pub own: &'m Own,
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
        check_otlp(&document, &mut problems);
        document.telemetry.sampling.check(&mut problems);
        let share = Share::new(document.telemetry.head());
        let propagators = propagation::spoken(&document.telemetry.propagators);
        let noted = propagation::noted(&document.telemetry.baggage, names, &mut problems);
        let redaction = Arc::new(check_logs(&document, &mut problems));
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
        let gates = gates(&document, makings);
        let known = Known {
            upstreams: &upstreams,
            rate_limits: &rate_limits,
            // Where a flow is wrong, a route that leads to it is not: then no route's flow is looked for.
            flows: (problems.len() == before_flows).then_some(&flows),
            gates: &gates,
            names,
            redaction: &redaction,
        };
        let routes = routes::table(&document, &known, &mut problems);
        let Some(routes) = routes.filter(|_| problems.is_empty()) else {
            problems.sort_by_key(|problem| problem.place.map(|place| (place.line, place.column)));
            return Err(problems);
        };
        let effects = Effects::new(upstreams.values().cloned(), makings.keys);
        let version = before.map_or(1, |plan| plan.version + 1);
        let fingerprints = before.map_or_else(RandomState::new, |plan| plan.fingerprints.clone());
        let new = || Arc::new(StuckRuns::telling(log_stuck));
        let stuck = before.map_or_else(new, |plan| Arc::clone(plan.engine.stuck_runs()));
        let engine = Engine::with(Arc::new(effects), flows.values().cloned(), stuck);
        Ok(Self {
            version,
            document,
            routes,
            upstreams,
            rate_limits,
            gates,
            flows,
            engine,
            redaction,
            fingerprints,
            propagators,
            share,
            noted,
        })
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
        let own = |route: &document::Route| ((*route.name).clone(), route.sampling.settings());
        let sampling = SamplingSettings {
            head: telemetry.head(),
            routes: self.document.routes.iter().map(|route| own(route)).collect(),
            tail: telemetry.sampling.tail(),
        };
        Rules { promotion, sampling, spans: SpanSettings::default() }
    }

    /// What the routes promise.
    #[must_use]
    pub fn objectives(&self) -> Vec<Objective> {
        let of = |route: &document::Route| route.slo.as_ref().map(|slo| slo.objectives(&route.name));
        self.document.routes.iter().filter_map(|route| of(route)).flatten().collect()
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

/// Tells the log that a run is stuck: the list is in memory, the log may outlive it.
pub fn log_stuck(stuck: &Stuck) {
    let (failed, undo_failed) = (stuck.failed.to_string(), stuck.why.to_string());
    tracing::error!(
        flow = format!("{}@{}", stuck.flow, stuck.version),
        trace_id = %stuck.trace_id,
        failed,
        undo_failed,
        left = stuck.rest.join(", "),
        "a run is stuck: what it did is not undone; `zerver stuck` shows it"
    );
}

/// The gates of routes that have one of their own: flow routes, and whoever asks for one.
fn gates(document: &Document, makings: &Makings<'_>) -> BTreeMap<String, Arc<Gate>> {
    let settings = |document: &Document, name: &str| {
        let route = document.routes.iter().find(|route| gate_name(&route.name) == name)?;
        let is_flow = matches!(route.to, document::Target::Flow(_));
        (is_flow || route.admission.is_some()).then(|| route.admission.unwrap_or_default())
    };
    let names = document.routes.iter().map(|route| gate_name(&route.name));
    names
        .filter_map(|name| {
            let wanted = settings(document, &name)?;
            let kept = makings
                .before
                .filter(|before| settings(&before.document, &name) == Some(wanted))
                .and_then(|before| before.gates.get(&name).cloned());
            let gate = kept.unwrap_or_else(|| Gate::new(name.as_str(), &wanted, makings.clock.clone()));
            Some((name, gate))
        })
        .collect()
}

/// The flows of the program and of the page, bound to the recorder's names.
fn flows(
    document: &Document,
    makings: &Makings<'_>,
    upstreams: &BTreeMap<String, Arc<Upstream>>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, BoundFlow> {
    let mut flows: BTreeMap<String, BoundFlow> = BTreeMap::new();
    for flow in &makings.own.flows {
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
    let steps = &makings.own.steps;
    for (n, step) in steps.iter().enumerate() {
        if steps[..n].iter().any(|other| other.name() == step.name()) {
            let message = format!("two Rust steps are called `{}`", step.name());
            problems.push(Problem::whole(message).help("a page calls a step by its name alone: rename one"));
        }
    }
    let targets: Vec<&str> = upstreams.keys().map(String::as_str).collect();
    let own = makings.own.flows.iter().map(Flow::slug);
    let slugs: Vec<&str> = own.chain(document.flows.iter().filter_map(|page| page.slug())).collect();
    let known = declare::Known { targets: &targets, steps, flows: Some(&slugs) };
    for page in &document.flows {
        match crate::config::flows::load(page, known) {
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
