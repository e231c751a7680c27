//! The logbook of one request: a bounded, pooled list of fixed-size records that moves with the request.
//!
//! A record is four words, written after its place was reserved with one atomic add, so the tasks of a request may write
//! side by side without a lock. The head of a record is written last: whoever reads while a late task still writes finds
//! whole records or none.

use std::array::from_fn;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, OnceLock};

use crate::clock::Ticks;
use crate::event::{Cause, Event, NodeId, Words};
use crate::names::Name;
use crate::propagation::Carried;
use crate::sync::{AtomicU32, AtomicU64};

/// Whether this build records. It does, but for the crate's feature `unrecorded`, which is there to measure what recording
/// costs a gateway: then the identity of the trace is all that a request's recording holds.
pub const RECORDING: bool = !cfg!(feature = "unrecorded");

/// Records in one chunk: 4 KiB, enough for a flow of four steps and six effects without a second one.
const CHUNK_RECORDS: usize = if cfg!(feature = "loom") { 2 } else { 128 };
/// The word of a record that says what it is.
const HEAD: usize = 1;
/// Chunks in a logbook; all but the first are made when first needed and stay with the pooled logbook.
const CHUNKS: usize = if cfg!(feature = "loom") { 2 } else { 8 };
/// The most records one request can write: 32 KiB.
pub(crate) const RECORDS: usize = CHUNK_RECORDS * CHUNKS;
/// From this many records on, states are folded, so that the ends of all nodes still find room.
const FOLD_FROM: u32 = (RECORDS / 2) as u32;
/// Words of text (attribute values that are not known at load): 1.5 KiB, so that what the edge notes of a long head (1.1 KiB at
/// most) leaves room for what others note.
const TEXT_WORDS: usize = if cfg!(feature = "loom") { 1 } else { 192 };

/// The trace is sampled.
pub(crate) const SAMPLED: u32 = 1;
/// The last 7 bytes of its identity are random.
pub(crate) const RANDOM: u32 = 2;

type Chunk = [[AtomicU64; 4]; CHUNK_RECORDS];

/// The records of one request.
#[derive(Debug)]
pub(crate) struct Logbook {
    pub(crate) trace: [AtomicU64; 2],
    pub(crate) seed: AtomicU64,
    pub(crate) parent: AtomicU64,
    /// The flags of the trace: [`SAMPLED`] and [`RANDOM`].
    pub(crate) flags: AtomicU32,
    /// What goes on to other services besides the trace; made only for requests that bring something.
    pub(crate) carried: OnceLock<Arc<Carried>>,
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
            flags: AtomicU32::new(0),
            carried: OnceLock::new(),
            route: AtomicU32::new(0),
            flow: AtomicU32::new(0),
            config_version: AtomicU32::new(0),
            nodes: AtomicU32::new(0),
            len: AtomicU32::new(0),
            lost: AtomicU32::new(0),
            chunks: Default::default(),
            text_len: AtomicU32::new(0),
            text: from_fn(|_| AtomicU64::new(0)),
            fold: Fold::default(),
        };
        book.chunk(0);
        book
    }

    /// Makes a used logbook fit for the next request. The caller holds the only reference.
    pub(crate) fn reset(&mut self) {
        for place in 0..self.len() {
            if let Some(chunk) = self.chunks[place / CHUNK_RECORDS].get() {
                chunk[place % CHUNK_RECORDS][HEAD].store(0, Relaxed);
            }
        }
        self.nodes.store(0, Relaxed);
        self.len.store(0, Relaxed);
        self.lost.store(0, Relaxed);
        self.text_len.store(0, Relaxed);
        self.parent.store(0, Relaxed);
        self.flags.store(0, Relaxed);
        self.carried.take();
        self.route.store(0, Relaxed);
        self.flow.store(0, Relaxed);
        self.fold.since.store(0, Relaxed);
        for sum in &self.fold.ticks {
            sum.store(0, Relaxed);
        }
    }

    fn chunk(&self, number: usize) -> &Chunk {
        self.chunks[number].get_or_init(|| Box::new(from_fn(|_| from_fn(|_| AtomicU64::new(0)))))
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
        let [ticks, head, a, b] = event.pack(at);
        record[0].store(ticks, Relaxed);
        record[2].store(a, Relaxed);
        record[3].store(b, Relaxed);
        record[HEAD].store(head, Release);
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
            // An empty head is no event: its place was taken, and it is not written yet.
            let head = record[HEAD].load(Acquire);
            let words: Words = [record[0].load(Relaxed), head, record[2].load(Relaxed), record[3].load(Relaxed)];
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

    /// Everything in a record follows from one number, so a mixture of two shows.
    fn numbered(n: u16) -> (Ticks, Event) {
        let (node, name) = (NodeId(n), Name(u32::from(n)));
        let event = Event::State { node, cause: Cause::Io, name, woken_by: Some(node), worker: n };
        (Ticks(u64::from(n)), event)
    }

    #[test]
    fn who_reads_while_others_write_finds_whole_records_or_none() {
        const WRITERS: u16 = 3;
        let mut book = Logbook::new();
        for round in 0..200_u16 {
            let first = round * 300 + 1;
            std::thread::scope(|scope| {
                for writer in 0..WRITERS {
                    let book = &book;
                    scope.spawn(move || {
                        for n in (first..first + 300).filter(|n| n % WRITERS == writer) {
                            let (at, event) = numbered(n);
                            book.write(at, event);
                        }
                    });
                }
                while book.events().count() < 300 {
                    for (at, event) in book.events() {
                        let n = u16::try_from(at.0).expect("what was written is a number");
                        assert_eq!((at, event), numbered(n));
                        assert!((first..first + 300).contains(&n), "{n} is of another request than {first}");
                    }
                }
            });
            book.reset();
        }
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

#[cfg(all(test, feature = "loom"))]
mod interleavings {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    fn numbered(n: u16) -> (Ticks, Event) {
        let (node, name) = (NodeId(n), Name(u32::from(n)));
        (Ticks(u64::from(n)), Event::State { node, cause: Cause::Io, name, woken_by: Some(node), worker: n })
    }

    fn write(book: &Arc<Logbook>, n: u16) -> thread::JoinHandle<()> {
        let book = Arc::clone(book);
        thread::spawn(move || {
            let (at, event) = numbered(n);
            book.write(at, event);
        })
    }

    /// What was read is what was written, each at most once; gives the numbers.
    fn read(book: &Logbook) -> Vec<u64> {
        let mut found: Vec<u64> = book
            .events()
            .map(|(at, event)| {
                let n = u16::try_from(at.0).expect("what was written is a number");
                assert_eq!((at, event), numbered(n));
                at.0
            })
            .collect();
        found.sort_unstable();
        assert!(found.windows(2).all(|two| two[0] != two[1]), "{found:?}");
        found
    }

    #[test]
    fn loom_readers_find_whole_records_or_none_and_in_the_end_all() {
        let mut model = loom::model::Builder::new();
        // Two writers and a reader side by side have too many orders; most faults show with two switches.
        model.preemption_bound = Some(2);
        model.check(|| {
            let book = Arc::new(Logbook::new());
            let writers = [write(&book, 1), write(&book, 2)];
            assert!(read(&book).len() <= 2);
            writers.into_iter().for_each(|writer| writer.join().expect("a writer does not panic"));
            assert_eq!(read(&book), [1, 2]);
        });
    }

    #[test]
    fn loom_a_full_logbook_loses_what_comes_late_and_counts_it() {
        loom::model(|| {
            let book = Logbook::new();
            for n in 1..RECORDS as u16 {
                let (at, event) = numbered(n);
                book.write(at, event);
            }
            let book = Arc::new(book);
            let writers = [write(&book, 8), write(&book, 9)];
            writers.into_iter().for_each(|writer| writer.join().expect("a writer does not panic"));
            assert_eq!((read(&book).len(), book.lost()), (RECORDS, 1));
        });
    }

    #[test]
    fn loom_nothing_of_the_last_request_is_read_in_the_next() {
        loom::model(|| {
            let mut book = Logbook::new();
            for n in [3, 4] {
                let (at, event) = numbered(n);
                book.write(at, event);
            }
            book.reset();
            let book = Arc::new(book);
            let writer = write(&book, 1);
            assert!([vec![], vec![1]].contains(&read(&book)));
            writer.join().expect("a writer does not panic");
            assert_eq!(read(&book), [1]);
        });
    }
}
