//! One class, one tenant, too much load: no number in these scenes is known to the gate.

use super::*;

fn flood(slots: f64, service_s: f64, times: f64, varied: bool, seed: u64) -> Run {
    let capacity = slots / service_s;
    let mut scene = Scene::new(slots, service_s).stream(Class::Interactive, "a", move |_| times * capacity);
    scene.varied = varied;
    scene.seed = seed;
    scene.seconds = 8.0;
    scene.run()
}

/// Goodput over capacity, the 99th percentile of good answers in seconds, refusals later than 60 ms.
fn measure(slots: f64, service_s: f64, times: f64, varied: bool, seed: u64) -> (f64, f64, f64) {
    let run = flood(slots, service_s, times, varied, seed);
    let goodput = run.goodput(2.0, 8.0) / (slots / service_s);
    (goodput, run.p99(2.0, 7.5), run.late(2.0, 7.5, 0.06))
}

#[test]
fn goodput_stays_at_capacity_whatever_the_load() {
    for varied in [true, false] {
        for times in [2.0, 5.0, 10.0] {
            let runs = [1, 2, 3].map(|seed| measure(10.0, 0.01, times, varied, seed));
            let mean = runs.iter().map(|(goodput, ..)| goodput).sum::<f64>() / runs.len() as f64;
            assert!(mean >= 0.95, "goodput {mean} at {times}x, varied {varied}");
            for (goodput, p99, late) in runs {
                assert!(goodput >= 0.93, "goodput {goodput} at {times}x, varied {varied}");
                assert!(p99 <= 0.25, "p99 {p99} at {times}x, varied {varied}");
                assert!(late <= 0.01, "late refusals {late} at {times}x, varied {varied}");
            }
        }
    }
}

#[test]
fn the_same_settings_fit_an_upstream_two_hundred_wide() {
    // A fiftieth of the answers here takes longer than the deadline allows for a queue of any length.
    for (varied, least) in [(true, 0.92), (false, 0.95)] {
        let (goodput, p99, late) = measure(200.0, 0.1, 4.0, varied, 1);
        assert!(goodput >= least && p99 <= 0.5 && late <= 0.01, "{varied}: {goodput} {p99} {late}");
    }
}

#[test]
fn small_upstreams_are_kept_busy_too() {
    for (slots, service_s) in [(1.0, 0.005), (2.0, 0.01), (4.0, 0.05)] {
        for varied in [true, false] {
            let (goodput, ..) = measure(slots, service_s, 4.0, varied, 1);
            assert!(goodput >= 0.9, "goodput {goodput} of {slots} slots, varied {varied}");
        }
    }
}

#[test]
fn nobody_is_refused_without_overload() {
    for varied in [true, false] {
        for seed in 1..=5 {
            let run = flood(10.0, 0.01, 0.8, varied, seed);
            let offered = run.between(0.0, 8.0).count();
            assert!(run.sheds(0.0, 8.0) * 10_000 <= offered, "{} of {offered}, {varied}, {seed}", run.sheds(0.0, 8.0));
        }
    }
}

/// Goodput in units of what the upstream could do, before, during and after a change from 4 s to 10 s.
fn change(times: f64, varied: bool, seed: u64, set: impl Fn(&mut Scene)) -> (Run, f64) {
    let mut scene = Scene::new(10.0, 0.01).stream(Class::Interactive, "a", move |_| times * 1_000.0);
    scene.varied = varied;
    scene.seed = seed;
    scene.seconds = 16.0;
    set(&mut scene);
    (scene.run(), times.min(1.0) * 1_000.0)
}

fn bad_time(t: f64) -> bool {
    (4.0..10.0).contains(&t)
}

#[test]
fn an_upstream_four_times_slower_is_followed_and_its_return_too() {
    for times in [0.9, 3.0] {
        for varied in [true, false] {
            for seed in [1, 2] {
                let (run, whole) = change(times, varied, seed, |scene| {
                    scene.service_s = Box::new(|t| if bad_time(t) { 0.04 } else { 0.01 });
                });
                let during = run.goodput(6.0, 10.0) / 250.0;
                let (soon, after) = (run.goodput(10.2, 11.2) / whole, run.goodput(11.2, 16.0) / whole);
                assert!(during >= 0.85 && soon >= 0.85 && after >= 0.93, "{during} {soon} {after}");
            }
        }
    }
}

#[test]
fn slots_that_go_and_come_back_are_followed() {
    for times in [0.9, 3.0] {
        for varied in [true, false] {
            for seed in [1, 2] {
                let (run, whole) = change(times, varied, seed, |scene| {
                    scene.slots = Box::new(|t| if bad_time(t) { 2.0 } else { 10.0 });
                });
                let during = run.goodput(6.0, 10.0) / 200.0;
                let (soon, after) = (run.goodput(10.2, 11.2) / whole, run.goodput(11.2, 16.0) / whole);
                assert!(during >= 0.85 && soon >= 0.85 && after >= 0.93, "{during} {soon} {after}");
            }
        }
    }
}

#[test]
fn after_a_freeze_the_herd_is_met_and_the_upstream_not_flooded() {
    let mut scene = Scene::new(10.0, 0.01).stream(Class::Interactive, "a", |t| if t < 7.0 { 800.0 } else { 5_000.0 });
    scene.slots = Box::new(|t| if (4.0..7.0).contains(&t) { 0.0 } else { 10.0 });
    scene.seconds = 10.0;
    let run = scene.run();
    let goodput = run.goodput(7.2, 9.5) / 1_000.0;
    assert!(goodput >= 0.9, "{goodput}");
    assert!(run.upstream_queue[7] <= 100 && run.upstream_queue[8] <= 40, "{:?}", run.upstream_queue);
}
