//! Flows: time and allocations per step, against the same steps written by hand.

mod declared;
mod by_hand;

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use zerver_flows::adapter::{Adapter, EffectError, HttpAnswer, HttpCall, Retries, Traced};
use zerver_flows::{BoundFlow, Engine, Env, Flow, Req};
use zerver_telemetry::clock::Clock;
use zerver_telemetry::event::Outcome;
use zerver_telemetry::names::Name;
use zerver_telemetry::recorder::{Recorder, Recording};

use crate::alloc;
use crate::length::Length;
use crate::machine::Watch;
use crate::race::{Runner, race};
use crate::sample::Sample;
use crate::table::{Row, Table};

use by_hand::{Hands, at_once};

/// Steps of the flows.
const STEPS: [usize; 3] = [5, 10, 30];
/// Runs over which allocations are counted.
const COUNTED: u64 = 2_000;

/// Answers at once.
struct Instant;

impl Adapter for Instant {
    fn http<'a>(
        &'a self,
        call: HttpCall,
        traced: Traced<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<HttpAnswer, EffectError>> + Send + 'a>> {
        drop((call, traced));
        Box::pin(std::future::ready(Ok(HttpAnswer { body: Bytes::from_static(b"1"), ..HttpAnswer::default() })))
    }

    fn has_target(&self, _: &str) -> bool {
        true
    }
}

pub(crate) fn run(length: Length) -> Result<(), Box<dyn Error>> {
    let watch = Watch::start(&[]);
    let mut table = Table::new("flows");
    let rounds = if length == Length::Quick { 40 } else { 400 };
    for (kind, calls, flows) in [("compute", false, declared::pure()), ("call", true, declared::calls())] {
        let counted = STEPS.into_iter().zip(&flows).map(|(steps, flow)| {
            let bench = Bench::new(flow, steps, calls);
            time(&mut table, &bench, kind, rounds);
            bench.count()
        });
        let counted: Vec<Counts> = counted.collect();
        allocations(&mut table, kind, &counted);
    }
    table.finish(watch.end())?;
    Ok(())
}

/// One flow and what it is compared with.
struct Bench {
    recorder: Recorder,
    flow: BoundFlow,
    engine: Arc<Engine>,
    steps: usize,
    calls: bool,
    step: Name,
    target: Name,
    origin: Arc<str>,
}

/// Allocations of one run.
struct Counts {
    flow: f64,
    traced: f64,
    silent: f64,
}

impl Bench {
    fn new(flow: &Flow, steps: usize, calls: bool) -> Self {
        let recorder = Recorder::for_tests(Clock::real());
        let names = recorder.names();
        assert_eq!(flow.graph().nodes().len(), steps, "the flow has the steps it is named for");
        Self {
            flow: flow.bind(names),
            engine: Engine::new(Arc::new(Instant)),
            steps,
            calls,
            step: names.intern("step"),
            target: names.intern("origin"),
            origin: "origin".into(),
            recorder,
        }
    }

    fn begin(&self) -> Recording {
        self.recorder.start(self.recorder.clock().now(), None, false)
    }

    fn finish(&self, recording: Recording, status: u16) {
        assert_eq!(status, 200, "the run answers as it should");
        recording.finish(self.recorder.clock().now(), Outcome::Ok, status, Name::NONE);
    }

    fn run_flow(&self) {
        let recording = self.begin();
        let env = Env::new((*recording).clone(), Arc::clone(&self.engine));
        let outcome = at_once(self.flow.run(Req::get("/"), env));
        let status = outcome.result.map_or(500, |response| response.status.as_u16());
        self.finish(recording, status);
    }

    fn run_by_hand(&self, traced: bool) {
        let recording = self.begin();
        let Self { step, target, calls, .. } = *self;
        let (origin, retries) = (&self.origin, &Retries::default());
        let adapter = self.engine.adapter();
        let hands = Hands { log: &recording, adapter, step, target, origin, retries, traced, calls };
        let status = at_once(by_hand::run(hands, &Req::get("/"), self.steps)).map_or(500, |it| it.status.as_u16());
        self.finish(recording, status);
    }

    /// What every run pays, whoever writes it: a request's recording, begun and handed over.
    fn run_nothing(&self) {
        drop(Req::get(std::hint::black_box("/")));
        self.finish(self.begin(), 200);
    }

    fn count(&self) -> Counts {
        let per_run = |work: &dyn Fn()| {
            // Logbooks, once made, are used again; by then the ring is full.
            (0..9_000).for_each(|_| work());
            alloc::counted(|| (0..COUNTED).for_each(|_| work())).calls as f64 / COUNTED as f64
        };
        let nothing = per_run(&|| self.run_nothing());
        Counts {
            flow: per_run(&|| self.run_flow()) - nothing,
            traced: per_run(&|| self.run_by_hand(true)) - nothing,
            silent: per_run(&|| self.run_by_hand(false)) - nothing,
        }
    }
}

fn time(table: &mut Table, bench: &Bench, kind: &str, rounds: usize) {
    let repeat = |work: fn(&Bench)| Runner::new(move |times| (0..times).for_each(|_| work(bench)));
    let [nothing, flow, traced, silent] = race(
        &Clock::real(),
        rounds,
        [
            repeat(Bench::run_nothing),
            repeat(Bench::run_flow),
            repeat(|bench| bench.run_by_hand(true)),
            repeat(|bench| bench.run_by_hand(false)),
        ],
    );
    let steps = bench.steps;
    let per_step = |sample: &Sample| sample.with(&nothing, |all, ends| (all - ends) / steps as f64);
    let (flow, traced, silent) = (per_step(&flow), per_step(&traced), per_step(&silent));
    let name = format!("{steps} steps that {kind}");
    table.add(Row::new(format!("{name}: per step"), flow.clone(), "ns"));
    table.add(
        Row::new(format!("{name}: flow / by hand, same timeline"), flow.over(&traced), "x")
            .against("by hand, ns per step", traced.median())
            .at_most(1.3),
    );
    table.add(
        Row::new(format!("{name}: flow / by hand, no timeline"), flow.over(&silent), "x")
            .against("by hand, ns per step", silent.median()),
    );
}

fn allocations(table: &mut Table, kind: &str, counted: &[Counts]) {
    for (steps, counts) in STEPS.into_iter().zip(counted) {
        table.add(
            Row::new(format!("{steps} steps that {kind}: allocations per run"), counts.flow, "")
                .against("by hand, same timeline", counts.traced),
        );
    }
    // From 10 to 30 steps what a run costs by itself cancels.
    let [_, ten, thirty] = counted else { return };
    let per_step = |of: fn(&Counts) -> f64| (of(thirty) - of(ten)) / 20.0;
    let (flow, by_hand) = (per_step(|it| it.flow), per_step(|it| it.traced));
    let row = Row::new(format!("step that {kind}s: allocations more than by hand"), flow - by_hand, "")
        .against("by hand, no timeline", per_step(|it| it.silent));
    table.add(row.at_most(0.0));
}
