//! A flow as a value: its graph and how to run it; bound to a gateway's names, it answers requests.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::future::BoxFuture;
use zerver_telemetry::event::Cause;
use zerver_telemetry::names::{Name, Names};

use crate::engine::Env;
use crate::exit::{Exit, Fail, Result};
use crate::graph::{Graph, GraphNode, Head};
use crate::request::Req;
use crate::response::Response;
use crate::run::{BoundNames, Opening, Run, Shell};

/// A flow: what `#[flow]` makes of a function, and what loading makes of a page of configuration. Cheap to clone.
#[derive(Clone)]
pub struct Flow(Arc<Inner>);

struct Inner {
    graph: Arc<Graph>,
    body: Body,
}

/// Runs the nodes of one request. The future borrows the request and the run.
type Body = Box<dyn for<'a> Fn(&'a Req, &'a Run) -> BoxFuture<'a, Result<Response>> + Send + Sync>;

/// A flow with its names interned in a gateway's recorder, ready to run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BoundFlow {
    flow: Flow,
    names: Arc<BoundNames>,
}

/// How a run ended.
#[derive(Debug)]
pub struct FlowOutcome {
    /// The answer, or why there is none. A failure knows which step failed.
    pub result: std::result::Result<Response, Fail>,
    /// The optional steps that failed, by name, in the order of their failing.
    pub failures: Vec<(String, Fail)>,
}

impl Flow {
    pub(crate) fn new(
        graph: Graph,
        body: impl for<'a> Fn(&'a Req, &'a Run) -> BoxFuture<'a, Result<Response>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner { graph: Arc::new(graph), body: Box::new(body) }))
    }

    /// Makes a flow of what `#[flow]` wrote.
    ///
    /// # Panics
    /// When the steps are no graph; the macro has refused such a flow before.
    #[doc(hidden)]
    #[must_use]
    pub fn from_macro(
        meta: &FlowMeta,
        body: impl for<'a> Fn(&'a Req, &'a Run) -> BoxFuture<'a, Result<Response>> + Send + Sync + 'static,
    ) -> Self {
        Self::new(meta.graph(), body)
    }

    /// Its graph.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.0.graph
    }

    pub(crate) fn graph_arc(&self) -> &Arc<Graph> {
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

    /// The targets its steps are known to call: all of them for a flow from configuration, those that
    /// `#[step(targets(…))]` declares for a Rust flow.
    #[must_use]
    pub fn targets(&self) -> Vec<&str> {
        self.0.graph.targets()
    }

    /// Interns its names, so that runs need not. Takes locks: for load time.
    #[must_use]
    pub fn bind(&self, names: &Names) -> BoundFlow {
        let steps = self.graph().nodes().iter().map(|node| names.intern(&node.name)).collect();
        let names = Arc::new(BoundNames { flow: names.intern(self.slug()), steps });
        BoundFlow { flow: self.clone(), names }
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
        self.names.flow
    }

    pub(crate) fn names(&self) -> &Arc<BoundNames> {
        &self.names
    }

    /// Answers a request.
    ///
    /// While it runs, `env.parent` (the request's own node, as a rule) is parked until the step that ends the flow; the
    /// run writes that itself. Never panics for a step's sake: a step that panics is a failure with status 500.
    ///
    /// # Cancel safety
    /// Dropping the future cancels every step and effect, which the timeline shows.
    pub fn run(&self, req: Req, env: Env) -> impl Future<Output = FlowOutcome> + Send + use<> {
        let Env { log, parent, engine, deadline, journal } = env;
        let deadline = crate::deadline::earlier(deadline, req.deadline);
        let seed = log.trace_id().0 as u64;
        let opening = Opening {
            graph: Arc::clone(&self.flow.0.graph),
            names: Arc::clone(&self.names),
            log,
            parent,
            shell: engine as Arc<dyn Shell>,
            journal,
            deadline,
            seed,
        };
        let flow = self.flow.clone();
        async move { perform(&flow, &req, opening).await }
    }
}

/// Runs a flow from its opening to its outcome, on whatever shell the opening names.
pub(crate) async fn perform(flow: &Flow, req: &Req, opening: Opening) -> FlowOutcome {
    let run = Run::new(opening);
    if let Some(journal) = &run.journal {
        journal.begin(flow.slug(), flow.version(), run.seed, req);
    }
    run.log.state(run.started, run.parent, Cause::Join, Name::NONE, None);
    let result = (flow.0.body)(req, &run).await;
    let (at, last) = run.ended().unwrap_or_else(|| (run.log.now(), None));
    run.log.state(at, run.parent, Cause::Run, Name::NONE, last);
    let result = match result {
        Ok(response) => Ok(response),
        Err(Exit::Done(response)) => Ok(*response),
        Err(Exit::Fail(fail)) => Err(*fail),
    };
    let result = result.map(|response: Response| response.timed_by(&run.shell));
    if let Some(journal) = &run.journal {
        journal.end(result.as_ref().map_or_else(|fail| fail.status, |response| response.status));
    }
    let failures = run.failures();
    debug_assert!(run.cells.iter().all(|cell| cell.in_flight.load(Relaxed) == 0), "an effect outlived its flow");
    FlowOutcome { result, failures }
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Flow({}@{})", self.slug(), self.version())
    }
}

/// What `#[step]` knows of a step.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct StepMeta {
    pub name: &'static str,
    pub doc: &'static str,
    pub timeout: Option<Duration>,
    pub targets: &'static [&'static str],
}

/// What `#[flow]` knows of a line.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct NodeMeta {
    pub name: &'static str,
    pub step: StepMeta,
    pub reads: &'static [&'static str],
    pub after: &'static [&'static str],
    pub optional: bool,
    pub conditional: bool,
    pub timeout: Option<Duration>,
    pub retries: u32,
    pub line: u32,
}

/// What `#[flow]` knows of a flow.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct FlowMeta {
    pub slug: &'static str,
    pub version: u32,
    pub owner: Option<&'static str>,
    pub deadline: Option<Duration>,
    pub doc: &'static str,
    pub file: &'static str,
    pub line: u32,
    pub nodes: &'static [NodeMeta],
}

impl FlowMeta {
    fn graph(&self) -> Graph {
        let head = Head {
            slug: self.slug.to_owned(),
            version: self.version,
            owner: self.owner.map(str::to_owned),
            deadline: self.deadline,
            doc: self.doc.to_owned(),
            file: self.file.to_owned(),
            line: self.line,
        };
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let nodes = self.nodes.iter().map(|node| GraphNode {
            reads: texts(node.reads),
            after: texts(node.after),
            optional: node.optional,
            conditional: node.conditional,
            timeout: node.timeout.or(node.step.timeout),
            retries: node.retries,
            doc: node.step.doc.to_owned(),
            line: node.line,
            targets: texts(node.step.targets),
            ..GraphNode::new(node.name, node.step.name)
        });
        Graph::new(head, nodes.collect()).expect("the macro refuses a flow whose steps are no graph")
    }
}
