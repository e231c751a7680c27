//! The logbook of one request: a bounded, pooled list of fixed-size records that moves with the request.
//!
//! A record is four words, written with relaxed stores after its place was reserved with one atomic add, so the tasks
//! of a request may write side by side without a lock. A logbook is read only after it was handed over.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::clock::Ticks;
use crate::event::{Cause, Event, NodeId, Words};
use crate::names::Name;

/// Whether this build records. It does, but for the crate's feature `unrecorded`, which is there to measure what recording
/// costs a gateway: then the identity of the trace is all that a request's recording holds.
pub const RECORDING: bool = !cfg!(feature = "unrecorded");

/// Records in one chunk: 4 KiB, enough for a flow of four steps and six effects without a second one.
const CHUNK_RECORDS: usize = 128;
/// Chunks in a logbook; all but the first are made when first needed and stay with the pooled logbook.
const CHUNKS: usize = 8;
/// The most records one request can write: 32 KiB.
pub(crate) const RECORDS: usize = CHUNK_RECORDS * CHUNKS;
/// From this many records on, states are folded, so that the ends of all nodes still find room.
const FOLD_FROM: u32 = (RECORDS / 2) as u32;
/// Words of text (attribute values that are not known at load): 1.5 KiB, so that what the edge notes of a long head (1.1 KiB at
/// most) leaves room for what others note.
const TEXT_WORDS: usize = 192;

type Chunk = [[AtomicU64; 4]; CHUNK_RECORDS];

/// The records of one request.
#[derive(Debug)]
pub(crate) struct Logbook {
    pub(crate) trace: [AtomicU64; 2],
    pub(crate) seed: AtomicU64,
    pub(crate) parent: AtomicU64,
    pub(crate) sampled: AtomicU32,
    pub(crate) route: AtomicU32,
    pub(crate) flow: AtomicU32,
    pub(crate) config_version: AtomicU32,
    nodes: AtomicU32,
    len: AtomicU32,
    lost: AtomicU32,
    chunks: [OnceLock<Box<Chunk>>; CHUNKS],
    text_len: AtomicU32,
    text: [AtomicU64; TEXT_WORDS],
    fold: Fold,
}

/// The running sums of the request's own states once they are folded.
#[derive(Debug, Default)]
struct Fold {
    /// Ticks at which folding began; 0 while it has not.
    since: AtomicU64,
    /// Ticks of the latest transition.
    last: AtomicU64,
    /// The state since then.
    cause: AtomicU32,
    ticks: [AtomicU64; Cause::ALL.len()],
    names: [AtomicU32; Cause::ALL.len()],
}

impl Logbook {
    pub(crate) fn new() -> Self {
        let book = Self {
            trace: Default::default(),
            seed: AtomicU64::new(0),
            parent: AtomicU64::new(0),
            sampled: AtomicU32::new(0),
            route: AtomicU32::new(0),
            flow: AtomicU32::new(0),
            config_version: AtomicU32::new(0),
            nodes: AtomicU32::new(0),
            len: AtomicU32::new(0),
            lost: AtomicU32::new(0),
            chunks: Default::default(),
            text_len: AtomicU32::new(0),
            text: [const { AtomicU64::new(0) }; TEXT_WORDS],
            fold: Fold::default(),
        };
        book.chunk(0);
        book
    }

    /// Makes a used logbook fit for the next request. The caller holds the only reference.
    pub(crate) fn reset(&mut self) {
        *self.nodes.get_mut() = 0;
        *self.len.get_mut() = 0;
        *self.lost.get_mut() = 0;
        *self.text_len.get_mut() = 0;
        *self.parent.get_mut() = 0;
        *self.sampled.get_mut() = 0;
        *self.route.get_mut() = 0;
        *self.flow.get_mut() = 0;
        *self.fold.since.get_mut() = 0;
        for sum in &mut self.fold.ticks {
            *sum.get_mut() = 0;
        }
    }

    fn chunk(&self, number: usize) -> &Chunk {
        self.chunks[number].get_or_init(|| Box::new([const { [const { AtomicU64::new(0) }; 4] }; CHUNK_RECORDS]))
    }

    /// The next node number; the last one is shared by all nodes beyond 65,534 (none of which finds room).
    pub(crate) fn next_node(&self) -> NodeId {
        NodeId(u16::try_from(self.nodes.fetch_add(1, Relaxed)).unwrap_or(u16::MAX - 1))
    }

    /// Writes one record; counts it as lost when the logbook is full.
    #[inline]
    pub(crate) fn write(&self, at: Ticks, event: Event) {
        if !RECORDING {
            return;
        }
        let place = self.len.fetch_add(1, Relaxed) as usize;
        if place >= RECORDS {
            // Put the length back near its bound, so that it cannot run over.
            self.len.store(RECORDS as u32, Relaxed);
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        let record = &self.chunk(place / CHUNK_RECORDS)[place % CHUNK_RECORDS];
        for (slot, word) in record.iter().zip(event.pack(at)) {
            slot.store(word, Relaxed);
        }
    }

    /// Writes a transition, or adds it to the folded sums.
    #[inline]
    pub(crate) fn transition(&self, at: Ticks, node: NodeId, cause: Cause, name: Name, event: Event) {
        if !RECORDING {
            return;
        }
        let folding = self.fold.since.load(Relaxed) != 0;
        if !folding && self.len.load(Relaxed) < FOLD_FROM {
            return self.write(at, event);
        }
        if node != NodeId::ROOT {
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        if folding {
            self.fold_until(at);
        } else {
            self.fold.since.store(at.0, Relaxed);
            self.fold.last.store(at.0, Relaxed);
        }
        self.fold.cause.store(cause as u32, Relaxed);
        self.fold.names[cause as usize].store(name.0, Relaxed);
    }

    /// From now on the request's own states are added up by cause instead of written one by one.
    pub(crate) fn fold_from(&self, at: Ticks, cause: Cause, name: Name) {
        if RECORDING && self.fold.since.load(Relaxed) == 0 {
            self.fold.since.store(at.0, Relaxed);
            self.fold.last.store(at.0, Relaxed);
            self.fold.cause.store(cause as u32, Relaxed);
            self.fold.names[cause as usize].store(name.0, Relaxed);
        }
    }

    fn fold_until(&self, at: Ticks) {
        let last = self.fold.last.swap(at.0, Relaxed);
        let cause = self.fold.cause.load(Relaxed) as usize;
        self.fold.ticks[cause].fetch_add(at.0.saturating_sub(last), Relaxed);
    }

    /// Writes the folded sums, if there are any. Called once, when the request ends.
    pub(crate) fn close_folds(&self, at: Ticks) {
        let since = Ticks(self.fold.since.load(Relaxed));
        if since.0 == 0 {
            return;
        }
        self.fold_until(at);
        for cause in Cause::ALL {
            let ticks = self.fold.ticks[cause as usize].load(Relaxed);
            if ticks > 0 {
                let name = Name(self.fold.names[cause as usize].load(Relaxed));
                self.write(since, Event::Fold { node: NodeId::ROOT, cause, name, ticks });
            }
        }
    }

    /// Keeps a text; what does not fit is cut at a character and counted.
    pub(crate) fn text(&self, text: &str) -> (u32, u32) {
        if !RECORDING {
            return (0, 0);
        }
        let words = u32::try_from(text.len().div_ceil(8)).unwrap_or(u32::MAX);
        let room = TEXT_WORDS as u32;
        let start = self.text_len.fetch_add(words.min(room), Relaxed).min(room);
        let fits = ((room - start) as usize) * 8;
        let len = if text.len() > fits {
            self.lost.fetch_add(1, Relaxed);
            text.floor_char_boundary(fits)
        } else {
            text.len()
        };
        for (slot, bytes) in self.text[start as usize..].iter().zip(text.as_bytes()[..len].chunks(8)) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            slot.store(u64::from_le_bytes(word), Relaxed);
        }
        (start * 8, len as u32)
    }

    /// Reads a kept text back.
    pub(crate) fn read_text(&self, start: u32, len: u32) -> String {
        let from = (start / 8) as usize;
        let until = (from + (len as usize).div_ceil(8)).min(TEXT_WORDS);
        let mut bytes: Vec<u8> = Vec::with_capacity(len as usize + 8);
        for word in self.text.get(from..until).unwrap_or_default() {
            bytes.extend_from_slice(&word.load(Relaxed).to_le_bytes());
        }
        bytes.truncate(len as usize);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How many records it holds.
    pub(crate) fn len(&self) -> usize {
        (self.len.load(Relaxed) as usize).min(RECORDS)
    }

    /// How many events found no room.
    pub(crate) fn lost(&self) -> u32 {
        self.lost.load(Relaxed)
    }

    /// The events, in the order of their writing.
    pub(crate) fn events(&self) -> impl Iterator<Item = (Ticks, Event)> {
        (0..self.len()).filter_map(|place| {
            let record = &self.chunk(place / CHUNK_RECORDS)[place % CHUNK_RECORDS];
            let words: Words = std::array::from_fn(|n| record[n].load(Relaxed));
            Event::unpack(words)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(cause: Cause) -> Event {
        Event::State { node: NodeId::ROOT, cause, name: Name(4), woken_by: None, worker: 0 }
    }

    #[test]
    fn texts_are_kept_and_cut_at_a_character() {
        let mut book = Logbook::new();
        let (start, len) = book.text("peer-1 äöü");
        assert_eq!(book.read_text(start, len), "peer-1 äöü");
        let (start, len) = book.text(&"ü".repeat(800));
        assert!(len > 0 && len < 1536 && book.lost() == 1);
        assert!(book.read_text(start, len).chars().all(|c| c == 'ü'));
        assert_eq!(book.text("no room").1, 0);
        book.reset();
        assert_eq!((book.text("again"), book.lost()), ((0, 5), 0));
    }

    #[test]
    fn a_long_request_is_folded_and_no_time_is_lost() {
        let book = Logbook::new();
        let mut at = 100;
        for n in 0..10_000 {
            let cause = if n % 2 == 0 { Cause::Run } else { Cause::Write };
            book.transition(Ticks(at), NodeId::ROOT, cause, Name(4), state(cause));
            at += 7;
        }
        book.close_folds(Ticks(at));
        assert!(book.len() < RECORDS);
        let (mut folded, mut since) = (0, 0);
        for (ticks, event) in book.events() {
            if let Event::Fold { ticks: sum, .. } = event {
                folded += sum;
                since = ticks.0;
            }
        }
        assert_eq!(folded, at - since);
    }

    #[test]
    fn a_full_logbook_counts_what_it_loses() {
        let book = Logbook::new();
        for n in 0..RECORDS + 5 {
            book.write(Ticks(n as u64), state(Cause::Run));
        }
        assert_eq!((book.len(), book.lost()), (RECORDS, 5));
    }
}
