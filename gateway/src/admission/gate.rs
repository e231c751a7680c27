//! The gate that requests pass: takes a seat or waits for one, and gives it back whatever happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use schemars::JsonSchema;
use serde::Serialize;
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use zerver_telemetry::clock::{Clock, Ticks};

use super::Settings;
use super::class::{Class, TenantKey, mix};
use super::desk::{Asked, Desk, Next, Ticket};
use super::limit::Limit;
use super::moves::{Outcome, Why};
use super::queue::Arrival;
use super::shed::{Reason, Shed};

/// A request at the gate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask {
    /// Its class.
    pub class: Class,
    /// Whose it is.
    pub tenant: TenantKey,
    /// When its answer is of no use any more, on the gate's clock.
    pub deadline: Option<Ticks>,
}

/// One limit and the waiting room in front of it: one per upstream, or per route, or for the whole gateway.
///
/// A seat that is free costs one short lock; so does a refusal. No lock is held across an await.
#[derive(Debug)]
pub struct Gate {
    name: Arc<str>,
    clock: Clock,
    opened: Ticks,
    desk: Mutex<Desk<Teller>>,
    closing: CancellationToken,
}

/// How one who waits is told.
type Teller = oneshot::Sender<Result<Permit, Shed>>;

impl Gate {
    /// Opens a gate. Gates of other names drain and spread at other moments, so that they do not move in step.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, settings: &Settings, clock: Clock) -> Arc<Self> {
        let name = name.into();
        let seed = name.bytes().fold(0, |seed, byte| mix(seed ^ u64::from(byte)));
        let desk = Mutex::new(Desk::new(settings, seed));
        Arc::new(Self { name, opened: clock.now(), clock, desk, closing: CancellationToken::new() })
    }

    /// The name it was opened with.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Takes a seat if one is free and nobody waits. Never waits, never counts a refusal.
    #[must_use]
    pub fn try_enter(self: &Arc<Self>, ask: &Ask) -> Option<Permit> {
        let now = self.now();
        let ticket = self.desk.lock().try_ask(now, self.arrival(ask))?;
        Some(self.permit(ticket))
    }

    /// Takes a seat, waiting for it no longer than the class may (50 ms interactive, 1 s batch, less with a near deadline).
    ///
    /// # Errors
    /// [`Shed`], in most cases at once: the wait is predicted at the door. Late only when a tenant with fewer requests
    /// took the place, or the upstream slowed down in the meantime.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the waiting room. A seat that was granted at that moment goes to the next.
    pub async fn enter(self: &Arc<Self>, ask: &Ask) -> Result<Permit, Shed> {
        let now = self.now();
        let arrival = self.arrival(ask);
        let mut receiver = None;
        let (asked, displaced) = self.desk.lock().ask(now, arrival, || {
            let (sender, receive) = oneshot::channel();
            receiver = Some(receive);
            sender
        });
        if let Some((other, shed)) = displaced {
            // Whoever left meanwhile needs no answer.
            drop(other.send(Err(shed)));
        }
        let place = match asked {
            Asked::Seat(ticket) => return Ok(self.permit(ticket)),
            Asked::Refused(shed) => return Err(shed),
            Asked::Wait(place) => place,
        };
        let mut waiting = Waiting { gate: self, number: place.number, stands: true };
        self.advance();
        let Some(mut receiver) = receiver else { return Err(self.refusal(Reason::Draining)) };
        let told = tokio::select! {
            biased;
            told = &mut receiver => told,
            () = tokio::time::sleep(place.latest.saturating_sub(now)) => {
                let now = self.now();
                let over = arrival.deadline.is_some_and(|deadline| deadline <= now);
                let reason = if over { Reason::Deadline } else { Reason::QueueWait };
                let expired = self.desk.lock().expire(now, place.number, arrival.class, reason);
                match expired {
                    Some(shed) => Ok(Err(shed)),
                    // Called at this very moment: the answer is on its way.
                    None => receiver.await,
                }
            }
        };
        waiting.stands = false;
        // The sender lives in the room or has spoken; it is never dropped silently.
        told.unwrap_or_else(|_| Err(self.refusal(Reason::Draining)))
    }

    /// Refuses everybody from now on, sends away those who wait, and frees the seats held for clients that left. Requests
    /// inside go on.
    pub fn close(&self) {
        let now = self.now();
        let waiting = self.desk.lock().close(now);
        for (waiter, shed) in waiting {
            drop(waiter.send(Err(shed)));
        }
        self.closing.cancel();
    }

    /// Seats taken, the lingering ones among them.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.desk.lock().in_use()
    }

    /// Requests in the waiting room.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.desk.lock().room().waiting()
    }

    /// Everything there is to see of the gate, at one moment.
    #[must_use]
    pub fn state(&self) -> GateState {
        let now = self.now();
        let mut desk = self.desk.lock();
        let retry_after = desk.retry_after(now);
        GateState::of(&self.name, now, &desk, retry_after)
    }

    fn now(&self) -> Duration {
        self.clock.since(self.opened)
    }

    fn arrival(&self, ask: &Ask) -> Arrival {
        let deadline = ask.deadline.map(|deadline| self.clock.between(self.opened, deadline));
        Arrival { class: ask.class, tenant: ask.tenant, deadline }
    }

    fn refusal(&self, reason: Reason) -> Shed {
        Shed { reason, retry_after: self.desk.lock().retry_after(self.now()) }
    }

    fn permit(self: &Arc<Self>, ticket: Ticket) -> Permit {
        Permit { gate: Arc::clone(self), held: Some(ticket), lingers: false }
    }

    /// Gives free seats to those who wait. Nobody is told while the desk is locked.
    fn advance(self: &Arc<Self>) {
        self.advance_locked(self.desk.lock());
    }

    fn advance_locked<'a>(self: &'a Arc<Self>, mut desk: MutexGuard<'a, Desk<Teller>>) {
        loop {
            let now = self.now();
            let next: SmallVec<[Next<Teller>; 4]> = std::iter::from_fn(|| desk.next(now)).collect();
            if next.is_empty() {
                return;
            }
            drop(desk);
            for next in next {
                match next {
                    // A permit that nobody takes gives its seat back as it drops, with the channel or right here.
                    Next::Seat(waiter, ticket) => drop(waiter.send(Ok(self.permit(ticket)))),
                    Next::Refused(waiter, shed) => drop(waiter.send(Err(shed))),
                }
            }
            desk = self.desk.lock();
        }
    }
}

/// Leaves the room if the wait is given up.
struct Waiting<'a> {
    gate: &'a Arc<Gate>,
    number: u64,
    stands: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.stands {
            // When it was called already, the permit is in the channel and goes back with it.
            self.gate.desk.lock().leave(self.number);
        }
    }
}

/// A seat. Taken once, given back by [`Permit::done`], by [`Permit::linger`] some time later, or by dropping it, which
/// counts as a client that went away.
#[derive(Debug)]
#[must_use = "dropping a permit gives the seat back at once"]
pub struct Permit {
    gate: Arc<Gate>,
    held: Option<Ticket>,
    lingers: bool,
}

impl Permit {
    /// Gives the seat back and tells the limit how it went. The time since the seat was taken is the answer time.
    pub fn done(mut self, outcome: Outcome) {
        self.release(outcome);
    }

    /// The request is over for us (the client left, or our patience ended) but the upstream still works on it: the seat
    /// stays taken until the upstream should have finished, at most two seconds.
    ///
    /// Without this the slot would be taken twice, and requests would pile up in an upstream that cannot cancel. Outside
    /// of a tokio runtime, after [`Gate::close`], or with `linger: false` the seat is given back at once.
    pub fn linger(mut self, outcome: Outcome) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return self.release(outcome) };
        if self.gate.closing.is_cancelled() {
            return self.release(outcome);
        }
        let now = self.gate.now();
        let hold = self.held.as_ref().and_then(|ticket| self.gate.desk.lock().linger(now, ticket, outcome));
        let Some(hold) = hold else { return self.release(outcome) };
        self.lingers = true;
        let closing = self.gate.closing.clone();
        // Bounded: such tasks are never more than seats. The permit goes back as the task ends, even if it is dropped.
        runtime.spawn(async move {
            let _permit = self;
            tokio::select! {
                () = closing.cancelled() => {}
                () = tokio::time::sleep(hold) => {}
            }
        });
    }

    fn release(&mut self, outcome: Outcome) {
        let Some(ticket) = self.held.take() else { return };
        let now = self.gate.now();
        let mut desk = self.gate.desk.lock();
        if self.lingers {
            desk.linger_end(now, &ticket);
        } else {
            desk.finish(now, &ticket, outcome);
        }
        self.gate.advance_locked(desk);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release(Outcome::ClientGone);
    }
}

/// What there is to see of a gate, for the admin API, metrics and the viewer.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct GateState {
    /// The gate's name.
    pub name: String,
    /// False once it refuses everybody.
    pub open: bool,
    /// Its limit.
    pub limit: LimitState,
    /// Seats taken.
    pub in_use: u32,
    /// Seats among them that are held for clients that left.
    pub lingering: u32,
    /// Requests that wait, by class.
    pub waiting: BTreeMap<&'static str, usize>,
    /// Tenants among those who wait.
    pub tenants_waiting: usize,
    /// The mean time a seat is held, in milliseconds; none before the first answer.
    pub seat_ms: Option<f64>,
    /// Seats taken at once, since the gate opened.
    pub entered_at_once_total: u64,
    /// Seats taken after a wait.
    pub entered_after_wait_total: u64,
    /// Requests that stopped waiting by themselves.
    pub left_waiting_total: u64,
    /// Seats given back, by outcome.
    pub finished_total: BTreeMap<&'static str, u64>,
    /// Refusals by reason and class. Every reason and class is there, also at zero.
    pub shed_total: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    /// What `Retry-After` stands at before its spread, in seconds.
    pub retry_after_s: u64,
}

/// What there is to see of a limit.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct LimitState {
    /// `fixed` or `adaptive`.
    pub kind: &'static str,
    /// Seats in all, now.
    pub current: u32,
    /// The fewest it may come to.
    pub min: u32,
    /// The most it may come to.
    pub max: u32,
    /// The mean answer time without a queue in the upstream, in milliseconds, as far as it is known.
    pub base_ms: Option<f64>,
    /// Its last move; none while it stands where the settings put it.
    pub moved: Option<MoveState>,
}

/// A limit's last move.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MoveState {
    /// The limit before.
    pub from: u32,
    /// The limit after.
    pub to: u32,
    /// Why.
    pub why: Why,
    /// How long ago, in milliseconds.
    pub ago_ms: u64,
}

impl GateState {
    fn of(name: &str, now: Duration, desk: &Desk<Teller>, retry_after: Duration) -> Self {
        let counts = desk.counts();
        let by_class = |counts: [u64; 3]| Class::ALL.map(Class::as_str).into_iter().zip(counts).collect();
        let outcomes = [Outcome::Good, Outcome::Failed, Outcome::Timeout, Outcome::ClientGone];
        Self {
            name: name.to_owned(),
            open: desk.is_open(),
            limit: LimitState::of(now, desk.limit()),
            in_use: desk.in_use(),
            lingering: desk.lingering(),
            waiting: Class::ALL.into_iter().map(|class| (class.as_str(), desk.room().waiting_of(class))).collect(),
            tenants_waiting: desk.room().tenants(),
            seat_ms: desk.service().map(millis),
            entered_at_once_total: counts.passed,
            entered_after_wait_total: counts.waited,
            left_waiting_total: counts.left,
            finished_total: outcomes.into_iter().map(|o| (o.as_str(), counts.finished[o as usize])).collect(),
            shed_total: Reason::ALL
                .into_iter()
                .map(|reason| (reason.as_str(), by_class(counts.shed[reason as usize])))
                .collect(),
            retry_after_s: retry_after.as_secs(),
        }
    }
}

impl LimitState {
    fn of(now: Duration, limit: &Limit) -> Self {
        let (min, max) = limit.bounds();
        let kind = match limit {
            Limit::Fixed(_) => "fixed",
            Limit::Adaptive(_) => "adaptive",
        };
        let moved = limit.last_move().map(|last| MoveState {
            from: last.from,
            to: last.to,
            why: last.why,
            ago_ms: u64::try_from(now.saturating_sub(last.at).as_millis()).unwrap_or(u64::MAX),
        });
        Self { kind, current: limit.current(), min, max, base_ms: limit.base().map(millis), moved }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests;
