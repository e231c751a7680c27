//! The terms a filter is made of, and how each is tested against a request.

use std::collections::HashMap;
use std::sync::Arc;

use zerver_telemetry::event::{Cause, StateKind};
use zerver_telemetry::timeline::{Timeline, Value};

use crate::row::{Row, node_path};

/// What a filter may ask beside the request itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// The percentiles 50, 95 and 99 of each route, in milliseconds.
    pub(crate) percentiles: HashMap<Arc<str>, [f64; 3]>,
    /// The newest moment in the data, nanoseconds since the Unix epoch.
    pub(crate) newest_unix_ns: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Term {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    /// A text in the route, the trace, a path, or any attribute.
    Word(String),
    Field(Field, Test),
    Attr(String, Test),
    Has(Pattern),
    /// Time in some states at some place, in nanoseconds.
    Spent(Which, Pattern, Test),
    /// The critical path passes a place.
    OnPath(Pattern),
    /// At or above a percentile of its route: 0 for 50, 1 for 95, 2 for 99.
    Slow(usize),
    /// Started within this many nanoseconds of the newest.
    Since(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Route,
    Flow,
    Status,
    Latency,
    Outcome,
    Error,
    Trace,
    Config,
    Kept,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Kind(StateKind),
    Cause(Cause),
}

/// A text with `*` for anything, without regard to case.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern(Vec<String>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// One of these.
    Is(Vec<Pattern>),
    /// None of these.
    IsNot(Vec<Pattern>),
    /// Contains this.
    Contains(String),
    /// A number `from..=to`; durations are nanoseconds.
    Range(f64, f64),
    /// A number outside of `from..=to`.
    Outside(f64, f64),
    /// A number above.
    Above(f64),
    /// A number below.
    Below(f64),
}

impl Term {
    pub(super) fn looks_around(&self) -> bool {
        match self {
            Self::All(terms) | Self::Any(terms) => terms.iter().any(Self::looks_around),
            Self::Not(term) => term.looks_around(),
            Self::Slow(_) | Self::Since(_) => true,
            _ => false,
        }
    }

    pub(super) fn matches(&self, row: &Row, around: &Surroundings) -> bool {
        let timeline = &*row.timeline;
        match self {
            Self::All(terms) => terms.iter().all(|t| t.matches(row, around)),
            Self::Any(terms) => terms.iter().any(|t| t.matches(row, around)),
            Self::Not(term) => !term.matches(row, around),
            Self::Word(word) => word_in(timeline, word),
            Self::Field(field, test) => field.test(timeline, test),
            Self::Attr(key, test) => {
                let mut values = timeline.nodes.iter().filter_map(|node| node.attr(key));
                match test {
                    // "Not b" means that no node has it, also when none has the attribute at all.
                    Test::IsNot(patterns) => {
                        let is = Test::Is(patterns.clone());
                        !values.any(|v| is.value(v))
                    }
                    test => values.any(|v| test.value(v)),
                }
            }
            Self::Has(pattern) => timeline.nodes.iter().skip(1).any(|node| {
                let path = node_path(timeline, node.id);
                pattern.fits(&path) || pattern.fits(&node.name)
            }),
            Self::Spent(which, pattern, test) => test.number(spent(timeline, *which, pattern)),
            Self::OnPath(pattern) => row.path.iter().any(|piece| pattern.fits_node(timeline, piece.node)),
            Self::Slow(percentile) => {
                let limit = around.percentiles.get(&timeline.route).map_or(f64::INFINITY, |p| p[*percentile]);
                crate::units::ns_to_ms(timeline.latency_ns) >= limit
            }
            #[expect(clippy::cast_precision_loss, reason = "a difference of times to the nanosecond is not asked for")]
            Self::Since(ns) => around.newest_unix_ns.saturating_sub(timeline.start_unix_ns) as f64 <= *ns,
        }
    }
}

/// The time spent in some states by the nodes of some place.
#[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
fn spent(timeline: &Timeline, which: Which, pattern: &Pattern) -> f64 {
    let mut ns = 0;
    for node in timeline.nodes.iter().filter(|node| pattern.fits_node(timeline, node.id)) {
        for state in &node.states {
            let counts = match which {
                Which::Kind(kind) => state.cause.kind() == kind,
                Which::Cause(cause) => state.cause == cause,
            };
            ns = if counts { u64::saturating_add(ns, state.len_ns()) } else { ns };
        }
    }
    ns as f64
}

fn word_in(timeline: &Timeline, word: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(word);
    has(&timeline.route)
        || timeline.flow.as_deref().is_some_and(has)
        || timeline.error.as_deref().is_some_and(has)
        || timeline.trace_id.to_string().contains(word)
        || timeline
            .nodes
            .iter()
            .any(|node| has(&node.name) || node.attrs.iter().any(|(_, v)| matches!(v, Value::Text(text) if has(text))))
}

impl Field {
    #[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
    fn test(self, timeline: &Timeline, test: &Test) -> bool {
        match self {
            Self::Route => test.text(&timeline.route),
            Self::Flow => test.text(timeline.flow.as_deref().unwrap_or("")),
            Self::Status => test.value(&Value::Int(i64::from(timeline.status))),
            Self::Latency => test.number(timeline.latency_ns as f64),
            Self::Outcome => test.text(timeline.outcome.as_str()),
            Self::Error => {
                let node_errors = timeline.nodes.iter().filter_map(|node| node.error.as_deref());
                let mut all = timeline.error.as_deref().into_iter().chain(node_errors).peekable();
                match test {
                    Test::IsNot(_) => all.all(|error| test.text(error)),
                    _ => all.any(|error| test.text(error)),
                }
            }
            Self::Trace => test.text(&timeline.trace_id.to_string()),
            Self::Config => test.value(&Value::Int(i64::from(timeline.config_version))),
            Self::Kept => timeline.kept.iter().any(|why| test.text(&format!("{why:?}"))),
        }
    }
}

impl Test {
    fn text(&self, text: &str) -> bool {
        match self {
            Self::Is(patterns) => patterns.iter().any(|p| p.fits(text)),
            Self::IsNot(patterns) => !patterns.iter().any(|p| p.fits(text)),
            Self::Contains(part) => text.to_lowercase().contains(part),
            _ => text.parse().is_ok_and(|n| self.number(n)),
        }
    }

    fn value(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Is(_) | Self::IsNot(_) | Self::Contains(_), value) => self.text(&value.to_string()),
            #[expect(clippy::cast_precision_loss, reason = "attributes beyond 2^53 compare well enough")]
            (_, Value::Int(n)) => self.number(*n as f64),
            (_, Value::Float(x)) => self.number(*x),
            (_, Value::Text(text)) => self.text(text),
            (_, Value::Bool(_)) => false,
        }
    }

    fn number(&self, n: f64) -> bool {
        match self {
            Self::Range(from, to) => n >= *from && n <= *to,
            Self::Outside(from, to) => n < *from || n > *to,
            Self::Above(limit) => n > *limit,
            Self::Below(limit) => n < *limit,
            Self::Is(_) | Self::IsNot(_) | Self::Contains(_) => false,
        }
    }
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_lowercase().split('*').map(str::to_owned).collect())
    }

    pub(super) fn fits(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let Some((first, rest)) = self.0.split_first() else { return true };
        let Some(mut left) = text.strip_prefix(first.as_str()) else { return false };
        let Some((last, middle)) = rest.split_last() else { return left.is_empty() };
        for part in middle {
            match left.find(part.as_str()) {
                Some(at) => left = &left[at + part.len()..],
                None => return false,
            }
        }
        left.ends_with(last.as_str())
    }

    /// A node fits by its path, with or without its attempt, or by its own name.
    fn fits_node(&self, timeline: &Timeline, node: zerver_telemetry::event::NodeId) -> bool {
        self.fits(&timeline.path(node))
            || self.fits(&node_path(timeline, node))
            || timeline.node(node).is_some_and(|n| n.parent.is_some() && self.fits(&n.name))
    }
}
