//! What holds for every timeline and every comparison, sane or not.

use std::sync::Arc;

use proptest::prelude::*;
use zerver_telemetry::event::{Cause, NodeId, NodeKind, Outcome};
use zerver_telemetry::explain::{Cohorts, Usual, compare, critical_path, nearest_fast, slack, what_if};
use zerver_telemetry::id::{SpanId, TraceId};
use zerver_telemetry::timeline::{Node, State, Timeline, Value};

use crate::flow::Random;

/// A random tree of nodes whose states tile their lives; wakes and `after` point anywhere, at worst to nothing.
fn random_timeline(seed: u64) -> Timeline {
    let mut r = Random::new(seed);
    let count = 1 + r.below(12) as usize;
    let mut nodes: Vec<Node> = Vec::with_capacity(count);
    for place in 0..count {
        let parent = (place > 0).then(|| r.below(place as u64) as u16);
        let start_ns = parent.map_or(0, |p| nodes[usize::from(p)].start_ns + r.below(400));
        let mut states = Vec::new();
        let mut at = start_ns;
        for _ in 0..r.below(6) + u64::from(place == 0) {
            let to = at + r.below(300);
            states.push(State {
                from_ns: at,
                to_ns: to,
                cause: Cause::ALL[r.below(10) as usize],
                name: r.chance(0.4).then(|| format!("n{}", r.below(3)).into()),
                woken_by: r.chance(0.6).then(|| NodeId(r.below(count as u64 + 2) as u16)),
                worker: None,
                promoted: None,
                folded: false,
            });
            at = to;
        }
        nodes.push(Node {
            span_id: zerver_telemetry::id::SpanId(0),
            id: NodeId(place as u16),
            parent: parent.map(NodeId),
            after: r.chance(0.4).then(|| NodeId(r.below(count as u64 + 2) as u16)),
            name: format!("s{}", r.below(5)).into(),
            kind: NodeKind::Step,
            attempt: 1 + r.below(3) as u16,
            occurrence: 1,
            start_ns,
            end_ns: at,
            outcome: Outcome::ALL[r.below(6) as usize],
            status: 0,
            error: None,
            states,
            attrs: vec![
                ("peer".into(), Value::Text(format!("p{}", r.below(3)).into())),
                ("n".into(), Value::Int(r.below(9) as i64)),
            ],
        });
    }
    Timeline {
        seq: seed,
        trace_id: TraceId(u128::from(seed) + 1),
        span_id: SpanId(1),
        parent_span_id: None,
        sampled: false,
        route: "any".into(),
        flow: None,
        config_version: 1,
        start_unix_ns: r.below(1_000_000_000),
        latency_ns: nodes[0].end_ns,
        outcome: Outcome::Ok,
        status: 200,
        error: None,
        weight: 1.0 + r.below(4) as f32,
        kept: Vec::new(),
        lost_events: 0,
        nodes,
    }
}

fn covers(timeline: &Timeline) -> Result<(), TestCaseError> {
    let mut at = 0;
    for piece in critical_path(timeline) {
        prop_assert_eq!(piece.from_ns, at, "pieces follow each other");
        prop_assert!(piece.to_ns > piece.from_ns);
        prop_assert_eq!(&*piece.place, timeline.path(piece.node));
        at = piece.to_ns;
    }
    prop_assert_eq!(at, timeline.latency_ns);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn pieces_are_disjoint_and_cover_the_latency(seed in any::<u64>()) {
        let timeline = random_timeline(seed);
        timeline.check().unwrap();
        covers(&timeline)?;
    }

    #[test]
    fn a_damaged_timeline_is_still_covered(seed in any::<u64>(), at in 0_usize..12, shift in 0_u64..2000) {
        let mut timeline = random_timeline(seed);
        let at = at % timeline.nodes.len();
        for state in &mut timeline.nodes[at].states {
            state.from_ns = state.from_ns.wrapping_mul(shift) % 1500;
            state.to_ns ^= shift;
        }
        covers(&timeline)?;
        let _ = slack(&timeline);
        let _ = what_if(&timeline, "s1", Cause::Io, 0.5);
    }

    #[test]
    fn nothing_changed_changes_nothing(seed in any::<u64>()) {
        let timeline = random_timeline(seed);
        let slack = slack(&timeline);
        prop_assert_eq!(slack[0], Some(0));
        prop_assert_eq!(slack.len(), timeline.nodes.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn parts_sum_to_the_difference(seed in any::<u64>(), requests in 0_usize..300) {
        let timelines: Vec<Arc<Timeline>> =
            (0..requests as u64).map(|n| Arc::new(random_timeline(seed.wrapping_add(n)))).collect();
        let answer = compare(&timelines, None, &Cohorts::SlowVersusFast);
        let sum: f64 = answer.parts.iter().map(|part| part.delta_ms).sum();
        prop_assert!((sum - answer.delta_ms).abs() < 1e-6, "{} and {}", sum, answer.delta_ms);
        prop_assert!((answer.delta_ms - (answer.b.mean_ms - answer.a.mean_ms)).abs() < 1e-6);
        let shares = answer.parts.iter().map(|part| part.share).sum::<f64>();
        prop_assert!(answer.delta_ms == 0.0 || (shares - 1.0).abs() < 1e-6);
        prop_assert_eq!(answer.a.count + answer.b.count + answer.unused, timelines.len());
        prop_assert!(answer.findings.iter().all(|finding| (0.0..=1.0).contains(&finding.share)));
        // The answer survives its own JSON form, and asking again gives the same.
        let text = serde_json::to_string(&answer).unwrap();
        let back: zerver_telemetry::explain::Comparison = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&back.verdict, &answer.verdict);
        prop_assert_eq!(&compare(&timelines, None, &Cohorts::SlowVersusFast), &answer);
        let usual = Usual::of(&timelines, "any");
        for timeline in &timelines {
            if let Some(why) = usual.why_slow(timeline) {
                prop_assert!(why.excess_ms > 0.0 && why.share >= 0.35);
            }
        }
        for twin in timelines.last().and_then(|last| Some((last, nearest_fast(&timelines, last)?))).iter() {
            prop_assert!(twin.1.latency_ns < twin.0.latency_ns);
        }
    }
}
