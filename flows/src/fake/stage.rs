//! Where one run in virtual time happens, and what is left of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use zerver_telemetry::clock::Ticks;
use zerver_telemetry::event::{NodeId, Outcome};
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::{Recorder, Recording};
use zerver_telemetry::timeline::{Node, Timeline};

use super::script::{Called, Rule, World};
use crate::body::{Body, Broken, End, Read};
use crate::exit::Fail;
use crate::flow::{Flow, FlowOutcome};
use crate::journal::{Journal, Record};
use crate::run::Shell;
use crate::virtual_time::VirtualTime;

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

    /// A world that answers by these rules and has these flows; calls are listed from now on.
    pub(super) fn shell(&self, rules: &[Rule], flows: &[Flow]) -> Arc<dyn Shell> {
        self.calls.lock().clear();
        Arc::new(World {
            time: Arc::clone(&self.time),
            rules: Mutex::new(rules.to_vec()),
            calls: Arc::clone(&self.calls),
            flows: flows.iter().map(|flow| flow.bind(self.recorder.names())).collect(),
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
            Err(fail) => {
                let end = if fail.refused.is_some() { Outcome::Refused } else { Outcome::Error };
                (end, fail.status, name(fail.code))
            }
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
        Done { outcome, timeline, journal: journal.record(), values: Vec::new(), calls, pieces, broken }
    }
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
    /// What the steps gave, masked, by the slot's path.
    pub values: Vec<(Arc<str>, serde_json::Value)>,
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
