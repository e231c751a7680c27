//! Ways to note the same request, run in turn: what each costs the thread that serves it, and all threads together.

use std::error::Error;
use std::process;

use crate::alloc;
use crate::machine::{Threads, own_cpu_ns, process_cpu_ns};
use crate::sample::Sample;
use crate::telemetry::receiver;

/// Requests at a stretch. What they hand over fits into every contender's queues, so that nothing is dropped and made
/// cheap by that; `fastrace`'s is the smallest.
pub(super) const BATCH: u64 = 500;

/// Stretches before the first one that counts: zerver keeps 15,000 timelines, and frees one for each from there on.
const WARM: usize = 60;

/// A way to note requests.
pub(super) struct Contender<'c> {
    /// What it is called in the tables.
    pub(super) name: &'static str,
    /// Serves that many requests.
    serve: Box<dyn FnMut(u64) + 'c>,
    /// Waits until its background work has caught up.
    settle: Box<dyn FnMut() + 'c>,
}

impl<'c> Contender<'c> {
    pub(super) fn new(name: &'static str, serve: impl FnMut(u64) + 'c, settle: impl FnMut() + 'c) -> Self {
        Self { name, serve: Box::new(serve), settle: Box::new(settle) }
    }
}

/// What one contender costs per request: processor time in nanoseconds, and allocations.
#[derive(Clone, Debug, Default)]
pub(super) struct Cost {
    pub(super) name: &'static str,
    /// On the thread that serves it.
    pub(super) own: Sample,
    /// On all threads, those that wait for the background left in; the receiver's left out.
    pub(super) whole: Sample,
    /// On the collector's thread, where it is zerver's.
    pub(super) collector: Sample,
    /// On the exporter's thread, where it is zerver's.
    pub(super) exporter: Sample,
    /// Allocations on the serving thread's path.
    pub(super) allocations: f64,
    /// Requests it served in all.
    pub(super) requests: u64,
}

/// Runs all of them in turn. The n-th measurements of all stand side by side in time.
pub(super) fn run<const N: usize>(
    rounds: usize,
    mut contenders: [Contender<'_>; N],
) -> Result<[Cost; N], Box<dyn Error>> {
    let mut costs: [Cost; N] = std::array::from_fn(|place| Cost { name: contenders[place].name, ..Cost::default() });
    for round in 0..WARM + rounds {
        for place in 0..N {
            // Each round begins with another one, so that none always follows the same.
            let place = (place + round) % N;
            let (contender, cost) = (&mut contenders[place], &mut costs[place]);
            let before = Threads::of(process::id())?;
            let (own, process) = (own_cpu_ns(), process_cpu_ns());
            (contender.serve)(BATCH);
            let own = own_cpu_ns() - own;
            (contender.settle)();
            let process = process_cpu_ns() - process;
            let after = Threads::of(process::id())?;
            cost.requests += BATCH;
            if round >= WARM {
                let of = |name: &str| after.since(&before, name).as_nanos() as f64;
                let per_request = |sample: &mut Sample, ns: f64| sample.0.push(ns / BATCH as f64);
                per_request(&mut cost.own, own);
                per_request(&mut cost.whole, process - of(receiver::THREAD));
                per_request(&mut cost.collector, of("zerver-collect"));
                per_request(&mut cost.exporter, of("zerver-export"));
            }
        }
    }
    for (contender, cost) in contenders.iter_mut().zip(&mut costs) {
        let seen = alloc::counted(|| (contender.serve)(BATCH));
        (contender.settle)();
        cost.requests += BATCH;
        cost.allocations = seen.calls as f64 / BATCH as f64;
    }
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::hint::black_box;

    use super::*;

    #[test]
    fn who_works_more_costs_more_and_every_request_is_served() {
        let served = Cell::new(0);
        let spin = |turns: u64| {
            let served = &served;
            move |requests: u64| {
                served.set(served.get() + requests);
                (0..requests * turns).for_each(|n| {
                    black_box(n);
                });
            }
        };
        let boxes = |requests: u64| (0..requests).for_each(|n| drop(black_box(Box::new(n))));
        let [little, much, boxed] = run(
            5,
            [
                Contender::new("little", spin(10), || ()),
                Contender::new("much", spin(1_000), || ()),
                Contender::new("boxed", boxes, || ()),
            ],
        )
        .expect("this is Linux");
        assert!(much.own.median() > 5.0 * little.own.median(), "{much:?} {little:?}");
        assert!(much.whole.median() >= much.own.median());
        assert_eq!(little.requests + much.requests, served.get());
        // Other tests may allocate meanwhile, so only a bound from below is sure.
        assert!(boxed.allocations >= 1.0);
    }
}
