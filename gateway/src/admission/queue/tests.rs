//! The room by itself: order, shares, corrections, bounds.

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A thousand seats per second come free, each held for 10 ms.
const FLOW: Flow = Flow { per_second: Some(1_000.0), seats: 10, service: Duration::from_millis(10) };

fn room() -> Room<String> {
    Room::new(QueueSettings::default(), 1)
}

fn arrival(class: Class, tenant: &str) -> Arrival {
    Arrival { class, tenant: TenantKey::verified(tenant.as_bytes()), deadline: None }
}

/// Lets `text` in, one waiter per word: the word before the dot is the tenant, a leading `b:` makes it batch work.
fn fill(room: &mut Room<String>, now: Duration, text: &str) {
    for word in text.split_whitespace() {
        let (class, name) = match word.strip_prefix("b:") {
            Some(name) => (Class::Batch, name),
            None => (Class::Interactive, word),
        };
        let tenant = name.split('.').next().unwrap_or(name);
        let (place, displaced) = room.offer(now, arrival(class, tenant), FLOW, || word.to_owned());
        assert!(place.is_ok() && displaced.is_none(), "{word}: {place:?} {displaced:?}");
    }
}

/// Calls everybody, each seat held for as long as guessed.
fn called(room: &mut Room<String>, now: Duration) -> String {
    let mut words = Vec::new();
    while let Some((word, charge, _)) = room.call(now, FLOW) {
        room.settle(charge, FLOW.service);
        words.push(word);
    }
    words.join(" ")
}

#[test]
fn tenants_take_turns_and_each_is_served_in_order() {
    for (waiting, order) in
        [("a.1 a.2 a.3", "a.1 a.2 a.3"), ("a.1 a.2 a.3 b.1", "a.1 b.1 a.2 a.3"), ("b:x.1 a.1 a.2", "b:x.1 a.1 a.2")]
    {
        let mut room = room();
        fill(&mut room, Duration::ZERO, waiting);
        let mut words: Vec<String> = called(&mut room, Duration::ZERO).split(' ').map(str::to_owned).collect();
        let mut expected: Vec<&str> = order.split(' ').collect();
        // Who is first of two that come at the same virtual moment is of no meaning: compare each tenant's own order,
        // and how many stand between.
        let turns = |words: &[String]| -> Vec<usize> {
            words.iter().enumerate().filter(|(_, w)| w.starts_with("a.")).map(|(n, _)| n).collect()
        };
        let own: Vec<&String> = words.iter().filter(|w| w.starts_with("a.")).collect();
        assert!(own.is_sorted(), "{words:?}");
        assert!(turns(&words).first().is_some_and(|first| *first <= 1), "{words:?}");
        words.sort();
        expected.sort_unstable();
        assert_eq!(words, expected);
    }
}

#[test]
fn nine_interactive_for_one_batch() {
    let mut room = room();
    let text: Vec<String> = (0..30).flat_map(|n| [format!("a.{n}"), format!("b:z.{n}")]).collect();
    fill(&mut room, Duration::ZERO, &text.join(" "));
    let order = called(&mut room, Duration::ZERO);
    let first: Vec<&str> = order.split(' ').take(20).collect();
    let batch = first.iter().filter(|word| word.starts_with("b:")).count();
    assert!((2..=3).contains(&batch), "{first:?}");
}

#[test]
fn a_batch_request_that_has_waited_long_goes_first_once_in_ten() {
    let mut room = room();
    fill(&mut room, Duration::ZERO, "b:z.0 b:z.1 b:z.2");
    // Its class is deep in debt: its last requests took far longer than guessed.
    let (_, charge, _) = room.call(Duration::ZERO, FLOW).expect("batch waits");
    room.settle(charge, Duration::from_secs(600));
    let later = 501 * MS;
    let text: Vec<String> = (0..30).map(|n| format!("a.{n}")).collect();
    fill(&mut room, later, &text.join(" "));
    let order: Vec<String> = (0..30).filter_map(|_| room.call(later, FLOW)).map(|(word, ..)| word).collect();
    let aged: Vec<usize> = (0..30).filter(|n| order[*n].starts_with("b:")).collect();
    assert_eq!(aged.len(), 2, "{order:?}");
    assert!(aged[1] - aged[0] >= 10, "{order:?}");
}

#[test]
fn seat_time_is_shared_not_requests() {
    let mut room = room();
    let text: Vec<String> = (0..20).flat_map(|n| [format!("slow.{n}"), format!("fast.{n}")]).collect();
    fill(&mut room, Duration::ZERO, &text.join(" "));
    let mut seats = [0_u32; 2];
    for _ in 0..12 {
        let (word, charge, _) = room.call(Duration::ZERO, FLOW).expect("many wait");
        let slow = word.starts_with("slow");
        seats[usize::from(slow)] += 1;
        room.settle(charge, if slow { 50 * MS } else { 10 * MS });
    }
    assert_eq!(seats, [10, 2]);
}

#[test]
fn the_door_knows_how_long_the_wait_would_be() {
    let mut room = room();
    for n in 0..50 {
        fill(&mut room, Duration::ZERO, &format!("a.{n}"));
    }
    let (place, _) = room.offer(Duration::ZERO, arrival(Class::Interactive, "a"), FLOW, String::new);
    assert_eq!(place, Err(Reason::PredictedWait));
    // Batch work has its own patience: a second, at a tenth of the seats or what the others leave.
    let (place, _) = room.offer(Duration::ZERO, arrival(Class::Batch, "a"), FLOW, String::new);
    assert_eq!(place.map(|place| place.latest), Ok(Duration::from_secs(1)));
    // A near deadline shortens the wait, and one that cannot be met ends it at the door.
    let soon = |millis| Arrival { deadline: Some(millis * MS), ..arrival(Class::Critical, "op") };
    let (place, _) = room.offer(Duration::ZERO, soon(40), FLOW, String::new);
    assert_eq!(place.map(|place| place.latest), Ok(10 * MS));
    let (place, _) = room.offer(Duration::ZERO, soon(3), FLOW, String::new);
    assert_eq!(place, Err(Reason::Deadline));
}

#[test]
fn the_room_is_bounded_whatever_the_wait() {
    let settings = QueueSettings { waiting_max: 2, ..QueueSettings::default() };
    let mut room: Room<String> = Room::new(settings, 1);
    fill(&mut room, Duration::ZERO, "a.1 a.2");
    let (place, _) = room.offer(Duration::ZERO, arrival(Class::Interactive, "a"), FLOW, String::new);
    assert_eq!(place, Err(Reason::QueueFull));
    let (place, displaced) = room.offer(Duration::ZERO, arrival(Class::Interactive, "b"), FLOW, || "b.1".to_owned());
    assert!(place.is_ok());
    assert_eq!(displaced.as_deref(), Some("a.2"));
    assert_eq!((room.waiting(), room.tenants()), (2, 2));
}

#[test]
fn the_expired_get_no_seat() {
    let mut room = room();
    fill(&mut room, Duration::ZERO, "a.1");
    fill(&mut room, 30 * MS, "a.2");
    let now = 51 * MS;
    assert_eq!(room.expired(now).map(|(word, reason, _)| (word, reason)), Some(("a.1".into(), Reason::QueueWait)));
    assert!(room.expired(now).is_none());
    assert_eq!(called(&mut room, now), "a.2");
}

#[test]
fn leaving_closes_the_gap() {
    let mut room = room();
    let mut places = Vec::new();
    for word in ["a.1", "a.2", "a.3"] {
        let (place, _) = room.offer(Duration::ZERO, arrival(Class::Interactive, "a"), FLOW, || word.to_owned());
        places.push(place.expect("there is room").number);
    }
    assert_eq!(room.leave(places[1]).as_deref(), Some("a.2"));
    assert_eq!(room.leave(places[1]), None);
    assert_eq!(called(&mut room, Duration::ZERO), "a.1 a.3");
    assert_eq!((room.waiting(), room.tenants()), (0, 0));
}

#[test]
fn tenants_that_came_and_went_are_forgotten() {
    let mut room = room();
    for n in 0..50_000_u32 {
        let tenant = TenantKey::verified(&n.to_be_bytes());
        let charge = room.pass(Duration::ZERO, Arrival { tenant, ..arrival(Class::Interactive, "") }, FLOW);
        room.settle(charge, FLOW.service);
    }
    assert!(room.halls[Class::Interactive.index()].lines.len() <= 2 * hall::IDLE_LINES);
}

#[test]
fn unverified_names_share_lines() {
    let mut room = room();
    for n in 0..2_000_u32 {
        let tenant = TenantKey::unverified(&n.to_be_bytes());
        let who = Arrival { tenant, ..arrival(Class::Batch, "") };
        let (place, _) = room.offer(Duration::ZERO, who, FLOW, String::new);
        assert!(place.is_ok() || room.waiting() > 256);
    }
    assert!(room.tenants() <= 256);
}
