//! The thread that reads the source: it polls, reconnects, checks, finds critical paths, and hands rows to the screen.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use zerver_telemetry::clock::Clock;
use zerver_telemetry::recording::{ReadError, Reader};
use zerver_telemetry::timeline::Timeline;

use crate::arrival::{Arrival, Link};
use crate::http::Client;
use crate::model::Msg;
use crate::row::Row;
use crate::source::{Batch, Counters, Feed, Gateway, Source, decode, strip_scheme};
use crate::stop::Stop;

/// Timelines asked for at once.
pub(crate) const LIMIT: usize = 512;
/// The pause between polls that found nothing more; the screen refreshes its numbers as often.
const POLL_EVERY: Duration = Duration::from_millis(250);
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The receiver is gone: the viewer is leaving.
struct Gone;

/// Reads the source until it ends, the viewer leaves, or `stop` is set.
pub(crate) struct Ingest {
    pub(crate) clock: Clock,
    pub(crate) out: SyncSender<Msg>,
    pub(crate) stop: Arc<Stop>,
}

impl Ingest {
    pub(crate) fn run(self, source: Source) {
        // A viewer that is gone needs no answer.
        let _gone = match source {
            Source::Live { addr, token } => self.live(&mut Client::new(strip_scheme(&addr), token)),
            Source::File(path) => self.file(&path),
            Source::Memory(feed) => self.memory(&*feed),
        };
    }

    fn send(&self, msg: Msg) -> Result<(), Gone> {
        // Waiting here for a busy screen loses nothing: the gateway keeps what was not fetched.
        self.out.send(msg).map_err(|_| Gone)
    }

    fn deliver(
        &self,
        gateway: Gateway,
        counters: Counters,
        timelines: Vec<Arc<Timeline>>,
        bad: u64,
    ) -> Result<(), Gone> {
        let rows = timelines.into_iter().map(Row::new).collect();
        self.send(Msg::Arrival(Arrival { gateway, counters, rows, unreadable: bad }))
    }

    fn live(&self, client: &mut Client) -> Result<(), Gone> {
        let mut cursor = Cursor::default();
        let (mut attempt, mut retry_in) = (0, RETRY_FIRST);
        let mut up = false;
        while !self.stop.is_set() {
            if !up {
                self.send(Msg::Link(Link::Connecting))?;
            }
            let path = format!("/timelines?since={}&limit={LIMIT}", cursor.since);
            let answer = client.get(&path).map_err(|e| e.to_string());
            match answer.and_then(|body| decode(&body).map_err(|e| e.to_string())) {
                Ok((batch, bad)) => {
                    if !up {
                        self.send(Msg::Link(Link::Live))?;
                    }
                    (up, attempt, retry_in) = (true, 0, RETRY_FIRST);
                    if !self.take(&mut cursor, batch, bad)? {
                        self.stop.wait(POLL_EVERY);
                    }
                }
                Err(error) => {
                    (up, attempt) = (false, attempt + 1);
                    let wait_ns = u64::try_from(retry_in.as_nanos()).unwrap_or(u64::MAX);
                    let next_unix_ns = self.clock.unix_ns(self.clock.now()).saturating_add(wait_ns);
                    self.send(Msg::Link(Link::Retrying { attempt, error, next_unix_ns }))?;
                    self.stop.wait(retry_in);
                    retry_in = (retry_in * 2).min(RETRY_MAX);
                }
            }
        }
        Ok(())
    }

    fn memory(&self, feed: &dyn Feed) -> Result<(), Gone> {
        let mut cursor = Cursor::default();
        self.send(Msg::Link(Link::Live))?;
        while !self.stop.is_set() {
            let mut batch = feed.poll(cursor.since, LIMIT);
            let before = batch.timelines.len();
            batch.timelines.retain(|timeline| timeline.check().is_ok());
            let bad = (before - batch.timelines.len()) as u64;
            if !self.take(&mut cursor, batch, bad)? {
                self.stop.wait(POLL_EVERY);
            }
        }
        Ok(())
    }

    /// Hands a batch on; answers whether there is more to fetch at once.
    fn take(&self, cursor: &mut Cursor, batch: Batch, bad: u64) -> Result<bool, Gone> {
        if batch.next < cursor.since {
            // The gateway began to count anew: it was restarted. Its new timelines are all unseen.
            cursor.since = 0;
            return Ok(true);
        }
        let full = batch.timelines.len() as u64 + bad >= LIMIT as u64 && batch.next > cursor.since;
        cursor.since = batch.next;
        let news = !batch.timelines.is_empty() || bad > 0 || cursor.counters != Some(batch.counters);
        cursor.counters = Some(batch.counters);
        if news {
            self.deliver(batch.gateway, batch.counters, batch.timelines, bad)?;
        }
        Ok(full)
    }

    fn file(&self, path: &Path) -> Result<(), Gone> {
        match self.read_file(path) {
            Ok(result) => result,
            Err(error) => self.send(Msg::Link(Link::Failed(error))),
        }
    }

    fn read_file(&self, path: &Path) -> Result<Result<(), Gone>, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let file = BufReader::new(File::open(path).map_err(|e| failed(&e))?);
        let mut reader = match Reader::new(file) {
            Err(error @ ReadError::NoHeader) => return Err(format!("{}: not a capture: {error}", path.display())),
            reader => reader.map_err(|error| failed(&error))?.past_damage(),
        };
        let gateway = Gateway { name: reader.header().gateway.clone(), ..Gateway::default() };
        let (mut timelines, mut bad) = (Vec::new(), 0);
        loop {
            let next = reader.next();
            let end = next.is_none();
            match next {
                Some(Ok(timeline)) => timelines.push(Arc::new(timeline)),
                Some(Err(error @ ReadError::Io(_))) => return Err(failed(&error)),
                Some(Err(_)) => bad += 1,
                None => bad += u64::from(reader.torn()),
            }
            if timelines.len() >= LIMIT || (end && (bad > 0 || !timelines.is_empty())) {
                let batch = std::mem::take(&mut timelines);
                if self.stop.is_set() || self.deliver(gateway.clone(), Counters::default(), batch, bad).is_err() {
                    return Ok(Err(Gone));
                }
                bad = 0;
            }
            if end {
                return Ok(self.send(Msg::Link(Link::Ended)));
            }
        }
    }
}

/// How far the source has been read.
#[derive(Default)]
struct Cursor {
    since: u64,
    counters: Option<Counters>,
}
