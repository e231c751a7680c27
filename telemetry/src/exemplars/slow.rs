//! The slowest requests of each route.

use std::sync::Arc;

use crate::exemplars::retention::RetentionSettings;
use crate::hash::Map;

/// One of the slowest of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slow {
    pub(crate) latency_ns: u64,
    pub(crate) seq: u64,
    pub(crate) end_unix_ns: u64,
    /// Where the index has it.
    pub(crate) place: u32,
}

/// The slowest of all routes.
#[derive(Debug, Default)]
pub(crate) struct Slowest {
    /// Routes come from the configuration, so their hash may be cheap.
    routes: Map<Arc<str>, List>,
    len: usize,
}

/// Those of one route.
#[derive(Debug)]
struct List {
    /// By latency, the fastest first.
    slow: Vec<Slow>,
    /// The earliest end among them: as long as the window has not passed it, none need be looked at.
    oldest_unix_ns: u64,
}

impl Default for List {
    fn default() -> Self {
        Self { slow: Vec::new(), oldest_unix_ns: u64::MAX }
    }
}

impl List {
    fn find_oldest(&mut self) {
        self.oldest_unix_ns = self.slow.iter().map(|slow| slow.end_unix_ns).min().unwrap_or(u64::MAX);
    }
}

impl Slowest {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether it has a list for this route.
    pub(crate) fn knows(&self, route: &Arc<str>) -> bool {
        self.routes.contains_key(route)
    }

    /// Whether a request may belong there; one that may not is not entered by [`Slowest::add`].
    pub(crate) fn may_enter(
        &self,
        route: &Arc<str>,
        latency_ns: u64,
        horizon: u64,
        settings: &RetentionSettings,
    ) -> bool {
        let Some(list) = self.routes.get(route) else { return true };
        (list.slow.len() < settings.slow_per_route && self.len < settings.slow)
            || list.oldest_unix_ns < horizon
            || list.slow.first().is_some_and(|fastest| fastest.latency_ns < latency_ns)
    }

    /// Enters a request, if it belongs there. Says whether it does, and who gave way: one that ended before `horizon`, else
    /// the fastest.
    pub(crate) fn add(
        &mut self,
        route: &Arc<str>,
        slow: Slow,
        horizon: u64,
        settings: &RetentionSettings,
    ) -> (bool, Option<u32>) {
        let list = match self.routes.get_mut(route) {
            Some(list) => list,
            None => self.routes.entry(Arc::clone(route)).or_default(),
        };
        let mut out = None;
        if list.slow.len() >= settings.slow_per_route || self.len >= settings.slow {
            let expired = if list.oldest_unix_ns < horizon {
                list.slow.iter().position(|old| old.end_unix_ns < horizon)
            } else {
                None
            };
            let fastest = || list.slow.first().is_some_and(|fastest| fastest.latency_ns < slow.latency_ns).then_some(0);
            let Some(place) = expired.or_else(fastest) else { return (false, None) };
            let gone = list.slow.remove(place);
            self.len -= 1;
            if gone.end_unix_ns <= list.oldest_unix_ns {
                list.find_oldest();
            }
            out = Some(gone.place);
        }
        let place = list.slow.partition_point(|known| *known < slow);
        list.slow.insert(place, slow);
        list.oldest_unix_ns = list.oldest_unix_ns.min(slow.end_unix_ns);
        self.len += 1;
        (true, out)
    }

    /// Takes out those that ended before `horizon`; gives their places.
    pub(crate) fn expire(&mut self, horizon: u64) -> Vec<u32> {
        let mut out = Vec::new();
        self.routes.retain(|_, list| {
            if list.oldest_unix_ns < horizon {
                list.slow.retain(|slow| {
                    let stays = slow.end_unix_ns >= horizon;
                    if !stays {
                        out.push(slow.place);
                    }
                    stays
                });
                list.find_oldest();
            }
            !list.slow.is_empty()
        });
        self.len -= out.len();
        out
    }
}
