//! Pieces of code that run on one thread, timed in turn so that what disturbs the machine disturbs all alike.

use std::time::Duration;

use zerver_telemetry::clock::Clock;

use crate::sample::Sample;

/// How long a piece runs at a stretch: shorter than a scheduler's slice, so that most stretches are undisturbed.
const STRETCH: Duration = Duration::from_millis(1);

/// One piece of code; `work(n)` does it n times.
pub(crate) struct Runner<'w> {
    work: Box<dyn FnMut(u64) + 'w>,
    times: u64,
}

impl<'w> Runner<'w> {
    pub(crate) fn new(work: impl FnMut(u64) + 'w) -> Self {
        Self { work: Box::new(work), times: 1 }
    }
}

/// Runs all of them in turn, `rounds` times, and gives the wall time of one go of each, in nanoseconds. The n-th
/// measurements of all stand side by side in time.
pub(crate) fn race<const N: usize>(clock: &Clock, rounds: usize, mut runners: [Runner<'_>; N]) -> [Sample; N] {
    for runner in &mut runners {
        // Warm, and see how often it goes into a stretch.
        loop {
            let began = clock.now();
            (runner.work)(runner.times);
            if clock.since(began) >= STRETCH {
                break;
            }
            runner.times *= 2;
        }
    }
    let mut samples: [Sample; N] = std::array::from_fn(|_| Sample::default());
    for round in 0..rounds {
        for place in 0..N {
            // Each round begins with another one, so that none always follows the same.
            let place = (place + round) % N;
            let runner = &mut runners[place];
            let began = clock.now();
            (runner.work)(runner.times);
            samples[place].0.push(clock.nanos_between(began, clock.now()) as f64 / runner.times as f64);
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_work_takes_longer() {
        let spin = |work: u64| {
            Runner::new(move |times| {
                for n in 0..times * work {
                    std::hint::black_box(n);
                }
            })
        };
        let [short, long] = race(&Clock::real(), 9, [spin(100), spin(2_000)]);
        assert!(long.over(&short).median() > 5.0, "{short:?} {long:?}");
    }
}
