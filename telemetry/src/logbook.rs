//! The logbook of one request: a bounded, pooled list of fixed-size records that moves with the request.
//!
//! A record is two words (see `record`), written to a place that its thread has for itself (see `places`), so the tasks of
//! a request may write side by side without a lock, and one that writes alone pays for no locked operation either. The head
//! of a record is written last: whoever reads while a late task still writes finds whole records or none.

mod record;
mod places;
mod fold;

use std::array::from_fn;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use crate::clock::Ticks;
use crate::event::{Cause, Event, NodeId};
use crate::logbook::fold::Fold;
use crate::logbook::places::Places;
use crate::logbook::record::{LOST_NODE, Packed, Words};
use crate::names::Name;
use crate::propagation::Carried;
use crate::sync::{AtomicU32, AtomicU64};
use crate::worker;

/// Whether this build records. It does, but for the crate's feature `unrecorded`, which is there to measure what recording
/// costs a gateway: then the identity of the trace is all that a request's recording holds.
pub const RECORDING: bool = !cfg!(feature = "unrecorded");

/// Records that are part of the logbook itself: 1.25 KiB, enough for a flow of four steps and six effects.
const FIRST: usize = match (cfg!(feature = "loom"), RECORDING) {
    (true, _) => 4,
    (false, true) => 80,
    (false, false) => 0,
};
/// Records in each further chunk: 2 KiB.
const CHUNK: usize = 128;
/// Further chunks; each is made when first needed and stays with the pooled logbook. None under loom, which does not see
/// that who finds a chunk comes after who made it.
const CHUNKS: usize = if cfg!(feature = "loom") { 0 } else { 16 };
/// The most records one request can write: 33 KiB.
pub(crate) const RECORDS: usize = FIRST + CHUNK * CHUNKS;
/// From this many records on, states are folded, so that the ends of all nodes still find room.
const FOLD_FROM: usize = RECORDS / 2;
/// Records that texts may take (attribute values that are not known at load), 15 bytes each: what the edge notes of a long head
/// (1.1 KiB at most) leaves room for what others note.
const TEXTS: u32 = 128;

/// The trace is sampled.
pub(crate) const SAMPLED: u32 = 1;
/// The last 7 bytes of its identity are random.
pub(crate) const RANDOM: u32 = 2;

type Record = [AtomicU64; 2];
type Chunk = [Record; CHUNK];

/// The records of one request.
#[derive(Debug)]
pub(crate) struct Logbook {
    pub(crate) trace: [AtomicU64; 2],
    pub(crate) seed: AtomicU64,
    pub(crate) parent: AtomicU64,
    /// The flags of the trace: [`SAMPLED`] and [`RANDOM`].
    pub(crate) flags: AtomicU32,
    /// What goes on to other services besides the trace, for requests that bring something.
    carried: RwLock<Option<Arc<Carried>>>,
    /// Whether there is any, so that nobody takes the lock to find that there is not.
    carries: AtomicU32,
    pub(crate) route: AtomicU32,
    pub(crate) flow: AtomicU32,
    pub(crate) config_version: AtomicU32,
    /// Ticks of its request's end, for who puts requests in the order of their ends.
    pub(crate) ended: AtomicU64,
    /// Beginnings and ends of the requests it was used for: odd while one runs.
    pub(crate) turns: AtomicU64,
    /// Its number among all logbooks of its recorder.
    pub(crate) number: u32,
    places: Places,
    /// Records of [`TEXTS`] that are taken, about: writers side by side may each miss the other's.
    texts: AtomicU32,
    fold: OnceLock<Box<Fold>>,
    rest: OnceLock<Box<[OnceLock<Box<Chunk>>; CHUNKS]>>,
    first: [Record; FIRST],
}

fn blank<const N: usize>() -> [Record; N] {
    from_fn(|_| from_fn(|_| AtomicU64::new(0)))
}

impl Logbook {
    pub(crate) fn new(number: u32) -> Self {
        Self {
            trace: Default::default(),
            seed: AtomicU64::new(0),
            parent: AtomicU64::new(0),
            flags: AtomicU32::new(0),
            carried: RwLock::new(None),
            carries: AtomicU32::new(0),
            route: AtomicU32::new(0),
            flow: AtomicU32::new(0),
            config_version: AtomicU32::new(0),
            ended: AtomicU64::new(0),
            turns: AtomicU64::new(0),
            number,
            places: Places::new(RECORDS as u32, FOLD_FROM as u32),
            texts: AtomicU32::new(0),
            fold: OnceLock::new(),
            rest: OnceLock::new(),
            first: blank(),
        }
    }

    /// Makes a used logbook fit for the next request. Nobody else uses it any more.
    pub(crate) fn reset(&self) {
        let len = self.len();
        self.first.iter().take(len).for_each(|[_, head]| head.store(0, Relaxed));
        let further =
            self.rest.get().into_iter().flat_map(|rest| rest.iter().take(len.saturating_sub(FIRST).div_ceil(CHUNK)));
        for [_, head] in further.filter_map(OnceLock::get).flat_map(|chunk| chunk.iter()) {
            head.store(0, Relaxed);
        }
        self.places.reset();
        self.texts.store(0, Relaxed);
        self.parent.store(0, Relaxed);
        self.flags.store(0, Relaxed);
        if self.carries.load(Relaxed) != 0 {
            self.carries.store(0, Relaxed);
            *self.carried.write() = None;
        }
        self.route.store(0, Relaxed);
        self.flow.store(0, Relaxed);
        if let Some(fold) = self.fold.get() {
            fold.reset();
        }
    }

    /// Begins or ends a request. Only its owner does.
    #[inline]
    pub(crate) fn turn(&self) -> u64 {
        let turn = self.turns.load(Relaxed) + 1;
        self.turns.store(turn, Release);
        turn
    }

    /// Says what goes on to other services; the first word holds.
    pub(crate) fn carry(&self, carried: Arc<Carried>) {
        self.carried.write().get_or_insert(carried);
        self.carries.store(1, Release);
    }

    /// What goes on to other services, where something does.
    pub(crate) fn carried(&self) -> Option<Arc<Carried>> {
        (self.carries.load(Acquire) != 0).then(|| self.carried.read().clone()).flatten()
    }

    #[inline]
    fn record(&self, place: usize) -> &Record {
        match self.first.get(place) {
            Some(record) => record,
            None => self.further(place - FIRST),
        }
    }

    #[inline(never)]
    fn further(&self, place: usize) -> &Record {
        let rest = self.rest.get_or_init(Box::default);
        let chunk = rest[place / CHUNK].get_or_init(|| Box::new(blank()));
        &chunk[place % CHUNK]
    }

    /// The record at a place, unless its chunk was never made.
    fn written(&self, place: usize) -> Option<&Record> {
        match place.checked_sub(FIRST) {
            None => self.first.get(place),
            Some(place) => Some(&self.rest.get()?[place / CHUNK].get()?[place % CHUNK]),
        }
    }

    #[inline]
    fn put(&self, place: usize, words: Words) {
        let record = self.record(place);
        record[0].store(words[0], Relaxed);
        record[1].store(words[1], Release);
    }

    /// Writes an event for the thread of this number; gives its place. What finds no room is counted as lost.
    ///
    /// Always inlined, as all on this way: which event it is is known where it is noted, and then its layout folds away.
    #[inline(always)]
    pub(crate) fn write_by(&self, thread: u32, at: Ticks, event: Event) -> Option<usize> {
        let Packed { first, second } = event.pack(at);
        let place = self.places.take(thread, 1 + u32::from(second.is_some()))?;
        if let Some(second) = second {
            self.put(place + 1, second);
        }
        self.put(place, first);
        Some(place)
    }

    /// Writes one event; counts it as lost when the logbook is full.
    #[inline(always)]
    pub(crate) fn write(&self, at: Ticks, event: Event) {
        if RECORDING {
            self.write_by(worker::thread(), at, event);
        }
    }

    /// Writes an opening, whose place is the node's number. All nodes that found no room share one number.
    #[inline(always)]
    pub(crate) fn open(&self, at: Ticks, event: Event) -> NodeId {
        let thread = worker::thread();
        let place = if RECORDING { self.write_by(thread, at, event) } else { self.places.take(thread, 1) };
        place.and_then(|place| u16::try_from(place).ok()).map_or(LOST_NODE, NodeId)
    }

    /// Takes a place and writes nothing.
    #[cfg(test)]
    pub(crate) fn skip(&self) {
        self.places.take(worker::thread(), 1);
    }

    /// Writes a transition, or adds it to the folded sums.
    #[inline(always)]
    pub(crate) fn transition(
        &self,
        at: Ticks,
        node: NodeId,
        cause: Cause,
        name: Name,
        woken_by: Option<NodeId>,
        worker: u16,
    ) {
        if !RECORDING {
            return;
        }
        match self.places.take_quickly(worker::thread()) {
            Some(place) => self.put(place, record::state(at, node, cause, name, woken_by, worker)),
            None => self.pass(at, node, cause, name, woken_by, worker),
        }
    }

    /// A transition for which no place was at hand.
    #[cold]
    fn pass(&self, at: Ticks, node: NodeId, cause: Cause, name: Name, woken_by: Option<NodeId>, worker: u16) {
        match node {
            _ if !self.places.folding() => self.write(at, Event::State { node, cause, name, woken_by, worker }),
            NodeId::ROOT => self.folded().pass(at, cause, name),
            _ => self.places.lose(),
        }
    }

    /// From now on the request's own states are added up by cause instead of written one by one.
    pub(crate) fn fold_from(&self, at: Ticks, cause: Cause, name: Name) {
        if RECORDING && !self.fold.get().is_some_and(|fold| fold.on()) {
            self.places.fold(worker::thread());
            self.folded().pass(at, cause, name);
        }
    }

    fn folded(&self) -> &Fold {
        self.fold.get_or_init(Box::default)
    }

    /// Writes the folded sums, if there are any. Called once, when the request ends.
    pub(crate) fn close_folds(&self, at: Ticks) {
        let Some(fold) = self.fold.get().filter(|fold| fold.on()) else { return };
        let (since, sums) = fold.close(at);
        for (cause, name, ticks) in sums {
            self.write(since, Event::Fold { node: NodeId::ROOT, cause, name, ticks });
        }
    }

    /// The request's own state and since when, while its states are added up.
    pub(crate) fn folded_state(&self) -> Option<(Cause, Ticks)> {
        self.fold.get()?.present()
    }

    /// Notes a text about a node; what does not fit is cut at a character and counted.
    pub(crate) fn note(&self, node: NodeId, key: Name, text: &str) {
        if !RECORDING {
            return;
        }
        let left = TEXTS.saturating_sub(self.texts.load(Relaxed));
        let len = text.floor_char_boundary(record::text_room(left as usize).min(text.len()));
        if len < text.len() {
            self.places.lose();
        }
        let count = record::text_records(len) as u32;
        self.texts.store(self.texts.load(Relaxed) + count, Relaxed);
        let Some(place) = self.places.take(worker::thread(), count) else { return };
        let (first, more) = record::text(node, key, &text[..len]);
        for (n, words) in more.enumerate() {
            self.put(place + 1 + n, words);
        }
        self.put(place, first);
    }

    /// Reads a noted text back: the attribute whose record is at `place`. What stood in `text` is gone.
    pub(crate) fn read_text(&self, place: u16, len: u16, text: &mut String) {
        let (place, len) = (usize::from(place), usize::from(len));
        let mut bytes = std::mem::take(text).into_bytes();
        bytes.clear();
        for n in 0..record::text_records(len) {
            bytes.extend(record::text_bytes(self.words(place + n), n == 0));
        }
        bytes.truncate(len);
        *text = String::from_utf8(bytes).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned());
    }

    fn words(&self, place: usize) -> Words {
        let Some([word, head]) = self.written(place) else { return [0; 2] };
        let head = head.load(Acquire);
        [word.load(Relaxed), head]
    }

    /// How many records it holds at most.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// How many events found no room.
    pub(crate) fn lost(&self) -> u32 {
        self.places.lost()
    }

    /// Shows each event, in the order of their places: that of their writing, as far as writers knew of one another.
    #[inline]
    pub(crate) fn each(&self, mut see: impl FnMut(Ticks, Event)) {
        let len = self.len();
        for (place, record) in self.first.iter().take(len).enumerate() {
            self.show(place, record, &mut see);
        }
        for place in FIRST..len {
            if let Some(record) = self.written(place) {
                self.show(place, record, &mut see);
            }
        }
    }

    #[inline(always)]
    fn show(&self, place: usize, [word, head]: &Record, see: &mut impl FnMut(Ticks, Event)) {
        // An empty head is no event: its place was taken, and it is not written yet, or never will be.
        let head = head.load(Acquire);
        if head == 0 {
            return;
        }
        let second = if record::is_followed(head) { self.words(place + 1) } else { [0; 2] };
        if let Some((at, event)) = record::unpack(place, [word.load(Relaxed), head], second) {
            see(at, event);
        }
    }

    /// The events, for tests.
    #[cfg(test)]
    pub(crate) fn events(&self) -> impl Iterator<Item = (Ticks, Event)> {
        let mut events = Vec::new();
        self.each(|at, event| events.push((at, event)));
        events.into_iter()
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;

#[cfg(all(test, feature = "loom"))]
mod interleavings;
