//! Where a rate limit keeps its keys: a bounded map in shards, from which the keys nearest to a whole quota leave first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::nanos::Nanos;
use governor::state::StateStore;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::wound::WoundClock;

/// Locks that the keys are spread over.
const SHARDS: usize = 16;
/// Keys looked at for one to forget.
const LOOKED_AT: usize = 8;
/// A full shard is searched for whole quotas at most this often.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A moment per key: when its quota is whole again (GCRA's theoretical arrival time). Keys are hashes. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shards: Vec<Mutex<Shard>>,
    clock: WoundClock,
    forgotten: AtomicU64,
}

#[derive(Debug)]
struct Shard {
    moments: HashMap<u64, Nanos>,
    most: usize,
    swept: Option<Duration>,
}

impl Store {
    pub(super) fn new(keys_max: usize, clock: WoundClock) -> Self {
        // A few keys get fewer shards, so that the bound is exact.
        let count = SHARDS.min(keys_max).max(1);
        let shard = |n: usize| {
            let most = keys_max / count + usize::from(n < keys_max % count);
            Mutex::new(Shard { moments: HashMap::new(), most, swept: None })
        };
        Self(Arc::new(Inner { shards: (0..count).map(shard).collect(), clock, forgotten: AtomicU64::new(0) }))
    }

    pub(super) fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.lock().moments.len()).sum()
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.0.forgotten.load(Ordering::Relaxed)
    }

    pub(super) fn retain_recent(&self) {
        let now = Nanos::from(self.0.clock.now());
        for shard in &self.0.shards {
            let mut shard = shard.lock();
            shard.moments.retain(|_, whole| *whole > now);
            let keep = 2 * shard.moments.len();
            shard.moments.shrink_to(keep);
        }
    }
}

impl Shard {
    /// Makes room for one more key; true when a key with a used quota had to go.
    fn make_room(&mut self, now: Duration) -> bool {
        if self.swept.is_none_or(|swept| now.saturating_sub(swept) >= SWEEP_EVERY) {
            self.swept = Some(now);
            let now = Nanos::from(now);
            self.moments.retain(|_, whole| *whole > now);
        }
        if self.moments.len() < self.most {
            return false;
        }
        // The one that gains least by being forgotten, of a few: heavy users stay, and a flood of new names evicts itself.
        let nearest = self.moments.iter().take(LOOKED_AT).min_by_key(|(_, whole)| **whole).map(|(key, _)| *key);
        nearest.is_some_and(|key| self.moments.remove(&key).is_some())
    }
}

impl StateStore for Store {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // The upper bits: the map inside the shard uses the lower ones.
        let mut shard = self.0.shards[(key >> 32) as usize % self.0.shards.len()].lock();
        if let Some(moment) = shard.moments.get_mut(key) {
            let (answer, whole) = decide(Some(*moment))?;
            *moment = whole;
            return Ok(answer);
        }
        let (answer, whole) = decide(None)?;
        if shard.moments.len() >= shard.most && shard.make_room(self.0.clock.now()) {
            self.0.forgotten.fetch_add(1, Ordering::Relaxed);
        }
        shard.moments.insert(*key, whole);
        Ok(answer)
    }
}
