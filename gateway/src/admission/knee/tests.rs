//! The limit fed by hand: an upstream that is always full, one that is idle, one that hangs.

use super::*;

/// Feeds answers of an upstream that is always full: `slots` at once, `service_s` each, all seats in use.
fn full(knee: &mut Knee, now: &mut f64, seconds: f64, slots: f64, service_s: f64, outcome: Outcome) {
    let end = *now + seconds;
    while *now < end {
        let seats = f64::from(knee.current());
        let throughput = seats.min(slots) / service_s;
        let rtt = seats / throughput;
        *now += 1.0 / throughput;
        let started = Duration::from_secs_f64((*now - rtt).max(0.0));
        knee.finished(Duration::from_secs_f64(*now), Finish { started, outcome, full: true });
    }
}

#[test]
fn the_knee_is_found_from_below_and_from_above() {
    for (slots, service_s) in [(1.0, 0.01), (10.0, 0.01), (50.0, 0.02), (400.0, 0.05)] {
        let mut knee = Knee::new(Bounds::default(), 1);
        let mut now = 0.0;
        full(&mut knee, &mut now, 20.0, slots, service_s, Outcome::Good);
        let limit = f64::from(knee.current());
        assert!((slots..=2.5 * slots + 6.0).contains(&limit), "{limit} seats for {slots} slots");
        // Two seats are the fewest, so one slot is never seen without a queue.
        let base = knee.base().map_or(0.0, |base| base.as_secs_f64()) / service_s;
        assert!((0.9..=if slots < 2.0 { 2.2 } else { 1.4 }).contains(&base), "{base} for {slots} slots");
    }
}

#[test]
fn the_last_move_says_what_happened() {
    let mut knee = Knee::new(Bounds::default(), 1);
    assert_eq!((knee.last_move(), knee.current()), (None, 4));
    let mut now = 0.0;
    full(&mut knee, &mut now, 0.1, 1_000.0, 0.01, Outcome::Good);
    let last = knee.last_move().expect("it grows");
    assert_eq!((last.why, last.to), (Why::Search, knee.current()));
    assert!(last.to > last.from);
}

#[test]
fn it_stays_within_its_bounds() {
    let bounds = Bounds { start: 500, min: 5, max: 20 };
    let mut knee = Knee::new(bounds, 1);
    assert_eq!(knee.current(), 20);
    let mut now = 0.0;
    full(&mut knee, &mut now, 10.0, 1_000.0, 0.01, Outcome::Good);
    assert!(knee.current() <= 20);
    // A hanging upstream: only timeouts come back, and the limit falls to its floor.
    knee.started(Some(Duration::from_millis(500)));
    full(&mut knee, &mut now, 20.0, 1.0, 0.5, Outcome::Timeout);
    assert!((1..=5).contains(&knee.current()), "{}", knee.current());
}

#[test]
fn without_load_it_does_not_move() {
    let mut knee = Knee::new(Bounds::default(), 1);
    for n in 1..5_000_u32 {
        let now = Duration::from_millis(10) * n;
        let started = now.saturating_sub(Duration::from_millis(5));
        knee.finished(now, Finish { started, outcome: Outcome::Good, full: false });
    }
    assert_eq!((knee.current(), knee.last_move()), (4, None));
    assert!(knee.base().is_some_and(|base| base.abs_diff(Duration::from_millis(5)) < Duration::from_micros(10)));
}

#[test]
fn a_client_that_left_is_no_sample() {
    let mut knee = Knee::new(Bounds::default(), 1);
    for n in 1..5_000_u32 {
        let now = Duration::from_millis(1) * n;
        knee.finished(now, Finish { started: Duration::ZERO, outcome: Outcome::ClientGone, full: true });
    }
    assert_eq!((knee.base(), knee.last_move()), (None, None));
}

#[test]
fn a_drain_does_not_wait_for_the_slowest() {
    let mut knee = Knee::new(Bounds::default(), 1);
    let mut now = 0.0;
    while knee.last_move().is_none_or(|last| last.why != Why::Drain) {
        full(&mut knee, &mut now, 0.005, 4.0, 0.05, Outcome::Good);
        assert!(now < 5.0, "a base that was never seen without a queue calls for a drain");
    }
    let drained = now;
    // Only what was sent before the drain comes back, as if a few had taken all seats for long.
    while knee.last_move().is_some_and(|last| last.why == Why::Drain) {
        now += 0.05;
        let started = Duration::from_secs_f64(drained - 0.01);
        knee.finished(Duration::from_secs_f64(now), Finish { started, outcome: Outcome::Good, full: true });
        assert!(now < drained + 10.0, "the drain never ends");
    }
}

#[test]
fn a_base_that_was_seen_without_load_needs_no_drain() {
    let mut knee = Knee::new(Bounds::default(), 1);
    for n in 1..=100_u32 {
        let now = Duration::from_millis(100) * n;
        let started = now.saturating_sub(Duration::from_millis(50));
        knee.finished(now, Finish { started, outcome: Outcome::Good, full: false });
    }
    let mut now = 10.0;
    full(&mut knee, &mut now, 1.5, 4.0, 0.05, Outcome::Good);
    assert!(knee.last_move().is_some_and(|last| last.why != Why::Drain), "{:?}", knee.last_move());
    assert!((4..=10).contains(&knee.current()), "{}", knee.current());
    assert!(knee.base().is_some_and(|base| base.abs_diff(Duration::from_millis(50)) < Duration::from_millis(10)));
}
