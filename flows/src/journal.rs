//! The effects of one run and their answers, addressed by slot and place in it, so that the run can be made again.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;

use crate::adapter::{EffectError, HttpAnswer, HttpCall};
use crate::request::Req;
use crate::upload::Upload;

/// Which effect of a run: independent of when it ran and of what ran beside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The slot whose step asked, after those it is inside of: `cart.2`; `cart~2.2` in the second try of `cart`.
    pub slot: Arc<str>,
    /// Its place among the effects of one try of that step, from 0.
    pub seq: u32,
    /// The step's try, from 1.
    pub attempt: u16,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.slot, self.seq)?;
        if self.attempt > 1 { write!(f, " (try {})", self.attempt) } else { Ok(()) }
    }
}

/// One effect and what it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which effect.
    pub key: Key,
    /// What was asked, in one line: `GET cart:/v1/carts/7`, `now`.
    pub asked: String,
    /// A fingerprint of the body that was sent, to detect drift; 0 for none.
    pub body_hash: u64,
    /// How long it took once it was in the air, in nanoseconds.
    pub took_ns: u64,
    /// What it gave.
    pub got: Got,
}

/// What an effect gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// An answer.
    Http(HttpAnswer),
    /// No answer.
    Failed(EffectError),
    /// Nobody waited for the answer any more.
    Cancelled,
    /// A number that was not the code's own: a moment in nanoseconds since the Unix epoch, a decision of the engine.
    Number(u64),
}

/// What was recorded of one run. Bounded: entries beyond [`Journal::LIMIT`] are counted, not kept.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Record>, OnceLock<Upload>);

/// The record itself, as a replay takes it.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The flow's slug.
    pub flow: String,
    /// Its version.
    pub version: u32,
    /// What the run's random numbers came from.
    pub seed: u64,
    /// The method of the request.
    pub method: Method,
    /// Its path and query.
    pub target: String,
    /// What the route's parts matched.
    pub params: Vec<(String, String)>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; of one that was passed on as it came, what was looked at.
    pub body: Bytes,
    /// The effects, in the order of their ends.
    pub entries: Vec<Entry>,
    /// Effects that found no room.
    pub lost: u32,
    /// The status the flow answered with; none while it has not.
    pub status: Option<StatusCode>,
}

impl Journal {
    /// The most effects one journal keeps.
    pub const LIMIT: usize = 1_024;

    /// An empty journal; give it to [`Env::journal`](crate::Env::journal) to fill it.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What was recorded so far.
    #[must_use]
    pub fn record(&self) -> Record {
        let mut record = self.0.lock().clone();
        if let Some(upload) = self.1.get() {
            record.body = upload.seen();
        }
        record
    }

    pub(crate) fn begin(&self, flow: &str, version: u32, seed: u64, req: &Req) {
        if let Some(upload) = req.streamed() {
            let _ = self.1.set(upload.clone());
        }
        *self.0.lock() = Record::of(flow, version, seed, req);
    }

    pub(crate) fn push(&self, entry: Entry) {
        let mut record = self.0.lock();
        if record.entries.len() < Self::LIMIT {
            record.entries.push(entry);
        } else {
            record.lost = record.lost.saturating_add(1);
        }
    }

    pub(crate) fn end(&self, status: StatusCode) {
        self.0.lock().status = Some(status);
    }
}

impl Record {
    fn of(flow: &str, version: u32, seed: u64, req: &Req) -> Self {
        let query = req.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
        Self {
            flow: flow.to_owned(),
            version,
            seed,
            method: req.method.clone(),
            target: format!("{}{query}", req.path),
            params: req.params.clone(),
            headers: req.headers.clone(),
            body: req.known_body(),
            ..Self::default()
        }
    }

    /// What this one holds of a flow that ran in the place of its own, as if that had run alone; `within` is what its
    /// places begin with.
    pub(crate) fn part(&self, within: &str, flow: &str, version: u32, seed: u64, req: &Req) -> Self {
        let own = |entry: &Entry| {
            let slot = entry.key.slot.strip_prefix(within)?.strip_prefix('.')?.into();
            Some(Entry { key: Key { slot, ..entry.key.clone() }, ..entry.clone() })
        };
        let entries = self.entries.iter().filter_map(own).collect();
        Self { entries, lost: self.lost, ..Self::of(flow, version, seed, req) }
    }

    /// The request that was recorded.
    #[must_use]
    pub fn request(&self) -> Req {
        let mut req = Req::new(self.method.clone(), &self.target);
        req.params.clone_from(&self.params);
        req.headers.clone_from(&self.headers);
        req.body = self.body.clone();
        req
    }
}

/// One line that says what a call asks for.
pub(crate) fn line(call: &HttpCall) -> String {
    format!("{} {}:{}", call.method, call.target, call.path_and_query)
}

/// FNV-1a, 64 bits: good enough to see that a body is another one.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    if bytes.is_empty() {
        return 0;
    }
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
