//! Runs a flow again from its journal: the same answers in the same virtual time, and every drift named.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use zerver_telemetry::event::NodeId;

use crate::adapter::{EffectError, HttpAnswer, HttpCall, Traced};
use crate::exit::{Fail, Result};
use crate::fake::{Done, Stage};
use crate::flow::{Flow, FlowOutcome, perform};
use crate::journal::{Entry, Got, Journal, Key, Record, hash, line};
use crate::run::{Opening, Place, Runnable as _, Shell};
use crate::virtual_time::VirtualTime;

/// What came of a replay.
#[derive(Debug)]
pub struct Replayed {
    /// The run, as the fake reports it.
    pub done: Done,
    /// Where code and journal differ; empty when nothing does.
    pub drifts: Vec<Drift>,
}

/// A difference between what the flow's code asks for and what its journal holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    /// The code asks for something else at this place; it was answered from the journal all the same.
    Changed {
        /// Where.
        key: Key,
        /// What the journal holds.
        recorded: String,
        /// What the code asks.
        asked: String,
    },
    /// The code sends another body at this place.
    Body {
        /// Where.
        key: Key,
        /// What is asked.
        asked: String,
    },
    /// The code asks for something that the journal does not hold; it failed.
    New {
        /// Where.
        key: Key,
        /// What the code asks.
        asked: String,
    },
    /// The journal holds an effect that the code no longer asks for.
    Unused {
        /// Where.
        key: Key,
        /// What the journal holds.
        recorded: String,
    },
    /// The flow answered with another status.
    Status {
        /// Then.
        recorded: u16,
        /// Now.
        now: u16,
    },
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Changed { key, recorded, asked } => {
                write!(f, "{key}: the journal has {recorded}, the code asks {asked}")
            }
            Self::Body { key, asked } => write!(f, "{key}: {asked} sends another body"),
            Self::New { key, asked } => write!(f, "{key}: {asked} is not in the journal"),
            Self::Unused { key, recorded } => write!(f, "{key}: the code no longer asks {recorded}"),
            Self::Status { recorded, now } => write!(f, "the answer was {recorded} and is {now}"),
        }
    }
}

/// Runs `flow` with the request and the answers of `record`. Nothing is performed.
///
/// Effects are found by slot and place in it, so a journal outlives steps that are added, removed or moved beside the
/// ones it knows. A call that was cancelled then is left without answer now.
#[must_use]
pub fn replay(flow: &Flow, record: &Record) -> Replayed {
    replay_on(&Stage::new(), flow, record)
}

/// The same on a stage that there is.
pub(crate) fn replay_on(stage: &Stage, flow: &Flow, record: &Record) -> Replayed {
    let recording = stage.recorder.start(stage.recorder.clock().now(), None, true);
    let bound = flow.bind(stage.recorder.names());
    recording.route(bound.name(), bound.name(), 0);
    let journal = Journal::new();
    let past = Arc::new(Past {
        time: Arc::clone(&stage.time),
        entries: Mutex::new(record.entries.iter().map(|entry| (entry.key.clone(), entry.clone())).collect()),
        drifts: Mutex::default(),
    });
    let req = record.request();
    let opening = Opening {
        bound: Arc::clone(bound.bound()),
        log: (*recording).clone(),
        parent: NodeId::ROOT,
        shell: Arc::clone(&past) as Arc<dyn Shell>,
        journal: Some(Arc::clone(&journal)),
        values: None,
        cancel: None,
        resumed: None,
        deadline: None,
        seed: record.seed,
    };
    let outcome = stage.time.run(perform(&bound, &req, opening)).unwrap_or_else(|| FlowOutcome {
        result: Err(Fail::internal("never_ends", "the flow waits for a call that was cancelled when it was recorded")),
        failures: Vec::new(),
        stuck: None,
    });
    let done = stage.finish(recording, outcome, &journal, None);
    let mut drifts = std::mem::take(&mut *past.drifts.lock());
    let mut unused: Vec<Entry> = past.entries.lock().drain().map(|(_, entry)| entry).collect();
    unused.sort_by(|a, b| a.key.cmp(&b.key));
    drifts.extend(unused.into_iter().map(|entry| Drift::Unused { key: entry.key, recorded: entry.asked }));
    if let Some(recorded) = record.status.map(|status| status.as_u16()).filter(|status| *status != done.status()) {
        drifts.push(Drift::Status { recorded, now: done.status() });
    }
    Replayed { done, drifts }
}

struct Past {
    time: Arc<VirtualTime>,
    entries: Mutex<HashMap<Key, Entry>>,
    drifts: Mutex<Vec<Drift>>,
}

impl Shell for Past {
    fn timer(&self, wait: Duration) -> BoxFuture<'static, ()> {
        self.time.timer(wait)
    }

    fn http<'a>(
        &'a self,
        place: Place<'_>,
        call: HttpCall,
        _: Traced<'a>,
    ) -> BoxFuture<'a, Result<HttpAnswer, EffectError>> {
        let asked = line(&call);
        let key = place.key();
        let Some(entry) = self.entries.lock().remove(&key) else {
            let error = EffectError::BadCall(format!("{key}: {asked} is not in the journal"));
            self.drifts.lock().push(Drift::New { key, asked });
            return Box::pin(std::future::ready(Err(error)));
        };
        if entry.asked != asked {
            self.drifts.lock().push(Drift::Changed { key, recorded: entry.asked, asked });
        } else if entry.body_hash != hash(&call.body) {
            self.drifts.lock().push(Drift::Body { key, asked });
        }
        let timer = self.time.timer(Duration::from_nanos(entry.took_ns));
        Box::pin(async move {
            timer.await;
            match entry.got {
                Got::Http(answer) => Ok(answer),
                Got::Failed(error) => Err(error),
                Got::Cancelled | Got::Number(_) => std::future::pending().await,
            }
        })
    }

    fn recorded(&self, key: &Key) -> Option<u64> {
        match self.entries.lock().remove(key)?.got {
            Got::Number(number) => Some(number),
            _ => None,
        }
    }
}
