//! What the store keeps, what it lets go, and that the weights add up.

use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::event::Outcome;
use crate::id::{SpanId, mix};
use crate::timeline::Kept;

/// The shared sample without its steps, read once.
static SAMPLE: LazyLock<Timeline> = LazyLock::new(|| {
    let mut t = crate::timeline::sample();
    t.nodes.truncate(1);
    t
});

fn timeline(seq: u64, latency_ms: u64) -> Timeline {
    let mut t = SAMPLE.clone();
    t.seq = seq;
    t.trace_id = TraceId(u128::from(mix(seq)) | 1);
    t.latency_ns = latency_ms * 1_000_000;
    t.start_unix_ns = 1_000_000_000_000 + seq * 1_000_000;
    t
}

fn settings() -> RetentionSettings {
    RetentionSettings { recent: 20, uniform: 64, errors: 10, slow_per_route: 5, slow: 50, ..Default::default() }
}

fn fill(store: &Store, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        store.add(&timeline(seq, 1 + mix(seq) % 100));
    }
}

#[test]
fn the_slowest_stay_however_long_ago() {
    let store = Store::new(settings());
    for seq in 1..=10_000 {
        let latency = if seq <= 5 { 9_000 } else { 1 + mix(seq) % 100 };
        store.add(&timeline(seq, latency));
    }
    let kept = store.snapshot();
    let slow: Vec<u64> = kept.iter().filter(|t| t.kept.contains(&Kept::Slow)).map(|t| t.seq).collect();
    assert_eq!(slow, [1, 2, 3, 4, 5]);
    assert!(kept.iter().filter(|t| t.kept.contains(&Kept::Slow)).all(|t| t.weight == 1.0));
}

#[test]
fn the_window_lets_old_slow_ones_go() {
    let store = Store::new(RetentionSettings { window: Duration::from_secs(1), ..settings() });
    for seq in 1..=5_000 {
        store.add(&timeline(seq, if seq <= 5 { 9_000 } else { 10 }));
    }
    // Those that ended 9 s late are still inside; after ten more seconds they are not.
    fill(&store, 20_000..=20_100);
    let slow: Vec<u64> = store.snapshot().iter().filter(|t| t.kept.contains(&Kept::Slow)).map(|t| t.seq).collect();
    assert!(slow.len() == 5 && slow[0] >= 20_000, "{slow:?}");
}

#[test]
fn the_last_errors_stay() {
    let store = Store::new(settings());
    for seq in 1..=2_000 {
        let mut t = timeline(seq, 1);
        if seq % 100 == 0 {
            (t.status, t.outcome) = (503, Outcome::Error);
        }
        store.add(&t);
    }
    let errors: Vec<u64> = store.snapshot().iter().filter(|t| t.kept.contains(&Kept::Error)).map(|t| t.seq).collect();
    assert_eq!(errors, (11..=20).map(|n| n * 100).collect::<Vec<_>>());
}

#[test]
fn the_sample_covers_the_whole_window_and_stays_within_its_bound() {
    let store = Store::new(settings());
    fill(&store, 1..=20_000);
    let retained = store.retained();
    assert!(retained.uniform <= 64 && retained.uniform >= 16, "{retained:?}");
    assert_eq!((retained.recent, retained.errors, retained.seen), (20, 0, 20_000));
    assert!(retained.timelines <= 64 + 20 + 5);
    let quarter = |n: u64| {
        store.snapshot().iter().filter(|t| t.kept.contains(&Kept::Uniform) && (t.seq - 1) / 5_000 == n).count()
    };
    assert!((0..4).all(|n| quarter(n) > 0), "each quarter of the window is in the sample");
}

#[test]
fn one_trace_id_for_all_requests_is_sampled_like_any_other() {
    let store = Store::new(settings());
    for seq in 1..=5_000 {
        let trace_id = TraceId(7);
        store.add(&Timeline { trace_id, span_id: SpanId(mix(seq)), ..timeline(seq, 1 + mix(seq) % 100) });
    }
    let retained = store.retained();
    assert!((16..=64).contains(&retained.uniform), "{retained:?}");
    assert_eq!(store.by_trace(TraceId(7)).len(), retained.timelines);
}

#[test]
fn only_recent_weighs_nothing() {
    let store = Store::new(RetentionSettings { uniform: 1, slow_per_route: 0, ..settings() });
    fill(&store, 1..=100);
    let kept = store.snapshot();
    assert!(kept.iter().any(|t| t.kept == [Kept::Recent] && t.weight == 0.0));
    assert!(kept.iter().filter(|t| t.kept.contains(&Kept::Uniform)).all(|t| t.weight >= 32.0));
}

#[test]
fn memory_is_bounded_by_bytes_too() {
    let store = Store::new(settings());
    fill(&store, 1..=1);
    let one = store.retained().bytes;
    let store = Store::new(RetentionSettings { bytes: one * 10, ..settings() });
    fill(&store, 1..=1_000);
    let retained = store.retained();
    assert!(retained.bytes <= one * 11 && retained.timelines <= 10 && retained.timelines > 0, "{retained:?}");
    let tiny = Store::new(RetentionSettings { bytes: 1, ..settings() });
    fill(&tiny, 1..=100);
    assert_eq!((tiny.retained().timelines, tiny.retained().bytes), (0, 0));
}

/// What is let go leaves its place to others, and readers get what was put in, whole and in order.
#[test]
fn what_is_kept_reads_back_as_it_was() {
    let sample = crate::timeline::sample();
    let store = Store::new(settings());
    for seq in 1..=5_000 {
        let mut timeline = Timeline { nodes: sample.nodes.clone(), ..timeline(seq, 1 + mix(seq) % 100) };
        timeline.nodes.truncate(1 + (mix(seq) % 5) as usize);
        store.add(&timeline);
    }
    let kept = store.snapshot();
    assert!(kept.len() == store.retained().timelines && kept.is_sorted_by_key(|t| t.seq));
    for read in kept {
        let written = timeline(read.seq, 1 + mix(read.seq) % 100);
        assert_eq!(
            (read.trace_id, read.latency_ns, &read.route),
            (written.trace_id, written.latency_ns, &written.route)
        );
        assert_eq!(read.nodes, sample.nodes[..1 + (mix(read.seq) % 5) as usize]);
    }
}

#[test]
fn nothing_is_kept_where_nothing_may_be() {
    let none =
        RetentionSettings { recent: 0, uniform: 0, errors: 0, slow_per_route: 0, slow: 0, bytes: 0, ..settings() };
    let store = Store::new(none);
    fill(&store, 1..=100);
    assert_eq!((store.retained().seen, store.retained().timelines, store.retained().bytes), (100, 0, 0));
}

#[test]
fn readers_page_and_find() {
    let store = Store::new(settings());
    fill(&store, 1..=10);
    let page = store.since(3, 4);
    assert_eq!(page.iter().map(|t| t.seq).collect::<Vec<_>>(), [4, 5, 6, 7]);
    assert_eq!(store.by_trace(page[0].trace_id)[0].seq, 4);
    assert_eq!((store.by_route("checkout").len(), store.by_route("other").len()), (10, 0));
    assert!(store.by_trace(TraceId(77)).is_empty() && store.since(u64::MAX, 9).is_empty());
    assert_eq!(store.retained().oldest_seq, Some(1));
    // A reader's copy stays as it was when the store moves on.
    fill(&store, 11..=5_000);
    assert!(page[0].kept.contains(&Kept::Recent));
}

#[test]
fn after_the_window_a_quiet_gateway_samples_more_again() {
    let store = Store::new(RetentionSettings { window: Duration::from_secs(2), recent: 1, ..settings() });
    fill(&store, 1..=10_000);
    let busy = store.retained().probability;
    // From now on one request in 100 ms: 20 in a window.
    for seq in 101..=3_000 {
        store.add(&timeline(seq * 100, 1));
    }
    assert!(store.retained().probability > busy * 4.0, "{busy} {:?}", store.retained());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Over many gateways with different traces, the weights add up to the traffic.
    #[test]
    fn weights_add_up_to_the_traffic(salt in any::<u32>(), errors in 1_u64..40, count in 300_u64..1_500) {
        let mut sum = 0.0_f64;
        let rounds = 24;
        for round in 0..rounds {
            let store = Store::new(RetentionSettings { uniform: 128, errors: 10_000, ..settings() });
            for seq in 1..=count {
                let mut t = timeline(seq, 1 + mix(seq ^ u64::from(salt)) % 500);
                t.trace_id = TraceId(u128::from(mix(seq ^ (u64::from(salt) << 20) ^ (round << 54))) | 1);
                if seq % errors == 0 {
                    t.outcome = Outcome::Error;
                }
                store.add(&t);
            }
            sum += store.snapshot().iter().map(|t| f64::from(t.weight)).sum::<f64>();
        }
        let mean = sum / rounds as f64;
        // The sample holds at least some 40 of at most 1,500: a standard error below 5 % over 24 rounds.
        prop_assert!((mean / count as f64 - 1.0).abs() < 0.2, "{mean} for {count}");
    }
}

#[test]
fn rules_that_hide_more_hide_it_in_what_was_kept_before() {
    use crate::redact::{Redaction, Rules};
    use crate::timeline::Value;
    let store = Store::new(settings());
    let noted = |seq| {
        let mut noted = timeline(seq, 5);
        noted.nodes[0].attrs = vec![("tenant".into(), Value::Text("acme".into()))];
        noted
    };
    let shown = || -> Vec<String> {
        let kept = store.snapshot();
        let tenant = |kept: &Arc<Timeline>| kept.root().attr("tenant").map(ToString::to_string).unwrap_or_default();
        kept.iter().map(tenant).collect()
    };
    store.redact_by(Arc::default(), 0);
    store.add(&noted(1));
    assert_eq!(shown(), ["acme"]);
    let rules = Redaction::new(&Rules { fields: vec!["tenant".into()], ..Rules::default() }).expect("they are sound");
    store.redact_by(Arc::new(rules), 1);
    // The collector has redacted what comes from now on.
    store.add(&noted(2));
    assert_eq!(shown(), ["‹masked›", "acme"]);
    assert_eq!(
        store.by_trace(timeline(1, 5).trace_id)[0].root().attr("tenant").map(ToString::to_string).as_deref(),
        Some("‹masked›")
    );
}

#[test]
fn a_rush_does_not_push_the_last_seconds_out() {
    let settings = RetentionSettings { recent: 50, recent_each: 10, uniform: 0, slow_per_route: 3, ..settings() };
    let store = Store::new(settings);
    // Ten thousand a second, for a second: a hundred in each hundredth of it.
    for seq in 1..=10_000 {
        let mut rush = timeline(seq, 5);
        rush.start_unix_ns = 1_000_000_000_000 + seq * 100_000;
        if seq == 7_777 {
            rush.latency_ns += 1_000_000;
        }
        store.add(&rush);
    }
    let kept = store.snapshot();
    let recent: Vec<u64> = kept
        .iter()
        .filter(|kept| kept.kept.contains(&Kept::Recent))
        .map(|kept| kept.start_unix_ns / 100_000_000)
        .collect();
    assert_eq!(recent.len(), 50);
    let reach = recent[49] - recent[0];
    assert!((4..=5).contains(&reach), "they reach back {reach} tenths of a second");
    assert!(kept.iter().any(|kept| kept.seq == 7_777 && kept.kept.contains(&Kept::Slow)));
    assert_eq!(store.retained().seen, 10_000);
}
