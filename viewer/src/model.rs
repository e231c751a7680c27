//! All that the screen shows, as plain data, and the messages that change it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use zerver_telemetry::event::NodeId;
use zerver_telemetry::explain::Comparison;
use zerver_telemetry::id::TraceId;

use crate::analysis::Job;
use crate::arrival::{Arrival, Link};
use crate::filter::{Filter, FilterError, Surroundings};
use crate::keys::{Key, Screen};
use crate::line::Line;
use crate::options::Options;
use crate::routes::{Heat, Route, RouteSort};
use crate::row::Row;
use crate::source::{Counters, Gateway};
use crate::store::Store;
use crate::theme::{Glyphs, Theme};

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Msg {
    Key(Key),
    Paste(String),
    Click {
        x: u16,
        y: u16,
    },
    Scroll {
        down: bool,
    },
    Resize(u16, u16),
    /// The source brought requests.
    Arrival(Arrival),
    Link(Link),
    /// A comparison is done.
    Compared {
        generation: u64,
        comparison: Arc<Comparison>,
    },
    /// Time to add up what arrived; nanoseconds since the Unix epoch.
    Refresh {
        now_unix_ns: u64,
    },
}

/// What is to be done outside of the model.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Compare(Job),
    /// Take the mouse, or leave it to the terminal.
    Mouse(bool),
    /// Forget what the terminal shows and draw all of it.
    Redraw,
    /// Put a text into the terminal's clipboard.
    Copy(String),
    Quit,
}

/// The whole of the viewer's state.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) size: (u16, u16),
    pub(crate) screen: Screen,
    /// Where Esc leads back to.
    pub(crate) back: Vec<Screen>,
    pub(crate) overlay: Option<Overlay>,
    /// One line for the person, until the next key.
    pub(crate) status: Option<String>,
    pub(crate) theme: Theme,
    pub(crate) ascii: bool,
    pub(crate) mouse: bool,
    pub(crate) now_unix_ns: u64,
    /// Something on screen may have changed since the last frame.
    pub(crate) dirty: bool,

    pub(crate) source: String,
    pub(crate) link: Link,
    pub(crate) gateway: Gateway,
    pub(crate) counters: Counters,
    /// Requests a second, by the gateway's own count.
    pub(crate) rate: Option<f64>,
    /// The count and moment that the rate is measured from.
    pub(crate) rate_from: Option<(u64, u64)>,
    pub(crate) unreadable: u64,
    pub(crate) paused: bool,
    /// What arrived during a pause.
    pub(crate) held: VecDeque<Row>,
    /// What was dropped because pauses were long.
    pub(crate) held_lost: u64,

    pub(crate) store: Store,
    /// The store holds more than the sums below know of.
    pub(crate) stale: bool,
    pub(crate) routes: Vec<Route>,
    /// The percentiles 50, 95 and 99 over all routes, in milliseconds.
    pub(crate) overall: [f64; 3],
    pub(crate) errors: f64,
    pub(crate) heat: Option<Heat>,
    pub(crate) around: Surroundings,

    pub(crate) overview: Overview,
    pub(crate) requests: Requests,
    pub(crate) timeline: TimelineView,
    pub(crate) compare: Compare,
    pub(crate) marks: BTreeMap<TraceId, Side>,
}

/// More marks than this are refused.
pub(crate) const MARKS_MAX: usize = 1000;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Overlay {
    Help { scroll: usize },
    Palette { line: Line, cursor: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Fast,
    Slow,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Overview {
    /// The chosen route; none follows the first.
    pub(crate) selected: Option<Arc<str>>,
    pub(crate) cursor: usize,
    pub(crate) sort: RouteSort,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    /// The last filter that was understood.
    pub(crate) filter: Filter,
    /// The line under edit.
    pub(crate) input: Option<Line>,
    pub(crate) error: Option<FilterError>,
    pub(crate) history: Vec<String>,
    /// How far back in the history the line is.
    pub(crate) recalled: usize,
    pub(crate) sort: RequestSort,
    pub(crate) follow: bool,
    /// What matches, in the order shown.
    pub(crate) view: Vec<u64>,
    /// The filter that `view` was made with, and the first request that it has not seen.
    pub(crate) tested: Option<(String, u64)>,
    pub(crate) selected: Option<u64>,
    pub(crate) cursor: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RequestSort {
    /// Newest first.
    #[default]
    Time,
    Latency,
    Queue,
}

impl RequestSort {
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::Time => Self::Latency,
            Self::Latency => Self::Queue,
            Self::Queue => Self::Time,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Latency => "latency",
            Self::Queue => "queue time",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct TimelineView {
    pub(crate) row: Option<Arc<Row>>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) cursor: usize,
    /// 1 shows the whole request.
    pub(crate) zoom: f64,
    pub(crate) from_ns: u64,
    pub(crate) path_only: bool,
    /// The piece of the critical path last jumped to.
    pub(crate) piece: Option<usize>,
    /// The fast request that a finding set beside this one.
    pub(crate) twin: Option<Arc<Row>>,
}

impl Default for TimelineView {
    fn default() -> Self {
        Self {
            row: None,
            lanes: Vec::new(),
            cursor: 0,
            zoom: 1.0,
            from_ns: 0,
            path_only: false,
            piece: None,
            twin: None,
        }
    }
}

/// One node's row in the waterfall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) node: NodeId,
    /// For each level above it, and itself: is it the last child there?
    pub(crate) last: Vec<bool>,
    pub(crate) on_path: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Compare {
    pub(crate) route: Option<Arc<str>>,
    /// A person chose the route; otherwise it follows the overview.
    pub(crate) chosen: bool,
    pub(crate) choice: Choice,
    /// Bucket edges of A and B on the histogram: A from, A to, B from, B to.
    pub(crate) edges: [usize; 4],
    /// The edge that h and l move.
    pub(crate) edge: usize,
    pub(crate) swapped: bool,
    pub(crate) by_time: bool,
    pub(crate) finding: usize,
    pub(crate) result: Option<Arc<Comparison>>,
    /// The number of the newest job.
    pub(crate) generation: u64,
    pub(crate) pending: bool,
    /// When the newest job was given, nanoseconds since the Unix epoch.
    pub(crate) asked_unix_ns: u64,
    /// Requests seen when it was given, so that an idle gateway costs nothing.
    pub(crate) asked_at: u64,
}

/// How the cohorts are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    #[default]
    SlowVersusFast,
    Percentiles,
    OkVersusFailed,
    FilterVersusRest,
    LateVersusEarly,
    Brushed,
    Marked,
}

impl Choice {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::SlowVersusFast => "slow vs fast",
            Self::Percentiles => "p99 vs p50",
            Self::OkVersusFailed => "failed vs ok",
            Self::FilterVersusRest => "filter vs rest",
            Self::LateVersusEarly => "late vs early",
            Self::Brushed => "brushed",
            Self::Marked => "marked",
        }
    }
}

impl Model {
    pub(crate) fn new(source: String, options: &Options, size: (u16, u16)) -> Self {
        Self {
            size,
            screen: Screen::Overview,
            back: Vec::new(),
            overlay: None,
            status: None,
            theme: options.theme,
            ascii: options.ascii,
            mouse: options.mouse,
            now_unix_ns: 0,
            dirty: true,
            source,
            link: Link::Connecting,
            gateway: Gateway::default(),
            counters: Counters::default(),
            rate: None,
            rate_from: None,
            unreadable: 0,
            paused: false,
            held: VecDeque::new(),
            held_lost: 0,
            store: Store::new(options.capacity),
            stale: false,
            routes: Vec::new(),
            overall: [0.0; 3],
            errors: 0.0,
            heat: None,
            around: Surroundings::default(),
            overview: Overview::default(),
            requests: Requests { follow: true, ..Requests::default() },
            timeline: TimelineView::default(),
            compare: Compare::default(),
            marks: BTreeMap::new(),
        }
    }

    pub(crate) fn glyphs(&self) -> &'static Glyphs {
        if self.ascii { Glyphs::ASCII } else { Glyphs::UNICODE }
    }

    /// The request under the cursor, on the screens that have one.
    pub(crate) fn selected_row(&self) -> Option<&Arc<Row>> {
        match self.screen {
            Screen::Timeline => self.timeline.row.as_ref(),
            _ => self.requests.selected.and_then(|id| self.store.get(id)),
        }
    }

    /// The route under the overview's cursor.
    pub(crate) fn focused_route(&self) -> Option<&Route> {
        self.routes.get(self.overview.cursor)
    }

    pub(crate) fn route(&self, name: &str) -> Option<&Route> {
        self.routes.iter().find(|route| &*route.name == name)
    }

    /// The comparison does not know of everything that arrived.
    pub(crate) fn comparison_outdated(&self) -> bool {
        !self.paused && !self.compare.pending && self.arrived() != self.compare.asked_at
    }

    /// Requests that arrived, whether still kept or not.
    pub(crate) fn arrived(&self) -> u64 {
        self.store.evicted + self.store.len() as u64
    }
}
