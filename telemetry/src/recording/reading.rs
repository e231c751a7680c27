//! Reading a recording, of either form.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use super::frame::{self, Next, TIMELINE, WORDS};
use super::header::{FORM, FORM_LINES, Header};
use crate::packed::{read_words, unpack};
use crate::timeline::Timeline;

/// The longest line that is read, in bytes. A logbook at its bound makes about 150 KiB.
const LINE_MAX: u64 = 16 << 20;

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source failed.
    #[error("failed to read the recording: {0}")]
    Io(#[from] io::Error),
    /// The first line is not a recording's header.
    #[error("not a recording: the first line has no `zrec` header")]
    NoHeader,
    /// It was written by a later zerver.
    #[error("this recording has form {0}; this build reads up to {FORM}")]
    Newer(u32),
    /// A line in it is damaged.
    #[error("line {line} of the recording: {why}")]
    Line {
        /// Counted from 1, the header included.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A frame in it is damaged.
    #[error("the frame at byte {at} of the recording: {why}")]
    Frame {
        /// Where it begins, counted from 0.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// Reads a recording, timeline by timeline.
///
/// A last timeline that was cut off while it was written is left out, and [`Reader::torn`] says so. Every timeline is checked
/// ([`Timeline::check`]). Whatever a file holds, memory is taken for what is in it.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    header: Header,
    line: u64,
    /// How many bytes were read.
    at: u64,
    words: Vec<Arc<str>>,
    held: Vec<u8>,
    past_damage: bool,
    torn: bool,
    done: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When the source fails, or does not begin with the header of a recording this build can read.
    pub fn new(mut source: R) -> Result<Self, ReadError> {
        let mut first = Vec::new();
        next_line(&mut source, &mut first)?;
        let header: Header = serde_json::from_slice(&first).map_err(|_| ReadError::NoHeader)?;
        if header.zrec > FORM {
            return Err(ReadError::Newer(header.zrec));
        }
        Ok(Self {
            source,
            header,
            line: 1,
            at: first.len() as u64,
            words: Vec::new(),
            held: first,
            past_damage: false,
            torn: false,
            done: false,
        })
    }

    /// Goes on after damage where the next timeline can be found; else the first error is the last thing that is read.
    #[must_use]
    pub fn past_damage(self) -> Self {
        Self { past_damage: true, ..self }
    }

    /// What the first line says.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the end was cut off. Known once the end was reached.
    #[must_use]
    pub fn torn(&self) -> bool {
        self.torn
    }

    fn read(&mut self) -> Result<Option<Timeline>, ReadError> {
        if self.header.zrec <= FORM_LINES { self.read_line() } else { self.read_frame() }
    }

    fn read_line(&mut self) -> Result<Option<Timeline>, ReadError> {
        loop {
            next_line(&mut self.source, &mut self.held)?;
            let line = &self.held;
            if line.is_empty() {
                return Ok(None);
            }
            self.line += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            return match serde_json::from_slice(line).map_err(|error| error.to_string()).and_then(checked) {
                Ok(timeline) => Ok(Some(timeline)),
                Err(_) if !line.ends_with(b"\n") && (line.len() as u64) < LINE_MAX => {
                    self.torn = true;
                    Ok(None)
                }
                Err(why) => Err(ReadError::Line { line: self.line, why }),
            };
        }
    }

    fn read_frame(&mut self) -> Result<Option<Timeline>, ReadError> {
        loop {
            let at = self.at;
            let damaged = |why: String| ReadError::Frame { at, why };
            match frame::next(&mut self.source, &mut self.held, &mut self.at)? {
                Next::End => return Ok(None),
                Next::Torn => {
                    self.torn = true;
                    return Ok(None);
                }
                Next::Damaged { what, passed } => {
                    self.done |= !passed;
                    return Err(damaged(what.to_owned()));
                }
                Next::Frame(TIMELINE) => {
                    let unpacked = unpack(&self.held, &self.words).map_err(|error| error.to_string());
                    return unpacked.and_then(checked).map(Some).map_err(damaged);
                }
                Next::Frame(WORDS) => {
                    read_words(&self.held, &mut self.words).map_err(|error| damaged(error.to_string()))?;
                }
                // Something that a later zerver adds.
                Next::Frame(_) => {}
            }
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Timeline, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.read().transpose();
        self.done |= match &next {
            Some(Ok(_)) => false,
            Some(Err(ReadError::Io(_))) | None => true,
            Some(Err(_)) => !self.past_damage,
        };
        next
    }
}

fn checked(timeline: Timeline) -> Result<Timeline, String> {
    timeline.check().map(|()| timeline)
}

/// A line with its end, cut at [`LINE_MAX`]; empty at the end of the source.
fn next_line(source: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<()> {
    line.clear();
    source.by_ref().take(LINE_MAX).read_until(b'\n', line).map(drop)
}
