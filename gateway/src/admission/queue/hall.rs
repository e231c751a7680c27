//! One class in the waiting room: the lines of its tenants, by whose turn it is and by how long they are.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashMap;

/// Tenants without requests that are remembered for what they took.
pub(super) const IDLE_LINES: usize = 1_024;

/// One class. Virtual times are microseconds of a seat.
#[derive(Debug, Default)]
pub(super) struct Hall {
    pub(super) waiting: usize,
    /// When the class's next request may begin.
    pub(super) next: u64,
    /// Virtual time of its tenants: when the last served one of them began.
    pub(super) clock: u64,
    pub(super) lines: HashMap<u64, Line>,
    /// Lines with waiters, by when their first may begin.
    pub(super) order: BTreeSet<(u64, u64)>,
    /// Lines with waiters, by how many.
    pub(super) lengths: BTreeSet<(usize, u64)>,
    /// Idle lines are looked through once there are so many lines.
    look_at: usize,
}

/// One tenant of a class.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) numbers: VecDeque<u64>,
    pub(super) next: u64,
    pub(super) serving: u32,
}

impl Hall {
    /// The first of the line whose turn it is.
    pub(super) fn first(&self) -> Option<u64> {
        let (_, line) = self.order.first()?;
        self.lines.get(line)?.numbers.front().copied()
    }

    /// A waiter joins the end of a line.
    pub(super) fn stand(&mut self, key: u64, number: u64) {
        self.waiting += 1;
        let line = self.lines.entry(key).or_default();
        let length = line.numbers.len();
        line.numbers.push_back(number);
        if length == 0 {
            line.next = line.next.max(self.clock);
            self.order.insert((line.next, key));
        } else {
            self.lengths.remove(&(length, key));
        }
        self.lengths.insert((length + 1, key));
    }

    /// A waiter goes, wherever in its line it stands.
    pub(super) fn leave(&mut self, key: u64, number: u64) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        let length = line.numbers.len();
        // Numbers grow along a line.
        if let Ok(at) = line.numbers.binary_search(&number) {
            line.numbers.remove(at);
            self.waiting -= 1;
            self.lengths.remove(&(length, key));
            if line.numbers.is_empty() {
                self.order.remove(&(line.next, key));
            } else {
                self.lengths.insert((length - 1, key));
            }
        }
    }

    /// All waiters go; what their lines took is remembered.
    pub(super) fn clear(&mut self) {
        self.waiting = 0;
        self.order.clear();
        self.lengths.clear();
        self.lines.values_mut().for_each(|line| line.numbers.clear());
    }

    /// Forgets tenants without requests. Looks through them only when they have become many, so it costs little each.
    pub(super) fn forget_idle(&mut self) {
        if self.lines.len() < self.look_at.max(IDLE_LINES) {
            return;
        }
        let clock = self.clock;
        let busy = |line: &Line| !line.numbers.is_empty() || line.serving > 0;
        self.lines.retain(|_, line| busy(line) || line.next > clock);
        if self.lines.len() >= IDLE_LINES {
            // Still many: what they took lately is forgiven rather than remembered without bound.
            self.lines.retain(|_, line| busy(line));
        }
        self.look_at = 2 * self.lines.len();
    }
}
