//! Hand-made timelines whose measures are plain to see.

use std::sync::Arc;

use serde_json::{Value, json};
use zerver_telemetry::timeline::Timeline;

use crate::admin::latencies::{CHAINS_MAX, Latencies, measure};

/// A node: name, kind, parent, after, outcome, and states as `cause to_ns` with `<n` for the node that ended the wait.
fn node(n: usize, text: &str) -> Value {
    let words: Vec<&str> = text.split_whitespace().collect();
    let start: u64 = words[4].parse().unwrap();
    let (mut at, mut states) = (start, Vec::new());
    for state in words[5..].iter() {
        let (state, woken_by) = state.split_once('<').map_or((*state, None), |(state, by)| (state, Some(by)));
        let (cause, to) = state.split_once(':').unwrap();
        let to: u64 = to.parse().unwrap();
        let mut state = json!({ "from_ns": at, "to_ns": to, "cause": cause });
        if let Some(by) = woken_by {
            state["woken_by"] = by.parse::<u16>().unwrap().into();
        }
        states.push(state);
        at = to;
    }
    let number = |word: &str| word.parse::<u16>().ok();
    json!({
        "id": n, "name": words[0], "kind": words[1], "parent": number(words[2]), "after": null,
        "start_ns": start, "end_ns": at, "outcome": words[3], "states": states,
    })
}

fn timeline(weight: f64, outcome: &str, nodes: &[&str]) -> Arc<Timeline> {
    let nodes: Vec<Value> = nodes.iter().enumerate().map(|(n, text)| node(n, text)).collect();
    let timeline: Timeline = serde_json::from_value(json!({
        "trace_id": format!("{:032x}", 1), "span_id": format!("{:016x}", 1), "route": "shop", "flow": "shop",
        "start_unix_ns": 0, "latency_ns": nodes[0]["end_ns"], "outcome": outcome, "status": 200, "weight": weight,
        "nodes": nodes,
    }))
    .unwrap();
    timeline.check().unwrap();
    Arc::new(timeline)
}

/// `a` and `b` side by side, ended by the longer; `a` waits for a permit first. In units of a millisecond.
fn request(weight: f64, a: u64, b: u64) -> Arc<Timeline> {
    let (a, b) = (a * 1_000_000, b * 1_000_000);
    let (end, last) = (a.max(b), if a > b { 1 } else { 3 });
    timeline(
        weight,
        "ok",
        &[
            &format!("request request - ok 0 join:{end} run:{}<{last}", end + 1_000_000),
            &format!("a step 0 ok 0 join:{a}"),
            &format!("t effect 1 ok 0 permit:{} io:{a}", a / 4),
            &format!("b step 0 ok 0 run:{b}"),
        ],
    )
}

fn step<'l>(found: &'l Latencies, name: &str) -> &'l super::StepLatency {
    found.steps.iter().find(|step| step.name == name).unwrap()
}

fn near(left: f64, right: f64) {
    assert!((left - right).abs() < 1e-6, "{left} is not {right}");
}

#[test]
fn steps_are_measured_through_their_calls_and_by_weight() {
    // Nine requests held up by b, one slow one by a.
    let found = measure("shop", 3, &[request(9.0, 4, 10), request(1.0, 80, 10)]);
    assert_eq!((found.flow.as_str(), found.version, found.timelines), ("shop", 3, 2));
    near(found.requests, 10.0);
    near(found.p50_ms, 11.0);
    near(found.p99_ms, 81.0);
    let (a, b) = (step(&found, "a"), step(&found, "b"));
    near(a.runs, 10.0);
    near(a.p50_ms, 4.0);
    near(a.p99_ms, 80.0);
    // The step only waits; what it waits for was a quarter of the time without a permit.
    near(a.queued, 0.25);
    near(a.parked, 0.75);
    near(a.running, 0.0);
    near(b.running, 1.0);
    // 9 × 11 ms and 1 × 81 ms in all, of which b held up 90 and a 80; the last millisecond of each is no step's.
    near(b.critical, 90.0 / 180.0);
    near(a.critical, 80.0 / 180.0);
    near(found.outside, 10.0 / 180.0);
}

#[test]
fn chains_say_what_held_the_requests_up_and_the_slow_ones() {
    let found = measure("shop", 1, &[request(96.0, 4, 10), request(4.0, 80, 10)]);
    let told: Vec<_> = found.chains.iter().map(|chain| chain.steps.join(" ")).collect();
    assert_eq!(told, ["b", "a"]);
    near(found.chains[0].share, 0.96);
    near(found.chains[0].mean_ms, 11.0);
    near(found.chains[1].share, 0.04);
    near(found.chains[1].mean_ms, 81.0);
    // The slowest twentieth begins among those that b held up, which all took the same.
    near(found.chains[1].slow_share, 0.04);
    let clear = measure("shop", 1, &[request(90.0, 4, 10), request(10.0, 80, 10)]);
    near(clear.chains[1].slow_share, 1.0);
}

#[test]
fn a_chain_goes_from_step_to_step() {
    let chained = timeline(
        1.0,
        "ok",
        &[
            "request request - ok 0 join:100 run:105<3",
            "a step 0 ok 0 run:20",
            "b step 0 ok 0 run:40",
            "c step 0 ok 40 run:50 join:90 run:100<4",
            "call effect 3 ok 50 io:90",
        ],
    );
    let mut chained = (*chained).clone();
    chained.nodes[3].after = Some(zerver_telemetry::event::NodeId(2));
    let found = measure("shop", 1, &[Arc::new(chained)]);
    assert_eq!(found.chains[0].steps, ["b", "c"]);
    near(step(&found, "c").critical, 60.0 / 105.0);
    near(step(&found, "c").parked, 40.0 / 60.0);
    near(step(&found, "a").critical, 0.0);
}

#[test]
fn failures_count_and_what_did_not_run_does_not() {
    let nodes = |a: &'static str| ["request request - ok 0 run:100", a];
    let found = measure(
        "shop",
        1,
        &[
            timeline(1.0, "error", &nodes("a step 0 error 0 run:10")),
            timeline(1.0, "refused", &nodes("a step 0 timeout 0 run:20")),
            timeline(1.0, "ok", &nodes("a step 0 ok 0 run:30")),
            timeline(1.0, "ok", &nodes("a step 0 skipped 0 run:0")),
            timeline(1.0, "cancelled", &nodes("a step 0 cancelled 0 run:90")),
        ],
    );
    near(found.errors, 0.4);
    near(step(&found, "a").runs, 3.0);
    near(step(&found, "a").errors, 2.0 / 3.0);
    near(step(&found, "a").p99_ms, 30.0 / 1e6);
}

#[test]
fn a_step_inside_a_step_is_part_of_it() {
    let nested = timeline(
        1.0,
        "ok",
        &[
            "request request - ok 0 join:100 run:100<1",
            "outer step 0 ok 0 join:100",
            "inner step 1 ok 0 worker:30 run:100",
        ],
    );
    let found = measure("shop", 1, &[nested]);
    assert_eq!(found.steps.len(), 1);
    near(step(&found, "outer").queued, 0.3);
    near(step(&found, "outer").running, 0.7);
    assert_eq!(found.chains[0].steps, ["outer"]);
}

#[test]
fn nothing_and_odd_things_are_measured_without_a_fault() {
    assert_eq!(measure("shop", 1, &[]).requests, 0.0);
    let other = measure("other", 1, &[request(1.0, 1, 2)]);
    assert_eq!((other.timelines, other.p99_ms, other.chains.len()), (0, 0.0, 0));
    assert_eq!(measure("shop", 1, &[request(0.0, 1, 2)]).timelines, 0, "shown, not counted");
    // A step that claims to have been woken by its parent, itself, or nobody there.
    for by in [0, 1, 900] {
        let odd =
            timeline(1.0, "ok", &["request request - ok 0 run:100", &format!("a step 0 ok 0 join:50 run:60<{by}")]);
        let found = measure("shop", 1, &[odd]);
        near(step(&found, "a").parked, 50.0 / 60.0);
    }
    let many: Vec<_> = (0..CHAINS_MAX + 3)
        .map(|n| {
            let name = format!("s{n} step 0 ok 0 run:100");
            timeline(1.0, "ok", &["request request - ok 0 join:100 run:101<1", &name])
        })
        .collect();
    let found = measure("shop", 1, &many);
    assert_eq!(found.chains.len(), CHAINS_MAX);
    near(found.chains[0].share, 1.0 / 11.0);
}
