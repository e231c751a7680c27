//! The series of one metric, bounded; each at a place that stays, so that who comes again need not name its labels.

use std::collections::HashMap;

use super::catalog::{Kind, Metric};
use super::snapshot::{Family, Reading, Series};

/// Series of one counter.
const COUNTER_SERIES: usize = 2_000;
/// Series of one histogram, up to 1 KiB each.
pub(super) const HISTOGRAM_SERIES: usize = 1_000;
/// Stands between the labels of a series; control characters are taken out of label values.
const SEPARATOR: char = '\u{1f}';

/// Where a series is. Series are never taken out, so it holds for ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    place: u32,
    /// There was no room for the labels: this is the series of all such.
    overflow: bool,
}

/// The series of one metric.
#[derive(Debug)]
pub(super) struct Table<T> {
    pub(super) metric: &'static Metric,
    series: Vec<(Box<str>, T)>,
    by_labels: HashMap<Box<str>, u32>,
    pub(super) overflow: u64,
    /// Labels while they are joined.
    key: String,
    /// What a new series begins with.
    begin: fn() -> T,
}

impl<T: Default> Table<T> {
    pub(super) fn new(metric: &'static Metric) -> Self {
        Self {
            metric,
            series: Vec::new(),
            by_labels: HashMap::new(),
            overflow: 0,
            key: String::new(),
            begin: T::default,
        }
    }

    /// From now on new series begin with this.
    pub(super) fn begin_with(&mut self, begin: fn() -> T) {
        self.begin = begin;
    }

    /// Where the series with these labels is; it is made when there is none.
    pub(super) fn slot(&mut self, labels: &[&str]) -> Slot {
        join(&mut self.key, labels.iter().copied());
        if let Some(place) = self.by_labels.get(self.key.as_str()) {
            return Slot { place: *place, overflow: false };
        }
        let bound = if self.metric.kind == Kind::Histogram { HISTOGRAM_SERIES } else { COUNTER_SERIES };
        let overflow = self.series.len() >= bound;
        if overflow {
            join(&mut self.key, labels.iter().map(|_| "other"));
            if let Some(place) = self.by_labels.get(self.key.as_str()) {
                return Slot { place: *place, overflow };
            }
        }
        // Bounded by some thousands.
        let place = self.series.len() as u32;
        self.series.push((self.key.as_str().into(), (self.begin)()));
        self.by_labels.insert(self.key.as_str().into(), place);
        Slot { place, overflow }
    }

    /// The value of a series. One that stands for labels without room counts that.
    #[inline]
    pub(super) fn at(&mut self, slot: Slot) -> &mut T {
        self.overflow += u64::from(slot.overflow);
        &mut self.series[slot.place as usize].1
    }

    /// The value of the series that `known` remembers, or else the one with these labels, which it then remembers.
    #[inline]
    pub(super) fn find<const N: usize>(&mut self, known: &mut Option<Slot>, labels: [&str; N]) -> &mut T {
        let slot = match known {
            Some(slot) => *slot,
            None => *known.insert(self.slot(&labels)),
        };
        self.at(slot)
    }

    /// The value of the series with these labels.
    pub(super) fn with(&mut self, labels: &[&str]) -> &mut T {
        let slot = self.slot(labels);
        self.at(slot)
    }

    /// Every series, sorted by labels; none when nothing was counted yet.
    pub(super) fn read(&self, reading: impl Fn(&T) -> Reading) -> Option<Family> {
        let labels = |key: &str| match self.metric.labels.len() {
            0 => Vec::new(),
            _ => key.split(SEPARATOR).map(str::to_owned).collect(),
        };
        let mut series: Vec<Series> =
            self.series.iter().map(|(key, value)| Series { labels: labels(key), value: reading(value) }).collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        (!series.is_empty()).then_some(Family { metric: self.metric, series })
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.series.iter().map(|(_, value)| value)
    }
}

fn join<'a>(key: &mut String, labels: impl Iterator<Item = &'a str>) {
    key.clear();
    for (n, label) in labels.enumerate() {
        if n > 0 {
            key.push(SEPARATOR);
        }
        key.extend(label.chars().map(|c| if c.is_control() { ' ' } else { c }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::catalog;

    #[test]
    fn a_series_keeps_its_place_and_what_has_no_room_is_counted_each_time() {
        let mut table: Table<u64> = Table::new(catalog::REFUSED);
        let mut known = None;
        for _ in 0..3 {
            *table.find(&mut known, ["a", "b\u{1f}c"]) += 1;
        }
        *table.with(&["a", "b c"]) += 1;
        for n in 1..COUNTER_SERIES {
            *table.with(&["a", &n.to_string()]) += 1;
        }
        let mut late = None;
        for _ in 0..3 {
            *table.find(&mut late, ["late", "late"]) += 1;
        }
        *table.with(&["other", "other"]) += 1;
        assert_eq!(table.overflow, 3);
        let family = table.read(|n| Reading::Number(*n as f64)).expect("it has series");
        let number = |labels: [&str; 2]| family.series.iter().find(|one| one.labels == labels).map(|one| &one.value);
        assert_eq!(number(["a", "b c"]), Some(&Reading::Number(4.0)));
        assert_eq!(number(["other", "other"]), Some(&Reading::Number(4.0)));
        assert_eq!(family.series.len(), COUNTER_SERIES + 1);
        assert!(Table::<u64>::new(catalog::REFUSED).read(|_| Reading::Number(0.0)).is_none());
    }
}
