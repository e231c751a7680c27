//! Random flows do what their steps, one after the other, would: also when the flow's cells come from runs that went wrong.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, poll_fn, select};
use parking_lot::Mutex;
use proptest::prelude::*;
use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::timeline::{Node, Timeline};

use super::make::{flow, world};
use super::plan::{Day, Step, day, steps};
use super::reference::{Expected, expected};
use crate::adapter::{EffectError, HttpAnswer, HttpCall, Traced};
use crate::fake::{Done, Fake, Stage};
use crate::flow::{BoundFlow, perform};
use crate::graph::Head;
use crate::journal::{Got, Journal, Key};
use crate::replay::replay_on;
use crate::request::Req;
use crate::run::{Opening, Place, Runnable, Shell};
use crate::stuck::Stuck;

/// What came of a run, in the words of the reference.
fn came(done: &Done) -> Expected {
    let at = Duration::from_nanos;
    let span = |node: &Node| (node.name.to_string(), at(node.start_ns), at(node.end_ns), node.outcome);
    let of = |kind: NodeKind| done.timeline.nodes.iter().filter(move |node| node.kind == kind).map(span);
    let mut calls: Vec<_> = of(NodeKind::Effect).collect();
    calls.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    let mut steps: Vec<_> = of(NodeKind::Step).filter(|step| step.0.starts_with('s')).collect();
    steps.sort_by(|a, b| a.0.cmp(&b.0));
    Expected {
        answer: match &done.outcome.result {
            Ok(_) => Ok(done.text()),
            Err(fail) => Err(fail.code),
        },
        elapsed: done.elapsed(),
        calls,
        steps,
        failures: done.outcome.failures.iter().map(|(name, fail)| (name.clone(), fail.code)).collect(),
        stuck: done.outcome.stuck.as_ref().map_or_else(Vec::new, |stuck| stuck.rest.clone()),
    }
}

/// Holds a run against the reference, and its effects against its journal.
fn check(steps: &[Step], day: &Day, done: &Done) {
    let (wanted, _) = expected(steps, day);
    assert_eq!(came(done), wanted, "{steps:#?}\n{day:#?}");
    done.timeline.check().unwrap();
    assert_eq!(done.calls.len(), wanted.calls.len(), "each effect is a call");
    let entries = &done.journal.entries;
    assert_eq!(entries.len(), wanted.calls.len(), "each effect has an entry");
    let cut = |outcome: Outcome| outcome == Outcome::Cancelled;
    let cancelled = wanted.calls.iter().filter(|call| cut(call.3)).count();
    assert_eq!(entries.iter().filter(|entry| entry.got == Got::Cancelled).count(), cancelled);
    let mut keys: Vec<_> = entries.iter().map(|entry| &entry.key).collect();
    keys.sort();
    assert!(keys.windows(2).all(|two| two[0] != two[1]), "{keys:?}");
}

/// Everything of a timeline but its identities.
fn shape(timeline: &Timeline) -> Vec<String> {
    let node = |n: &Node| {
        let states: Vec<_> =
            n.states.iter().map(|s| format!("{:?} {}..{} {:?}", s.cause, s.from_ns, s.to_ns, s.woken_by)).collect();
        format!("{} {:?} {:?} {} {:?} {states:?}", n.name, n.parent, n.after, n.attempt, n.outcome)
    };
    timeline.nodes.iter().map(node).collect()
}

/// Wakers of runs that are over, and of the run that goes on.
#[derive(Default)]
struct Hoard {
    old: Vec<Waker>,
    new: Vec<Waker>,
}

/// A world that keeps every waker it is given, and wakes those of earlier runs all the time.
struct Hoarder {
    world: Arc<dyn Shell>,
    hoard: Arc<Mutex<Hoard>>,
}

impl Hoarder {
    fn over(world: Arc<dyn Shell>, hoard: &Arc<Mutex<Hoard>>) -> Arc<dyn Shell> {
        let mut wakers = hoard.lock();
        let now_old = std::mem::take(&mut wakers.new);
        wakers.old.extend(now_old);
        Arc::new(Self { world, hoard: Arc::clone(hoard) })
    }

    fn keep<'a, T: 'a>(&self, mut future: BoxFuture<'a, T>) -> BoxFuture<'a, T> {
        let hoard = Arc::clone(&self.hoard);
        Box::pin(poll_fn(move |cx| {
            let old = {
                let mut wakers = hoard.lock();
                wakers.new.push(cx.waker().clone());
                wakers.old.clone()
            };
            old.iter().for_each(Waker::wake_by_ref);
            future.as_mut().poll(cx)
        }))
    }
}

impl Shell for Hoarder {
    fn timer(&self, wait: Duration) -> BoxFuture<'static, ()> {
        self.keep(self.world.timer(wait))
    }

    fn http<'a>(
        &'a self,
        place: Place<'_>,
        call: HttpCall,
        traced: Traced<'a>,
    ) -> BoxFuture<'a, Result<HttpAnswer, EffectError>> {
        self.keep(self.world.http(place, call, traced))
    }

    fn recorded(&self, key: &Key) -> Option<u64> {
        self.world.recorded(key)
    }

    fn stuck(&self, stuck: &Arc<Stuck>) {
        self.world.stuck(stuck);
    }

    fn flow(&self, slug: &str) -> Option<Arc<dyn Runnable>> {
        self.world.flow(slug)
    }
}

/// Begins a run and drops it after so long.
fn abandon(fake: &Fake, stage: &Stage, bound: &BoundFlow, hoard: &Arc<Mutex<Hoard>>, after: Duration) -> Timeline {
    let recording = stage.recorder.start(stage.recorder.clock().now(), None, true);
    let opening = Opening {
        bound: Arc::clone(bound.bound()),
        log: (*recording).clone(),
        parent: NodeId::ROOT,
        shell: Hoarder::over(fake.shell(stage), hoard),
        journal: Some(Journal::new()),
        values: None,
        cancel: None,
        resumed: None,
        deadline: None,
        seed: 7,
    };
    let req = Req::get("/");
    let run = Box::pin(perform(bound, &req, opening));
    let ended = stage.time.run(select(run, stage.time.timer(after)));
    match ended {
        Some(Either::Right(((), run))) => drop(run),
        Some(Either::Left(_)) | None => {}
    }
    drop(recording);
    stage.recorder.timelines().pop().expect("a dropped recording reads back")
}

fn fake(steps: &[Step], day: &Day) -> Fake {
    world(steps, day, &expected(steps, day).1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_flow_does_what_its_steps_in_order_would(steps in steps(), day in day()) {
        let (stage, flow) = (Stage::new(), flow(&steps, Head::CALLS_AT_ONCE));
        let bound = flow.bind(stage.recorder.names());
        let done = fake(&steps, &day).play(&stage, &bound, Req::get("/"), Ok).unwrap();
        check(&steps, &day, &done);
        if day.leaves.is_none() {
            let again = replay_on(&stage, &flow, &done.journal);
            prop_assert_eq!(again.drifts, vec![]);
            prop_assert_eq!(came(&again.done), came(&done));
        }
    }

    #[test]
    fn a_run_sees_nothing_of_those_before_it(
        steps in steps(),
        days in prop::collection::vec((day(), prop::option::of(0..3_000_u64)), 1..4),
        last in day(),
    ) {
        let (stage, flow) = (Stage::new(), flow(&steps, Head::CALLS_AT_ONCE));
        let fresh = fake(&steps, &last).play(&stage, &flow.bind(stage.recorder.names()), Req::get("/"), Ok).unwrap();
        let (bound, hoard) = (flow.bind(stage.recorder.names()), Arc::default());
        let hoarding = |opening: Opening| {
            let shell = Hoarder::over(Arc::clone(&opening.shell), &hoard);
            Ok(Opening { shell, ..opening })
        };
        for (day, dropped) in &days {
            let fake = fake(&steps, day);
            match dropped {
                Some(after) => {
                    let timeline = abandon(&fake, &stage, &bound, &hoard, Duration::from_millis(*after));
                    timeline.check().unwrap();
                }
                None => check(&steps, day, &fake.play(&stage, &bound, Req::get("/"), hoarding).unwrap()),
            }
        }
        let pooled = fake(&steps, &last).play(&stage, &bound, Req::get("/"), hoarding).unwrap();
        check(&steps, &last, &pooled);
        prop_assert_eq!(shape(&pooled.timeline), shape(&fresh.timeline));
    }

    #[test]
    fn the_air_holds_so_many_calls_and_is_never_idle_while_one_waits(steps in steps(), day in day(), at_once in 1..4_u32) {
        let (stage, flow) = (Stage::new(), flow(&steps, at_once));
        let bound = flow.bind(stage.recorder.names());
        let done = fake(&steps, &day).play(&stage, &bound, Req::get("/"), Ok).unwrap();
        done.timeline.check().unwrap();
        in_the_air(&done.timeline, u64::from(at_once));
        if day.leaves.is_none() {
            let again = replay_on(&stage, &flow, &done.journal);
            prop_assert_eq!(again.drifts, vec![]);
            prop_assert_eq!(came(&again.done), came(&done));
        }
    }
}

/// Holds the calls of a run against how many may be in the air at once.
fn in_the_air(timeline: &Timeline, at_once: u64) {
    let of = |cause: Cause| {
        let effects = timeline.nodes.iter().filter(|node| node.kind == NodeKind::Effect);
        let states = effects.flat_map(|node| &node.states).filter(move |state| state.cause == cause);
        states.map(|state| (state.from_ns, state.to_ns)).filter(|(from, to)| from < to).collect::<Vec<_>>()
    };
    let (flying, queued) = (of(Cause::Io), of(Cause::Permit));
    for (at, _) in &flying {
        let beside = flying.iter().filter(|(from, to)| from <= at && at < to).count() as u64;
        assert!(beside <= at_once, "{beside} in the air: {timeline:#?}");
    }
    for (from, to) in queued {
        let used: u64 = flying.iter().map(|fly| fly.1.min(to).saturating_sub(fly.0.max(from))).sum();
        assert_eq!(used, at_once * (to - from), "a call waits for room that is there: {timeline:#?}");
    }
}
