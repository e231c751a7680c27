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

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde::Serialize;
use zerver_telemetry::clock::Ticks;
use zerver_telemetry::event::{NodeId, NodeKind, Outcome};
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::{Opening as NodeOpening, Recorder, Recording};
use zerver_telemetry::timeline::{Node, Timeline};

use crate::adapter::{EffectError, HttpAnswer, HttpCall, Traced};
use crate::body::{Body, Broken, End, Read};
use crate::effect::Fx;
use crate::exit::{Exit, Fail, Result};
use crate::flow::{Flow, FlowOutcome, perform};
use crate::graph::{Graph, GraphNode, Head};
use crate::journal::{Journal, Key, Record, line};
use crate::request::Req;
use crate::run::{BoundNames, Opening, Run, Shell};
use crate::virtual_time::VirtualTime;

/// A world that answers by script. Calls that no rule matches fail, loudly.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    rules: Vec<Rule>,
    deadline: Option<Duration>,
    leaves: Option<Duration>,
}

/// What a call gets; see [`Fake::on`].
#[derive(Clone, Debug)]
pub struct Rule {
    begins: String,
    takes: Duration,
    times: Option<u32>,
    answer: Scripted,
}

#[derive(Clone, Debug)]
enum Scripted {
    Answer(HttpAnswer),
    Error(EffectError),
    Never,
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
        self.rules.push(Rule {
            begins: call.to_owned(),
            takes: Duration::ZERO,
            times: None,
            answer: Scripted::Answer(HttpAnswer::default()),
        });
        self.rules.last_mut().expect("just pushed")
    }

    /// Gives every run a deadline, as a client may.
    pub fn deadline(&mut self, time: Duration) -> &mut Self {
        self.deadline = Some(time);
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
        let stage = Stage::new();
        let recording = stage.recorder.start(stage.recorder.clock().now(), None, true);
        let bound = flow.bind(stage.recorder.names());
        recording.route(bound.name(), bound.name(), 0);
        let journal = Journal::new();
        let opening = Opening {
            graph: Arc::clone(flow.graph_arc()),
            names: Arc::clone(bound.names()),
            log: (*recording).clone(),
            parent: NodeId::ROOT,
            shell: stage.shell(self),
            journal: Some(Arc::clone(&journal)),
            deadline: self.deadline.map(|by| stage.time.clock().after(recording.now(), by)),
            seed: recording.trace_id().0 as u64,
        };
        let outcome = stage.time.run(perform(flow, &req, opening)).unwrap_or_else(|| FlowOutcome {
            result: Err(Fail::internal(
                "never_ends",
                "the flow waits for an answer that never comes and has no deadline",
            )),
            failures: Vec::new(),
        });
        stage.finish(recording, outcome, &journal, self.leaves)
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
            graph: Arc::new(graph),
            names: Arc::new(BoundNames { flow: name, steps: Box::new([name]) }),
            log: (*recording).clone(),
            parent: NodeId::ROOT,
            shell: stage.shell(self),
            journal: None,
            deadline: None,
            seed: recording.trace_id().0 as u64,
        });
        let node = recording.open(recording.now(), NodeOpening::running(name, NodeKind::Step, NodeId::ROOT));
        run.cells[0].node.store(node.0, std::sync::atomic::Ordering::Relaxed);
        let ended = stage.time.run(step(&Fx::new(&run, 0)));
        match ended {
            Some(Ok(value)) => Ok(value),
            Some(Err(Exit::Fail(fail))) => Err(*fail),
            Some(Err(Exit::Done(answer))) => {
                Err(Fail::internal("answered", format!("the step ended the flow with status {}", answer.status)))
            }
            None => Err(Fail::internal("never_ends", "the step waits for an answer that never comes")),
        }
    }
}

impl Rule {
    /// How long the answer takes.
    pub fn takes(&mut self, time: Duration) -> &mut Self {
        self.takes = time;
        self
    }

    /// Holds for this many calls; later ones go to the rules below it.
    pub fn times(&mut self, times: u32) -> &mut Self {
        self.times = Some(times);
        self
    }

    fn answer(&mut self) -> &mut HttpAnswer {
        if !matches!(self.answer, Scripted::Answer(_)) {
            self.answer = Scripted::Answer(HttpAnswer::default());
        }
        match &mut self.answer {
            Scripted::Answer(answer) => answer,
            _ => unreachable!("just made one"),
        }
    }

    /// Answers with this status. A number that is no status becomes 500.
    pub fn status(&mut self, status: u16) -> &mut Self {
        self.answer().status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self
    }

    /// Answers with this body, as JSON.
    ///
    /// # Panics
    /// When `value` cannot be written as JSON: the test's own mistake.
    pub fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> &mut Self {
        let body = serde_json::to_vec(value).expect("a scripted body can be written as JSON");
        let answer = self.answer();
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer.body = body.into();
        self
    }

    /// Answers with this body.
    pub fn body(&mut self, body: impl Into<Bytes>) -> &mut Self {
        self.answer().body = body.into();
        self
    }

    /// Answers with this header.
    ///
    /// # Panics
    /// When HTTP does not allow it: the test's own mistake.
    pub fn header(&mut self, name: &str, value: &str) -> &mut Self {
        let name: HeaderName = name.parse().expect("a scripted header has a name that HTTP allows");
        let value = HeaderValue::from_str(value).expect("a scripted header has a value that HTTP allows");
        self.answer().headers.insert(name, value);
        self
    }

    /// Gives no answer but this error.
    pub fn error(&mut self, error: EffectError) -> &mut Self {
        self.answer = Scripted::Error(error);
        self
    }

    /// Never answers.
    pub fn never(&mut self) -> &mut Self {
        self.answer = Scripted::Never;
        self
    }
}

/// One recorder and one clock for one run.
pub(crate) struct Stage {
    pub(crate) time: Arc<VirtualTime>,
    pub(crate) recorder: Recorder,
    began: Ticks,
    calls: Arc<Mutex<Vec<Called>>>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let time = VirtualTime::new();
        let recorder = Recorder::for_tests(time.clock().clone());
        let began = time.clock().now();
        Self { time, recorder, began, calls: Arc::default() }
    }

    fn shell(&self, fake: &Fake) -> Arc<dyn Shell> {
        Arc::new(World {
            time: Arc::clone(&self.time),
            rules: Mutex::new(fake.rules.clone()),
            calls: Arc::clone(&self.calls),
        })
    }

    /// Reads the answer, closes the recording and reads it back. A client that leaves does so `leaves` after the start.
    pub(crate) fn finish(
        &self,
        recording: Recording,
        mut outcome: FlowOutcome,
        journal: &Journal,
        leaves: Option<Duration>,
    ) -> Done {
        let clock = self.recorder.clock();
        let name = |text| self.recorder.names().intern(text);
        let (mut end, status, mut error) = match &outcome.result {
            Ok(response) => (Outcome::Ok, response.status, Name::NONE),
            Err(fail) => (Outcome::Error, fail.status, name(fail.code)),
        };
        let (mut pieces, mut broken) = (Vec::new(), None);
        if let Ok(response) = &mut outcome.result
            && let Body::Stream(stream) = &mut response.body
        {
            let leaves = leaves.map(|by| self.time.timer(by.saturating_sub(clock.since(self.began))));
            let mut read = Read::new();
            // None when it waits for ever, which it says by itself.
            let _ = self.time.run(read.read(stream, &recording, leaves));
            response.body = read.whole.freeze().into();
            pieces = read.pieces.into_iter().map(|(at, piece)| (clock.between(self.began, at), piece)).collect();
            match read.end {
                End::Whole => {}
                End::Left => (end, error) = (Outcome::Cancelled, name("client_gone")),
                End::Broken(why) => {
                    (end, error) = (Outcome::Error, name("stream_failed"));
                    broken = Some(why);
                }
            }
        }
        recording.finish(clock.now(), end, status.as_u16(), error);
        let timeline = self.recorder.timelines().pop().expect("a finished recording reads back");
        let calls = std::mem::take(&mut *self.calls.lock());
        Done { outcome, timeline, journal: journal.record(), calls, pieces, broken }
    }
}

struct World {
    time: Arc<VirtualTime>,
    rules: Mutex<Vec<Rule>>,
    calls: Arc<Mutex<Vec<Called>>>,
}

impl Shell for World {
    fn timer(&self, wait: Duration) -> BoxFuture<'static, ()> {
        self.time.timer(wait)
    }

    fn http<'a>(&'a self, key: Key, call: HttpCall, _: Traced) -> BoxFuture<'a, Result<HttpAnswer, EffectError>> {
        let asked = line(&call);
        let mut rules = self.rules.lock();
        let found = rules.iter_mut().find(|rule| asked.starts_with(&rule.begins) && rule.times != Some(0));
        let (takes, answer) = match found {
            Some(rule) => {
                rule.times = rule.times.map(|left| left - 1);
                (rule.takes, rule.answer.clone())
            }
            None => {
                let known: Vec<&str> = rules.iter().map(|rule| rule.begins.as_str()).collect();
                let text = format!("no rule of the fake matches `{asked}`; there are rules for {known:?}");
                (Duration::ZERO, Scripted::Error(EffectError::BadCall(text)))
            }
        };
        self.calls.lock().push(Called { step: key.slot.to_string(), line: asked, call });
        let timer = self.time.timer(takes);
        Box::pin(async move {
            timer.await;
            match answer {
                Scripted::Answer(answer) => Ok(answer),
                Scripted::Error(error) => Err(error),
                Scripted::Never => std::future::pending().await,
            }
        })
    }
}

/// A call that was made.
#[derive(Clone, Debug)]
pub struct Called {
    /// The step that made it.
    pub step: String,
    /// `GET cart:/v1/carts/7`.
    pub line: String,
    /// All of it.
    pub call: HttpCall,
}

/// What came of a run.
#[derive(Debug)]
pub struct Done {
    /// The answer or the failure, and the optional failures.
    pub outcome: FlowOutcome,
    /// Who ran when, to the nanosecond of virtual time.
    pub timeline: Timeline,
    /// The effects and their answers; see [`replay`](crate::replay).
    pub journal: Record,
    /// The calls, in the order they were made.
    pub calls: Vec<Called>,
    /// The pieces of a streamed answer, each with the time since the request began; none for a whole one. The answer's
    /// body is all of them.
    pub pieces: Vec<(Duration, Bytes)>,
    /// Why a streamed answer broke off, if it did.
    pub broken: Option<Broken>,
}

impl Done {
    /// The status of the answer, or of the failure.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.outcome.result.as_ref().map_or_else(|fail| fail.status, |response| response.status).as_u16()
    }

    /// The answer's body as text, all of it that came; empty for a failure.
    #[must_use]
    pub fn text(&self) -> String {
        let body = self.outcome.result.as_ref().ok().and_then(|response| response.body.whole());
        body.map_or_else(String::new, |bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The answer's body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text()).unwrap_or_default()
    }

    /// Why the flow failed, if it did.
    #[must_use]
    pub fn fail(&self) -> Option<&Fail> {
        self.outcome.result.as_ref().err()
    }

    /// How long it took.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.timeline.latency_ns)
    }

    /// The node of a step, or of an effect by its path (`cart.cart`: step, then target).
    #[must_use]
    pub fn node(&self, path: &str) -> Option<&Node> {
        self.timeline.nodes.iter().find(|node| node.id != NodeId::ROOT && self.timeline.path(node.id) == path)
    }

    /// When the node of this path began and ended.
    #[must_use]
    pub fn span(&self, path: &str) -> Option<(Duration, Duration)> {
        self.node(path).map(|node| (Duration::from_nanos(node.start_ns), Duration::from_nanos(node.end_ns)))
    }
}
