//! What a running gateway shares among its listeners: the plan of the moment, the recorder, the collector, the counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use zerver_telemetry::collector::Collector;
use zerver_telemetry::exemplars::Store;
use zerver_telemetry::metrics::{Metrics, Sink, Source, catalog};
use zerver_telemetry::names::{Name, Names};
use zerver_telemetry::recorder::Recorder;
use zerver_telemetry::slo::Slos;

use crate::admission::GateState;
use crate::keys::Keys;
use crate::plan::Plan;
use crate::undoing::Undoing;

/// What a running gateway shares.
pub struct Live {
    /// Records every request.
    pub recorder: Recorder,
    /// The attribute keys.
    pub keys: Keys,
    /// Well-known attribute values.
    pub words: Words,
    /// Turns finished requests into timelines.
    pub collector: Collector,
    /// Keeps timelines.
    pub store: Arc<Store>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// How the routes' objectives stand.
    pub slos: Arc<Slos>,
    /// Runs that have steps to undo.
    pub undoing: Undoing,
    reloads: [AtomicU64; 2],
    plan: ArcSwap<Plan>,
    draining: AtomicBool,
}

/// Attribute values that are known beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// `http`
    pub http: Name,
    /// `1.1`
    pub http1: Name,
    /// `2`
    pub http2: Name,
}

impl Words {
    fn new(names: &Names) -> Self {
        Self { http: names.intern("http"), http1: names.intern("1.1"), http2: names.intern("2") }
    }
}

impl Live {
    /// A gateway that serves this plan.
    #[must_use]
    pub fn new(recorder: Recorder, keys: Keys, collector: Collector, slos: Arc<Slos>, plan: Plan) -> Arc<Self> {
        let words = Words::new(recorder.names());
        let (store, metrics) = (Arc::clone(collector.store()), Arc::clone(collector.metrics()));
        Arc::new(Self {
            recorder,
            keys,
            words,
            collector,
            store,
            metrics,
            slos,
            undoing: Undoing::default(),
            reloads: Default::default(),
            plan: ArcSwap::from_pointee(plan),
            draining: AtomicBool::new(false),
        })
    }

    /// The plan of the moment. A request keeps it to its end.
    #[must_use]
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// Serves this plan from the next request on. Requests under way keep theirs.
    pub fn swap(&self, plan: Plan) {
        self.plan.store(Arc::new(plan));
    }

    /// Whether the gateway is about to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// From now on readiness says no.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Events that found no room in their logbooks.
    #[must_use]
    pub fn lost_events(&self) -> u64 {
        self.metrics.total(catalog::EVENTS_LOST)
    }

    /// Counts a reload that took, or one that was refused.
    pub fn count_reload(&self, took: bool) {
        self.reloads[usize::from(took)].fetch_add(1, Relaxed);
    }
}

impl Source for Live {
    fn collect(&self, out: &mut Sink) {
        let plan = self.plan();
        out.put(catalog::BUILD, &[env!("CARGO_PKG_VERSION")], 1.0);
        out.put(catalog::CONFIG_VERSION, &[], f64::from(plan.version));
        for (result, count) in ["rejected", "loaded"].iter().zip(&self.reloads) {
            out.put(catalog::CONFIG_RELOADS, &[result], count.load(Relaxed) as f64);
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            out.put(catalog::RUN_QUEUE, &["shared"], runtime.metrics().global_queue_depth() as f64);
        }
        for (name, gate) in &plan.gates {
            limit(out, name, &gate.state());
        }
        for upstream in plan.upstreams.values() {
            let name = upstream.name.as_str();
            let state = upstream.state();
            limit(out, name, &state.gate);
            out.put(catalog::RETRY_BUDGET, &[name], state.retry_budget);
            if let Some(breaker) = &state.breaker {
                // 0 closed, 1 half open, 2 open: the order of the variants.
                out.put(catalog::BREAKER_STATE, &[name], f64::from(breaker.state as u8));
                out.put(catalog::BREAKER_TRIPS, &[name], breaker.trips_total as f64);
                out.put(catalog::BREAKER_REFUSED, &[name], breaker.refused_total as f64);
            }
            for peer in &state.peers {
                out.put(catalog::UPSTREAM_IN_FLIGHT, &[name, &peer.peer], f64::from(peer.in_flight));
                out.put(catalog::UPSTREAM_HEALTHY, &[name, &peer.peer], f64::from(u8::from(!peer.resting)));
            }
        }
    }
}

/// What there is to count of a gate.
fn limit(out: &mut Sink, name: &str, gate: &GateState) {
    out.put(catalog::LIMIT_IN_USE, &[name], f64::from(gate.in_use));
    out.put(catalog::LIMIT_CAPACITY, &[name], f64::from(gate.limit.current));
    out.put(catalog::LIMIT_WAITING, &[name], gate.waiting.values().sum::<usize>() as f64);
    for (reason, by_class) in &gate.shed_total {
        out.put(catalog::LIMIT_REFUSED, &[name, reason], by_class.values().sum::<u64>() as f64);
    }
}
