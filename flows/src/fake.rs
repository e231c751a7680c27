//! Flows and steps under test: scripted answers, virtual time, an exact timeline, no I/O.
//!
//! ```
//! use std::time::Duration;
//! use zerver_flows::{Fx, Req, Response, Result, fake::Fake, flow, step};
//!
//! #[step]
//! async fn load_user(req: &Req, fx: &Fx<'_>) -> Result<String> {
//!     fx.get(format!("users:/v1/users/{}", req.param("id").unwrap_or("me"))).await?.json()
//! }
//! #[step]
//! async fn respond(user: &String) -> Result<Response> {
//!     Ok(Response::text(format!("hello {user}")))
//! }
//! #[flow("greet-user")]
//! async fn greet(req: &Req) -> Response {
//!     let user = load_user(req);
//!     respond(user)
//! }
//!
//! let mut fake = Fake::new();
//! fake.on("GET users:/v1/users/7").takes(Duration::from_millis(12)).json(&"Ada");
//! let done = fake.run(&greet(), Req::get("/greet").with_param("id", "7"));
//! assert_eq!((done.status(), done.text()), (200, "hello Ada".into()));
//! assert_eq!(done.elapsed(), Duration::from_millis(12));
//! ```

use std::sync::Arc;
use std::time::Duration;

use zerver_telemetry::event::{NodeId, NodeKind};
use zerver_telemetry::recorder::Opening as NodeOpening;

use crate::bound::Bound;
use crate::cancel::Cancel;
use crate::effect::Fx;
use crate::exit::{Exit, Fail, Result};
use crate::flow::{BoundFlow, Flow, FlowOutcome, perform};
use crate::graph::{Graph, GraphNode, Head};
use crate::journal::Journal;
use crate::request::Req;
use crate::run::{Opening, Run, Runnable as _, Shell};
use crate::stuck::Stuck;
use crate::values::Values;

mod script;
mod stage;

pub use script::{Called, Rule};
pub use stage::Done;
pub(crate) use stage::Stage;

/// A world that answers by script. Calls that no rule matches fail, loudly.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    rules: Vec<Rule>,
    deadline: Option<Duration>,
    leaves: Option<Duration>,
    flows: Vec<Flow>,
}

impl Fake {
    /// A world without answers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Scripts the calls whose line (`GET cart:/v1/carts/7`) begins with `call`; until told otherwise they are
    /// answered at once with status 200 and no body. The first rule that matches holds.
    pub fn on(&mut self, call: &str) -> &mut Rule {
        self.rules.push(Rule::new(call));
        self.rules.last_mut().expect("just pushed")
    }

    /// Gives every run a deadline, as a client may.
    pub fn deadline(&mut self, time: Duration) -> &mut Self {
        self.deadline = Some(time);
        self
    }

    /// Has this flow there, for steps that run another one.
    pub fn flow(&mut self, flow: Flow) -> &mut Self {
        self.flows.push(flow);
        self
    }

    /// The client leaves after so long, counted from its request; a stream without end ends there.
    pub fn client_leaves(&mut self, after: Duration) -> &mut Self {
        self.leaves = Some(after);
        self
    }

    /// Runs a flow in virtual time, and reads a streamed answer to its end.
    #[must_use]
    pub fn run(&self, flow: &Flow, req: Req) -> Done {
        self.perform(flow, req, |_, opening| Ok(opening)).expect("a new run needs nothing of an old one")
    }

    /// Goes on with the undoing of a run that is stuck, in virtual time and with this world's answers.
    ///
    /// # Errors
    /// As [`Stuck::resume`].
    pub fn resume(&self, flow: &Flow, stuck: &Stuck) -> Result<Done, String> {
        self.perform(flow, stuck.request(), |bound, opening| {
            let Opening { log, parent, shell, journal, .. } = opening;
            stuck.opening(bound, log, parent, shell, journal.unwrap_or_else(Journal::new))
        })
    }

    fn perform(
        &self,
        flow: &Flow,
        req: Req,
        change: impl FnOnce(&BoundFlow, Opening) -> Result<Opening, String>,
    ) -> Result<Done, String> {
        let stage = Stage::new();
        let bound = flow.bind(stage.recorder.names());
        self.play(&stage, &bound, req, |opening| change(&bound, opening))
    }

    /// This world on a stage.
    pub(crate) fn shell(&self, stage: &Stage) -> Arc<dyn Shell> {
        stage.shell(&self.rules, &self.flows)
    }

    /// Runs a flow on a stage, as it may have been before.
    pub(crate) fn play(
        &self,
        stage: &Stage,
        bound: &BoundFlow,
        req: Req,
        change: impl FnOnce(Opening) -> Result<Opening, String>,
    ) -> Result<Done, String> {
        let recording = stage.recorder.start(stage.recorder.clock().now(), None, true);
        recording.route(bound.name(), bound.name(), 0);
        let journal = Journal::new();
        let cancel = self.leaves.map(|_| Cancel::new());
        let values = Values::new(Arc::default());
        let opening = change(Opening {
            bound: Arc::clone(bound.bound()),
            log: (*recording).clone(),
            parent: NodeId::ROOT,
            shell: self.shell(stage),
            journal: Some(Arc::clone(&journal)),
            values: Some(Arc::clone(&values)),
            cancel: cancel.clone(),
            resumed: None,
            deadline: self.deadline.map(|by| stage.time.clock().after(recording.now(), by)),
            seed: recording.trace_id().0 as u64,
        })?;
        let leave = async {
            if let (Some(after), Some(cancel)) = (self.leaves, cancel) {
                stage.time.timer(after).await;
                cancel.client_left();
            }
        };
        let run = perform(bound, &req, opening);
        let both = async {
            let (run, leave) = (std::pin::pin!(run), std::pin::pin!(leave));
            match futures_util::future::select(run, leave).await {
                futures_util::future::Either::Left((outcome, _)) => outcome,
                futures_util::future::Either::Right(((), run)) => run.await,
            }
        };
        let outcome = stage.time.run(both).unwrap_or_else(|| FlowOutcome {
            result: Err(Fail::internal(
                "never_ends",
                "the flow waits for an answer that never comes and has no deadline",
            )),
            failures: Vec::new(),
            stuck: None,
        });
        Ok(Done { values: values.read(), ..stage.finish(recording, outcome, &journal, self.leaves) })
    }

    /// Runs one step, or any code that takes an [`Fx`], in virtual time.
    ///
    /// # Errors
    /// What the step ends with instead of its value; an early answer is a failure here.
    pub fn step<T>(&self, step: impl AsyncFnOnce(&Fx<'_>) -> Result<T>) -> Result<T, Fail> {
        let stage = Stage::new();
        let recording = stage.recorder.start(stage.recorder.clock().now(), None, true);
        let head = Head { slug: "one-step".to_owned(), ..Head::default() };
        let graph = Graph::new(head, vec![GraphNode::new("step", "step")]).expect("one node without reads is a graph");
        let name = stage.recorder.names().intern("step");
        let run = Run::new(Opening {
            bound: Bound::new(&Arc::new(graph), stage.recorder.names()),
            log: (*recording).clone(),
            parent: NodeId::ROOT,
            shell: self.shell(&stage),
            journal: None,
            values: None,
            cancel: None,
            resumed: None,
            deadline: None,
            seed: recording.trace_id().0 as u64,
        });
        let node = recording.open(recording.now(), NodeOpening::running(name, NodeKind::Step, NodeId::ROOT));
        run.cells[0].stamp.open(node);
        let ended = stage.time.run(step(&Fx::new(&run, 0)));
        match ended {
            Some(Ok(value)) => Ok(value),
            Some(Err(Exit::Fail(fail))) => Err(*fail),
            Some(Err(Exit::Done(answer))) => {
                Err(Fail::internal("answered", format!("the step ended the flow with status {}", answer.status)))
            }
            Some(Err(Exit::Replace(next))) => {
                Err(Fail::internal("replaced", format!("the step handed over to flow `{}`", next.slug)))
            }
            None => Err(Fail::internal("never_ends", "the step waits for an answer that never comes")),
        }
    }
}
