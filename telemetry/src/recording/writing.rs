//! Writing a recording.

use std::io::{self, Write};

use serde::Serialize;

use super::frame::{self, TIMELINE, WORDS};
use super::header::{FORM_LINES, Header};
use crate::packed::{Dictionary, fits, pack, write_words};
use crate::timeline::Timeline;

/// Writes a recording, in the form that its header says. Timelines are written one by one: give it a buffered sink.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    /// None for lines.
    dictionary: Option<Dictionary>,
    /// How many of its words are written.
    words: usize,
    packed: Vec<u8>,
    piece: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a recording.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn new(out: W, header: &Header) -> io::Result<Self> {
        let dictionary = (header.zrec != FORM_LINES).then(Dictionary::with_repeats);
        let mut writer = Self { out, dictionary, words: 0, packed: Vec::new(), piece: Vec::new() };
        writer.line(header)?;
        Ok(writer)
    }

    /// Adds a timeline.
    ///
    /// # Errors
    /// When the sink fails, or the timeline is larger than a reader would take: [`PARTS_MAX`](crate::packed::PARTS_MAX) nodes,
    /// states and attributes, 16 MiB.
    pub fn write(&mut self, timeline: &Timeline) -> io::Result<()> {
        let Some(dictionary) = &mut self.dictionary else { return self.line(timeline) };
        self.packed.clear();
        self.piece.clear();
        pack(timeline, dictionary, &mut self.packed);
        // A word is known before it is used.
        let words = dictionary.words();
        if words.len() > self.words {
            let mut new = Vec::new();
            write_words(&words, self.words, &mut new);
            // All words together are a quarter of what a frame holds.
            frame::put(&mut self.piece, WORDS, &new);
            self.words = words.len();
        }
        let fits = fits(timeline) && frame::put(&mut self.piece, TIMELINE, &self.packed);
        self.out.write_all(&self.piece)?;
        if fits {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "a timeline is too large to be read"))
        }
    }

    /// Flushes, and gives the sink back.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.piece.clear();
        serde_json::to_writer(&mut self.piece, value)?;
        self.piece.push(b'\n');
        self.out.write_all(&self.piece)
    }
}
