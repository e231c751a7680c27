//! The waiting room in front of a limit: an exact queue per tenant, served in fair shares of seat-time.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM'96) on two levels, classes above tenants. The cost of a request
//! is the seat-time it is guessed to take, corrected when it is known (as Kubernetes API priority and fairness does).
//! Who would wait too long is refused at the door, so the room stays short, so exact queues stay cheap.

mod hall;

use std::time::Duration;

use hashbrown::HashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::class::{Class, TenantKey};
use super::pace::Pace;
use super::shed::Reason;
use hall::Hall;

/// How long each class may wait, and how many may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSettings {
    /// The longest wait of interactive and critical requests; a quarter of what is left of the deadline if that is less.
    #[serde(with = "crate::config::duration")]
    #[schemars(schema_with = "crate::config::duration::schema")]
    pub interactive_wait: Duration,
    /// The longest wait of batch requests; half of what is left of the deadline if that is less.
    #[serde(with = "crate::config::duration")]
    #[schemars(schema_with = "crate::config::duration::schema")]
    pub batch_wait: Duration,
    /// The most requests of one class that may wait, whatever the wait. A bound on memory, hardly ever met. 0 means that
    /// nobody waits.
    pub waiting_max: u32,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { interactive_wait: Duration::from_millis(50), batch_wait: Duration::from_secs(1), waiting_max: 10_000 }
    }
}

/// The share of seat-time that batch work keeps while interactive work waits.
const BATCH_SHARE: f64 = 0.1;
/// After an aged batch request so many others go first.
const AGED_EVERY: u32 = 9;
/// So many may wait before the first answer says how fast seats come free.
const UNKNOWN_WAITING: u32 = 16;
/// Shared lines get new hands this often, in seconds.
const EPOCH_S: u64 = 60;

/// A request at the door.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) class: Class,
    pub(super) tenant: TenantKey,
    /// Its deadline, since the gate opened.
    pub(super) deadline: Option<Duration>,
}

/// How fast seats come free, as the desk sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// Seats given back per second while all are taken; none before the first answer.
    pub(super) per_second: Option<f64>,
    /// Seats in all.
    pub(super) seats: u32,
    /// The seat-time a request takes.
    pub(super) service: Duration,
}

/// What a request in service owes to fairness.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charge {
    class: Class,
    line: u64,
    guess_us: u64,
}

/// Whether a charged request stood in the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Called {
    No,
    InTurn,
    Aged,
}

/// Where a waiter stands: its number, and until when it may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) number: u64,
    pub(super) latest: Duration,
}

/// The room. `W` is how a waiter is told.
#[derive(Debug)]
pub(super) struct Room<W> {
    settings: QueueSettings,
    seed: u64,
    waiters: HashMap<u64, Waiter<W>>,
    numbers: u64,
    halls: [Hall; 3],
    /// Virtual time of the classes: when the last served one of them began.
    clock: u64,
    /// Requests served since the last aged batch request.
    since_aged: u32,
    /// How fast interactive and critical requests take seats.
    urgent: Pace,
}

#[derive(Debug)]
struct Waiter<W> {
    class: Class,
    line: u64,
    entered: Duration,
    latest: Duration,
    deadline: Option<Duration>,
    payload: W,
}

impl<W> Room<W> {
    pub(super) fn new(settings: QueueSettings, seed: u64) -> Self {
        Self {
            settings,
            seed,
            waiters: HashMap::new(),
            numbers: 0,
            halls: std::array::from_fn(|_| Hall::default()),
            clock: 0,
            since_aged: 0,
            urgent: Pace::default(),
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    pub(super) fn waiting_of(&self, class: Class) -> usize {
        self.halls[class.index()].waiting
    }

    /// Tenants with at least one request waiting.
    pub(super) fn tenants(&self) -> usize {
        self.halls.iter().map(|hall| hall.lengths.len()).sum()
    }

    /// A request takes a free seat without waiting: it is charged all the same.
    pub(super) fn pass(&mut self, now: Duration, arrival: Arrival, flow: Flow) -> Charge {
        let line = self.line_of(now, arrival);
        self.charge(now, arrival.class, line, flow, Called::No)
    }

    /// Lets a request wait, if it would not wait too long. Who has to leave for it comes back as the second part.
    pub(super) fn offer(
        &mut self,
        now: Duration,
        arrival: Arrival,
        flow: Flow,
        payload: impl FnOnce() -> W,
    ) -> (Result<Place, Reason>, Option<W>) {
        let class = arrival.class;
        let left = arrival.deadline.map(|deadline| deadline.saturating_sub(now));
        let most = self.longest_wait(class, left);
        let line = self.line_of(now, arrival);
        let own = self.halls[class.index()].lines.get(&line).map_or(0, |line| line.numbers.len());
        let hall = &self.halls[class.index()];
        let full = hall.waiting >= self.settings.waiting_max as usize;
        let predicted = self.predict(now, class, hall.waiting + 1, flow);
        // The deadline must hold the wait and the service. The wait of one's own line is what fairness promises, so a
        // quiet tenant is not refused for the length of another's line.
        let in_turn = self.predict(now, class, self.turn(class, own + 1), flow);
        if flow.per_second.is_some()
            && left.is_some_and(|left| left <= in_turn.min(predicted) + flow.service.mul_f64(0.5))
        {
            return (Err(Reason::Deadline), None);
        }
        let mut displaced = None;
        if full || predicted > most {
            let longest = self.halls[class.index()].lengths.last().copied();
            match longest {
                Some((length, other)) if own + 1 < length => displaced = self.drop_newest(class, other),
                Some((length, _)) if own >= length && self.halls[class.index()].lengths.len() > 1 => {
                    return (Err(Reason::TenantShare), None);
                }
                _ => return (Err(if full { Reason::QueueFull } else { Reason::PredictedWait }), None),
            }
        }
        let latest = arrival.deadline.map_or(now + most, |deadline| deadline.min(now + most));
        let number = self.numbers;
        self.numbers += 1;
        self.waiters.insert(
            number,
            Waiter { class, line, entered: now, latest, deadline: arrival.deadline, payload: payload() },
        );
        self.stand(class, line, number);
        (Ok(Place { number, latest }), displaced)
    }

    /// A waiter leaves by itself. None when it no longer stands here.
    pub(super) fn leave(&mut self, number: u64) -> Option<W> {
        let waiter = self.waiters.remove(&number)?;
        let hall = &mut self.halls[waiter.class.index()];
        hall.leave(waiter.line, number);
        Some(waiter.payload)
    }

    /// A waiter whose time is over, so that no seat is spent on it. To be asked before [`Room::call`].
    pub(super) fn expired(&mut self, now: Duration) -> Option<(W, Reason, Class)> {
        let (class, number) = self.head(now)?;
        let waiter = self.waiters.get(&number)?;
        if waiter.latest > now {
            return None;
        }
        let reason = if waiter.deadline.is_some_and(|d| d <= now) { Reason::Deadline } else { Reason::QueueWait };
        self.leave(number).map(|payload| (payload, reason, class))
    }

    /// Calls the next waiter to a seat; with it come its charge and its deadline.
    pub(super) fn call(&mut self, now: Duration, flow: Flow) -> Option<(W, Charge, Option<Duration>)> {
        let (class, number) = self.head(now)?;
        let aged = class == Class::Batch && self.aged(now);
        self.since_aged = if aged { 0 } else { self.since_aged.saturating_add(1) };
        let waiter = self.waiters.get(&number)?;
        let (line, deadline) = (waiter.line, waiter.deadline);
        let payload = self.leave(number)?;
        // Charged after it left the line, which then stands anew at its later turn.
        let charge = self.charge(now, class, line, flow, if aged { Called::Aged } else { Called::InTurn });
        Some((payload, charge, deadline))
    }

    /// Puts the guess right once the seat-time is known.
    pub(super) fn settle(&mut self, charge: Charge, held: Duration) {
        let price = charge.class.price();
        let held_us = micros(held);
        let hall = &mut self.halls[charge.class.index()];
        hall.next = corrected(hall.next, charge.guess_us * price, held_us * price);
        if let Some(line) = hall.lines.get_mut(&charge.line) {
            let before = line.next;
            line.serving = line.serving.saturating_sub(1);
            line.next = corrected(before, charge.guess_us, held_us);
            if !line.numbers.is_empty() {
                hall.order.remove(&(before, charge.line));
                hall.order.insert((line.next, charge.line));
            }
        }
        hall.forget_idle();
    }

    /// Empties the room.
    pub(super) fn clear(&mut self) -> Vec<(W, Class)> {
        for hall in &mut self.halls {
            hall.clear();
        }
        self.waiters.drain().map(|(_, waiter)| (waiter.payload, waiter.class)).collect()
    }

    fn longest_wait(&self, class: Class, left: Option<Duration>) -> Duration {
        let (most, part) = match class {
            Class::Critical | Class::Interactive => (self.settings.interactive_wait, 4),
            Class::Batch => (self.settings.batch_wait, 2),
        };

        left.map_or(most, |left| most.min(left / part))
    }

    /// How many of the class are served before the `nth` of one's own line, if all lines take turns.
    fn turn(&self, class: Class, nth: usize) -> usize {
        let hall = &self.halls[class.index()];
        hall.waiting.min(nth * hall.lengths.len()) + 1
    }

    /// How long the `nth` of a class waits.
    fn predict(&self, now: Duration, class: Class, nth: usize, flow: Flow) -> Duration {
        let Some(all) = flow.per_second else {
            // Nothing was answered yet: as many may wait as may be served, or a few.
            return if nth <= flow.seats.max(UNKNOWN_WAITING) as usize { Duration::ZERO } else { Duration::MAX };
        };
        let rate = match class {
            Class::Critical => all,
            Class::Interactive if self.waiting_of(Class::Batch) > 0 => (1.0 - BATCH_SHARE) * all,
            Class::Interactive => all,
            Class::Batch => (all - self.urgent.per_second(now, memory(flow))).max(BATCH_SHARE * all),
        };
        Duration::try_from_secs_f64(nth as f64 / rate.max(1e-3)).unwrap_or(Duration::MAX)
    }

    fn line_of(&self, now: Duration, arrival: Arrival) -> u64 {
        arrival.tenant.own_line().unwrap_or_else(|| {
            let hall = &self.halls[arrival.class.index()];
            let hand = arrival.tenant.hand(self.seed ^ (now.as_secs() / EPOCH_S));
            let length = |line: &u64| hall.lines.get(line).map_or(0, |line| line.numbers.len());
            hand.into_iter().min_by_key(length).unwrap_or(hand[0])
        })
    }

    fn stand(&mut self, class: Class, line_key: u64, number: u64) {
        let hall = &mut self.halls[class.index()];
        if hall.waiting == 0 {
            // A class that had nobody waiting has no claim on the past.
            hall.next = hall.next.max(self.clock);
        }
        hall.stand(line_key, number);
    }

    fn drop_newest(&mut self, class: Class, line: u64) -> Option<W> {
        let number = self.halls[class.index()].lines.get(&line)?.numbers.back().copied()?;
        self.leave(number)
    }

    /// The class whose turn it is, and its first waiter.
    fn head(&self, now: Duration) -> Option<(Class, u64)> {
        let [critical, interactive, batch] = &self.halls;
        let class = if critical.waiting > 0 {
            Class::Critical
        } else if interactive.waiting == 0 && batch.waiting == 0 {
            return None;
        } else if interactive.waiting == 0 {
            Class::Batch
        } else if batch.waiting == 0 {
            Class::Interactive
        } else if batch.next < interactive.next || (self.since_aged >= AGED_EVERY && self.aged(now)) {
            Class::Batch
        } else {
            Class::Interactive
        };
        self.halls[class.index()].first().map(|number| (class, number))
    }

    /// Whether the first batch request has waited half of what it may: then it goes first, once in ten.
    fn aged(&self, now: Duration) -> bool {
        let first = self.halls[Class::Batch.index()].first().and_then(|number| self.waiters.get(&number));
        first.is_some_and(|waiter| {
            now.saturating_sub(waiter.entered) * 2 >= waiter.latest.saturating_sub(waiter.entered)
        })
    }

    /// Charges a seat to a class and a tenant. `called` says that they waited, so that their turn is known; else they
    /// begin now.
    fn charge(&mut self, now: Duration, class: Class, line_key: u64, flow: Flow, called: Called) -> Charge {
        if class != Class::Batch {
            self.urgent.count(now, memory(flow));
        }
        let guess_us = micros(flow.service).max(1);
        let hall = &mut self.halls[class.index()];
        if class != Class::Critical {
            let start = if called == Called::No { hall.next.max(self.clock) } else { hall.next };
            if called != Called::Aged {
                // An aged request is served before its turn, so its turn is not the present.
                self.clock = self.clock.max(start);
            }
            hall.next = start.saturating_add(guess_us * class.price());
        }
        let line = hall.lines.entry(line_key).or_default();
        let before = line.next;
        let start = if called == Called::No && line.numbers.is_empty() { before.max(hall.clock) } else { before };
        hall.clock = hall.clock.max(start);
        line.next = start.saturating_add(guess_us);
        line.serving += 1;
        if !line.numbers.is_empty() {
            hall.order.remove(&(before, line_key));
            hall.order.insert((line.next, line_key));
        }
        Charge { class, line: line_key, guess_us }
    }
}

/// How far back rates look: long enough to see a few dozen answers, short enough to follow a brownout.
pub(super) fn memory(flow: Flow) -> Duration {
    (2 * flow.service).clamp(Duration::from_millis(200), Duration::from_secs(4))
}

fn micros(duration: Duration) -> u64 {
    // An hour: longer seat-times are charged as one, so that virtual time cannot run out.
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(3_600_000_000)
}

fn corrected(at: u64, guess: u64, held: u64) -> u64 {
    at.saturating_add(held).saturating_sub(guess)
}

#[cfg(test)]
mod tests;
