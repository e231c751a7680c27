//! What is known about each request besides its times: the attributes in which a cause is searched, by column.

use std::collections::HashMap;
use std::sync::Arc;

use super::align::Aligned;
use crate::event::Outcome;
use crate::timeline::{Node, Value};

/// The most values of one attribute that are told apart; a request id has one each, and none marks a cause.
const VALUES_MAX: usize = 65_535;

/// The most attributes of one place.
const KEYS_MAX: usize = 256;

/// Something that can be known about a request.
#[derive(Debug)]
pub(crate) struct Attribute {
    pub(crate) key: Arc<str>,
    /// Whose it is: a place, or 0 for the request itself.
    pub(crate) place: u32,
    pub(crate) standing: Standing,
}

/// What an attribute can say about a cause. Of those that hold for the same requests, the first kind leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may lead to being slow: a peer, a tenant, a size of what was asked.
    Trait,
    /// It rather follows from being slow than leads to it: a branch that ran, a second attempt.
    Symptom,
    /// It came with the answer: a status, an error, a length.
    Answer,
    /// It only describes what is called, alike for each call of a place.
    Description,
}

/// Attributes of a call that describe it, by their names in OpenTelemetry's conventions.
///
/// On the request itself they are what the client asked for, and may well be a cause.
const DESCRIPTIONS: [&str; 8] = [
    "http.request.method",
    "network.protocol.version",
    "server.address",
    "server.port",
    "url.full",
    "url.path",
    "url.scheme",
    "url.template",
];

/// Attributes that are known only with the answer.
const ANSWERS: [&str; 3] = ["http.response.status_code", "http.response.body.size", "error.type"];

impl Standing {
    /// The standing of an attribute that the program recorded at a place, 0 being the request itself.
    fn of(key: &str, place: u32) -> Self {
        if ANSWERS.contains(&key) {
            Self::Answer
        } else if place != 0 && DESCRIPTIONS.contains(&key) {
            Self::Description
        } else {
            Self::Trait
        }
    }
}

/// A value that holds for some requests.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) attribute: u32,
    pub(crate) value: Word,
}

/// A value that can be told apart from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Word {
    Bool(bool),
    Int(i64),
    Text(Arc<str>),
    /// The request has no such attribute, and others do.
    Absent,
}

/// A numeric attribute of all requests that have it.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) attribute: u32,
    /// Values with their row, in ascending order.
    pub(crate) sorted: Vec<(f64, usize)>,
}

/// The attributes of all rows of a route.
#[derive(Debug)]
pub(crate) struct Attributes {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) items: Vec<Item>,
    /// The items that hold for each row, in ascending order, each once.
    pub(crate) of_row: Vec<Vec<u32>>,
    /// Numeric attributes; the first is the time of arrival, in nanoseconds since the Unix epoch.
    pub(crate) columns: Vec<Column>,
    /// Values that were too many to be told apart.
    pub(crate) overflow: usize,
}

/// The tables that are needed only while the columns are filled.
struct Builder {
    attributes: Vec<Attribute>,
    /// The attributes of each place. They are few: looking along them is quicker than hashing.
    by_place: Vec<Vec<u32>>,
    items: Vec<Item>,
    /// The items of each attribute.
    by_value: Vec<HashMap<Word, u32>>,
    numbers: HashMap<u32, Vec<(f64, usize)>>,
    overflow: usize,
    places: Vec<Arc<str>>,
}

impl Attributes {
    /// Reads the attributes of all rows.
    pub(crate) fn new(aligned: &Aligned<'_>) -> Self {
        let mut builder = Builder::new(aligned);
        let arrival = builder.attribute(0, "arrival", Standing::Trait).expect("the first of all attributes");
        let mut of_row = Vec::with_capacity(aligned.rows.len());
        for row in 0..aligned.rows.len() {
            let mut items = Vec::with_capacity(48);
            builder.row(aligned, row, &mut items);
            items.sort_unstable();
            items.dedup();
            of_row.push(items);
        }
        builder.absences(&mut of_row);
        #[expect(clippy::cast_precision_loss, reason = "the nearest 256 ns are near enough for a time of arrival")]
        let starts = aligned.rows.iter().enumerate().map(|(row, r)| (r.start as f64, row)).collect();
        let mut columns = vec![Column { attribute: arrival, sorted: starts }];
        let mut numbers: Vec<_> = builder.numbers.into_iter().collect();
        numbers.sort_unstable_by_key(|(attribute, _)| *attribute);
        columns.extend(numbers.into_iter().map(|(attribute, sorted)| Column { attribute, sorted }));
        for column in &mut columns {
            column.sorted.sort_unstable_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
        }
        // A number that never varies separates nothing; the arrival stays first.
        let varies = |column: &Column| column.sorted.first().map(|x| x.0) != column.sorted.last().map(|x| x.0);
        let mut first = true;
        columns.retain(|column| std::mem::take(&mut first) || varies(column));
        let Builder { attributes, items, overflow, .. } = builder;
        Self { attributes, items, of_row, columns, overflow }
    }

    /// The attribute's name for a cause at `place`: bare for its own and the request's, else with the place it is of.
    pub(crate) fn label(&self, aligned: &Aligned<'_>, attribute: u32, place: Option<u32>) -> String {
        let attribute = &self.attributes[attribute as usize];
        // The value of `has` is the place.
        if attribute.place == 0 || Some(attribute.place) == place || &*attribute.key == "has" {
            attribute.key.to_string()
        } else {
            format!("{}@{}", attribute.key, aligned.place_name(attribute.place))
        }
    }
}

impl Builder {
    fn new(aligned: &Aligned<'_>) -> Self {
        Self {
            attributes: Vec::new(),
            by_place: vec![Vec::new(); aligned.places.len()],
            items: Vec::new(),
            by_value: Vec::new(),
            numbers: HashMap::new(),
            overflow: 0,
            places: aligned.places.iter().map(|place| place.as_str().into()).collect(),
        }
    }

    /// The number of an attribute; none when the place has too many.
    fn attribute(&mut self, place: u32, key: &str, standing: Standing) -> Option<u32> {
        let known = &mut self.by_place[place as usize];
        if let Some(number) = known.iter().find(|number| *self.attributes[**number as usize].key == *key) {
            return Some(*number);
        }
        if known.len() >= KEYS_MAX {
            self.overflow += 1;
            return None;
        }
        let number = u32::try_from(self.attributes.len()).expect("fewer than 2^32 attributes");
        known.push(number);
        self.attributes.push(Attribute { key: key.into(), place, standing });
        self.by_value.push(HashMap::new());
        Some(number)
    }

    fn item(&mut self, attribute: Option<u32>, value: Word, into: &mut Vec<u32>) {
        let Some(attribute) = attribute else { return };
        let known = &mut self.by_value[attribute as usize];
        if let Some(item) = known.get(&value) {
            into.push(*item);
        } else if known.len() >= VALUES_MAX {
            self.overflow += 1;
        } else {
            let item = u32::try_from(self.items.len()).expect("fewer than 2^32 items");
            self.items.push(Item { attribute, value: value.clone() });
            known.insert(value, item);
            into.push(item);
        }
    }

    fn number(&mut self, attribute: Option<u32>, value: f64, row: usize) {
        if let Some(attribute) = attribute.filter(|_| value.is_finite()) {
            self.numbers.entry(attribute).or_default().push((value, row));
        } else {
            self.overflow += 1;
        }
    }

    fn row(&mut self, aligned: &Aligned<'_>, row: usize, items: &mut Vec<u32>) {
        let timeline = aligned.timelines[row];
        let places = &aligned.rows[row].node_places;
        let config = self.attribute(0, "config", Standing::Trait);
        self.item(config, Word::Int(i64::from(timeline.config_version)), items);
        if let Some(flow) = &timeline.flow {
            let key = self.attribute(0, "flow", Standing::Trait);
            self.item(key, Word::Text(Arc::clone(flow)), items);
        }
        self.ending(0, timeline.outcome, timeline.status, timeline.error.as_ref(), items);
        let mut calls: Vec<(u32, u32)> = Vec::with_capacity(places.len());
        for (node, &place) in timeline.nodes.iter().zip(places) {
            self.node(row, node, place, items);
            if node.attempt <= 1 {
                match calls.iter_mut().find(|(known, _)| *known == place) {
                    Some((_, count)) => *count += 1,
                    None => calls.push((place, 1)),
                }
            }
        }
        for (place, count) in calls {
            let attribute = self.attribute(place, "calls", Standing::Symptom);
            self.number(attribute, f64::from(count), row);
        }
    }

    fn node(&mut self, row: usize, node: &Node, place: u32, items: &mut Vec<u32>) {
        for (key, value) in &node.attrs {
            let attribute = self.attribute(place, key, Standing::of(key, place));
            match value {
                Value::Bool(yes) => self.item(attribute, Word::Bool(*yes), items),
                Value::Text(text) => self.item(attribute, Word::Text(Arc::clone(text)), items),
                Value::Int(n) => {
                    self.item(attribute, Word::Int(*n), items);
                    #[expect(clippy::cast_precision_loss, reason = "an interval's ends need no more digits")]
                    let value = *n as f64;
                    self.number(attribute, value, row);
                }
                Value::Float(x) => self.number(attribute, *x, row),
            }
        }
        if place != 0 {
            let has = self.attribute(place, "has", Standing::Symptom);
            self.item(has, Word::Text(Arc::clone(&self.places[place as usize])), items);
            self.ending(place, node.outcome, node.status, node.error.as_ref(), items);
        }
        if node.attempt >= 2 {
            let attempt = self.attribute(place, "attempt", Standing::Symptom);
            self.item(attempt, Word::Text("≥ 2".into()), items);
        }
        let mut last = None;
        for worker in node.states.iter().filter_map(|state| state.worker) {
            if last != Some(worker) {
                last = Some(worker);
                for place in [0, place] {
                    let attribute = self.attribute(place, "worker", Standing::Trait);
                    self.item(attribute, Word::Int(i64::from(worker)), items);
                }
            }
        }
    }

    fn ending(&mut self, place: u32, outcome: Outcome, status: u16, error: Option<&Arc<str>>, items: &mut Vec<u32>) {
        if outcome != Outcome::Ok {
            let attribute = self.attribute(place, "outcome", Standing::Answer);
            self.item(attribute, Word::Text(outcome.as_str().into()), items);
        }
        if status != 0 {
            let attribute = self.attribute(place, "status", Standing::Answer);
            self.item(attribute, Word::Int(i64::from(status)), items);
        }
        if let Some(error) = error {
            let attribute = self.attribute(place, "error", Standing::Answer);
            self.item(attribute, Word::Text(Arc::clone(error)), items);
        }
    }

    /// Adds "absent" to the rows that lack an attribute of the request which others have.
    fn absences(&mut self, of_row: &mut [Vec<u32>]) {
        let mut present = vec![0_usize; self.attributes.len()];
        let mut seen = vec![usize::MAX; self.attributes.len()];
        for (row, items) in of_row.iter().enumerate() {
            for item in items {
                let attribute = self.items[*item as usize].attribute as usize;
                if std::mem::replace(&mut seen[attribute], row) != row {
                    present[attribute] += 1;
                }
            }
        }
        for (number, &present) in present.iter().enumerate() {
            let attribute = &self.attributes[number];
            let some = present * 100 >= of_row.len() && (of_row.len() - present) * 100 >= of_row.len();
            if attribute.place != 0 || attribute.standing != Standing::Trait || present == 0 || !some {
                continue;
            }
            let number = u32::try_from(number).expect("numbered above");
            for items in of_row.iter_mut() {
                if !items.iter().any(|item| self.items[*item as usize].attribute == number) {
                    // The newest item has the greatest number, so the row stays in order.
                    self.item(Some(number), Word::Absent, items);
                }
            }
        }
    }
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(yes) => yes.fmt(f),
            Self::Int(n) => n.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Absent => f.write_str("(absent)"),
        }
    }
}
