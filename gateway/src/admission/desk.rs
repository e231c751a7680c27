//! The limit and the waiting room as one: who gets a seat, who waits, who is refused. No clock, no lock, no task.

use std::time::Duration;

use super::Settings;
use super::class::{Class, mix};
use super::limit::Limit;
use super::moves::{Finish, Outcome};
use super::pace::Pace;
use super::queue::{Arrival, Charge, Flow, Place, Room, memory};
use super::shed::{Backoff, Reason, Shed};

/// The longest time a seat is held for a client that left.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// How much of a new answer time enters the mean.
const SERVICE_WEIGHT: f64 = 0.05;

/// A seat that is taken.
#[derive(Debug)]
pub(super) struct Ticket {
    charge: Charge,
    started: Duration,
}

/// What a request is told at the door.
#[derive(Debug)]
pub(super) enum Asked {
    Seat(Ticket),
    Wait(Place),
    Refused(Shed),
}

/// What happens to a waiter.
#[derive(Debug)]
pub(super) enum Next<W> {
    Seat(W, Ticket),
    Refused(W, Shed),
}

/// What was counted since the gate opened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Seats taken without waiting.
    pub(super) passed: u64,
    /// Seats taken after waiting.
    pub(super) waited: u64,
    /// Waiters that left by themselves.
    pub(super) left: u64,
    /// Refusals by reason and class.
    pub(super) shed: [[u64; Class::ALL.len()]; Reason::ALL.len()],
    /// Seats given back by outcome: good, failed, timeout, client gone.
    pub(super) finished: [u64; 4],
}

#[derive(Debug)]
pub(super) struct Desk<W> {
    limit: Limit,
    room: Room<W>,
    backoff: Backoff,
    in_use: u32,
    lingering: u32,
    open: bool,
    linger: bool,
    /// Seats given back.
    pace: Pace,
    /// Mean seat-time, in seconds.
    service: Option<f64>,
    full_since: Option<Duration>,
    /// The upstream's last sign of life.
    answered: Duration,
    counts: Counts,
}

impl<W> Desk<W> {
    pub(super) fn new(settings: &Settings, seed: u64) -> Self {
        Self {
            limit: Limit::new(settings.limit, mix(seed)),
            room: Room::new(settings.queue, mix(seed ^ 1)),
            backoff: Backoff::new(mix(seed ^ 2)),
            in_use: 0,
            lingering: 0,
            open: true,
            linger: settings.linger,
            pace: Pace::default(),
            service: None,
            full_since: None,
            answered: Duration::ZERO,
            counts: Counts::default(),
        }
    }

    /// A seat at once, if one is free and nobody waits.
    pub(super) fn try_ask(&mut self, now: Duration, arrival: Arrival) -> Option<Ticket> {
        let expired = arrival.deadline.is_some_and(|deadline| deadline <= now);
        if !self.open || expired || self.room.waiting() > 0 || self.in_use >= self.limit.current() {
            return None;
        }
        let charge = self.room.pass(now, arrival, self.flow(now));
        self.counts.passed += 1;
        Some(self.seat(now, charge, arrival.deadline))
    }

    /// A seat at once, a place in the room, or a refusal; and whoever had to leave the room for it.
    ///
    /// After it, [`Desk::next`] wants to be asked: seats may be free although somebody waits.
    pub(super) fn ask(
        &mut self,
        now: Duration,
        arrival: Arrival,
        payload: impl FnOnce() -> W,
    ) -> (Asked, Option<(W, Shed)>) {
        if !self.open {
            return (Asked::Refused(self.refuse(now, Reason::Draining, arrival.class)), None);
        }
        if let Some(ticket) = self.try_ask(now, arrival) {
            return (Asked::Seat(ticket), None);
        }
        let (place, displaced) = self.room.offer(now, arrival, self.flow(now), payload);
        let displaced = displaced.map(|payload| (payload, self.refuse(now, Reason::TenantShare, arrival.class)));
        match place {
            Ok(place) => (Asked::Wait(place), displaced),
            Err(reason) => (Asked::Refused(self.refuse(now, reason, arrival.class)), displaced),
        }
    }

    /// A waiter leaves by itself; false when it had left the room already.
    pub(super) fn leave(&mut self, number: u64) -> bool {
        let left = self.room.leave(number).is_some();
        self.counts.left += u64::from(left);
        left
    }

    /// A waiter's time is over; none when it had left the room already.
    pub(super) fn expire(&mut self, now: Duration, number: u64, class: Class, reason: Reason) -> Option<Shed> {
        self.room.leave(number)?;
        Some(self.refuse(now, reason, class))
    }

    /// What happens next to those who wait; none when nothing does for now.
    pub(super) fn next(&mut self, now: Duration) -> Option<Next<W>> {
        if let Some((payload, reason, class)) = self.room.expired(now) {
            return Some(Next::Refused(payload, self.refuse(now, reason, class)));
        }
        if self.in_use >= self.limit.current() {
            return None;
        }
        let (payload, charge, deadline) = self.room.call(now, self.flow(now))?;
        self.counts.waited += 1;
        Some(Next::Seat(payload, self.seat(now, charge, deadline)))
    }

    /// A seat is given back.
    pub(super) fn finish(&mut self, now: Duration, ticket: &Ticket, outcome: Outcome) {
        self.learn(now, ticket, outcome);
        self.vacate(now, ticket);
    }

    /// The request is over for us, but the upstream still works on it: its seat stays taken. Says for how long.
    ///
    /// The time to one and a half mean answer times, at least a quarter of one: right where answers take about the same
    /// time each, and not far off where they do not. Where the upstream answered nobody since the request went out it is
    /// perhaps stuck, and the seat is held as long as can be.
    pub(super) fn linger(&mut self, now: Duration, ticket: &Ticket, outcome: Outcome) -> Option<Duration> {
        let mean = self.service.filter(|_| self.linger)?;
        self.learn(now, ticket, outcome);
        self.lingering += 1;
        if self.answered <= ticket.started {
            return Some(LINGER_MAX);
        }
        let held = now.saturating_sub(ticket.started).as_secs_f64();
        let more = Duration::try_from_secs_f64((1.5 * mean - held).max(0.25 * mean)).unwrap_or(LINGER_MAX);
        Some(more.min(LINGER_MAX))
    }

    /// A seat that lingered is free.
    pub(super) fn linger_end(&mut self, now: Duration, ticket: &Ticket) {
        self.lingering = self.lingering.saturating_sub(1);
        self.limit.presumed(now);
        self.vacate(now, ticket);
    }

    /// Nobody gets a seat any more. Those who wait are refused.
    pub(super) fn close(&mut self, now: Duration) -> Vec<(W, Shed)> {
        self.open = false;
        let waiting = self.room.clear();
        waiting.into_iter().map(|(payload, class)| (payload, self.refuse(now, Reason::Draining, class))).collect()
    }

    pub(super) fn limit(&self) -> &Limit {
        &self.limit
    }

    pub(super) fn room(&self) -> &Room<W> {
        &self.room
    }

    pub(super) fn in_use(&self) -> u32 {
        self.in_use
    }

    pub(super) fn lingering(&self) -> u32 {
        self.lingering
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn service(&self) -> Option<Duration> {
        self.service.map(Duration::from_secs_f64)
    }

    pub(super) fn retry_after(&mut self, now: Duration) -> Duration {
        self.backoff.current(now)
    }

    fn refuse(&mut self, now: Duration, reason: Reason, class: Class) -> Shed {
        self.counts.shed[reason as usize][class.index()] += 1;
        Shed { reason, retry_after: self.backoff.refuse(now) }
    }

    fn seat(&mut self, now: Duration, charge: Charge, deadline: Option<Duration>) -> Ticket {
        self.in_use += 1;
        if self.in_use >= self.limit.current() {
            self.full_since.get_or_insert(now);
        }
        self.limit.started(deadline.map(|deadline| deadline.saturating_sub(now)));
        Ticket { charge, started: now }
    }

    fn learn(&mut self, now: Duration, ticket: &Ticket, outcome: Outcome) {
        self.counts.finished[outcome as usize] += 1;
        if matches!(outcome, Outcome::Good | Outcome::Failed) {
            self.answered = now;
        }
        let full = self.in_use >= self.limit.current() || self.room.waiting() > 0;
        self.limit.finished(now, Finish { started: ticket.started, outcome, full });
        if outcome != Outcome::ClientGone {
            let held = now.saturating_sub(ticket.started).as_secs_f64();
            self.service = Some(self.service.map_or(held, |mean| mean + SERVICE_WEIGHT * (held - mean)));
        }
    }

    fn vacate(&mut self, now: Duration, ticket: &Ticket) {
        self.pace.count(now, memory(self.flow(now)));
        self.room.settle(ticket.charge, now.saturating_sub(ticket.started));
        self.in_use = self.in_use.saturating_sub(1);
        if self.in_use < self.limit.current() && self.room.waiting() == 0 {
            self.full_since = None;
        }
    }

    /// How fast seats come free while all are taken. What is measured counts once they have been taken for a while;
    /// before that, the seats over the seat-time (Little's law).
    fn flow(&self, now: Duration) -> Flow {
        let seats = self.limit.current();
        let service = Duration::from_secs_f64(self.service.unwrap_or(0.0));
        let flow = Flow { per_second: None, seats, service };
        let per_second = self.service.map(|service_s| {
            let memory = memory(flow);
            let guess = f64::from(seats) / service_s.max(1e-6);
            let full_s = self.full_since.map_or(0.0, |since| now.saturating_sub(since).as_secs_f64());
            let fade = (-full_s / memory.as_secs_f64()).exp();
            self.pace.per_second(now, memory).max(guess * fade)
        });
        Flow { per_second, ..flow }
    }
}
