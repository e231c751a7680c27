//! Going on with an undoing that failed: the flow runs again on what was recorded, up to where it stopped.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use zerver_telemetry::event::NodeId;
use zerver_telemetry::recorder::Log;

use crate::adapter::{EffectError, HttpAnswer, HttpCall, Traced};
use crate::engine::Env;
use crate::flow::{BoundFlow, FlowOutcome, perform};
use crate::journal::{Entry, Got, Journal, Key};
use crate::request::Req;
use crate::run::{Opening, Place, Runnable, Shell};
use crate::stuck::{Resumed, Stuck};

impl Stuck {
    /// Goes on with the undoing: runs `flow` again, its calls answered from what was recorded, up to the undo step that
    /// failed, which is made anew, and then the rest. The outcome's result is the flow's failure, as it was; it is done
    /// when the outcome is not stuck again.
    ///
    /// # Errors
    /// A text that says why it cannot: the flow is another one than it was, or the run made more calls than were
    /// recorded, so that some would be made a second time.
    pub async fn resume(&self, flow: &BoundFlow, env: Env) -> Result<FlowOutcome, String> {
        let (shell, journal) = (env.engine as Arc<dyn Shell>, env.journal.unwrap_or_default());
        let opening = self.opening(flow, env.log, env.parent, shell, journal)?;
        Ok(perform(flow, &self.record.request(), opening).await)
    }

    /// What was asked.
    pub(crate) fn request(&self) -> Req {
        self.record.request()
    }

    /// What a run that goes on with the undoing begins with.
    pub(crate) fn opening(
        &self,
        flow: &BoundFlow,
        log: Log,
        parent: NodeId,
        live: Arc<dyn Shell>,
        journal: Arc<Journal>,
    ) -> Result<Opening, String> {
        let graph = flow.flow().graph();
        if (graph.slug(), graph.head().version) != (&*self.flow, self.version) {
            let is = format!("{}@{}", graph.slug(), graph.head().version);
            return Err(format!("the run was one of {}@{}, the flow is now {is}", self.flow, self.version));
        }
        if self.record.lost > 0 {
            let lost = self.record.lost;
            return Err(format!("{lost} of the run's calls were not recorded and would be made a second time"));
        }
        let place =
            |name: &String| graph.position(name).ok_or_else(|| format!("the flow has no step `{name}` any more"));
        let wrote = self.wrote.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let rest = self.rest.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let wrote = wrote.into_iter().fold(0, |bits: u128, n| bits | 1 << n);
        let past = self.record.entries.iter().filter(|entry| entry.got != Got::Cancelled);
        let past = Mutex::new(past.map(|entry| (entry.key.clone(), entry.clone())).collect());
        Ok(Opening {
            bound: Arc::clone(flow.bound()),
            log,
            parent,
            shell: Arc::new(Resuming { past, live }),
            journal: Some(journal),
            values: None,
            cancel: None,
            resumed: Some(Resumed { wrote, rest, fail: self.failed.clone() }),
            deadline: None,
            seed: self.record.seed,
        })
    }
}

/// Answers what is in the journal from there, and asks the world for the rest.
struct Resuming {
    past: Mutex<HashMap<Key, Entry>>,
    live: Arc<dyn Shell>,
}

impl Resuming {
    /// What effect `key` gave. A failed undo call is not kept to: it is the one to make again.
    fn past(&self, key: &Key) -> Option<Got> {
        let undo = key.slot.starts_with("undo_");
        self.past.lock().remove(key).map(|entry| entry.got).filter(|got| !undo || is_success(got))
    }
}

fn is_success(got: &Got) -> bool {
    matches!(got, Got::Http(answer) if answer.status.as_u16() < 400) || matches!(got, Got::Number(_))
}

impl Shell for Resuming {
    fn timer(&self, wait: Duration) -> BoxFuture<'static, ()> {
        self.live.timer(wait)
    }

    fn http<'a>(
        &'a self,
        place: Place<'_>,
        call: HttpCall,
        traced: Traced<'a>,
    ) -> BoxFuture<'a, Result<HttpAnswer, EffectError>> {
        match self.past(&place.key()) {
            Some(Got::Http(answer)) => Box::pin(std::future::ready(Ok(answer))),
            Some(Got::Failed(error)) => Box::pin(std::future::ready(Err(error))),
            Some(Got::Cancelled | Got::Number(_)) | None => self.live.http(place, call, traced),
        }
    }

    fn recorded(&self, key: &Key) -> Option<u64> {
        match self.past(key) {
            Some(Got::Number(number)) => Some(number),
            _ => None,
        }
    }

    fn flow(&self, slug: &str) -> Option<Arc<dyn Runnable>> {
        self.live.flow(slug)
    }

    fn stuck(&self, stuck: &Arc<Stuck>) {
        self.live.stuck(stuck);
    }
}
