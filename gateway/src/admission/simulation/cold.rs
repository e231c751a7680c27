//! A gate that opens into five times what its upstream can do: nothing is known, and no answer comes from an idle upstream.

use super::*;

/// Callers who would wait for long, so that nothing but the limit keeps answers short.
const DEADLINE: Duration = Duration::from_secs(10);
const SECONDS: u32 = 6;
const SEEDS: u64 = 5;

fn cold(slots: f64, service_s: f64, varied: bool, seed: u64) -> Run {
    let mut scene = Scene::new(slots, service_s).stream(Class::Interactive, "a", move |_| 5.0 * slots / service_s);
    (scene.varied, scene.seed, scene.seconds, scene.deadline) = (varied, seed, f64::from(SECONDS), DEADLINE);
    scene.run()
}

/// The median and the 99th percentile of what requests sent in the span spent in the upstream, in seconds.
fn in_upstream(run: &Run, from: f64, to: f64) -> [f64; 2] {
    let good = run.stories.iter().filter(|story| story.end == End::Good);
    let timed = good.filter_map(|story| story.sent.map(|sent| (sent, story.ended - sent)));
    let mut all: Vec<f64> = timed.filter(|(sent, _)| (from..to).contains(sent)).map(|(_, took)| took).collect();
    all.sort_by(f64::total_cmp);
    [all[all.len() / 2], all[all.len() * 99 / 100]]
}

#[track_caller]
fn check(slots: f64, service_s: f64, varied: bool, soon_least: f64) {
    let runs: Vec<Run> = (1..=SEEDS).map(|seed| cold(slots, service_s, varied, seed)).collect();
    let mean = |of: &dyn Fn(&Run) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
    let name = format!("{slots} slots of {service_s} s, varied {varied}");

    // A limit at 1.5 knees and a root makes 1.5 service times and a root of it, with the knee at its place.
    let fair = 1.5 + 1.0 / slots.sqrt();
    for second in 0..SECONDS - 1 {
        let (from, to) = (f64::from(second), f64::from(second + 1));
        let [p50, p99] = [0, 1].map(|n| mean(&|run| in_upstream(run, from, to)[n]) / service_s);
        assert!(p50 <= 2.0 * fair, "{name}: the median is {p50} service times in second {second}");
        // A hundredth of exponential service times takes 4.6 of them by itself.
        let most = if varied { 4.6 + 4.0 * fair } else { 2.0 * fair };
        assert!(second == 0 || p99 <= most, "{name}: the 99th percentile is {p99} service times in second {second}");
    }
    let goodput = |from, to| mean(&|run| run.goodput(from, to)) / (slots / service_s);
    let (soon, later) = (goodput(0.0, 2.0), goodput(1.0, f64::from(SECONDS)));
    assert!(soon >= soon_least, "{name}: goodput {soon} in the first two seconds");
    assert!(later >= 0.88, "{name}: goodput {later} after the first");
}

#[test]
fn a_narrow_upstream_is_not_met_with_a_queue() {
    for varied in [false, true] {
        check(1.0, 0.005, varied, 0.9);
        check(2.0, 0.01, varied, 0.85);
        check(4.0, 0.05, varied, 0.7);
    }
}

#[test]
fn a_wider_one_is_found_as_soon() {
    for varied in [false, true] {
        check(10.0, 0.01, varied, 0.9);
    }
}

#[test]
fn two_hundred_slots_take_a_second() {
    for varied in [false, true] {
        check(200.0, 0.1, varied, 0.68);
    }
}
