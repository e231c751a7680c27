//! The stuck runs on the admin listener: what could not be undone, going on with it, and taking it off the list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::{Method, StatusCode};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;
use zerver_flows::stuck::{Stuck, StuckRuns};
use zerver_flows::{Engine, Env, Fail};
use zerver_telemetry::event::{NodeId, Outcome};
use zerver_telemetry::id::{TraceContext, TraceId};
use zerver_telemetry::metrics::{Sink, Source, catalog};
use zerver_telemetry::names::Name;
use zerver_telemetry::propagation::Carried;
use zerver_telemetry::redact::Redaction;

use super::answer::{Reply, error, json};
use crate::effects::Effects;
use crate::live::Live;
use crate::plan::log_stuck;

/// The route that the timelines of resumed runs are of.
pub const ROUTE: &str = "resume";
/// The most runs that are resumed at once.
const AT_ONCE: usize = 16;

/// The stuck runs of one gateway, and the resuming of them.
pub struct StuckDesk {
    live: Arc<Live>,
    /// Runs that are being resumed: off the list, so that nobody else takes them, and still to be seen.
    resuming: Mutex<BTreeMap<u64, Arc<Stuck>>>,
    undone: AtomicU64,
    stuck_again: AtomicU64,
    dismissed: AtomicU64,
    tasks: TaskTracker,
}

/// A stuck run as the admin API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StuckLine {
    /// Its number, which it keeps while the process lives.
    pub number: u64,
    /// The flow.
    pub flow: String,
    /// Its version then.
    pub version: u32,
    /// The request's trace.
    pub trace_id: TraceId,
    /// When it got stuck, in nanoseconds since the Unix epoch.
    pub unix_ns: u64,
    /// How long ago that is, in seconds.
    pub age_s: f64,
    /// Why the flow failed.
    pub failed: Why,
    /// Which undo step failed, and why.
    pub undo_failed: Why,
    /// The steps that are done and not undone, in the order in which they are to be undone.
    pub rest: Vec<String>,
    /// Whether somebody goes on with it now.
    pub resuming: bool,
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The step; none when the run was dropped as a whole.
    pub step: Option<String>,
    /// The failure's stable word.
    pub code: String,
    /// What the operator may read.
    pub detail: String,
}

impl Why {
    fn of(fail: &Fail, rules: &Redaction) -> Self {
        Self {
            step: fail.step.as_deref().map(str::to_owned),
            code: fail.code.to_owned(),
            detail: rules.text(fail.detail.as_deref().unwrap_or(&fail.message)).into_owned(),
        }
    }
}

/// What came of resuming a run whose undoing is done now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// The run's number.
    pub number: u64,
    /// The trace of the request and of the undoing.
    pub trace_id: TraceId,
    /// The steps that were undone, in order.
    pub undone: Vec<String>,
}

impl StuckDesk {
    /// The desk of a gateway.
    #[must_use]
    pub fn new(live: Arc<Live>) -> Arc<Self> {
        Arc::new(Self {
            live,
            resuming: Mutex::default(),
            undone: AtomicU64::new(0),
            stuck_again: AtomicU64::new(0),
            dismissed: AtomicU64::new(0),
            tasks: TaskTracker::new(),
        })
    }

    /// Every stuck run, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<StuckLine> {
        // Both under one lock: a run that goes from one list to the other is seen once.
        let resuming = self.resuming.lock();
        let mut lines: Vec<StuckLine> = self.runs().list().iter().map(|(n, stuck)| self.line(*n, stuck)).collect();
        lines.extend(resuming.iter().map(|(n, stuck)| StuckLine { resuming: true, ..self.line(*n, stuck) }));
        lines.sort_by_key(|line| line.number);
        lines
    }

    /// Waits for the runs that are being resumed, at most so long, and says in the log what is forgotten with the process.
    pub async fn stop(&self, time: Duration) {
        self.tasks.close();
        // What is not done by then is told below.
        let _ = tokio::time::timeout(time, self.tasks.wait()).await;
        let left = self.list();
        if !left.is_empty() {
            let traces = left.iter().map(|line| line.trace_id.to_string()).collect::<Vec<_>>().join(", ");
            tracing::error!(runs = left.len(), traces, "stuck runs are forgotten with this process; undo them by hand");
        }
    }

    /// Answers what is asked of the pages below `/stuck`; `rest` is the path after that.
    pub(super) async fn answer(self: &Arc<Self>, method: &Method, rest: &str) -> Reply {
        let (number, verb) = match rest.trim_start_matches('/').split_once('/') {
            Some((number, verb)) => (number, Some(verb)),
            None => (rest.trim_start_matches('/'), None),
        };
        let reads = *method == Method::GET || *method == Method::HEAD;
        if number.is_empty() {
            return if reads { json(&self.list()) } else { error(StatusCode::METHOD_NOT_ALLOWED, "use GET") };
        }
        let Ok(number) = number.parse::<u64>() else {
            return error(StatusCode::BAD_REQUEST, "a stuck run has a number; GET /stuck lists them");
        };
        match verb {
            None if reads => match self.list().into_iter().find(|line| line.number == number) {
                Some(line) => json(&line),
                None => none(number),
            },
            None if *method == Method::DELETE => self.forget(number),
            None => error(StatusCode::METHOD_NOT_ALLOWED, "use GET or DELETE"),
            Some("resume") if *method == Method::POST => self.resume(number).await,
            Some("resume") => error(StatusCode::METHOD_NOT_ALLOWED, "use POST"),
            Some(_) => error(StatusCode::NOT_FOUND, "no such page; GET / lists them"),
        }
    }

    fn runs(&self) -> Arc<StuckRuns> {
        Arc::clone(self.live.plan().engine.stuck_runs())
    }

    fn line(&self, number: u64, stuck: &Stuck) -> StuckLine {
        let clock = self.live.recorder.clock();
        let rules = self.live.recorder.redaction();
        StuckLine {
            number,
            flow: stuck.flow.clone(),
            version: stuck.version,
            trace_id: stuck.trace_id,
            unix_ns: stuck.unix_ns,
            age_s: clock.unix_ns(clock.now()).saturating_sub(stuck.unix_ns) as f64 / 1e9,
            failed: Why::of(&stuck.failed, &rules),
            undo_failed: Why::of(&stuck.why, &rules),
            rest: stuck.rest.clone(),
            resuming: false,
        }
    }

    /// Takes a run off the list: somebody has undone the rest by hand.
    fn forget(&self, number: u64) -> Reply {
        let resuming = self.resuming.lock();
        if resuming.contains_key(&number) {
            return under_way(number);
        }
        let Some(stuck) = self.runs().take(number) else { return none(number) };
        self.dismissed.fetch_add(1, Relaxed);
        tracing::warn!(number, flow = stuck.flow, trace_id = %stuck.trace_id, "a stuck run was taken off the list by hand");
        json(&self.line(number, &stuck))
    }

    /// Goes on with the undoing of a run. It does not stop when whoever asks for it leaves.
    async fn resume(self: &Arc<Self>, number: u64) -> Reply {
        let taken = match self.take(number) {
            Ok(taken) => taken,
            Err(refusal) => return refusal,
        };
        match self.tasks.spawn(taken.resume()).await {
            Ok(reply) => reply,
            Err(_panicked) => {
                error(StatusCode::INTERNAL_SERVER_ERROR, "resuming it failed; the run is on the list again")
            }
        }
    }

    /// Takes a run to resume it; nobody else can until that is over.
    fn take(self: &Arc<Self>, number: u64) -> Result<Taken, Reply> {
        let mut resuming = self.resuming.lock();
        if resuming.contains_key(&number) {
            return Err(under_way(number));
        }
        if resuming.len() >= AT_ONCE || self.tasks.is_closed() {
            return Err(error(StatusCode::SERVICE_UNAVAILABLE, "enough runs are resumed at once; come again later"));
        }
        let stuck = self.runs().take(number).ok_or_else(|| none(number))?;
        resuming.insert(number, Arc::clone(&stuck));
        Ok(Taken { desk: Arc::clone(self), number, left: Some(stuck) })
    }
}

fn none(number: u64) -> Reply {
    error(StatusCode::NOT_FOUND, &format!("no stuck run has the number {number}; GET /stuck lists them"))
}

fn under_way(number: u64) -> Reply {
    error(StatusCode::CONFLICT, &format!("the stuck run {number} is being resumed"))
}

/// A run that is being resumed. Dropping it puts back what is left to undo.
struct Taken {
    desk: Arc<StuckDesk>,
    number: u64,
    left: Option<Arc<Stuck>>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut resuming = self.desk.resuming.lock();
        resuming.remove(&self.number);
        if let Some(left) = self.left.take() {
            self.desk.runs().put_back(self.number, left);
        }
    }
}

impl Taken {
    async fn resume(mut self) -> Reply {
        let Some(stuck) = self.left.clone() else { return none(self.number) };
        let (live, number) = (&self.desk.live, self.number);
        let plan = live.plan();
        let Some(flow) = plan.flows.get(&stuck.flow) else {
            return error(StatusCode::CONFLICT, &format!("no flow is named `{}` any more", stuck.flow));
        };
        let recorder = &live.recorder;
        let context = TraceContext { random: false, ..TraceContext::begin(stuck.trace_id, true) };
        let recording = recorder.start(recorder.clock().now(), Some(context), true);
        if !plan.propagators.trace_context {
            recording.carry(Carried { trace: false, ..Carried::default() });
        }
        recording.route(recording.name(ROUTE), flow.name(), plan.version);
        recording.attr_int(NodeId::ROOT, recording.name("zerver.stuck.number"), number.cast_signed());
        // A list of its own: what is left keeps the run's number.
        let effects = Arc::new(Effects::new(plan.upstreams.values().cloned(), live.keys));
        let engine = Engine::with(effects, plan.flows.values().cloned(), Arc::new(StuckRuns::telling(log_stuck)));
        let resumed = stuck.resume(flow, Env::new((*recording).clone(), engine)).await;
        let (outcome, status, word, reply) = match resumed {
            Err(why) => {
                let reply =
                    error(StatusCode::CONFLICT, &format!("{why}; undo it by hand, then DELETE /stuck/{number}"));
                (Outcome::Refused, StatusCode::CONFLICT, "flow_changed", reply)
            }
            Ok(outcome) => match outcome.stuck {
                Some(left) => {
                    self.desk.stuck_again.fetch_add(1, Relaxed);
                    let text = format!("stuck again: {}; left to undo: {}", left.why, left.rest.join(", "));
                    self.left = Some(left);
                    (Outcome::Error, StatusCode::BAD_GATEWAY, "stuck", error(StatusCode::BAD_GATEWAY, &text))
                }
                None => {
                    self.desk.undone.fetch_add(1, Relaxed);
                    self.left = None;
                    let undone = Resumed { number, trace_id: stuck.trace_id, undone: stuck.rest.clone() };
                    tracing::info!(number, flow = stuck.flow, trace_id = %stuck.trace_id, "a stuck run is undone");
                    (Outcome::Ok, StatusCode::OK, "", json(&undone))
                }
            },
        };
        let word = if word.is_empty() { Name::NONE } else { recording.name(word) };
        let at = recording.now();
        recording.finish(at, outcome, status.as_u16(), word);
        reply
    }
}

impl Source for StuckDesk {
    fn collect(&self, out: &mut Sink) {
        let runs = self.runs();
        let now = {
            let resuming = self.resuming.lock();
            resuming.len() + runs.len()
        };
        let (total, forgotten) = runs.counts();
        let count = |number: &AtomicU64| number.load(Relaxed) as f64;
        out.put(catalog::STUCK, &[], now as f64);
        out.put(catalog::STUCK_TOTAL, &[], total as f64);
        out.put(catalog::STUCK_FORGOTTEN, &["room"], forgotten as f64);
        out.put(catalog::STUCK_FORGOTTEN, &["operator"], count(&self.dismissed));
        out.put(catalog::STUCK_RESUMED, &["undone"], count(&self.undone));
        out.put(catalog::STUCK_RESUMED, &["stuck"], count(&self.stuck_again));
    }
}
