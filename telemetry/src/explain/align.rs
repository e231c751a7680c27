//! Lays the critical paths of many requests side by side: each becomes a row of times by place, attempt and cause.

use std::collections::HashMap;
use std::sync::Arc;

use super::critical_path;
use crate::event::Cause;
use crate::id::mix;
use crate::timeline::Timeline;

/// Attempts from here on share a key: a retry storm must not make a key per attempt.
const ATTEMPTS_MAX: u16 = 8;

/// What critical time is counted under. Occurrences of one effect share a key; attempts do not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// An index into [`Aligned::places`].
    pub(crate) place: u32,
    pub(crate) attempt: u16,
    pub(crate) cause: Cause,
    pub(crate) name: Option<Arc<str>>,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) latency: f64,
    /// How many requests it stands for; never 0.
    pub(crate) weight: f64,
    /// The wall-clock start in nanoseconds.
    pub(crate) start: u64,
    /// Critical nanoseconds by key, in the order of keys; they sum to the latency.
    pub(crate) path: Vec<(u32, f64)>,
    /// The place of each node.
    pub(crate) node_places: Vec<u32>,
    /// The same for requests that ran the same places with the same attempts.
    pub(crate) shape: u64,
    /// The part of the latency whose piece of the path is inferred.
    pub(crate) inferred: f64,
}

/// All counted requests of a route, by row.
#[derive(Debug)]
pub(crate) struct Aligned<'a> {
    pub(crate) timelines: Vec<&'a Arc<Timeline>>,
    pub(crate) rows: Vec<Row>,
    pub(crate) keys: Vec<Key>,
    /// Paths as [`Timeline::path`] writes them; the first is the request itself.
    pub(crate) places: Vec<String>,
    /// For each place, the place of its parent node; the request's is itself.
    pub(crate) place_parents: Vec<u32>,
    /// Requests left out because their states do not tile.
    pub(crate) malformed: usize,
    /// Requests whose logbook lost events.
    pub(crate) lossy: usize,
}

impl<'a> Aligned<'a> {
    /// Aligns the requests of one route; those of weight 0 and those that break [`Timeline::check`] are left out.
    pub(crate) fn new(timelines: &'a [Arc<Timeline>], route: &str) -> Self {
        let mut aligned = Self {
            timelines: Vec::new(),
            rows: Vec::new(),
            keys: Vec::new(),
            places: vec![String::new()],
            place_parents: vec![0],
            malformed: 0,
            lossy: 0,
        };
        let mut places = HashMap::new();
        let mut keys = HashMap::new();
        for timeline in timelines.iter().filter(|timeline| counts(timeline, route)) {
            if timeline.check().is_err() {
                aligned.malformed += 1;
                continue;
            }
            aligned.lossy += usize::from(timeline.lost_events > 0);
            aligned.push(timeline, &mut places, &mut keys);
        }
        aligned
    }

    fn push(
        &mut self,
        timeline: &'a Arc<Timeline>,
        places: &mut HashMap<(u32, Arc<str>), u32>,
        keys: &mut HashMap<Key, u32>,
    ) {
        let mut node_places: Vec<u32> = Vec::with_capacity(timeline.nodes.len());
        let mut shape = 0_u64;
        for node in &timeline.nodes {
            let place = match node.parent {
                None => 0,
                Some(parent) => {
                    let parent = node_places[usize::from(parent.0)];
                    *places.entry((parent, Arc::clone(&node.name))).or_insert_with(|| {
                        let above = &self.places[parent as usize];
                        let dot = if above.is_empty() { "" } else { "." };
                        self.places.push(format!("{above}{dot}{}", node.name));
                        self.place_parents.push(parent);
                        index(self.places.len() - 1)
                    })
                }
            };
            node_places.push(place);
            // A sum, so that the order in which parallel nodes open does not matter.
            shape = shape.wrapping_add(mix(u64::from(place) << 16 | u64::from(node.attempt.min(ATTEMPTS_MAX))));
        }
        let mut path: Vec<(u32, f64)> = Vec::with_capacity(16);
        let mut inferred = 0.0;
        for step in critical_path::walk(timeline) {
            let node = &timeline.nodes[step.node];
            let key = Key {
                place: node_places[step.node],
                attempt: node.attempt.min(ATTEMPTS_MAX),
                cause: step.cause,
                name: step.state.and_then(|at| node.states[at].name.clone()),
            };
            let key = *keys.entry(key).or_insert_with_key(|key| {
                self.keys.push(key.clone());
                index(self.keys.len() - 1)
            });
            #[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
            let length = step.len() as f64;
            inferred += if step.exact { 0.0 } else { length };
            match path.iter_mut().find(|(known, _)| *known == key) {
                Some((_, sum)) => *sum += length,
                None => path.push((key, length)),
            }
        }
        path.sort_unstable_by_key(|(key, _)| *key);
        #[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
        let latency = timeline.latency_ns as f64;
        let weight = f64::from(timeline.weight);
        let start = timeline.start_unix_ns;
        self.rows.push(Row { latency, weight, start, path, node_places, shape, inferred });
        self.timelines.push(timeline);
    }

    /// Critical time of one row at the keys marked in `wanted`.
    pub(crate) fn time_at(&self, row: usize, wanted: &[bool]) -> f64 {
        self.rows[row].path.iter().filter(|(key, _)| wanted[*key as usize]).map(|(_, time)| time).sum()
    }

    /// The weighted mean time per key over some rows.
    pub(crate) fn mean_by_key(&self, rows: &[usize]) -> Vec<f64> {
        let mut sums = vec![0.0; self.keys.len()];
        let mut weight = 0.0;
        for row in rows.iter().map(|&row| &self.rows[row]) {
            weight += row.weight;
            for (key, time) in &row.path {
                sums[*key as usize] += row.weight * time;
            }
        }
        if weight > 0.0 {
            sums.iter_mut().for_each(|sum| *sum /= weight);
        }
        sums
    }

    /// The weighted mean latency of some rows; 0 for none.
    pub(crate) fn mean_latency(&self, rows: &[usize]) -> f64 {
        let weight: f64 = rows.iter().map(|&row| self.rows[row].weight).sum();
        let sum: f64 = rows.iter().map(|&row| self.rows[row].weight * self.rows[row].latency).sum();
        if weight > 0.0 { sum / weight } else { 0.0 }
    }

    /// The words a place is called by: its path, or `request` for the request itself.
    pub(crate) fn place_name(&self, place: u32) -> &str {
        let path = &self.places[place as usize];
        if path.is_empty() { "request" } else { path }
    }
}

/// Whether a timeline is one of the route's, and stands for any request.
pub(crate) fn counts(timeline: &Timeline, route: &str) -> bool {
    *timeline.route == *route && timeline.weight > 0.0 && timeline.weight.is_finite()
}

/// An index that is kept small; a comparison never holds 2^32 of anything.
fn index(n: usize) -> u32 {
    u32::try_from(n).expect("fewer than 2^32 places, keys and items")
}
