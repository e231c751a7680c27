//! Shortcuts from what a timeline says to the series it counts in: in a steady state no label is written, joined or hashed.
//!
//! Each is the memory of a look-up, so the same is counted with them and without. They are bounded; what finds no room is
//! looked up each time.

use super::conventional::Known;
use super::table::Slot;
use crate::event::Outcome;
use crate::hash::ByName;

/// Routes with shortcuts.
const ROUTES_MAX: usize = 1_024;
/// Targets with shortcuts, of each route.
const TARGETS_MAX: usize = 256;
/// Combinations of facts that are remembered in one place, the latest.
const RECENT_MAX: usize = 16;

/// The shortcuts of all routes.
#[derive(Debug)]
pub(super) struct Shortcuts(pub(super) ByName<RouteShortcuts>);

impl Default for Shortcuts {
    fn default() -> Self {
        Self(ByName::new(ROUTES_MAX))
    }
}

/// Those of one route.
#[derive(Debug)]
pub(super) struct RouteShortcuts {
    /// By class of status; the first is none.
    pub(super) duration: [Option<Slot>; 6],
    /// Queue, park, run.
    pub(super) state: [Option<Slot>; 3],
    pub(super) requests: Recent<(u16, Outcome)>,
    pub(super) server: Recent<Known>,
    /// Queue and park, each by its rule.
    pub(super) promoted: [[Option<Slot>; 3]; 2],
    pub(super) scratch: Option<Slot>,
    pub(super) targets: ByName<TargetShortcuts>,
}

impl Default for RouteShortcuts {
    fn default() -> Self {
        Self {
            duration: [None; 6],
            state: [None; 3],
            requests: Recent::default(),
            server: Recent::default(),
            promoted: [[None; 3]; 2],
            scratch: None,
            targets: ByName::new(TARGETS_MAX),
        }
    }
}

/// Those of one target of a route's calls.
#[derive(Debug, Default)]
pub(super) struct TargetShortcuts {
    /// By outcome.
    pub(super) duration: [Option<Slot>; Outcome::ALL.len()],
    pub(super) retries: Option<Slot>,
    pub(super) client: Recent<Known>,
}

/// Series by facts, few of them: the latest are remembered, and looked through one by one.
#[derive(Debug)]
pub(super) struct Recent<K> {
    known: Vec<(K, Slot)>,
    next: usize,
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self { known: Vec::new(), next: 0 }
    }
}

impl<K> Recent<K> {
    /// The series of the facts that `is` fits, or else what `look_up` finds, which is remembered under the facts it gives.
    #[inline]
    pub(super) fn find(&mut self, is: impl Fn(&K) -> bool, look_up: impl FnOnce() -> (K, Slot)) -> Slot {
        if let Some((_, slot)) = self.known.iter().find(|(known, _)| is(known)) {
            return *slot;
        }
        let (known, slot) = look_up();
        if self.known.len() < RECENT_MAX {
            self.known.push((known, slot));
        } else {
            self.known[self.next] = (known, slot);
            self.next = (self.next + 1) % RECENT_MAX;
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::catalog;
    use crate::metrics::table::Table;

    #[test]
    fn the_latest_facts_are_remembered() {
        let mut table: Table<u64> = Table::new(catalog::RETRIES);
        let mut recent = Recent::default();
        let mut look_ups = 0;
        let mut count = |n: usize| {
            let slot = recent.find(
                |known| *known == n,
                || {
                    look_ups += 1;
                    (n, table.slot(&["route", &n.to_string()]))
                },
            );
            *table.at(slot) += 1;
        };
        (0..RECENT_MAX).for_each(&mut count);
        (0..RECENT_MAX).for_each(&mut count);
        // One more takes the place of the first.
        (1..=RECENT_MAX).for_each(&mut count);
        count(0);
        assert_eq!(look_ups, RECENT_MAX + 2);
        assert_eq!((table.values().sum::<u64>(), table.values().count()), (3 * RECENT_MAX as u64 + 1, RECENT_MAX + 1));
    }
}
