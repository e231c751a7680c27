//! Searches what marks the requests that suffer: single values, intervals of numbers, bursts in time, and pairs.

use super::align::Aligned;
use super::attribute::{Attributes, Standing, Word};
use super::score::{LEVELS, Labels, Separation, best_run};

/// A mark must hold for this many suffering requests to be tried.
const POSITIVES_LEAST: usize = 6;

/// How much separation a one-sided interval may cost.
const PLAIN: f64 = 0.005;

/// How many of the best marks are tried in pairs, and offered as "also".
const BEST: usize = 5;

/// The columns of [`Attributes`] begin with the time of arrival.
const ARRIVAL: usize = 0;

/// Something that holds for a request or not.
#[derive(Clone, Debug)]
pub(crate) enum Predicate {
    /// An item of [`Attributes`].
    Item(u32),
    /// A number within an interval.
    Interval(Interval),
    /// Arrival in one of many short windows.
    Burst(Burst),
    /// Two at once.
    Both(Box<[Predicate; 2]>),
}

/// An interval of a numeric attribute, ends included; open where it reaches the least or greatest value seen.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    pub(crate) column: usize,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) open_below: bool,
    pub(crate) open_above: bool,
}

/// Windows of arrival time in which requests suffer.
#[derive(Clone, Debug)]
pub(crate) struct Burst {
    start: f64,
    width: f64,
    hot: Vec<bool>,
    /// How many windows there are.
    pub(crate) windows: usize,
    /// Their distance in seconds, when they are evenly spaced.
    pub(crate) period_s: Option<f64>,
}

/// A predicate and how well it separates.
#[derive(Clone, Debug)]
pub(crate) struct Scored {
    pub(crate) predicate: Predicate,
    pub(crate) separation: Separation,
    /// The bound, with small preferences among equals.
    pub(crate) rank: f64,
}

/// The best marks of the requests labelled positive, the best first, from different attributes where possible.
pub(crate) fn search(
    aligned: &Aligned<'_>,
    attributes: &Attributes,
    labels: &Labels,
    place: Option<u32>,
) -> Vec<Scored> {
    let search = Search { aligned, attributes, labels, place };
    let mut found = search.items();
    for column in 0..attributes.columns.len() {
        found.extend(search.intervals(column));
    }
    found.extend(search.bursts());
    found.sort_by(|x, y| y.rank.total_cmp(&x.rank));
    found.truncate(4 * BEST);
    if let Some(pair) = search.pairs(&found) {
        found.insert(0, pair);
    }
    found
}

impl Predicate {
    /// Whether it holds, for each row.
    pub(crate) fn holds(&self, aligned: &Aligned<'_>, attributes: &Attributes) -> Vec<bool> {
        let rows = aligned.rows.len();
        match self {
            Self::Item(item) => attributes.of_row.iter().map(|items| items.binary_search(item).is_ok()).collect(),
            Self::Interval(interval) => {
                let mut holds = vec![false; rows];
                for (value, row) in &attributes.columns[interval.column].sorted {
                    holds[*row] |= (interval.from..=interval.to).contains(value);
                }
                holds
            }
            Self::Burst(burst) => {
                let mut holds = vec![false; rows];
                for (at, row) in &attributes.columns[ARRIVAL].sorted {
                    holds[*row] = burst.hot[burst.window(*at)];
                }
                holds
            }
            Self::Both(both) => {
                let other = both[1].holds(aligned, attributes);
                both[0].holds(aligned, attributes).into_iter().zip(other).map(|(x, y)| x && y).collect()
            }
        }
    }

    /// What its attribute can say about a cause; for a pair, its first.
    pub(crate) fn standing(&self, attributes: &Attributes) -> Standing {
        attributes.attributes[self.attribute(attributes) as usize].standing
    }

    /// The attribute it is about; for a pair, its first.
    pub(crate) fn attribute(&self, attributes: &Attributes) -> u32 {
        match self {
            Self::Item(item) => attributes.items[*item as usize].attribute,
            Self::Interval(interval) => attributes.columns[interval.column].attribute,
            Self::Burst(_) => attributes.columns[ARRIVAL].attribute,
            Self::Both(both) => both[0].attribute(attributes),
        }
    }
}

impl Burst {
    fn window(&self, at: f64) -> usize {
        window(at, self.start, self.width, self.hot.len())
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the windows there are")]
fn window(at: f64, start: f64, width: f64, windows: usize) -> usize {
    (((at - start) / width).max(0.0) as usize).min(windows - 1)
}

struct Search<'a> {
    aligned: &'a Aligned<'a>,
    attributes: &'a Attributes,
    labels: &'a Labels,
    /// The place of the cause in question, whose own attributes are preferred.
    place: Option<u32>,
}

impl Search<'_> {
    /// The most specific of several equally good marks is wanted: its rank is a little higher.
    fn scored(&self, predicate: Predicate, separation: Separation, preference: f64) -> Scored {
        let attribute = &self.attributes.attributes[predicate.attribute(self.attributes) as usize];
        let own = if Some(attribute.place) == self.place && attribute.place != 0 { 0.01 } else { 0.0 };
        let standing = match attribute.standing {
            Standing::Trait => 0.0,
            Standing::Symptom | Standing::Answer => -0.03,
            Standing::Description => -0.06,
        };
        Scored { predicate, separation, rank: separation.bound + own + standing + preference }
    }

    /// The best level of each value.
    fn items(&self) -> Vec<Scored> {
        let mut positive = vec![[0.0_f64; LEVELS]; self.attributes.items.len()];
        let mut counts = vec![[0_usize; LEVELS]; self.attributes.items.len()];
        let mut negative = vec![0.0_f64; self.attributes.items.len()];
        for (row, label) in self.labels.of_row.iter().enumerate().filter(|(_, label)| **label != 0) {
            let weight = self.aligned.rows[row].weight;
            for item in self.attributes.of_row[row].iter().map(|item| *item as usize) {
                if *label == Labels::NEGATIVE {
                    negative[item] += weight;
                    continue;
                }
                for level in 0..usize::from(*label) {
                    positive[item][level] += weight;
                    counts[item][level] += 1;
                }
            }
        }
        let mut found = Vec::new();
        for item in 0..negative.len() {
            let levels = (0..LEVELS).filter(|&level| counts[item][level] >= POSITIVES_LEAST);
            let separations = levels.map(|level| self.labels.separation(level, positive[item][level], negative[item]));
            if let Some(best) = separations.max_by(|x, y| x.bound.total_cmp(&y.bound)).filter(|best| best.bound > 0.0) {
                // "Absent" says less than any value.
                let absent = if self.attributes.items[item].value == Word::Absent { -0.02 } else { 0.0 };
                let item = u32::try_from(item).expect("items are numbered in 32 bits");
                found.push(self.scored(Predicate::Item(item), best, absent));
            }
        }
        found
    }

    /// The best interval of a number: the run of values with the largest sum, where each suffering request adds its
    /// share of those, and each other takes its own away.
    fn intervals(&self, column: usize) -> Option<Scored> {
        let sorted = &self.attributes.columns[column].sorted;
        let mut best: Option<(Separation, f64, f64)> = None;
        let mut blocks: Vec<f64> = Vec::new();
        let mut values: Vec<f64> = Vec::new();
        for level in 0..LEVELS {
            let (positives, negatives) = (&self.labels.positives[level], &self.labels.negatives);
            if positives.count < POSITIVES_LEAST || negatives.count == 0 {
                continue;
            }
            blocks.clear();
            values.clear();
            for (value, row) in sorted {
                // Equal values stay together.
                if values.last() != Some(value) {
                    values.push(*value);
                    blocks.push(0.0);
                }
                let weight = self.aligned.rows[*row].weight;
                let block = blocks.last_mut().expect("pushed above");
                match self.labels.of_row[*row] {
                    Labels::NEGATIVE => *block -= weight / negatives.weight,
                    label if usize::from(label) > level => *block += weight / positives.weight,
                    _ => {}
                }
            }
            let Some((mut from, mut to)) = best_run(&blocks) else { continue };
            // "From x on" is plainer than "from x to y" where next to nothing lies beyond y.
            if blocks[to + 1..].iter().sum::<f64>() > -PLAIN {
                to = blocks.len() - 1;
            }
            if blocks[..from].iter().sum::<f64>() > -PLAIN {
                from = 0;
            }
            let (from, to) = (values[from], values[to]);
            let (positive, negative, count) = self.weigh(column, level, from, to);
            let separation = self.labels.separation_of_interval(level, positive, negative);
            if count >= POSITIVES_LEAST && best.is_none_or(|(known, ..)| separation.bound > known.bound) {
                best = Some((separation, from, to));
            }
        }
        let (separation, from, to) = best.filter(|(separation, ..)| separation.bound > 0.0)?;
        let open_below = sorted.first().is_some_and(|(least, _)| from <= *least);
        let open_above = sorted.last().is_some_and(|(most, _)| to >= *most);
        let interval = Interval { column, from, to, open_below, open_above };
        // A value that is named says more than an interval of one.
        let preference = if from < to { -0.005 } else { -0.015 };
        Some(self.scored(Predicate::Interval(interval), separation, preference))
    }

    /// The weights, and the count of positives, within an interval.
    fn weigh(&self, column: usize, level: usize, from: f64, to: f64) -> (f64, f64, usize) {
        let (mut positive, mut negative, mut count) = (0.0, 0.0, 0);
        let mut last = None;
        for (value, row) in &self.attributes.columns[column].sorted {
            // A request with two such nodes counts once, where they stand side by side.
            if !(from..=to).contains(value) || last.replace(*row) == Some(*row) {
                continue;
            }
            let weight = self.aligned.rows[*row].weight;
            match self.labels.of_row[*row] {
                Labels::NEGATIVE => negative += weight,
                label if usize::from(label) > level => {
                    positive += weight;
                    count += 1;
                }
                _ => {}
            }
        }
        (positive, negative, count)
    }

    /// Windows of time that are hot for one half of the requests are measured on the other half, and the reverse; so
    /// the search costs no certainty.
    fn bursts(&self) -> Option<Scored> {
        let arrivals = &self.attributes.columns[ARRIVAL].sorted;
        let (start, end) = (arrivals.first()?.0, arrivals.last()?.0);
        if end <= start {
            return None;
        }
        let mut best: Option<Scored> = None;
        for level in 0..LEVELS {
            let positives = &self.labels.positives[level];
            if positives.count < POSITIVES_LEAST || self.labels.negatives.count == 0 {
                continue;
            }
            let windows = (3 * positives.count).clamp(60, 3000);
            #[expect(clippy::cast_precision_loss, reason = "at most 3000")]
            let width = (end - start) / windows as f64;
            // Per half and window: positives, negatives.
            let mut halves = [vec![(0.0, 0.0); windows], vec![(0.0, 0.0); windows]];
            let mut counts = vec![0_usize; windows];
            for (turn, (at, row)) in arrivals.iter().enumerate() {
                let cell = &mut halves[turn % 2][window(*at, start, width, windows)];
                let weight = self.aligned.rows[*row].weight;
                match self.labels.of_row[*row] {
                    Labels::NEGATIVE => cell.1 += weight,
                    label if usize::from(label) > level => {
                        cell.0 += weight;
                        counts[window(*at, start, width, windows)] += 1;
                    }
                    _ => {}
                }
            }
            let hot = |cells: &[(f64, f64)]| -> Vec<bool> {
                let positive: f64 = cells.iter().map(|cell| cell.0).sum();
                let negative: f64 = cells.iter().map(|cell| cell.1).sum();
                let twice = |cell: &(f64, f64)| cell.0 > 0.0 && cell.0 * negative > 2.0 * cell.1 * positive;
                cells.iter().map(twice).collect()
            };
            let (mut positive, mut negative) = (0.0, 0.0);
            for (learnt, measured) in [(0, 1), (1, 0)] {
                for (cell, hot) in halves[measured].iter().zip(hot(&halves[learnt])) {
                    if hot {
                        positive += cell.0;
                        negative += cell.1;
                    }
                }
            }
            let separation = self.labels.separation(level, positive, negative);
            let both: Vec<(f64, f64)> = halves[0].iter().zip(&halves[1]).map(|(x, y)| (x.0 + y.0, x.1 + y.1)).collect();
            let hot: Vec<bool> = hot(&both).iter().zip(&counts).map(|(hot, count)| *hot && *count >= 2).collect();
            let starts: Vec<usize> = (0..windows).filter(|&at| hot[at] && (at == 0 || !hot[at - 1])).collect();
            let burst = Burst { start, width, windows: starts.len(), period_s: period(&starts, width / 1e9), hot };
            // One interval with nearly the same bound is the plainer answer.
            let scored = self.scored(Predicate::Burst(burst), separation, -0.05);
            if separation.bound > 0.0 && best.as_ref().is_none_or(|known| scored.rank > known.rank) {
                best = Some(scored);
            }
        }
        best.filter(|best| matches!(&best.predicate, Predicate::Burst(burst) if burst.windows > 0))
    }

    /// Two marks at once, where that says more than the best of them alone.
    fn pairs(&self, found: &[Scored]) -> Option<Scored> {
        let alone = found.first()?;
        let mut best: Vec<(&Scored, Vec<bool>)> = Vec::new();
        for scored in found {
            if best.len() < BEST {
                best.push((scored, scored.predicate.holds(self.aligned, self.attributes)));
            }
        }
        let mut pair: Option<Scored> = None;
        for (at, (one, first)) in best.iter().enumerate() {
            for (other, second) in &best[at + 1..] {
                let about = |scored: &Scored| scored.predicate.attribute(self.attributes);
                if about(one) == about(other) {
                    continue;
                }
                let Some(separation) = self.separation_of(|row| first[row] && second[row]) else { continue };
                let gains = separation.bound >= alone.separation.bound + 0.05;
                let narrows = separation.p >= 0.85 * alone.separation.p
                    && alone.separation.q >= 0.02
                    && separation.q * 4.0 <= alone.separation.q
                    && separation.bound >= alone.separation.bound - 0.05;
                if !(gains || narrows) {
                    continue;
                }
                let rank = separation.bound;
                if pair.as_ref().is_none_or(|known| rank > known.rank) {
                    let both = Predicate::Both(Box::new([one.predicate.clone(), other.predicate.clone()]));
                    pair = Some(Scored { predicate: both, separation, rank });
                }
            }
        }
        pair
    }

    /// The best level of anything that holds for a row or not.
    fn separation_of(&self, holds: impl Fn(usize) -> bool) -> Option<Separation> {
        let mut positive = [(0.0, 0_usize); LEVELS];
        let mut negative = 0.0;
        for (row, label) in self.labels.of_row.iter().enumerate().filter(|(row, label)| **label != 0 && holds(*row)) {
            let weight = self.aligned.rows[row].weight;
            if *label == Labels::NEGATIVE {
                negative += weight;
                continue;
            }
            for level in &mut positive[..usize::from(*label)] {
                *level = (level.0 + weight, level.1 + 1);
            }
        }
        let levels = positive.iter().enumerate().filter(|(_, (_, count))| *count >= POSITIVES_LEAST);
        let separations = levels.map(|(level, (weight, _))| self.labels.separation(level, *weight, negative));
        separations.max_by(|x, y| x.bound.total_cmp(&y.bound))
    }
}

/// The distance of windows in seconds, when four of five of the gaps are within a tenth (and one window) of the median.
fn period(starts: &[usize], width_s: f64) -> Option<f64> {
    if starts.len() < 4 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 3000 windows")]
    let mut gaps: Vec<f64> = starts.windows(2).map(|pair| (pair[1] - pair[0]) as f64 * width_s).collect();
    gaps.sort_by(f64::total_cmp);
    let median = gaps[gaps.len() / 2];
    let even = gaps.iter().filter(|gap| (**gap - median).abs() <= 0.1 * median + width_s).count();
    (even * 5 >= gaps.len() * 4 && median > 2.0 * width_s).then_some(median)
}
