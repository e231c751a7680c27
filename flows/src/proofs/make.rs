//! Random flows and their worlds, made for the engine.

use super::model::WAIT;
use super::plan::{DEADLINE, Day, End, POISON, Step, leaves, limit, reads, tens, value};
use crate::after::{BoxedNode, UNDO_RETRIES, boxed, drive_boxed, undo};
use crate::effect::Fx;
use crate::exit::Result;
use crate::fake::Fake;
use crate::flow::Flow;
use crate::graph::{Graph, GraphNode, Head, Inside};
use crate::join::{Join, Start, Take};
use crate::node::{Wrote, node};
use crate::policy::retry;
use crate::response::Response;
use crate::run::Run;
use crate::slot::Slot;
use futures_util::future::BoxFuture;
use serde_json::json;
use std::sync::Arc;

/// A flow of these steps, with so many calls in the air at once.
pub(super) fn flow(steps: &[Step], at_once: u32) -> Flow {
    let graph_node = |(n, step): (usize, &Step)| {
        let timeout = step.timeout.map(|time| limit(time, n));
        let first = GraphNode { timeout, idempotent: step.idempotent, ..GraphNode::new("1", "call") };
        let join = Join { take: Take::FirstOk, start: Start::OneByOne };
        let inner = vec![first, GraphNode::new("2", "stand_in")];
        let inner = Graph::inner("fallback", inner, join, Inside::Branches).unwrap();
        GraphNode {
            reads: reads(steps, n).map(|m| format!("s{m}")).collect(),
            optional: step.optional,
            conditional: step.when,
            timeout: timeout.filter(|_| !step.fallback),
            idempotent: step.idempotent,
            undo: step.undo.then(|| crate::graph::Later::new("undo")),
            inner: step.fallback.then(|| Arc::new(inner)),
            ..GraphNode::new(&format!("s{n}"), "step")
        }
    };
    let mut nodes: Vec<_> = steps.iter().enumerate().map(graph_node).collect();
    let all = (0..steps.len()).map(|n| format!("s{n}")).collect();
    nodes.push(GraphNode { reads: all, ..GraphNode::new("respond", "respond") });
    let head = Head {
        slug: "random".to_owned(),
        version: 1,
        deadline: Some(DEADLINE),
        calls_at_once: Some(at_once),
        ..Head::default()
    };
    let steps: Arc<[Step]> = steps.into();
    Flow::new(Graph::new(head, nodes).unwrap(), move |_, run| {
        let steps = Arc::clone(&steps);
        Box::pin(async move { body(run, &steps).await }) as BoxFuture<'_, _>
    })
}

/// What the macro writes for such a flow.
async fn body(run: &Run, steps: &[Step]) -> Result<Response> {
    let slots: Vec<Slot<u64>> = steps.iter().map(|_| Slot::new()).collect();
    let (answer, all) = (Slot::new(), &slots);
    let ended = {
        let mut nodes: Vec<BoxedNode<'_>> = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            nodes.push(Box::pin(node(async move {
                let sum = reads(steps, n).filter_map(|m| all[m].maybe()).sum();
                if step.when && sum % 2 == 1 {
                    return Ok(Wrote::Nothing);
                }
                let fx = run.fx(n);
                let value =
                    if step.fallback { stands_in(&fx, step, n, sum).await? } else { called(&fx, step, n, sum).await? };
                all[n].put(value);
                Ok(Wrote::Slot)
            })));
        }
        nodes.push(boxed(async {
            let text = |slot: &Slot<u64>| slot.maybe().map_or("-".to_owned(), u64::to_string);
            answer.put(Response::text(all.iter().map(text).collect::<Vec<_>>().join(",")));
            Ok(())
        }));
        drive_boxed(run, nodes).await
    };
    if let Some(after) = undo(run, &ended) {
        let after = &after;
        let nodes = after.steps().map(|(at, step)| {
            let fx = after.fx(at);
            let call = move || async move { fx.delete(format!("u{step}:/")).await?.ok() };
            boxed(async move { retry(&fx, UNDO_RETRIES, call).await })
        });
        after.undo(run, nodes.collect()).await;
    }
    ended?;
    Ok(answer.taken())
}

/// The step's call, with its tries.
async fn called(fx: &Fx<'_>, step: &Step, n: usize, sum: u64) -> Result<u64> {
    retry(fx, u32::from(step.retry), || async {
        let to = format!("t{n}:/?in={sum}");
        let got: u64 = if step.writes { fx.post(to).await?.json()? } else { fx.get(to).await?.json()? };
        assert_ne!(got, POISON, "the step makes nothing of it");
        Ok(got)
    })
    .await
}

/// The same with another call in its place when it fails.
async fn stands_in(fx: &Fx<'_>, step: &Step, n: usize, sum: u64) -> Result<u64> {
    let inside = &fx.inside();
    let slots = &[Slot::new(), Slot::new()];
    let first = boxed(async move {
        slots[0].put(called(&inside.fx(0), step, n, sum).await?);
        Ok(())
    });
    let second = boxed(async move {
        slots[1].put(inside.fx(1).get(format!("f{n}:/?in={sum}")).await?.json::<u64>()?);
        Ok(())
    });
    drive_boxed(inside, vec![first, second]).await?;
    let written = slots.iter().find_map(Slot::maybe).copied();
    Ok(written.expect("one of them did well"))
}

/// The world on a day, for steps that read these sums.
pub(super) fn world(steps: &[Step], day: &Day, sums: &[u64]) -> Fake {
    let mut fake = Fake::new();
    for (n, (step, weather)) in steps.iter().zip(&day.steps).enumerate() {
        let (method, takes, sum) = (if step.writes { "POST" } else { "GET" }, tens(weather.takes, n), sums[n]);
        let call = format!("{method} t{n}:/?in={sum}");
        if weather.end == End::Flaky {
            fake.on(&call).takes(takes).times(1).status(503).header("retry-after", &WAIT.as_secs().to_string());
        }
        let rule = fake.on(&call).takes(takes).json(&value(n, sum));
        match weather.end {
            End::Good | End::Flaky => rule,
            End::Bad => rule.status(500),
            End::Never => rule.never(),
            End::Panics => rule.json(&POISON),
        };
        let rule = fake.on(&format!("GET f{n}:/?in={sum}")).takes(tens(3, n)).json(&json!(value(n, sum) + 5_000));
        if weather.fallback_fails {
            rule.status(500);
        }
        let call = format!("DELETE u{n}:");
        if weather.undo == End::Flaky {
            fake.on(&call).takes(tens(1, n)).times(1).status(503).header("retry-after", &WAIT.as_secs().to_string());
        }
        let rule = fake.on(&call).takes(tens(1, n));
        if weather.undo == End::Bad {
            rule.status(500);
        }
    }
    if let Some(after) = day.leaves {
        fake.client_leaves(leaves(after));
    }
    fake
}
