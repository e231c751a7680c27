//! Other flows from within a step: run as a part of it, or in place of the flow that it belongs to.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::Opening;

use crate::effect::Fx;
use crate::exit::{Exit, Fail, Replace, Result};
use crate::request::Req;
use crate::response::Response;
use crate::run::{Run, Runnable};
use crate::stuck::Stuck;
use crate::watch::Watch;

/// How deep flows may run inside one another.
pub const DEPTH_MAX: u8 = 4;
/// How many flows the steps of one request may run.
pub const INSERTED_MAX: u32 = 64;

impl Fx<'_> {
    /// Runs another flow as a part of this step, and gives its answer. Its steps stand below this one in the timeline and
    /// in the journal. The step's deadline holds for it, besides its own.
    ///
    /// # Errors
    /// The flow's own failure; `unknown_flow`; `too_many_flows` beyond [`DEPTH_MAX`] or [`INSERTED_MAX`]; `undo_inside`
    /// for a flow that undoes steps: once this step has ended, nobody could undo them.
    pub async fn flow(&self, slug: &str, req: Req) -> Result<Response> {
        let (run, step) = (self.run, self.step);
        let flow = find(run, slug)?;
        if flow.bound().graph.has_undo() {
            let detail =
                format!("flow `{slug}` has steps to undo: let it answer by itself, or replace this flow by it");
            return Err(Fail::internal("undo_inside", detail).into());
        }
        if run.depth >= DEPTH_MAX || run.shared.inserted.fetch_add(1, Relaxed) >= INSERTED_MAX {
            return Err(too_many(slug).into());
        }
        let (log, cell) = (&run.shared.log, &run.cells[step]);
        let name = flow.bound().flow;
        let occurrence = cell.occurrence(name);
        let opening = Opening::running(name, NodeKind::Branch, cell.node()).in_state(Cause::Join, Name::NONE);
        let node = log.open(log.now(), Opening { occurrence, ..opening });
        let mut branch = Branch { run, step, node, ended: false };
        let path = match occurrence {
            1 => format!("{}.{slug}", run.path(step)),
            more => format!("{}.{slug}-{more}", run.path(step)),
        };
        let inside = run.inserted(step, flow.bound(), node, path.into());
        let result = flow.body(&req, &inside).await;
        let result = match result {
            Err(Exit::Done(response)) => Ok(*response),
            result => result,
        };
        let at = inside.ended().map_or_else(|| log.now(), |(at, _)| at);
        let last = inside.ended().and_then(|(_, last)| last);
        log.state(at, node, Cause::Run, Name::NONE, last);
        match &result {
            Ok(response) => log.close(at, node, Outcome::Ok, response.status.as_u16(), Name::NONE),
            Err(Exit::Fail(fail)) => log.close(at, node, Outcome::Error, fail.status.as_u16(), log.name(fail.code)),
            Err(_) => log.close(at, node, Outcome::Ok, 0, Name::NONE),
        }
        branch.ended = true;
        result
    }

    /// Lets another flow answer instead of this one: `return fx.replace("refund", req)`. What still runs is cancelled;
    /// what was done stays done.
    ///
    /// # Errors
    /// Always [`Exit::Replace`], which the driver takes for the decision.
    pub fn replace<T>(&self, slug: impl Into<String>, req: Req) -> Result<T> {
        Err(Exit::Replace(Box::new(Replace { slug: slug.into(), req })))
    }
}

/// The node of an inserted flow, closed whatever becomes of the step.
struct Branch<'r> {
    run: &'r Run,
    step: usize,
    node: NodeId,
    ended: bool,
}

impl Drop for Branch<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let at = self.run.moment(self.step);
            self.run.shared.log.close(at, self.node, Outcome::Cancelled, 0, Name::NONE);
        }
    }
}

fn find(run: &Run, slug: &str) -> Result<Arc<dyn Runnable>> {
    run.shared.shell.flow(slug).ok_or_else(|| {
        Fail::internal("unknown_flow", format!("no flow is named `{slug}`; add it to the gateway beside this one"))
            .into()
    })
}

pub(crate) fn too_many(slug: &str) -> Fail {
    let detail = format!("flow `{slug}` would be one too many: at most {INSERTED_MAX} in a request, {DEPTH_MAX} deep");
    Fail::internal("too_many_flows", detail)
}

/// Runs the flow that answers instead, and the one instead of that. It is stuck when its undoing failed.
pub(crate) async fn replace(run: &Run, mut next: Replace, most: usize) -> (Result<Response>, Option<Arc<Stuck>>) {
    let mut slugs: Vec<String> = Vec::new();
    for _ in 0..most {
        let flow = match find(run, &next.slug) {
            Ok(flow) => flow,
            Err(exit) => return (Err(exit), None),
        };
        let path = match slugs.iter().filter(|slug| **slug == next.slug).count() {
            0 => next.slug.clone(),
            before => format!("{}-{}", next.slug, before + 1),
        };
        slugs.push(next.slug.clone());
        let instead = run.instead(flow.bound(), path.into());
        let mut watch = Watch::over(&instead, &next.req);
        let result = flow.body(&next.req, &instead).await;
        let stuck = watch.release();
        drop(watch);
        if let Some((at, last)) = instead.ended() {
            run.end(at, last);
        }
        if !Arc::ptr_eq(&run.shared, &instead.shared) {
            run.shared.told.lock().append(&mut instead.shared.told.lock());
        }
        match result {
            Err(Exit::Replace(further)) => {
                drop(instead);
                next = *further;
            }
            result => return (result, stuck),
        }
    }
    (Err(too_many(&next.slug).into()), None)
}
