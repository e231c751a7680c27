//! Every join, started in every way, with branches that end in every way: the driver does what the model says, to the nanosecond.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use zerver_telemetry::event::{NodeKind, Outcome};

use super::model::{Branch, Case, DEADLINE, End, Expected, Retry, Span, expected};
use crate::after::{boxed, drive_boxed};
use crate::exit::Result;
use crate::fake::{Done, Fake, Stage};
use crate::flow::Flow;
use crate::graph::{Graph, GraphNode, Head, Inside};
use crate::join::{Join, Start, Take};
use crate::journal::Got;
use crate::policy::retry;
use crate::replay::replay_on;
use crate::request::Req;
use crate::response::Response;
use crate::run::{Run, Shared};
use crate::slot::Slot;

/// What the runs of a flow share with their effects, to look at when they are over.
type Left = Arc<Mutex<Vec<Arc<Shared>>>>;

fn flow(case: &Case, left: &Left) -> Flow {
    let branch = |(n, branch): (usize, &Branch)| GraphNode {
        optional: branch.optional,
        ..GraphNode::new(&(n + 1).to_string(), &format!("branch-{n}"))
    };
    let nodes = case.branches.iter().enumerate().map(branch).collect();
    let inner = Graph::inner(case.join.as_str(), nodes, case.join, Inside::Branches).unwrap();
    let line = GraphNode {
        optional: case.optional,
        timeout: case.timeout,
        inner: Some(Arc::new(inner)),
        ..GraphNode::new("line", "join")
    };
    let respond = GraphNode { reads: vec!["line".to_owned()], ..GraphNode::new("respond", "respond") };
    let head = Head { slug: "joined".to_owned(), deadline: Some(DEADLINE), ..Head::default() };
    let (branches, again, left) = (case.branches.len(), case.retry, Arc::clone(left));
    Flow::new(Graph::new(head, vec![line, respond]).unwrap(), move |_, run| {
        left.lock().push(Arc::clone(&run.shared));
        Box::pin(body(run, branches, again)) as BoxFuture<'_, _>
    })
}

/// What the macro writes for such a flow, for any number of branches.
async fn body(run: &Run, branches: usize, again: Retry) -> Result<Response> {
    let more = |what: Retry| u32::from(again == what);
    let (slot, answer) = (Slot::new(), Slot::new());
    let join = || async {
        let inside = run.fx(0).inside();
        let slots: Vec<Slot<()>> = (0..branches).map(|_| Slot::new()).collect();
        let (inside, slots) = (&inside, &slots);
        let nodes = (0..branches).map(|n| {
            boxed(async move {
                let fx = inside.fx(n);
                retry(&fx, more(Retry::EachBranch), || async { fx.get(format!("b{n}:/")).await?.ok() }).await?;
                slots[n].put(());
                Ok(())
            })
        });
        drive_boxed(inside, nodes.collect()).await?;
        let letter = |(n, slot): (usize, &Slot<()>)| slot.maybe().map_or('-', |()| char::from(b'0' + n as u8));
        Ok(slots.iter().enumerate().map(letter).collect::<String>())
    };
    let line = boxed(async {
        slot.put(retry(&run.fx(0), more(Retry::TheLine), join).await?);
        Ok(())
    });
    let respond = boxed(async {
        answer.put(Response::text(slot.maybe().cloned().unwrap_or_else(|| "-".repeat(branches))));
        Ok(())
    });
    drive_boxed(run, vec![line, respond]).await?;
    Ok(answer.taken())
}

fn world(case: &Case) -> Fake {
    let mut fake = Fake::new();
    for (n, branch) in case.branches.iter().enumerate() {
        let call = format!("GET b{n}:");
        if branch.end == End::Flaky {
            fake.on(&call).takes(branch.takes).times(1).status(503).header("retry-after", "1");
        }
        let rule = fake.on(&call).takes(branch.takes);
        match branch.end {
            End::Good | End::Flaky => rule,
            End::Bad => rule.status(500),
            End::Never => rule.never(),
        };
    }
    if let Some(after) = case.leaves {
        fake.client_leaves(after);
    }
    fake
}

/// What came of a run, in the words of the model.
fn came(done: &Done) -> Expected {
    let spans = |prefix: &str| -> Vec<Span> {
        let number = |name: &str| name.strip_prefix(prefix)?.parse().ok();
        let span = |node: &zerver_telemetry::timeline::Node| {
            let (from, to) = (Duration::from_nanos(node.start_ns), Duration::from_nanos(node.end_ns));
            Some((number(&node.name)?, from, to, node.outcome))
        };
        done.timeline.nodes.iter().filter_map(span).collect()
    };
    Expected {
        answer: match &done.outcome.result {
            Ok(_) => Ok(done.text()),
            Err(fail) => Err(fail.code),
        },
        elapsed: done.elapsed(),
        branches: spans("branch-"),
        calls: spans("b"),
        line: done.node("line").map(|node| node.outcome),
    }
}

fn prove(stage: &Stage, case: &Case) {
    let left = Left::default();
    let flow = flow(case, &left);
    let bound = flow.bind(stage.recorder.names());
    let done = world(case).play(stage, &bound, Req::get("/"), Ok).unwrap();
    let wanted = expected(case);
    assert_eq!(came(&done), wanted, "{case:#?}");
    done.timeline.check().unwrap();

    // Every effect is accounted for: a call, a node and an entry of the journal each, and nothing is left in the air.
    let lines: Vec<String> = wanted.calls.iter().map(|call| format!("GET b{}:/", call.0)).collect();
    assert!(done.calls.iter().map(|call| &call.line).eq(&lines), "{case:#?}");
    let effects = done.timeline.nodes.iter().filter(|node| node.kind == NodeKind::Effect).count();
    let entries = done.journal.entries.iter().filter(|entry| !matches!(entry.got, Got::Number(_)));
    let cut = entries.clone().filter(|entry| entry.got == Got::Cancelled).count();
    let cancelled = wanted.calls.iter().filter(|call| call.3 == Outcome::Cancelled).count();
    assert_eq!((effects, entries.count(), cut), (lines.len(), lines.len(), cancelled), "{case:#?}");
    let mut keys: Vec<_> = done.journal.entries.iter().map(|entry| &entry.key).collect();
    keys.sort();
    assert!(keys.windows(2).all(|two| two[0] != two[1]), "two effects have one place: {keys:?}\n{case:#?}");
    for shared in left.lock().drain(..) {
        let calls = shared.calls.lock();
        assert_eq!((calls.air.room(), calls.reads.is_empty()), ((Head::CALLS_AT_ONCE, 0), true), "{case:#?}");
    }
    if case.leaves.is_none() {
        let again = replay_on(stage, &flow, &done.journal);
        assert_eq!((again.drifts, came(&again.done)), (vec![], wanted), "{case:#?}");
    }
}

/// Milliseconds, and a bit that keeps sums of different times apart.
fn time(ms: u64, bit: u32) -> Duration {
    Duration::from_millis(ms) + Duration::from_nanos(1 << bit)
}

/// All cases of a join with `count` branches, in a fixed order.
fn cases(take: Take, count: usize, each: &mut dyn FnMut(Case)) {
    let starts = [Start::Together, Start::OneByOne, Start::AtMost(1), Start::AtMost(2), Start::After(time(4, 10))];
    let ends = [End::Good, End::Bad, End::Never, End::Flaky];
    let takes = [[3, 6, 11], [11, 3, 6], [5, 5, 5]];
    let judges = matches!(take, Take::All | Take::AllRequired);
    for start in starts {
        for picked in 0..ends.len().pow(count as u32) {
            for (order, times) in takes.iter().enumerate() {
                for optional in 0..if judges { 1 << count } else { 1 } {
                    if take == Take::AllRequired && optional == (1 << count) - 1 {
                        continue; // The macro refuses it.
                    }
                    let branch = |n: usize| Branch {
                        // Equal times too: then the branches end in the order in which they are written.
                        takes: time(times[n], if order < 2 { n as u32 } else { 0 }),
                        end: ends[picked / ends.len().pow(n as u32) % ends.len()],
                        optional: optional & (1 << n) != 0,
                    };
                    for rest in 0..3 * 3 * 2 * 2 {
                        each(Case {
                            join: Join { take, start },
                            branches: (0..count).map(branch).collect(),
                            timeout: [None, Some(time(8, 12)), Some(time(5_000, 12))][rest % 3],
                            retry: [Retry::Nothing, Retry::EachBranch, Retry::TheLine][rest / 3 % 3],
                            optional: rest / 9 % 2 == 1,
                            leaves: [None, Some(time(7, 14))][rest / 18],
                        });
                    }
                }
            }
        }
    }
}

/// Proves every `stride`th case of the joins with `count` branches; a stride prime to the sizes of the choices meets all
/// pairs of them.
fn prove_all(count: usize, takes: &[Take], stride: usize) {
    let (stage, mut seen, mut proved) = (Stage::new(), 0_usize, 0);
    for take in takes {
        cases(*take, count, &mut |case| {
            seen += 1;
            if seen % stride == 0 {
                prove(&stage, &case);
                proved += 1;
            }
        });
    }
    assert!(proved > 1_000, "{proved} of {seen}");
}

#[test]
fn joins_of_one_branch() {
    let takes = [Take::All, Take::AllRequired, Take::First, Take::FirstOk, Take::Quorum(1)];
    prove_all(1, &takes, 7);
}

#[test]
fn joins_of_two_branches() {
    prove_all(2, &[Take::All, Take::AllRequired, Take::First, Take::FirstOk, Take::Quorum(2)], 11);
}

#[test]
fn joins_of_three_branches_that_are_needed() {
    prove_all(3, &[Take::All, Take::AllRequired], 71);
}

#[test]
fn joins_of_three_branches_that_compete() {
    prove_all(3, &[Take::First, Take::FirstOk, Take::Quorum(2), Take::Quorum(3)], 31);
}
