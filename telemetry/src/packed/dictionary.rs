//! Names as numbers, for one store or one recording: those that were met before are found by their address alone.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault};
use std::sync::Arc;

use crate::hash::{Cheap, Map, address};
use crate::names::Names;

/// Names by number, in the order in which they were first used.
///
/// It only grows, up to [`Dictionary::WORDS_MAX`] words of together [`Dictionary::BYTES_MAX`]; what finds no room is written
/// out where it stands. An address stays valid because the dictionary holds the text.
#[derive(Debug, Default)]
pub struct Dictionary {
    /// The addresses that were asked for last, each at the one place it may have: most names of a request are here.
    near: Near,
    words: Arc<Vec<Arc<str>>>,
    by_address: Map<usize, Known>,
    by_text: HashMap<Arc<str>, u32>,
    bytes: usize,
    /// How many of the recorder's names it knows.
    followed: usize,
    repeats: Option<Repeats>,
}

/// A text whose address is known.
#[derive(Debug)]
struct Known {
    #[expect(dead_code, reason = "held, so that its address stays its own")]
    text: Arc<str>,
    /// None until it is used.
    number: Option<u32>,
}

/// Addresses with their numbers; 0 is no address.
#[derive(Debug)]
struct Near(Box<[(usize, u32); 256]>);

impl Default for Near {
    fn default() -> Self {
        Self(Box::new([(0, 0); 256]))
    }
}

impl Near {
    #[inline]
    fn place(&mut self, address: usize) -> &mut (usize, u32) {
        // Texts lie at multiples of 8 or 16.
        &mut self.0[(address >> 4 ^ address >> 12) % 256]
    }
}

/// Marks of the texts seen lately.
#[derive(Debug)]
struct Repeats {
    marks: Box<[u64; 1024]>,
}

impl Dictionary {
    /// The most words: as many as a table of names holds.
    pub const WORDS_MAX: usize = Names::LIMIT;
    /// The most bytes of text.
    pub const BYTES_MAX: usize = 4 << 20;
    /// The longest word, in bytes.
    pub const WORD_MAX: usize = 1_024;

    /// An empty one, for timelines that are packed as they come from the recorder: texts of attributes are words where the
    /// recorder has their name, else they are written out.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one, for a recording: texts of attributes become words when they come again, which takes a hash of each.
    #[must_use]
    pub fn with_repeats() -> Self {
        let repeats = Repeats { marks: Box::new([0; 1024]) };
        Self { repeats: Some(repeats), ..Self::default() }
    }

    /// The words by number: what [`unpack`](super::unpack) takes. A reader's list stays as it is when more words come.
    #[must_use]
    pub fn words(&self) -> Arc<Vec<Arc<str>>> {
        Arc::clone(&self.words)
    }

    /// Gets to know the names that were interned since the last time, so that attributes with such a name as value need
    /// not write it out.
    pub fn follow(&mut self, names: &Names) {
        for text in names.since(self.followed) {
            self.followed += 1;
            self.by_address.entry(address(&text)).or_insert(Known { text, number: None });
        }
    }

    /// The number of a word, by its text.
    pub(crate) fn number(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
    }

    /// The number of a name. It is entered when it is new.
    #[inline]
    pub(super) fn name(&mut self, text: &Arc<str>) -> Option<u32> {
        let (near, number) = *self.near.place(address(text));
        if near == address(text) { Some(number) } else { self.look_up(text) }
    }

    /// The number of an attribute's text, where it is a word.
    #[inline]
    pub(super) fn text(&mut self, text: &Arc<str>) -> Option<u32> {
        let (near, number) = *self.near.place(address(text));
        if near == address(text) { Some(number) } else { self.look_up_text(text) }
    }

    fn look_up(&mut self, text: &Arc<str>) -> Option<u32> {
        let number = self.find(text)?;
        // Only an address that is held stays that of this text.
        if self.by_address.contains_key(&address(text)) {
            *self.near.place(address(text)) = (address(text), number);
        }
        Some(number)
    }

    fn find(&mut self, text: &Arc<str>) -> Option<u32> {
        match self.by_address.get_mut(&address(text)) {
            Some(Known { number: Some(number), .. }) => return Some(*number),
            Some(Known { number: None, .. }) => {
                let number = self.enter(text)?;
                if let Some(known) = self.by_address.get_mut(&address(text)) {
                    known.number = Some(number);
                }
                return Some(number);
            }
            None => {}
        }
        if let Some(number) = self.by_text.get(text) {
            return Some(*number);
        }
        let number = self.enter(text)?;
        self.by_address.insert(address(text), Known { text: Arc::clone(text), number: Some(number) });
        Some(number)
    }

    fn look_up_text(&mut self, text: &Arc<str>) -> Option<u32> {
        if self.by_address.contains_key(&address(text)) {
            return self.look_up(text);
        }
        let repeats = self.repeats.as_mut()?;
        if let Some(number) = self.by_text.get(text) {
            return Some(*number);
        }
        if text.len() > REPEAT_MAX || !repeats.again(text) {
            return None;
        }
        self.look_up(text)
    }

    fn enter(&mut self, text: &Arc<str>) -> Option<u32> {
        if let Some(number) = self.by_text.get(text) {
            return Some(*number);
        }
        let room = self.words.len() < Self::WORDS_MAX && self.bytes + text.len() <= Self::BYTES_MAX;
        if !room || text.len() > Self::WORD_MAX {
            return None;
        }
        let number = u32::try_from(self.words.len()).ok()?;
        self.bytes += text.len();
        // Copied only while somebody unpacks, and only while names are new.
        Arc::make_mut(&mut self.words).push(Arc::clone(text));
        self.by_text.insert(Arc::clone(text), number);
        Some(number)
    }
}

/// The longest text of an attribute that becomes a word when it comes again, in bytes.
const REPEAT_MAX: usize = 128;

impl Repeats {
    /// Whether this text was seen lately.
    fn again(&mut self, text: &str) -> bool {
        // The same in each run, so that a recording is. Texts that were made to collide are written out: no harm.
        let mark = BuildHasherDefault::<Cheap>::default().hash_one(text);
        let place = &mut self.marks[mark as usize % 1024];
        std::mem::replace(place, mark) == mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_its_number_however_it_comes() {
        let names = Names::new();
        let mut dictionary = Dictionary::new();
        let (cart, price) = (names.get(names.intern("cart")), names.get(names.intern("price")));
        dictionary.follow(&names);
        assert!(dictionary.words().is_empty(), "what nobody used takes no number");
        assert_eq!(
            (dictionary.name(&price), dictionary.name(&cart), dictionary.name(&price)),
            (Some(0), Some(1), Some(0))
        );
        assert_eq!(dictionary.name(&"cart".into()), Some(1));
        assert_eq!(dictionary.name(&"new".into()), Some(2));
        let late = names.get(names.intern("late"));
        assert_eq!((dictionary.text(&late), dictionary.text(&"cart".into())), (None, None));
        dictionary.follow(&names);
        assert_eq!((dictionary.text(&late), dictionary.text(&cart)), (Some(3), Some(1)));
        assert_eq!(dictionary.words().iter().map(|word| &**word).collect::<Vec<_>>(), ["price", "cart", "new", "late"]);
    }

    #[test]
    fn in_a_recording_texts_that_come_again_are_words() {
        let mut dictionary = Dictionary::with_repeats();
        let agent = || Arc::from("shop-app/3.1");
        assert_eq!((dictionary.text(&agent()), dictionary.text(&agent())), (None, Some(0)));
        assert_eq!(dictionary.text(&agent()), Some(0));
        let long: Arc<str> = "x".repeat(REPEAT_MAX + 1).into();
        assert_eq!((dictionary.text(&long), dictionary.text(&long)), (None, None));
    }

    #[test]
    fn it_is_bounded_in_words_and_in_bytes() {
        let mut dictionary = Dictionary::new();
        let numbers = (0..Dictionary::WORDS_MAX + 9).filter_map(|n| dictionary.name(&n.to_string().into())).count();
        assert_eq!((numbers, dictionary.words().len()), (Dictionary::WORDS_MAX, Dictionary::WORDS_MAX));
        assert_eq!(dictionary.name(&"7".into()), Some(7), "what is in it is found");
        let mut dictionary = Dictionary::new();
        assert_eq!(dictionary.name(&"x".repeat(Dictionary::WORD_MAX + 1).into()), None);
        let long = |n: usize| Arc::from(format!("{n:0width$}", width = Dictionary::WORD_MAX));
        assert_eq!((0..9_000).filter_map(|n| dictionary.name(&long(n))).count(), 4_096);
    }
}
