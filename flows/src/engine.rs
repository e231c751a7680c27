//! The production shell: an adapter for the effects, the runtime's timers for time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use zerver_telemetry::clock::Ticks;
use zerver_telemetry::event::NodeId;
use zerver_telemetry::recorder::Log;

use crate::adapter::{Adapter, EffectError, HttpAnswer, HttpCall, Traced};
use crate::cancel::Cancel;
use crate::journal::Journal;
use crate::run::{Place, Runnable, Shell};
use crate::stuck::{Stuck, StuckRuns};
use crate::values::Values;

/// Performs the effects of flows; one per gateway, shared by all its runs. Needs a tokio runtime with timers.
pub struct Engine {
    pub(crate) adapter: Arc<dyn Adapter>,
    pub(crate) flows: HashMap<String, Arc<dyn Runnable>>,
    pub(crate) stuck: Arc<StuckRuns>,
}

impl Engine {
    /// An engine whose effects `adapter` performs.
    #[must_use]
    pub fn new(adapter: Arc<dyn Adapter>) -> Arc<Self> {
        Arc::new(Self { adapter, flows: HashMap::new(), stuck: Arc::default() })
    }

    /// The runs whose undoing failed.
    #[must_use]
    pub fn stuck_runs(&self) -> &Arc<StuckRuns> {
        &self.stuck
    }

    /// The adapter.
    #[must_use]
    pub fn adapter(&self) -> &dyn Adapter {
        &*self.adapter
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

impl Shell for Engine {
    fn flow(&self, slug: &str) -> Option<Arc<dyn Runnable>> {
        self.flows.get(slug).cloned()
    }

    fn stuck(&self, stuck: &Arc<Stuck>) {
        self.stuck.add(stuck);
    }

    fn timer(&self, wait: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(wait))
    }

    fn http<'a>(
        &'a self,
        _: Place<'_>,
        call: HttpCall,
        traced: Traced<'a>,
    ) -> BoxFuture<'a, Result<HttpAnswer, EffectError>> {
        if !self.adapter.has_target(&call.target) {
            return Box::pin(std::future::ready(Err(EffectError::UnknownTarget(call.target.to_string()))));
        }
        self.adapter.http(call, traced)
    }
}

/// What a run needs besides the request.
#[derive(Debug)]
pub struct Env {
    /// The request's log.
    pub log: Log,
    /// The node the flow's steps belong to: as a rule the request's own. It must be open and running.
    pub parent: NodeId,
    /// Who performs the effects.
    pub engine: Arc<Engine>,
    /// When the answer stops being of use; the flow's own deadline holds all the same.
    pub deadline: Option<Ticks>,
    /// Filled with the run's effects and answers, to replay it; none to save the work.
    pub journal: Option<Arc<Journal>>,
    /// Filled with what the steps give, for showing; none to save the work.
    pub values: Option<Arc<Values>>,
    /// For telling the run that its client left, where it has steps to undo; dropping the run would leave them done.
    pub cancel: Option<Arc<Cancel>>,
}

impl Env {
    /// A run for the request itself, without deadline, journal, values or cancel.
    #[must_use]
    pub fn new(log: Log, engine: Arc<Engine>) -> Self {
        Self { log, parent: NodeId::ROOT, engine, deadline: None, journal: None, values: None, cancel: None }
    }
}
