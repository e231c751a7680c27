//! The gate under tokio with paused time: nothing is lost, whatever is dropped when.

use std::future::Future;
use std::pin::Pin;

use futures_util::poll;
use proptest::prelude::*;

use super::super::limit::LimitSettings;
use super::*;

/// A gate with a fixed limit and the clock to wind.
fn gate(seats: u32) -> (Arc<Gate>, Clock) {
    let clock = Clock::manual();
    let settings = Settings { limit: LimitSettings::Fixed(seats), ..Settings::default() };
    (Gate::new("orders", &settings, clock.clone()), clock)
}

fn of(tenant: &str) -> Ask {
    Ask { tenant: TenantKey::verified(tenant.as_bytes()), ..Ask::default() }
}

/// Winds the gate's clock and the runtime's timers together.
async fn wind(clock: &Clock, millis: u64) {
    clock.advance(Duration::from_millis(millis));
    tokio::time::advance(Duration::from_millis(millis)).await;
}

/// Teaches the gate that a seat is held for so long.
async fn warm(gate: &Arc<Gate>, clock: &Clock, millis: u64) {
    let permit = gate.enter(&of("warm")).await.expect("a seat is free");
    wind(clock, millis).await;
    permit.done(Outcome::Good);
}

#[test]
fn waiting_and_seats_may_move_between_threads() {
    fn moves<T: Send>(_: &T) {}
    let (gate, _) = gate(1);
    moves(&gate.enter(&of("a")));
    moves(&gate.try_enter(&of("a")));
}

#[tokio::test(start_paused = true)]
async fn a_free_seat_is_taken_at_once_and_given_back() {
    let (gate, _) = gate(2);
    let first = gate.enter(&of("a")).await.expect("the first seat is free");
    let second = gate.try_enter(&of("a")).expect("the second seat is free");
    assert!(gate.try_enter(&of("a")).is_none());
    assert_eq!((gate.in_use(), gate.waiting()), (2, 0));
    first.done(Outcome::Good);
    drop(second);
    let state = gate.state();
    assert_eq!((state.in_use, state.entered_at_once_total), (0, 2));
    assert_eq!((state.finished_total["good"], state.finished_total["client_gone"]), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_gets_the_seat_that_comes_free() {
    let (gate, clock) = gate(1);
    warm(&gate, &clock, 10).await;
    let permit = gate.try_enter(&of("a")).expect("the seat is free");
    let ask = of("b");
    let mut waits = Box::pin(gate.enter(&ask));
    assert!(poll!(&mut waits).is_pending());
    assert_eq!(gate.waiting(), 1);
    // Nobody passes those who wait, though a seat be free for a moment.
    permit.done(Outcome::Good);
    assert!(gate.try_enter(&of("c")).is_none());
    assert!(waits.await.is_ok());
    assert_eq!((gate.in_use(), gate.waiting(), gate.state().entered_after_wait_total), (0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_wait_given_up_leaves_nothing_behind() {
    let (gate, clock) = gate(1);
    warm(&gate, &clock, 10).await;
    let permit = gate.try_enter(&of("a")).expect("the seat is free");
    let ask = of("b");
    let mut waits = Box::pin(gate.enter(&ask));
    assert!(poll!(&mut waits).is_pending());
    drop(waits);
    assert_eq!((gate.in_use(), gate.waiting(), gate.state().left_waiting_total), (1, 0, 1));

    // Given up between the call and the poll that would have seen it: the seat goes on to the next.
    let mut called = Box::pin(gate.enter(&ask));
    let mut next = Box::pin(gate.enter(&ask));
    assert!(poll!(&mut called).is_pending());
    assert!(poll!(&mut next).is_pending());
    permit.done(Outcome::Good);
    assert_eq!((gate.in_use(), gate.waiting()), (1, 1));
    drop(called);
    assert_eq!((gate.in_use(), gate.waiting()), (1, 0));
    next.await.expect("the seat went on").done(Outcome::Good);
    assert_eq!(gate.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_has_an_end() {
    let (gate, clock) = gate(1);
    warm(&gate, &clock, 10).await;
    let _held = gate.try_enter(&of("a")).expect("the seat is free");
    let ask = of("b");
    let mut waits = Box::pin(gate.enter(&ask));
    assert!(poll!(&mut waits).is_pending());
    wind(&clock, 49).await;
    assert!(poll!(&mut waits).is_pending());
    wind(&clock, 2).await;
    assert_eq!(waits.await.map(drop).map_err(|shed| shed.reason), Err(Reason::QueueWait));
    assert_eq!(gate.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn refusals_come_at_once_and_say_why() {
    let (gate, clock) = gate(1);
    warm(&gate, &clock, 40).await;
    let _held = gate.try_enter(&of("a")).expect("the seat is free");
    let reason = |ask: Ask| {
        let gate = Arc::clone(&gate);
        async move { gate.enter(&ask).await.map(drop).map_err(|shed| shed.reason) }
    };
    // One may wait: 40 ms for a seat. Two may not.
    let ask = of("a");
    let mut waits = Box::pin(gate.enter(&ask));
    assert!(poll!(&mut waits).is_pending());
    assert_eq!(reason(of("a")).await, Err(Reason::PredictedWait));
    let past = Ask { deadline: Some(clock.now()), ..of("b") };
    assert_eq!(reason(past).await, Err(Reason::Deadline));
    gate.close();
    assert_eq!(waits.await.map(drop).map_err(|shed| shed.reason), Err(Reason::Draining));
    assert_eq!(reason(of("a")).await, Err(Reason::Draining));
    let state = gate.state();
    assert!(!state.open);
    assert_eq!(state.shed_total["draining"]["interactive"], 2);
    assert_eq!(state.shed_total["predicted_wait"]["interactive"], 1);
    assert_eq!(state.shed_total["queue_full"]["batch"], 0);
}

#[tokio::test(start_paused = true)]
async fn the_longest_line_makes_room() {
    let (gate, clock) = gate(1);
    warm(&gate, &clock, 10).await;
    let _held = gate.try_enter(&of("noisy")).expect("the seat is free");
    let (noisy, quiet) = (of("noisy"), of("quiet"));
    let mut lines = Vec::new();
    for _ in 0..5 {
        let mut waits = Box::pin(gate.enter(&noisy));
        assert!(poll!(&mut waits).is_pending());
        lines.push(waits);
    }
    assert_eq!(gate.enter(&noisy).await.map(drop).map_err(|s| s.reason), Err(Reason::PredictedWait));
    let mut waits = Box::pin(gate.enter(&quiet));
    assert!(poll!(&mut waits).is_pending());
    let last = lines.pop().expect("five wait");
    assert_eq!(last.await.map(drop).map_err(|s| s.reason), Err(Reason::TenantShare));
    assert_eq!(gate.enter(&noisy).await.map(drop).map_err(|s| s.reason), Err(Reason::TenantShare));
    assert_eq!(gate.state().tenants_waiting, 2);
}

#[tokio::test(start_paused = true)]
async fn a_seat_lingers_until_the_upstream_should_have_finished() {
    let (gate, clock) = gate(1);
    warm(&gate, &clock, 100).await;
    let permit = gate.try_enter(&of("a")).expect("the seat is free");
    wind(&clock, 50).await;
    permit.linger(Outcome::ClientGone);
    tokio::task::yield_now().await;
    assert_eq!((gate.in_use(), gate.state().lingering), (1, 1));
    // The upstream answered nobody since: perhaps it is stuck, so the longest hold.
    wind(&clock, 1_990).await;
    tokio::task::yield_now().await;
    assert_eq!(gate.in_use(), 1);
    wind(&clock, 20).await;
    tokio::task::yield_now().await;
    assert_eq!((gate.in_use(), gate.state().lingering), (0, 0));

    let permit = gate.try_enter(&of("a")).expect("the seat is free");
    permit.linger(Outcome::ClientGone);
    tokio::task::yield_now().await;
    assert_eq!(gate.in_use(), 1);
    gate.close();
    tokio::task::yield_now().await;
    assert_eq!(gate.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answering_upstream_has_its_mean_time() {
    let (gate, clock) = gate(2);
    warm(&gate, &clock, 100).await;
    let left = gate.try_enter(&of("a")).expect("a seat is free");
    wind(&clock, 40).await;
    gate.try_enter(&of("b")).expect("a seat is free").done(Outcome::Failed);
    left.linger(Outcome::ClientGone);
    tokio::task::yield_now().await;
    assert_eq!(gate.in_use(), 1);
    wind(&clock, 200).await;
    tokio::task::yield_now().await;
    assert_eq!(gate.in_use(), 0);
}

#[test]
fn settings_read_as_they_are_documented() {
    let text = r#"{"limit": {"adaptive": {"max": 100}}, "queue": {"interactive_wait": "20ms"}, "linger": false}"#;
    let settings: Settings = serde_json::from_str(text).expect("these are right");
    assert_eq!(settings.queue.interactive_wait, Duration::from_millis(20));
    assert_eq!(settings.queue.batch_wait, Duration::from_secs(1));
    assert!(!settings.linger);
    let fixed: Settings = serde_json::from_str(r#"{"limit": {"fixed": 40}}"#).expect("these are right");
    assert_eq!(fixed.limit, LimitSettings::Fixed(40));
    for (wrong, words) in [
        (r#"{"limits": 4}"#, "unknown field `limits`"),
        (r#"{"queue": {"batch_wait": "1"}}"#, "has no unit after 1"),
        (r#"{"limit": {"adaptive": {"floor": 1}}}"#, "unknown field `floor`"),
    ] {
        let error = serde_json::from_str::<Settings>(wrong).expect_err(wrong).to_string();
        assert!(error.contains(words), "{error}");
    }
    let written = serde_json::to_string(&Settings::default()).expect("settings are plain data");
    assert_eq!(serde_json::from_str::<Settings>(&written).ok(), Some(Settings::default()));
}

/// One thing that may happen at a gate.
#[derive(Clone, Debug)]
enum Act {
    Enter { class: Class, tenant: u8, deadline_ms: Option<u64> },
    Poll(usize),
    GiveUp(usize),
    Done(usize, Outcome),
    Linger(usize),
    Wind(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let class = prop_oneof![1 => Just(Class::Critical), 4 => Just(Class::Interactive), 2 => Just(Class::Batch)];
    let outcome = prop_oneof![Just(Outcome::Good), Just(Outcome::Failed), Just(Outcome::Timeout)];
    prop_oneof![
        6 => (class, 0..4_u8, prop::option::of(0..400_u64))
            .prop_map(|(class, tenant, deadline_ms)| Act::Enter { class, tenant, deadline_ms }),
        3 => any::<usize>().prop_map(Act::Poll),
        2 => any::<usize>().prop_map(Act::GiveUp),
        3 => (any::<usize>(), outcome).prop_map(|(n, outcome)| Act::Done(n, outcome)),
        1 => any::<usize>().prop_map(Act::Linger),
        3 => (0..60_u64).prop_map(Act::Wind),
    ]
}

type Entering = Pin<Box<dyn Future<Output = Result<Permit, Shed>>>>;

async fn play(seats: u32, acts: Vec<Act>) {
    let (gate, clock) = gate(seats);
    let mut entering: Vec<Entering> = Vec::new();
    let mut permits: Vec<Permit> = Vec::new();
    let (mut entered, mut refused, mut asked) = (0_u64, 0_u64, 0_u64);
    for act in acts {
        match act {
            Act::Enter { class, tenant, deadline_ms } => {
                let now = clock.unix_ns(clock.now());
                // Manual clocks count nanoseconds.
                let deadline = deadline_ms.map(|millis| Ticks(now + millis * 1_000_000));
                let ask = Ask { class, tenant: TenantKey::verified(&[tenant]), deadline };
                let gate = Arc::clone(&gate);
                let mut enters: Entering = Box::pin(async move { gate.enter(&ask).await });
                asked += 1;
                match poll!(&mut enters) {
                    std::task::Poll::Ready(Ok(permit)) => {
                        entered += 1;
                        permits.push(permit);
                    }
                    std::task::Poll::Ready(Err(_)) => refused += 1,
                    std::task::Poll::Pending => entering.push(enters),
                }
            }
            Act::Poll(n) if !entering.is_empty() => {
                let n = n % entering.len();
                if let std::task::Poll::Ready(told) = poll!(&mut entering[n]) {
                    drop(entering.swap_remove(n));
                    match told {
                        Ok(permit) => {
                            entered += 1;
                            permits.push(permit);
                        }
                        Err(_) => refused += 1,
                    }
                }
            }
            Act::GiveUp(n) if !entering.is_empty() => drop(entering.swap_remove(n % entering.len())),
            Act::Done(n, outcome) if !permits.is_empty() => permits.swap_remove(n % permits.len()).done(outcome),
            Act::Linger(n) if !permits.is_empty() => permits.swap_remove(n % permits.len()).linger(Outcome::ClientGone),
            Act::Wind(millis) => wind(&clock, millis).await,
            Act::Poll(_) | Act::GiveUp(_) | Act::Done(..) | Act::Linger(_) => {}
        }
        let state = gate.state();
        let waiting: usize = state.waiting.values().sum();
        assert!(state.in_use <= seats, "{state:?}");
        // Every seat is held by somebody: in hand, lingering, or on its way to one who waits.
        let held = permits.len() + state.lingering as usize;
        assert!(held <= state.in_use as usize && state.in_use as usize <= held + entering.len(), "{held} {state:?}");
        assert!(waiting <= entering.len(), "{state:?}");
        assert!(waiting == 0 || state.in_use == seats, "somebody waits beside a free seat: {state:?}");
    }
    let given_up = entering.len() as u64;
    drop(entering);
    permits.into_iter().for_each(|permit| permit.done(Outcome::Good));
    for _ in 0..3 {
        wind(&clock, 1_000).await;
        tokio::task::yield_now().await;
    }
    let state = gate.state();
    assert_eq!((state.in_use, state.lingering, gate.waiting()), (0, 0, 0), "{state:?}");
    let sheds: u64 = state.shed_total.values().flat_map(BTreeMap::values).sum();
    let granted = state.entered_at_once_total + state.entered_after_wait_total;
    assert_eq!(asked, granted + sheds + state.left_waiting_total, "{state:?}");
    assert_eq!(granted, state.finished_total.values().sum::<u64>(), "{state:?}");
    assert!(entered <= granted && refused <= sheds && given_up <= asked);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_whatever_happens(seats in 1..4_u32, acts in prop::collection::vec(act(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime without I/O needs nothing").block_on(play(seats, acts));
    }
}
