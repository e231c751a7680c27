//! Where timelines come from: a live gateway, a capture file, or a feed in the same process; and what one poll brings.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zerver_telemetry::timeline::{FORMAT_VERSION, Timeline};

/// Where the timelines come from.
#[derive(Clone)]
pub enum Source {
    /// A running gateway's admin address, polled over plain HTTP/1.1.
    Live {
        /// `127.0.0.1:9901`, `gateway.internal:9901` or `http://127.0.0.1:9901`.
        addr: String,
        /// Sent as `Authorization: Bearer …` when given.
        token: Option<String>,
    },
    /// A capture: a recording of either form ([`zerver_telemetry::recording`]).
    File(PathBuf),
    /// A gateway in the same process.
    Memory(Arc<dyn Feed>),
}

impl Source {
    /// Reads a command-line argument: the path of an existing file, or else an admin address.
    #[must_use]
    pub fn parse(text: &str, token: Option<String>) -> Self {
        let path = PathBuf::from(text);
        if path.is_file() || text.ends_with(".zrec") {
            Self::File(path)
        } else {
            Self::Live { addr: text.to_owned(), token }
        }
    }

    /// How the source is called on screen.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Live { addr, .. } => strip_scheme(addr).to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Memory(_) => "this process".into(),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token stays out of logs.
        write!(f, "Source({})", self.name())
    }
}

/// An address without `http://` and without a path.
pub(crate) fn strip_scheme(addr: &str) -> &str {
    let addr = addr.strip_prefix("http://").unwrap_or(addr);
    addr.split('/').next().unwrap_or(addr)
}

/// A source in the same process: the embedded demo, a test.
pub trait Feed: Send + Sync {
    /// The timelines completed after `since` (0 for all that are kept), at most `limit` of them, without waiting.
    ///
    /// [`Batch::next`] is what to pass as `since` the next time.
    fn poll(&self, since: u64, limit: usize) -> Batch;
}

/// What one poll brings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The version of the form, [`FORMAT_VERSION`].
    pub v: u32,
    /// Who answers.
    pub gateway: Gateway,
    /// Its own counts, since its start.
    pub counters: Counters,
    /// What to pass as `since` the next time.
    pub next: u64,
    /// The timelines, oldest first.
    pub timelines: Vec<Arc<Timeline>>,
}

/// The gateway that answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gateway {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its wall clock at the time of the answer, nanoseconds since the Unix epoch.
    pub now_unix_ns: u64,
}

/// The gateway's own counts, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Requests finished.
    pub requests: u64,
    /// Timelines it could not keep.
    pub lost_timelines: u64,
    /// Events that did not fit into a logbook.
    pub lost_events: u64,
    /// Requests under way.
    pub in_flight: u64,
}

/// Why an answer cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    #[error("the answer is not the timelines' JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("format {0} is newer than this viewer reads ({FORMAT_VERSION})")]
    Version(u32),
}

/// Reads an answer of `GET /timelines`; gives the batch and how many of its timelines were not readable.
///
/// A timeline that breaks the rules of [`Timeline::check`] is left out and counted, so that the rest of the viewer can
/// rely on them.
pub(crate) fn decode(body: &[u8]) -> Result<(Batch, u64), FormatError> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        v: u32,
        #[serde(default)]
        gateway: Gateway,
        #[serde(default)]
        counters: Counters,
        next: u64,
        #[serde(borrow)]
        timelines: Vec<&'a RawValue>,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body)?;
    if envelope.v > FORMAT_VERSION {
        return Err(FormatError::Version(envelope.v));
    }
    let mut unreadable = 0;
    let mut timelines = Vec::with_capacity(envelope.timelines.len());
    for raw in envelope.timelines {
        match decode_timeline(raw.get()) {
            Some(timeline) => timelines.push(timeline),
            None => unreadable += 1,
        }
    }
    let Envelope { v, gateway, counters, next, .. } = envelope;
    Ok((Batch { v, gateway, counters, next, timelines }, unreadable))
}

/// Reads one timeline; none when it is not one, or not a consistent one.
fn decode_timeline(json: &str) -> Option<Arc<Timeline>> {
    let timeline: Timeline = serde_json::from_str(json).ok()?;
    timeline.check().is_ok().then(|| Arc::new(timeline))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::sample;

    #[test]
    fn a_bad_timeline_is_counted_and_does_not_spoil_the_rest() {
        let good = serde_json::to_string(&sample(1, "quote", 5.0, 200)).unwrap();
        let body = format!(
            r#"{{"v":1,"gateway":{{"name":"gw"}},"counters":{{"requests":9}},"next":7,"timelines":[{good},{{"nodes":[]}},{}]}}"#,
            good.replace("\"latency_ns\":5000000", "\"latency_ns\":1")
        );
        let (batch, unreadable) = decode(body.as_bytes()).unwrap();
        assert_eq!((batch.timelines.len(), unreadable, batch.next, batch.counters.requests), (1, 2, 7, 9));
        assert_eq!(batch.gateway.name, "gw");
    }

    #[test]
    fn a_newer_form_is_refused_with_its_number() {
        let error = decode(br#"{"v":99,"next":0,"timelines":[]}"#).unwrap_err();
        assert!(error.to_string().contains("99"), "{error}");
    }

    #[test]
    fn arguments_are_files_or_addresses() {
        assert!(matches!(Source::parse("x.zrec", None), Source::File(_)));
        assert_eq!(Source::parse("http://127.0.0.1:9901/x", None).name(), "127.0.0.1:9901");
    }
}
