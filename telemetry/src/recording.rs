//! Recordings: timelines in a file, one JSON object per line, to be opened elsewhere or later.
//!
//! The first line is a header: `{"zrec":1,"zerver":"0.1.0","gateway":"gw-1","written_unix_ns":…}`. The form is
//! documented in `docs/timeline.md`.

use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};

use crate::timeline::{FORMAT_VERSION, Timeline};

/// The first line of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the form; see [`FORMAT_VERSION`].
    pub zrec: u32,
    /// The version of zerver that wrote it.
    #[serde(default)]
    pub zerver: String,
    /// The gateway it was taken from.
    #[serde(default)]
    pub gateway: String,
    /// When it was written, nanoseconds since the Unix epoch.
    #[serde(default)]
    pub written_unix_ns: u64,
}

impl Header {
    /// The header of a recording written by this build.
    #[must_use]
    pub fn new(gateway: &str, written_unix_ns: u64) -> Self {
        let zerver = env!("CARGO_PKG_VERSION").to_owned();
        Self { zrec: FORMAT_VERSION, zerver, gateway: gateway.to_owned(), written_unix_ns }
    }
}

/// Writes a recording. Lines are written one by one: give it a buffered sink.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a recording.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn new(out: W, header: &Header) -> io::Result<Self> {
        let mut writer = Self { out, line: Vec::new() };
        writer.put(header)?;
        Ok(writer)
    }

    /// Adds a timeline.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn write(&mut self, timeline: &Timeline) -> io::Result<()> {
        self.put(timeline)
    }

    /// Flushes, and gives the sink back.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn put(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)?;
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }
}

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
    #[error("this recording has form {0}; this build reads up to {FORMAT_VERSION}")]
    Newer(u32),
    /// A line in it is damaged.
    #[error("line {line} of the recording: {why}")]
    Line {
        /// Counted from 1, the header included.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// Reads a recording, timeline by timeline.
///
/// A last line without its end that is not a timeline was cut off while it was written; it is left out, and
/// [`Reader::torn`] says so. Every timeline is checked ([`Timeline::check`]).
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    header: Header,
    line: u64,
    torn: bool,
    done: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When the source fails, or does not begin with the header of a recording this build can read.
    pub fn new(mut source: R) -> Result<Self, ReadError> {
        let first = next_line(&mut source)?;
        let header: Header = serde_json::from_slice(&first).map_err(|_| ReadError::NoHeader)?;
        if header.zrec > FORMAT_VERSION {
            return Err(ReadError::Newer(header.zrec));
        }
        Ok(Self { source, header, line: 1, torn: false, done: false })
    }

    /// What the first line says.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the last line was cut off. Known once the end was reached.
    #[must_use]
    pub fn torn(&self) -> bool {
        self.torn
    }

    fn read(&mut self) -> Result<Option<Timeline>, ReadError> {
        loop {
            let line = next_line(&mut self.source)?;
            if line.is_empty() {
                return Ok(None);
            }
            self.line += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let timeline = serde_json::from_slice::<Timeline>(&line)
                .map_err(|error| error.to_string())
                .and_then(|timeline| timeline.check().map(|()| timeline));
            return match timeline {
                Ok(timeline) => Ok(Some(timeline)),
                Err(_) if !line.ends_with(b"\n") && (line.len() as u64) < LINE_MAX => {
                    self.torn = true;
                    Ok(None)
                }
                Err(why) => Err(ReadError::Line { line: self.line, why }),
            };
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
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

/// A line with its end, cut at [`LINE_MAX`]; empty at the end of the source.
fn next_line(source: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    source.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(timelines: u64) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), &Header::new("gw-1", 5)).expect("a vector takes all");
        for seq in 1..=timelines {
            let timeline = Timeline { seq, ..crate::timeline::sample() };
            writer.write(&timeline).expect("a vector takes all");
        }
        writer.finish().expect("a vector takes all")
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = recording(3);
        assert!(bytes.starts_with(br#"{"zrec":1,"zerver":""#));
        let mut reader = Reader::new(bytes.as_slice()).unwrap();
        assert_eq!((reader.header().gateway.as_str(), reader.header().written_unix_ns), ("gw-1", 5));
        let read: Vec<Timeline> = reader.by_ref().map(Result::unwrap).collect();
        assert_eq!(read.iter().map(|t| t.seq).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(read[0].nodes, crate::timeline::sample().nodes);
        assert!(!reader.torn());
    }

    #[test]
    fn cut_off_anywhere_it_reads_what_is_whole() {
        let bytes = recording(2);
        let ends: Vec<usize> = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(n, _)| n + 1).collect();
        for cut in (ends[0]..bytes.len()).step_by(37).chain([ends[1], ends[2]]) {
            let mut reader = Reader::new(&bytes[..cut]).unwrap();
            let read = reader.by_ref().inspect(|timeline| assert!(timeline.is_ok(), "a cut is no error")).count();
            // A line that lacks only its end is whole.
            let whole = ends[1..].iter().filter(|end| **end <= cut + 1).count();
            assert_eq!(read, whole, "cut at {cut}");
            assert_eq!(reader.torn(), !ends.contains(&cut) && !ends.contains(&(cut + 1)), "cut at {cut}");
        }
    }

    #[test]
    fn damage_is_named_with_its_line() {
        let text = String::from_utf8(recording(3)).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines[2] = "{\"seq\":2}";
        let damaged = lines.join("\n") + "\n";
        let results: Vec<_> = Reader::new(damaged.as_bytes()).unwrap().collect();
        assert_eq!(results.len(), 2, "it ends at the damage");
        let error = results[1].as_ref().unwrap_err().to_string();
        assert!(error.starts_with("line 3 of the recording: "), "{error}");
        // A timeline whose states do not tile is damage too.
        let untiled = text.replace("\"latency_ns\":48200000", "\"latency_ns\":48200001");
        assert!(Reader::new(untiled.as_bytes()).unwrap().next().unwrap().is_err());
    }

    #[test]
    fn other_files_are_refused() {
        for (bytes, expected) in [
            (&b""[..], "not a recording"),
            (b"{\"seq\":1}\n", "not a recording"),
            (b"\x7fELF", "not a recording"),
            (b"{\"zrec\":2}\n", "this recording has form 2"),
        ] {
            let error = Reader::new(bytes).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
