//! Every change of a breaker's state, in manual time.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn breaker() -> (Clock, Arc<Breaker>) {
    let clock = Clock::manual();
    (clock.clone(), Breaker::new("web", &Settings::default(), clock))
}

fn tell(breaker: &Arc<Breaker>, verdict: Verdict) {
    breaker.enter().expect("it lets tries pass").settle(verdict);
}

/// Opens it, and says for how long it is open.
fn trip(breaker: &Arc<Breaker>) -> Duration {
    (0..20).for_each(|_| tell(breaker, Verdict::Failure));
    left(breaker)
}

fn left(breaker: &Breaker) -> Duration {
    assert_eq!(breaker.state().state, State::Open);
    Duration::from_secs_f64(breaker.state().open_ms / 1e3)
}

/// Lets the time pass for which it is open.
fn wait(clock: &Clock, breaker: &Breaker) {
    clock.advance(left(breaker) + Duration::from_millis(1));
    assert_eq!(breaker.state().state, State::HalfOpen);
}

#[test]
fn it_opens_at_its_share_of_failures_and_not_below_its_fewest_tries() {
    let (_, few) = breaker();
    (0..19).for_each(|_| tell(&few, Verdict::Failure));
    assert_eq!(few.state().state, State::Closed, "19 tries are too few");
    tell(&few, Verdict::Failure);
    assert_eq!((few.state().state, few.state().trips_total), (State::Open, 1));

    let (_, half) = breaker();
    (0..11).for_each(|_| tell(&half, Verdict::Success));
    (0..10).for_each(|_| tell(&half, Verdict::Failure));
    assert_eq!((half.state().state, half.state().tries, half.state().failures), (State::Closed, 21, 10));
    tell(&half, Verdict::Failure);
    assert_eq!(half.state().state, State::Open, "11 of 22 are half");
}

#[test]
fn what_is_older_than_the_window_and_what_nobody_knows_does_not_count() {
    let (clock, breaker) = breaker();
    (0..19).for_each(|_| tell(&breaker, Verdict::Failure));
    (0..50).for_each(|_| tell(&breaker, Verdict::Unknown));
    assert_eq!((breaker.state().tries, breaker.state().failures), (19, 19));
    clock.advance(10 * SECOND);
    assert_eq!(breaker.state().tries, 0);
    tell(&breaker, Verdict::Failure);
    assert_eq!(breaker.state().state, State::Closed);
}

#[test]
fn open_it_refuses_and_says_what_is_left() {
    let (clock, breaker) = breaker();
    let whole = trip(&breaker);
    assert!((4 * SECOND..=6 * SECOND).contains(&whole), "five seconds and a fifth either way: {whole:?}");
    clock.advance(SECOND);
    let refused = breaker.enter().unwrap_err();
    assert_eq!((refused.state, refused.retry_after), (State::Open, whole - SECOND));
    assert_eq!(refused.seconds(), (whole - SECOND).as_secs() as u32 + 1, "whole seconds, never too early");
    assert_eq!(breaker.look().unwrap_err(), refused);
    assert_eq!(breaker.state().refused_total, 2);
    assert_eq!(Refused { state: State::Open, retry_after: Duration::from_millis(1) }.seconds(), 1);
}

#[test]
fn half_open_it_lets_one_probe_pass_at_a_time_and_closes_after_three() {
    let (clock, breaker) = breaker();
    trip(&breaker);
    wait(&clock, &breaker);
    for good in 0..3 {
        assert_eq!((breaker.state().state, breaker.state().probes), (State::HalfOpen, good));
        breaker.look().expect("there is room for a probe");
        let mut probe = breaker.enter().unwrap();
        assert!(probe.is_probe());
        let refused = breaker.enter().unwrap_err();
        assert_eq!((refused.state, refused.seconds()), (State::HalfOpen, 1));
        assert_eq!(breaker.look().unwrap_err(), refused);
        probe.settle(Verdict::Success);
    }
    assert_eq!((breaker.state().state, breaker.state().tries), (State::Closed, 0), "with nothing held against it");
    assert!(!breaker.enter().unwrap().is_probe());
}

#[test]
fn a_probe_that_fails_doubles_the_time_up_to_a_minute_and_closing_forgets_it() {
    let (clock, breaker) = breaker();
    trip(&breaker);
    for seconds in [10.0, 20.0, 40.0, 60.0, 60.0] {
        wait(&clock, &breaker);
        // One that succeeds before it changes nothing.
        tell(&breaker, Verdict::Success);
        tell(&breaker, Verdict::Failure);
        let is = left(&breaker).as_secs_f64() / seconds;
        assert!((0.8..=1.2).contains(&is), "{is} of {seconds} s");
    }
    assert_eq!(breaker.state().trips_total, 6);
    wait(&clock, &breaker);
    (0..3).for_each(|_| tell(&breaker, Verdict::Success));
    assert!(trip(&breaker) <= 6 * SECOND, "it begins anew");
}

#[test]
fn a_probe_that_nobody_waits_for_makes_room_for_the_next() {
    let (clock, breaker) = breaker();
    trip(&breaker);
    wait(&clock, &breaker);
    tell(&breaker, Verdict::Success);
    drop(breaker.enter().unwrap());
    assert_eq!((breaker.state().state, breaker.state().probes), (State::HalfOpen, 1), "it says nothing");
    assert!(breaker.enter().unwrap().is_probe());
}

#[test]
fn tries_from_before_a_change_say_nothing() {
    let (clock, breaker) = breaker();
    let mut early: Vec<Pass> = (0..40).map(|_| breaker.enter().unwrap()).collect();
    trip(&breaker);
    let until = left(&breaker);
    early.drain(..20).for_each(|mut pass| pass.settle(Verdict::Failure));
    assert_eq!((left(&breaker), breaker.state().trips_total), (until, 1), "it is not opened again");
    wait(&clock, &breaker);
    let probe = breaker.enter().unwrap();
    early.drain(..10).for_each(|mut pass| pass.settle(Verdict::Success));
    early.drain(..).for_each(|mut pass| pass.settle(Verdict::Failure));
    assert_eq!((breaker.state().state, breaker.state().probes), (State::HalfOpen, 0), "only the probe counts");
    drop(probe);
}

#[test]
fn statuses_are_judged_by_the_settings() {
    let settings = Settings { statuses: vec![500, 503], ..Settings::default() };
    let breaker = Breaker::new("web", &settings, Clock::manual());
    let pass = breaker.enter().unwrap();
    let failing: Vec<u16> =
        [200, 404, 500, 502, 503].into_iter().filter(|s| pass.verdict(*s) == Verdict::Failure).collect();
    assert_eq!(failing, [500, 503]);
    assert_eq!(Pass::default().verdict(503), Verdict::Success, "without a breaker nothing is judged");
}

#[test]
fn the_times_of_two_gateways_are_not_the_same() {
    let times: Vec<Duration> = (0..50)
        .map(|millis| {
            let (clock, breaker) = breaker();
            clock.advance(Duration::from_millis(millis));
            trip(&breaker)
        })
        .collect();
    assert!(times.iter().any(|time| *time < 9 * SECOND / 2) && times.iter().any(|time| *time > 11 * SECOND / 2));
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Enter,
    Settle(usize, Verdict),
    Leave(usize),
    Advance(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let verdict = prop_oneof![Just(Verdict::Success), Just(Verdict::Failure), Just(Verdict::Unknown)];
    prop_oneof![
        4 => Just(Op::Enter),
        3 => (any::<usize>(), verdict).prop_map(|(n, verdict)| Op::Settle(n, verdict)),
        1 => any::<usize>().prop_map(Op::Leave),
        2 => (1_u64..3_000).prop_map(Op::Advance),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_more_than_one_probe_is_in_the_air(ops in proptest::collection::vec(op(), 1..200)) {
        let clock = Clock::manual();
        let settings = Settings { min: 2, open: SECOND, probes: 2, ..Settings::default() };
        let breaker = Breaker::new("web", &settings, clock.clone());
        let mut air: Vec<Pass> = Vec::new();
        for op in ops {
            let before = breaker.state().state;
            match op {
                Op::Enter => match breaker.enter() {
                    Ok(pass) => {
                        prop_assert!(before != State::Open, "it passes an open breaker");
                        prop_assert_eq!(pass.is_probe(), before == State::HalfOpen);
                        air.push(pass);
                    }
                    Err(refused) => {
                        prop_assert!(before != State::Closed && refused.seconds() >= 1);
                        let probing = air.iter().any(Pass::is_probe);
                        prop_assert!(before == State::Open || probing, "half open it refuses only while it probes");
                    }
                },
                Op::Settle(n, verdict) if !air.is_empty() => {
                    air.swap_remove(n % air.len()).settle(verdict);
                }
                Op::Leave(n) if !air.is_empty() => drop(air.swap_remove(n % air.len())),
                Op::Settle(..) | Op::Leave(_) => {}
                Op::Advance(millis) => clock.advance(Duration::from_millis(millis)),
            }
            prop_assert!(air.iter().filter(|pass| pass.is_probe()).count() <= 1);
            let state = breaker.state();
            prop_assert!(state.failures <= state.tries && state.probes < 2);
        }
    }
}
