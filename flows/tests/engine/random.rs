//! Random flows against a sequential reference: same values, the time of the longest chain, timelines that tile.
#![cfg(feature = "declare")]

use std::fmt::Write as _;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use zerver_flows::Req;
use zerver_flows::declare::{Known, load_str};
use zerver_flows::fake::Fake;
use zerver_telemetry::event::Outcome;

/// A step: which earlier steps it reads (bits), how long its call takes, whether it fails.
type Step = (u16, u8, bool);

fn run(steps: &[Step]) {
    let mut yaml = String::from("flow: random-flow\nsteps:\n");
    let mut fake = Fake::new();
    let (mut ends, mut values): (Vec<u64>, Vec<Option<u64>>) = (Vec::new(), Vec::new());
    for (n, (mask, takes, fails)) in steps.iter().enumerate() {
        let reads: Vec<usize> = (0..n).filter(|m| mask & (1 << m) != 0).collect();
        let sum: Vec<String> = reads.iter().map(|m| format!("s{m}.orValue({{'v': 0}}).v")).collect();
        let sum = if sum.is_empty() { "0".to_owned() } else { sum.join(" + ") };
        let _ = writeln!(yaml, "  s{n}: {{ post: \"t:/{n}?in=${{{sum}}}\", optional: true }}");
        // The reference: one step after the other, in the order written.
        let input: u64 = reads.iter().map(|m| values[*m].unwrap_or(0)).sum();
        let ready = reads.iter().map(|m| ends[*m]).max().unwrap_or(0);
        ends.push(ready + u64::from(*takes));
        let value = (input * 31 + n as u64 + 1) % 10_007;
        values.push((!fails).then_some(value));
        let rule = fake.on(&format!("POST t:/{n}?in={input}"));
        rule.takes(Duration::from_millis(u64::from(*takes))).json(&json!({ "v": value }));
        if *fails {
            rule.status(500);
        }
    }
    let all: Vec<String> = (0..steps.len()).map(|n| format!("'${{s{n}.?v.orValue(-1)}}'")).collect();
    let _ = writeln!(yaml, "respond: {{ json: [{}] }}", all.join(", "));
    let done = fake.run(&load_str(&yaml, Known::targets(&["t"])).unwrap(), Req::get("/"));

    let expected: Vec<i64> = values.iter().map(|value| value.map_or(-1, |value| value as i64)).collect();
    assert_eq!(done.json(), json!(expected), "{yaml}\n{:?}", done.outcome);
    assert_eq!(done.elapsed(), Duration::from_millis(ends.iter().copied().max().unwrap_or(0)));
    done.timeline.check().unwrap();
    for (n, (mask, takes, fails)) in steps.iter().enumerate() {
        let node = done.node(&format!("s{n}")).unwrap();
        let split = node.split();
        assert_eq!(node.end_ns, ends[n] * 1_000_000);
        assert_eq!((split.park_ns, split.queue_ns), (u64::from(*takes) * 1_000_000, 0));
        assert_eq!(node.outcome, if *fails { Outcome::Error } else { Outcome::Ok });
        let reads = (0..n).any(|m| mask & (1 << m) != 0);
        let after = node.after.and_then(|after| done.timeline.node(after));
        assert_eq!(after.map(|after| after.end_ns), reads.then_some(node.start_ns));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_flows_do_what_their_steps_in_order_would(steps in prop::collection::vec((any::<u16>(), 0..40_u8, prop::bool::weighted(0.2)), 1..12)) {
        run(&steps);
    }
}
