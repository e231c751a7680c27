//! How many calls of one request are in the air at once; who is over that waits, first come, first served.

use std::collections::VecDeque;
use std::task::Waker;

use parking_lot::Mutex;

/// The room for one request's calls. All its calls are polled by one task, so the lock is never contended.
#[derive(Debug)]
pub(crate) struct Air {
    at_once: u32,
    room: Mutex<Room>,
}

#[derive(Debug)]
struct Room {
    free: u32,
    next: u64,
    waiting: VecDeque<(u64, Waker)>,
}

/// A place in the queue for the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl Air {
    pub(crate) fn new(at_once: u32) -> Self {
        let at_once = at_once.max(1);
        Self { at_once, room: Mutex::new(Room { free: at_once, next: 0, waiting: VecDeque::new() }) }
    }

    /// How many calls it has room for.
    pub(crate) fn at_once(&self) -> u32 {
        self.at_once
    }

    /// Takes room, or a place in the queue for it: `waker` is woken when it is this one's turn.
    pub(crate) fn enter(&self, waker: &Waker) -> Result<(), Ticket> {
        let mut room = self.room.lock();
        if room.free > 0 && room.waiting.is_empty() {
            room.free -= 1;
            return Ok(());
        }
        let ticket = room.next;
        room.next += 1;
        room.waiting.push_back((ticket, waker.clone()));
        Err(Ticket(ticket))
    }

    /// Takes room when it is this one's turn.
    pub(crate) fn try_enter(&self, ticket: Ticket) -> bool {
        let mut room = self.room.lock();
        if room.free == 0 || room.waiting.front().is_none_or(|(first, _)| *first != ticket.0) {
            return false;
        }
        room.waiting.pop_front();
        room.free -= 1;
        room.wake_first();
        true
    }

    /// Leaves the queue.
    pub(crate) fn give_up(&self, ticket: Ticket) {
        let mut room = self.room.lock();
        room.waiting.retain(|(waiting, _)| *waiting != ticket.0);
        room.wake_first();
    }

    /// How many more calls may go into the air, and how many wait for it.
    #[cfg(test)]
    pub(crate) fn room(&self) -> (u32, usize) {
        let room = self.room.lock();
        (room.free, room.waiting.len())
    }

    /// Gives the room back.
    pub(crate) fn leave(&self) {
        let mut room = self.room.lock();
        room.free += 1;
        room.wake_first();
    }
}

impl Room {
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
        let (air, waker) = (Air::new(1), Waker::noop());
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
