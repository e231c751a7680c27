//! From the difference to its causes: which parts hold the extra time, what marks them, and which belong together.

use std::sync::Arc;

use super::align::{Aligned, Key};
use super::attribute::{Attributes, Standing};
use super::cohorts::Chosen;
use super::score::{LEVELS, Labels};
use super::search::{self, Scored};
use crate::event::Cause;

/// The most parts whose causes are searched.
const CANDIDATES_MAX: usize = 8;

/// The least share of the extra time for a part to be searched.
const SHARE_LEAST: f64 = 0.02;

/// The least number of slow requests that must suffer from a part.
const MEMBERS_LEAST: usize = 6;

/// A request suffers from a part that holds this much of its extra time.
const MEMBER_SHARE: f64 = 0.3;

/// A part that holds this much of a group or a cause stands for it.
const DOMINATES: f64 = 0.6;

/// The least bound for a mark to count as an explanation.
const BOUND_LEAST: f64 = 0.12;

/// Marks hold for the same requests from this Jaccard index on.
const SAME: f64 = 0.8;

/// A cause behind a symptom may miss a few more, for instance where its attribute was not recorded.
const MOSTLY: f64 = 0.7;

/// The keys whose time is looked at together: one, or all that wait for one resource.
#[derive(Debug)]
struct Candidate {
    keys: Vec<u32>,
    /// Its share of all extra time in B.
    share: f64,
    thresholds: [f64; LEVELS],
    negative_max: f64,
}

/// One cause: parts that suffer together, and what marks them.
#[derive(Debug)]
pub(crate) struct Found {
    /// The share of the extra time it explains; for one without a mark, that its parts hold.
    pub(crate) share: f64,
    /// Extra time by key among the marked slow requests, the largest first.
    pub(crate) mass: Vec<(u32, f64)>,
    /// What marks it; none when nothing does.
    pub(crate) mark: Option<Scored>,
    /// Marks that hold for the same requests.
    pub(crate) also: Vec<Scored>,
    /// For each row, whether the mark holds; all of B's members when there is none.
    pub(crate) marked: Vec<bool>,
}

/// All causes of the difference, the strongest first; those with a mark before those without.
pub(crate) fn find(aligned: &Aligned<'_>, attributes: &Attributes, chosen: &Chosen) -> Vec<Found> {
    let usual = aligned.mean_by_key(&chosen.a);
    let total = total_excess(aligned, &chosen.b, &usual);
    if total <= 0.0 {
        return Vec::new();
    }
    let mut causes: Vec<Found> = Vec::new();
    let mut unexplained: Vec<Found> = Vec::new();
    for candidate in candidates(aligned, chosen, &usual, total) {
        let found = explain(aligned, attributes, chosen, &usual, total, &candidate);
        match found.mark {
            Some(_) => causes.push(found),
            None => unexplained.push(found),
        }
    }
    causes.sort_by(|x, y| y.share.total_cmp(&x.share));
    let mut merged: Vec<Found> = Vec::new();
    for cause in causes {
        match merged.iter_mut().find(|known| jaccard(&chosen.b, &known.marked, &cause.marked) > SAME) {
            Some(known) => known.absorb(cause),
            None => merged.push(cause),
        }
    }
    merged.retain(|cause| cause.share > 0.0);
    merged.sort_by(|x, y| y.strength().total_cmp(&x.strength()));
    unexplained.sort_by(|x, y| y.share.total_cmp(&x.share));
    merged.append(&mut unexplained);
    merged
}

impl Found {
    /// The lower bound of the mark's separation; 0 without a mark.
    pub(crate) fn bound(&self) -> f64 {
        self.mark.as_ref().map_or(0.0, |mark| mark.separation.bound.clamp(0.0, 1.0))
    }

    /// Much explained by a weak mark and little by a strong one are both worth less than much by a strong one.
    fn strength(&self) -> f64 {
        self.share * (0.3 + 0.7 * self.bound())
    }

    fn absorb(&mut self, other: Self) {
        self.share += other.share;
        for (key, mass) in other.mass {
            match self.mass.iter_mut().find(|(known, _)| *known == key) {
                Some((_, sum)) => *sum += mass,
                None => self.mass.push((key, mass)),
            }
        }
        self.mass.sort_by(|x, y| y.1.total_cmp(&x.1).then(x.0.cmp(&y.0)));
        // The same requests by another name: the better separating of the two marks leads.
        if let Some(theirs) = other.mark {
            let ours = self.mark.get_or_insert_with(|| theirs.clone());
            if theirs.rank > ours.rank + 0.02 {
                self.also.insert(0, std::mem::replace(ours, theirs));
                self.marked = other.marked;
            }
        }
    }

    /// The place of the cause: of the key that dominates it, or the step that its keys share.
    pub(crate) fn place(&self, aligned: &Aligned<'_>) -> Option<u32> {
        let whole: f64 = self.mass.iter().map(|(_, mass)| mass).sum();
        let (first, most) = *self.mass.first()?;
        let place_of = |key: u32| aligned.keys[key as usize].place;
        if most >= DOMINATES * whole {
            return Some(place_of(first));
        }
        // Crumbs have no say in where it is.
        let parts = || self.mass.iter().filter(|(_, mass)| *mass >= 0.05 * whole).map(|(key, _)| place_of(*key));
        let shared = parts().reduce(|x, y| shared_place(aligned, x, y))?;
        // What only the whole request has in common is everywhere.
        (shared != 0 || parts().all(|place| place == 0)).then_some(shared)
    }
}

/// The sum of what the requests of B take more than A's mean, at each key on its own.
fn total_excess(aligned: &Aligned<'_>, b: &[usize], usual: &[f64]) -> f64 {
    let rows = b.iter().map(|&row| &aligned.rows[row]);
    rows.map(|row| row.weight * row.path.iter().map(|(key, time)| (time - usual[*key as usize]).max(0.0)).sum::<f64>())
        .sum()
}

/// The place that two places are both at or under.
fn shared_place(aligned: &Aligned<'_>, mut x: u32, mut y: u32) -> u32 {
    // A parent has a lower number than its children.
    while x != y {
        if x > y {
            x = aligned.place_parents[x as usize];
        } else {
            y = aligned.place_parents[y as usize];
        }
    }
    x
}

/// How alike two marks are on the slow requests: shared ones over all.
fn jaccard(b: &[usize], x: &[bool], y: &[bool]) -> f64 {
    let (mut both, mut any) = (0_u32, 0_u32);
    for &row in b {
        both += u32::from(x[row] && y[row]);
        any += u32::from(x[row] || y[row]);
    }
    if any == 0 { 0.0 } else { f64::from(both) / f64::from(any) }
}

/// What waits for one thing, wherever it does.
#[derive(PartialEq, Eq, Hash)]
enum Resource<'a> {
    Workers,
    Processor,
    Permit(&'a Arc<str>),
}

fn resource(key: &Key) -> Option<Resource<'_>> {
    match (key.cause, &key.name) {
        (Cause::Worker, _) => Some(Resource::Workers),
        (Cause::Run, _) => Some(Resource::Processor),
        (Cause::Permit, Some(name)) => Some(Resource::Permit(name)),
        _ => None,
    }
}

/// The parts that hold enough of the extra time, the largest first.
///
/// A group of keys that wait for one resource replaces its members when none of them holds most of it.
fn candidates(aligned: &Aligned<'_>, chosen: &Chosen, usual: &[f64], total: f64) -> Vec<Candidate> {
    let mut excess = vec![0.0; aligned.keys.len()];
    for row in chosen.b.iter().map(|&row| &aligned.rows[row]) {
        for (key, time) in &row.path {
            excess[*key as usize] += row.weight * (time - usual[*key as usize]).max(0.0);
        }
    }
    let mut groups: std::collections::HashMap<Resource<'_>, Vec<u32>> = std::collections::HashMap::new();
    let mut sets: Vec<Vec<u32>> = Vec::new();
    for (number, key) in (0..).zip(&aligned.keys) {
        match resource(key) {
            Some(resource) => groups.entry(resource).or_default().push(number),
            None => sets.push(vec![number]),
        }
    }
    for keys in groups.into_values() {
        let sum: f64 = keys.iter().map(|&key| excess[key as usize]).sum();
        let most = keys.iter().map(|&key| excess[key as usize]).fold(0.0, f64::max);
        if most >= DOMINATES * sum {
            sets.extend(keys.into_iter().map(|key| vec![key]));
        } else {
            sets.push(keys);
        }
    }
    // An upper bound of each set's share comes cheap and leaves only a few to be looked at.
    sets.retain(|keys| keys.iter().map(|&key| excess[key as usize]).sum::<f64>() >= SHARE_LEAST * total);
    let mut candidates: Vec<Candidate> =
        sets.into_iter().filter_map(|keys| candidate(aligned, chosen, usual, total, keys)).collect();
    candidates.sort_by(|x, y| y.share.total_cmp(&x.share).then(x.keys.cmp(&y.keys)));
    candidates.truncate(CANDIDATES_MAX);
    candidates
}

fn candidate(aligned: &Aligned<'_>, chosen: &Chosen, usual: &[f64], total: f64, keys: Vec<u32>) -> Option<Candidate> {
    let wanted = wanted(aligned, &keys);
    let mean: f64 = keys.iter().map(|&key| usual[key as usize]).sum();
    let mean_a = aligned.mean_latency(&chosen.a);
    let mut sum = 0.0;
    let mut members: Vec<f64> = Vec::new();
    for &row in &chosen.b {
        let excess = (aligned.time_at(row, &wanted) - mean).max(0.0);
        sum += aligned.rows[row].weight * excess;
        if excess > 0.0 && excess >= MEMBER_SHARE * (aligned.rows[row].latency - mean_a) {
            members.push(excess);
        }
    }
    let share = sum / total;
    if share < SHARE_LEAST || members.len() < MEMBERS_LEAST {
        return None;
    }
    members.sort_by(f64::total_cmp);
    let thresholds = [1, 4, 7].map(|tenth| mean + 0.8 * members[(members.len() - 1) * tenth / 10]);
    let negative_max = mean + 0.6 * (thresholds[0] - mean);
    Some(Candidate { keys, share, thresholds, negative_max })
}

fn wanted(aligned: &Aligned<'_>, keys: &[u32]) -> Vec<bool> {
    let mut wanted = vec![false; aligned.keys.len()];
    for &key in keys {
        wanted[key as usize] = true;
    }
    wanted
}

/// Searches what marks the requests that suffer from one candidate.
///
/// Those are chosen by the time at this place and not by latency: among slow requests, parts that have nothing to do
/// with each other look related, because each is a reason to be in the cohort (a collider).
fn explain(
    aligned: &Aligned<'_>,
    attributes: &Attributes,
    chosen: &Chosen,
    usual: &[f64],
    total: f64,
    candidate: &Candidate,
) -> Found {
    let wanted = wanted(aligned, &candidate.keys);
    let times: Vec<f64> = (0..aligned.rows.len()).map(|row| aligned.time_at(row, &wanted)).collect();
    let labels = Labels::new(&aligned.rows, &chosen.universe, &times, candidate.thresholds, candidate.negative_max);
    let place = match candidate.keys[..] {
        [key] => Some(aligned.keys[key as usize].place),
        _ => None,
    };
    let mut ranked = search::search(aligned, attributes, &labels, place);
    ranked.retain(|scored| scored.separation.bound >= BOUND_LEAST);
    if let Some(deeper) = behind_symptom(aligned, attributes, chosen, &ranked) {
        ranked[..=deeper].rotate_right(1);
    }
    let mut ranked = ranked.into_iter();
    let Some(mark) = ranked.next() else {
        let marked: Vec<bool> = (0..aligned.rows.len()).map(|row| labels.of_row[row] != Labels::NEGATIVE).collect();
        let mass = mass(aligned, chosen, usual, &candidate.keys, |_| true);
        return Found { share: candidate.share, mass, mark: None, also: Vec::new(), marked };
    };
    let marked = mark.predicate.holds(aligned, attributes);
    let mean: f64 = candidate.keys.iter().map(|&key| usual[key as usize]).sum();
    let explained: f64 = chosen
        .b
        .iter()
        .filter(|&&row| marked[row])
        .map(|&row| aligned.rows[row].weight * (times[row] - mean).max(0.0))
        .sum();
    // A mark that also holds for a share q of those that do not suffer would hold that much by chance.
    let share = (explained / total - mark.separation.q * candidate.share).clamp(0.0, 1.0);
    let about = mark.predicate.attribute(attributes);
    // What came with the answer, or only describes the call, says nothing new beside a mark of more weight.
    let lesser =
        |scored: &Scored| matches!(scored.predicate.standing(attributes), Standing::Answer | Standing::Description);
    let told_before = !lesser(&mark);
    let mut also: Vec<Scored> = Vec::new();
    for other in ranked.take(12) {
        let told = |known: &Scored| known.predicate.attribute(attributes) == other.predicate.attribute(attributes);
        let stale = told_before && lesser(&other);
        if stale || other.predicate.attribute(attributes) == about || also.len() >= 3 || also.iter().any(told) {
            continue;
        }
        if jaccard(&chosen.b, &marked, &other.predicate.holds(aligned, attributes)) > SAME {
            also.push(other);
        }
    }
    let mass = mass(aligned, chosen, usual, &candidate.keys, |row| marked[row]);
    Found { share, mass, mark: Some(mark), also, marked }
}

/// The first mark that may lead to being slow and holds for the same slow requests, when the best one does not: that
/// a branch ran is always true of the time spent in it, and what made it run is what one wants to know.
fn behind_symptom(aligned: &Aligned<'_>, attributes: &Attributes, chosen: &Chosen, ranked: &[Scored]) -> Option<usize> {
    let standing = |scored: &Scored| scored.predicate.standing(attributes);
    let best = ranked.first()?;
    let alike = match standing(best) {
        Standing::Trait => return None,
        Standing::Symptom | Standing::Answer => MOSTLY,
        Standing::Description => SAME,
    };
    let marked = best.predicate.holds(aligned, attributes);
    let same = |scored: &Scored| {
        standing(scored) == Standing::Trait
            && jaccard(&chosen.b, &marked, &scored.predicate.holds(aligned, attributes)) > alike
    };
    ranked.iter().take(12).position(same)
}

/// Extra time by key among some of B, the largest first.
fn mass(
    aligned: &Aligned<'_>,
    chosen: &Chosen,
    usual: &[f64],
    keys: &[u32],
    of: impl Fn(usize) -> bool,
) -> Vec<(u32, f64)> {
    let mut mass: Vec<(u32, f64)> = keys.iter().map(|&key| (key, 0.0)).collect();
    for &row in chosen.b.iter().filter(|&&row| of(row)) {
        for (key, time) in &aligned.rows[row].path {
            if let Some((_, sum)) = mass.iter_mut().find(|(known, _)| known == key) {
                *sum += aligned.rows[row].weight * (time - usual[*key as usize]).max(0.0);
            }
        }
    }
    mass.sort_by(|x, y| y.1.total_cmp(&x.1).then(x.0.cmp(&y.0)));
    mass
}
