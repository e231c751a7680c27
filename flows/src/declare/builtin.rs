//! The steps of a page, run as nodes of the one driver: the same calls into it that `#[flow]` writes for a Rust flow.

use std::pin::Pin;
use std::sync::Arc;

use cel::Value;
use futures_util::future::BoxFuture;

use self::scope::{Scope, View, evaluate, failed};
use self::verb::{act, answer};
use super::expression::{Expr, option, to_json};
use super::plan::{Branch, Joined, Plan, Step, Verb, Work};
use crate::after::{self, Afterwards, BoxedNode, UNDO_RETRIES, boxed, drive_boxed, fits};
use crate::driver::drive;
use crate::effect::Fx;
use crate::exit::Result;
use crate::flow::Flow;
use crate::node::{Node, Wrote, node};
use crate::policy::retry;
use crate::request::Req;
use crate::response::Response;
use crate::run::Run;
use crate::slot::Slot;

mod scope;
mod verb;

/// Makes a flow of a plan.
pub(super) fn flow(plan: Plan) -> Flow {
    let graph = plan.graph.clone();
    let plan = Arc::new(plan);
    Flow::new(graph, move |req, run| {
        let plan = Arc::clone(&plan);
        Box::pin(async move { body(&plan, req, run).await }) as BoxFuture<'_, _>
    })
}

async fn body(plan: &Plan, req: &Req, run: &Run) -> Result<Response> {
    let slots: Vec<Slot<Value>> = plan.steps.iter().map(|_| Slot::new()).collect();
    let answer = Slot::new();
    let scope = Scope::new(plan, &slots, req);
    let ended = {
        let make = |(n, step)| Box::pin(node(perform(&scope, step, n, run.fx(n), &answer)));
        let mut nodes: Vec<_> = plan.steps.iter().enumerate().map(make).collect();
        let mut pinned: Vec<Pin<&mut (dyn Node + Send)>> =
            nodes.iter_mut().map(|node| node.as_mut() as Pin<&mut (dyn Node + Send)>).collect();
        drive(run, &mut pinned).await
    };
    if let Some(undo) = after::undo(run, &ended) {
        undo.undo(run, afterwards(&scope, &undo, |step| step.undo.as_ref(), UNDO_RETRIES)).await;
    }
    if let Some(cleanup) = after::cleanup(run) {
        // A cleanup call that fails is noted in the timeline; the answer is the flow's.
        let _ = cleanup.drive(run, afterwards(&scope, &cleanup, |step| step.cleanup.as_ref(), 0)).await;
    }
    if let Some(instead) = instead(&scope, run, &ended).await {
        return Ok(instead);
    }
    ended?;
    Ok(answer.taken())
}

async fn perform(scope: &Scope<'_>, step: &Step, n: usize, fx: Fx<'_>, answered: &Slot<Response>) -> Result<Wrote> {
    let view = View::of(scope);
    if let Some(when) = &step.when {
        match evaluate(when, &view)? {
            Value::Bool(true) => {}
            Value::Bool(false) => return Ok(Wrote::Nothing),
            other => return Err(failed(format!("`{}` is {other:?}, where true or false is due", when.source))),
        }
    }
    if let Work::Respond(shape) = &step.work {
        answered.put(answer(shape, &view, http::StatusCode::OK)?);
        return Ok(Wrote::Slot);
    }
    let value = retry(&fx, step.retries, || work(&step.work, view.clone(), fx)).await?;
    fx.show(step.sensitive, || to_json(&value).unwrap_or_default());
    scope.slots[n].put(value);
    Ok(Wrote::Slot)
}

async fn work(work: &Work, view: View<'_>, fx: Fx<'_>) -> Result<Value> {
    match work {
        Work::One(verb) => act(verb, &view, &fx).await,
        Work::Branches { branches, value } => join(branches, *value, &view, &fx).await,
        Work::Each { list, most, optional, verb } => each(list, *most, *optional, verb, &view, &fx).await,
        Work::Respond(_) => unreachable!("it makes the flow's answer, and no value"),
    }
}

/// Drives the branches of a join, each as a node of its own.
async fn join(branches: &[Branch], value: Joined, view: &View<'_>, fx: &Fx<'_>) -> Result<Value> {
    let inside = &fx.inside();
    let slots: Vec<Slot<Value>> = branches.iter().map(|_| Slot::new()).collect();
    let nodes = branches.iter().zip(&slots).enumerate().map(|(n, (branch, slot))| {
        boxed(async move {
            let fx = inside.fx(n);
            slot.put(retry(&fx, branch.retries, || act(&branch.verb, view, &fx)).await?);
            Ok(())
        })
    });
    drive_boxed(inside, nodes.collect()).await?;
    let mut written = slots.into_iter().filter_map(Slot::take);
    Ok(match value {
        Joined::List => Value::List(Arc::new(written.collect())),
        Joined::Only => written.next().expect("a join for one value ends well only with it"),
    })
}

/// Does one thing for each item of a list, each as a node of its own.
async fn each(list: &Expr, most: u16, optional: bool, verb: &Verb, view: &View<'_>, fx: &Fx<'_>) -> Result<Value> {
    let inside = &fx.inside();
    let items = match evaluate(list, view)? {
        Value::List(items) => items,
        other => return Err(failed(format!("`{}` is {other:?}, where a list is due", list.source))),
    };
    fits(items.len(), most)?;
    let slots: Vec<Slot<Value>> = items.iter().map(|_| Slot::new()).collect();
    let nodes = items.iter().zip(&slots).enumerate().map(|(n, (item, slot))| {
        let view = view.with("item", item.clone());
        boxed(async move {
            slot.put(act(verb, &view, &inside.fx(n)).await?);
            Ok(())
        })
    });
    drive_boxed(inside, nodes.collect()).await?;
    let values = slots.into_iter();
    Ok(Value::List(Arc::new(if optional {
        values.map(|slot| option(slot.take())).collect()
    } else {
        values.map(Slot::taken).collect()
    })))
}

/// What the steps named `of` for afterwards, as nodes.
fn afterwards<'n>(
    scope: &'n Scope<'n>,
    after: &'n Afterwards,
    of: fn(&Step) -> Option<&Verb>,
    retries: u32,
) -> Vec<BoxedNode<'n>> {
    let node = |(at, step): (usize, usize)| {
        boxed(async move {
            let (view, fx) = (View::after(scope, step), after.fx(at));
            if let Some(verb) = of(&scope.plan.steps[step]) {
                retry(&fx, retries, || act(verb, &view, &fx)).await?;
            }
            Ok(())
        })
    };
    after.steps().map(node).collect()
}

/// The answer in place of a failure. None when nothing failed, when the page has none, and when making it fails too: the
/// first failure is the one that says what is wrong.
async fn instead(scope: &Scope<'_>, run: &Run, ended: &Result<()>) -> Option<Response> {
    let shape = scope.plan.on_error.as_ref()?;
    let after = &after::on_error(run, ended)?;
    let slot = Slot::new();
    let answered = &slot;
    let node = boxed(async move {
        let fail = after.failure(ended);
        let view = View::of(scope).with("fail", scope::failure(fail));
        answered.put(answer(shape, &view, fail.status)?);
        Ok(())
    });
    after.drive(run, vec![node]).await.ok()?;
    slot.take()
}
