//! A flow as a value: its graph and how to run it; bound to a gateway's names, it answers requests.

use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use zerver_telemetry::event::Cause;
use zerver_telemetry::names::{Name, Names};

use crate::adapter::Adapter;
use crate::bound::Bound;
use crate::engine::{Engine, Env};
use crate::exit::{Exit, Fail, Result};
use crate::graph::Graph;
use crate::journal::Journal;
use crate::meta::FlowMeta;
use crate::request::Req;
use crate::response::Response;
use crate::run::{Opening, Run, Runnable, Shell};
use crate::stuck::{Stuck, StuckRuns};
use crate::watch::Watch;

/// A flow: what `#[flow]` makes of a function, and what loading makes of a page of configuration. Cheap to clone.
#[derive(Clone)]
pub struct Flow(Arc<Inner>);

struct Inner {
    graph: Arc<Graph>,
    body: Body,
    /// Bytes of the future that holds a run's slots and steps; 0 where it is not known before a run.
    size: usize,
}

/// Runs the nodes of one request. The future borrows the request and the run.
type Body = Box<dyn for<'a> Fn(&'a Req, &'a Run) -> BoxFuture<'a, Result<Response>> + Send + Sync>;

/// A flow with its names interned in a gateway's recorder, ready to run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BoundFlow {
    flow: Flow,
    bound: Arc<Bound>,
}

/// How a run ended.
#[derive(Debug)]
pub struct FlowOutcome {
    /// The answer, or why there is none. A failure knows which step failed.
    pub result: std::result::Result<Response, Fail>,
    /// The optional steps that failed, by name, in the order of their failing; and the failure that a flow's `on_error`
    /// step has answered.
    pub failures: Vec<(String, Fail)>,
    /// What could not be undone, when the flow failed and that failed too.
    pub stuck: Option<Arc<Stuck>>,
}

impl Flow {
    #[cfg_attr(not(feature = "declare"), expect(dead_code, reason = "only pages make flows without the macro"))]
    pub(crate) fn new(
        graph: Graph,
        body: impl for<'a> Fn(&'a Req, &'a Run) -> BoxFuture<'a, Result<Response>> + Send + Sync + 'static,
    ) -> Self {
        Self::sized(graph, 0, body)
    }

    fn sized(
        graph: Graph,
        size: usize,
        body: impl for<'a> Fn(&'a Req, &'a Run) -> BoxFuture<'a, Result<Response>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner { graph: Arc::new(graph), body: Box::new(body), size }))
    }

    /// Makes a flow of what `#[flow]` wrote.
    ///
    /// # Panics
    /// When the steps are no graph; the macro has refused such a flow before.
    #[doc(hidden)]
    #[must_use]
    pub fn from_macro(
        meta: &FlowMeta,
        size: usize,
        body: impl for<'a> Fn(&'a Req, &'a Run) -> BoxFuture<'a, Result<Response>> + Send + Sync + 'static,
    ) -> Self {
        Self::sized(meta.graph(), size, body)
    }

    /// Its graph.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.0.graph
    }

    /// Its name: the URL's last part, the timeline's flow.
    #[must_use]
    pub fn slug(&self) -> &str {
        self.0.graph.slug()
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.0.graph.head().version
    }

    /// Bytes that one run's slots and steps take, in one allocation; 0 for a flow from configuration, whose steps are
    /// allocated one by one.
    #[must_use]
    pub fn future_bytes(&self) -> usize {
        self.0.size
    }

    /// The targets its steps are known to call: all of them for a flow from configuration, those that
    /// `#[step(targets(…))]` declares for a Rust flow.
    #[must_use]
    pub fn targets(&self) -> Vec<&str> {
        self.0.graph.targets()
    }

    /// Interns its names, so that runs need not. Takes locks: for load time.
    #[must_use]
    pub fn bind(&self, names: &Names) -> BoundFlow {
        BoundFlow { flow: self.clone(), bound: Bound::new(&self.0.graph, names) }
    }
}

impl BoundFlow {
    /// The flow.
    #[must_use]
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// The flow's name in the recorder it is bound to: for `Log::route`.
    #[must_use]
    pub fn name(&self) -> Name {
        self.bound.flow
    }

    /// Answers a request.
    ///
    /// While it runs, `env.parent` (the request's own node, as a rule) is parked until the step that ends the flow; the
    /// run writes that itself. Never panics for a step's sake: a step that panics is a failure with status 500.
    ///
    /// # Cancel safety
    /// Dropping the future cancels every step and effect, which the timeline shows.
    pub fn run(&self, req: Req, env: Env) -> impl Future<Output = FlowOutcome> + Send + use<> {
        let Env { log, parent, engine, deadline, journal, values, cancel } = env;
        let deadline = crate::deadline::earlier(deadline, req.deadline);
        let seed = log.trace_id().0 as u64;
        let opening = Opening {
            bound: Arc::clone(&self.bound),
            log,
            parent,
            shell: engine as Arc<dyn Shell>,
            journal,
            values,
            cancel,
            resumed: None,
            deadline,
            seed,
        };
        let flow = self.clone();
        async move { perform(&flow, &req, opening).await }
    }
}

impl Runnable for BoundFlow {
    fn bound(&self) -> &Arc<Bound> {
        &self.bound
    }

    fn body<'a>(&self, req: &'a Req, run: &'a Run) -> BoxFuture<'a, Result<Response>> {
        (self.flow.0.body)(req, run)
    }
}

impl Engine {
    /// An engine for steps that run other flows, these ones by their names; `stuck` takes the runs whose undoing fails.
    #[must_use]
    pub fn with(
        adapter: Arc<dyn Adapter>,
        flows: impl IntoIterator<Item = BoundFlow>,
        stuck: Arc<StuckRuns>,
    ) -> Arc<Self> {
        let named = |flow: BoundFlow| (flow.flow.slug().to_owned(), Arc::new(flow) as Arc<dyn Runnable>);
        let flows = flows.into_iter().map(named).collect();
        Arc::new(Self { adapter, flows, stuck })
    }
}

/// Flows that may replace one another before one has to answer.
const REPLACED_MAX: usize = 4;

/// Runs a flow from its opening to its outcome, on whatever shell the opening names.
pub(crate) async fn perform(flow: &BoundFlow, req: &Req, mut opening: Opening) -> FlowOutcome {
    if flow.flow.graph().has_undo() {
        // What is to be undone has to be found again, should the undoing fail.
        opening.journal.get_or_insert_with(Journal::new);
    }
    let run = Run::new(opening);
    let shared = &run.shared;
    if let Some(journal) = &shared.journal {
        journal.begin(flow.flow.slug(), flow.flow.version(), run.seed, req);
    }
    shared.log.state(run.started, run.parent, Cause::Join, Name::NONE, None);
    let mut watch = Watch::over(&run, req);
    let result = flow.body(req, &run).await;
    let stuck = watch.release();
    let (result, stuck) = match result {
        Err(Exit::Replace(next)) => crate::insert::replace(&run, *next, REPLACED_MAX).await,
        result => (result, stuck),
    };
    let (at, last) = run.ended().unwrap_or_else(|| (shared.log.now(), None));
    shared.log.state(at, run.parent, Cause::Run, Name::NONE, last);
    let result = match result {
        Ok(response) => Ok(response),
        Err(Exit::Done(response)) => Ok(*response),
        Err(Exit::Fail(fail)) => Err(*fail),
        Err(Exit::Replace(next)) => Err(crate::insert::too_many(&next.slug)),
    };
    let result = result.map(|response: Response| response.timed_by(&shared.shell));
    if let Some(journal) = &shared.journal {
        journal.end(result.as_ref().map_or_else(|fail| fail.status, |response| response.status));
    }
    if shared.arena.used() > 0 {
        let bytes = i64::try_from(shared.arena.used()).unwrap_or(i64::MAX);
        shared.log.attr_int(run.parent, shared.log.name("zerver.flow.scratch_bytes"), bytes);
    }
    let failures = std::mem::take(&mut *run.shared.told.lock());
    debug_assert!(run.cells.iter().all(|cell| cell.stamp.pending().0 == 0), "an effect outlived its flow");
    FlowOutcome { result, failures, stuck }
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Flow({}@{})", self.slug(), self.version())
    }
}

/// Bytes of the future that `body` makes, without making one.
#[doc(hidden)]
pub fn future_size<'a, F: Future>(body: impl Fn(&'a Req, &'a Run) -> F) -> usize {
    let _ = body;
    size_of::<F>()
}
