//! How many calls of one request are in the air at once; who is over that waits, first come, first served.

use std::collections::VecDeque;
use std::task::Waker;

/// The room for one request's calls.
#[derive(Debug)]
pub(crate) struct Air {
    at_once: u32,
    free: u32,
    next: u64,
    waiting: VecDeque<(u64, Waker)>,
}

/// A place in the queue for the self.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl Air {
    pub(crate) fn new(at_once: u32) -> Self {
        let at_once = at_once.max(1);
        Self { at_once, free: at_once, next: 0, waiting: VecDeque::new() }
    }

    /// How many calls it has room for.
    pub(crate) fn at_once(&self) -> u32 {
        self.at_once
    }

    /// Takes room, or a place in the queue for it: `waker` is woken when it is this one's turn.
    pub(crate) fn enter(&mut self, waker: &Waker) -> Result<(), Ticket> {
        if self.free > 0 && self.waiting.is_empty() {
            self.free -= 1;
            return Ok(());
        }
        let ticket = self.next;
        self.next += 1;
        self.waiting.push_back((ticket, waker.clone()));
        Err(Ticket(ticket))
    }

    /// Takes room when it is this one's turn.
    pub(crate) fn try_enter(&mut self, ticket: Ticket) -> bool {
        if self.free == 0 || self.waiting.front().is_none_or(|(first, _)| *first != ticket.0) {
            return false;
        }
        self.waiting.pop_front();
        self.free -= 1;
        self.wake_first();
        true
    }

    /// Leaves the queue.
    pub(crate) fn give_up(&mut self, ticket: Ticket) {
        self.waiting.retain(|(waiting, _)| *waiting != ticket.0);
        self.wake_first();
    }

    /// How many more calls may go into the air, and how many wait for it.
    #[cfg(test)]
    pub(crate) fn room(&self) -> (u32, usize) {
        (self.free, self.waiting.len())
    }

    /// Gives the room back.
    pub(crate) fn leave(&mut self) {
        self.free += 1;
        self.wake_first();
    }

    fn wake_first(&self) {
        if let Some((_, waker)) = self.waiting.front().filter(|_| self.free > 0) {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_first_goes_first_and_who_gave_up_holds_nobody_up() {
        let (mut air, waker) = (Air::new(1), Waker::noop());
        assert_eq!(air.enter(waker), Ok(()));
        let [a, b, c] = [0; 3].map(|_| air.enter(waker).unwrap_err());
        air.leave();
        assert!(!air.try_enter(b), "it is not its turn");
        assert!(air.enter(waker).is_err(), "nor that of one who comes now");
        air.give_up(a);
        assert!(air.try_enter(b) && !air.try_enter(c));
        air.leave();
        assert!(air.try_enter(c));
    }
}
