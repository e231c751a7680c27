//! What is handed to sinks: a record, or a finished request that becomes records or lines where there is time for it.

use std::sync::Arc;

use super::access;
use super::record::Record;
use super::steps;
use crate::timeline::Timeline;

/// Something to log.
#[derive(Clone, Debug)]
pub enum Entry {
    /// What the program says.
    Record(Box<Record>),
    /// A request that ended, for the access log.
    Request(Arc<Timeline>),
    /// The steps and calls of a request that ended, for whoever follows a fault.
    Steps(Arc<Timeline>),
}

/// The logs there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// What the program says.
    Application,
    /// The requests.
    Access,
}

impl Log {
    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Access => "access",
        }
    }

    /// Both, in the order of their number.
    pub const ALL: [Self; 2] = [Self::Application, Self::Access];
}

/// Memory of a waiting timeline's node, by estimate; the timeline may be kept elsewhere too.
const NODE_BYTES: usize = 512;

impl Entry {
    /// The log it belongs to.
    #[must_use]
    pub const fn log(&self) -> Log {
        match self {
            Self::Record(_) | Self::Steps(_) => Log::Application,
            Self::Request(_) => Log::Access,
        }
    }

    /// Its records, in OpenTelemetry's log data model.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        match self {
            Self::Record(record) => vec![(**record).clone()],
            Self::Request(timeline) => vec![access::record(timeline)],
            Self::Steps(timeline) => steps::records(timeline).collect(),
        }
    }

    /// How many lines it is.
    pub(crate) fn lines(&self) -> u64 {
        match self {
            Self::Record(_) | Self::Request(_) => 1,
            Self::Steps(timeline) => steps::count(timeline),
        }
    }

    /// Memory that it takes while it waits, by estimate.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Record(record) => record.bytes(),
            Self::Request(timeline) | Self::Steps(timeline) => timeline.nodes.len() * NODE_BYTES,
        }
    }
}

/// Takes what is logged. Called on the paths of requests and on the collector's thread: it must never wait, and counts what it
/// cannot take.
pub trait Sink: Send + Sync {
    /// Takes an entry, or counts it as lost.
    fn offer(&self, entry: Entry);
}
