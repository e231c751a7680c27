//! Why are the slow requests slow: two cohorts of timelines, their exact difference, and the ranked findings.
//!
//! Pure functions over [`Timeline`](crate::timeline::Timeline)s: no clock, no I/O. The viewer, `zerver compare` and the admin API all call
//! [`compare`]. The method is described in `docs/comparison.md`.

mod critical_path;
mod align;
mod cohorts;
mod attribute;
mod score;
mod search;
mod cause;
mod verdict;
mod difference;
mod compare;
mod usual;
mod what_if;

use serde::{Deserialize, Serialize};

use crate::event::Cause;

pub use compare::compare;
pub use critical_path::{Piece, critical_path};
pub use usual::{Usual, WhySlow, nearest_fast};
pub use verdict::{mark_words, reason_words};
pub use what_if::{slack, what_if};

/// What lies between a fast cohort A and a slow cohort B of one route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The route compared.
    pub route: String,
    /// The fast cohort.
    pub a: Cohort,
    /// The slow cohort.
    pub b: Cohort,
    /// `b.mean_ms - a.mean_ms`.
    pub delta_ms: f64,
    /// Requests of the route that are in neither cohort.
    pub unused: usize,
    /// The difference, part by part, the largest first; the parts sum to `delta_ms`. The last may be `other`.
    pub parts: Vec<Part>,
    /// What explains the difference, the strongest first.
    pub findings: Vec<Finding>,
    /// One sentence for a person.
    pub verdict: String,
    /// Whether the verdict names a cause.
    pub kind: VerdictKind,
    /// True when the paths came from recorded wakes; false when more than 1 % of their time was inferred.
    pub exact: bool,
    /// Things a reader should know: too few requests, lost events, a restricted time span.
    pub notes: Vec<String>,
}

/// What sort of answer a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// It names a cause.
    Cause,
    /// There is a difference, but no single cause holds enough of it.
    NoSingleCause,
    /// All parts grew alike.
    Uniform,
    /// Too few requests to say anything.
    NotEnoughData,
}

/// One set of requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cohort {
    /// How it was chosen: `fast: p5–p50`, `slow: above p97`, ….
    pub label: String,
    /// Requests in it.
    pub count: usize,
    /// Requests it stands for.
    pub weight: f64,
    /// Its least latency.
    pub min_ms: f64,
    /// Its greatest latency.
    pub max_ms: f64,
    /// Its weighted mean latency.
    pub mean_ms: f64,
    /// Its weighted median latency.
    pub median_ms: f64,
}

/// Critical time at one place, in both cohorts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The path of the node: `price.quotes`; empty for the request's own time; `other` for the remainder.
    pub place: String,
    /// 1 for the first attempt.
    pub attempt: u16,
    /// In which state the time was spent; none for `other`.
    pub cause: Option<Cause>,
    /// The permit, upstream, timer or limit waited for.
    pub name: Option<String>,
    /// Mean critical time in A.
    pub a_ms: f64,
    /// Mean critical time in B.
    pub b_ms: f64,
    /// Median critical time in A.
    pub a_median_ms: f64,
    /// Median critical time in B.
    pub b_median_ms: f64,
    /// `b_ms - a_ms`.
    pub delta_ms: f64,
    /// `delta_ms` as a share of the whole difference.
    pub share: f64,
    /// True when the slowest twentieth of B carries most of it.
    pub few: bool,
}

/// One reason for the difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The share of the extra time that it explains, 0 to 1.
    pub share: f64,
    /// Where: the path of the node, or `everywhere`.
    pub place: String,
    /// What the time is spent on there, the largest first, each with its share.
    pub reasons: Vec<Reason>,
    /// What marks the requests that suffer from it; none when nothing does.
    pub marks: Vec<Mark>,
    /// The lower bound of how well the marks separate (Youden's J), 0 to 1.
    pub bound: f64,
    /// How strong the evidence is.
    pub evidence: Evidence,
    /// Mean latency of B without the marked requests, in milliseconds.
    pub without_ms: Option<f64>,
    /// A typical slow request that shows it (its trace).
    pub example_slow: Option<String>,
    /// The fast request most like it (its trace).
    pub example_fast: Option<String>,
    /// The finding in one sentence.
    pub sentence: String,
}

/// What time is spent on at a place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// The state's cause.
    pub cause: Cause,
    /// The permit, upstream, timer or limit waited for.
    pub name: Option<String>,
    /// Its share of the extra time.
    pub share: f64,
}

/// Something that holds for the requests that suffer, and seldom for the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The attribute: `peer`, `tenant`, `arrival`, `has`, ….
    pub key: String,
    /// Its value, or an interval in words.
    pub value: String,
    /// Its share among the requests that suffer.
    pub in_slow: f64,
    /// Its share among the others.
    pub in_rest: f64,
    /// Other attributes that mark the same requests: `zone=2`.
    pub also: Vec<String>,
}

/// How strong the evidence for a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// `●○○`
    Low,
    /// `●●○`
    Medium,
    /// `●●●`
    High,
}

/// Which requests make the two cohorts.
#[derive(Clone, Debug, PartialEq)]
pub enum Cohorts {
    /// A = 5th to 50th percentile; B = the slowest 3 % (1 % from 10,000 requests on), at least 30.
    SlowVersusFast,
    /// Two ranges of latency, in milliseconds, each `from..to`.
    Latency {
        /// The fast range.
        a: (f64, f64),
        /// The slow range.
        b: (f64, f64),
    },
    /// Two sets of traces, chosen by hand or by a filter.
    Traces {
        /// The fast ones.
        a: Vec<crate::id::TraceId>,
        /// The slow ones.
        b: Vec<crate::id::TraceId>,
    },
}
