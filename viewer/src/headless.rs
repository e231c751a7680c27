//! The viewer without a terminal: batches and keys in, the screen as text out. For tests, recordings and manuals.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use zerver_telemetry::clock::Clock;

use crate::arrival::{Arrival, Link};
use crate::draw::draw;
use crate::engine::Engine;
use crate::ingest::Ingest;
use crate::keys::Key;
use crate::model::{Effect, Model, Msg};
use crate::options::Options;
use crate::row::Row;
use crate::source::{Batch, Source};
use crate::stop::Stop;
use crate::update::{requests, update};

/// A viewer whose screen is a text. Comparisons are done at once, on the caller's thread.
#[derive(Debug)]
pub struct Headless {
    model: Model,
    engine: Engine,
    left: bool,
    copied: Option<String>,
}

impl Headless {
    /// A viewer of `source` (as the header calls it) on a screen of `width` × `height` cells, not yet connected.
    #[must_use]
    pub fn new(source: &str, options: &Options, engine: Engine, (width, height): (u16, u16)) -> Self {
        Self { model: start(source, options, (width, height)), engine, left: false, copied: None }
    }

    /// Takes one poll's answer as a live source would, at the moment `now_unix_ns` of the viewer's clock.
    ///
    /// Timelines that are not consistent are counted as lost.
    pub fn batch(&mut self, batch: Batch, now_unix_ns: u64) {
        let (good, bad): (Vec<_>, Vec<_>) = batch.timelines.into_iter().partition(|t| t.check().is_ok());
        let rows = good.into_iter().map(Row::new).collect();
        let Batch { gateway, counters, .. } = batch;
        self.send(Msg::Link(Link::Live));
        self.send(Msg::Arrival(Arrival { gateway, counters, rows, unreadable: bad.len() as u64 }));
        self.send(Msg::Refresh { now_unix_ns });
    }

    /// Starts to read a source on a thread of its own, as [`crate::run`] does. Dropping the answer ends the thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn attach(&self, source: Source) -> std::io::Result<Attached> {
        let clock = Clock::real();
        let (out, messages) = sync_channel(1);
        let stop = Arc::new(Stop::default());
        let ingest = Ingest { clock: clock.clone(), out, stop: Arc::clone(&stop) };
        std::thread::Builder::new().name("viewer-source".into()).spawn(move || ingest.run(source))?;
        Ok(Attached { messages, stop, clock })
    }

    /// Takes a failed attempt to reach the source.
    pub fn no_answer(&mut self, attempt: u32, error: &str, next_unix_ns: u64) {
        self.send(Msg::Link(Link::Retrying { attempt, error: error.to_owned(), next_unix_ns }));
    }

    /// Presses keys: `j`, `G`, `enter`, `esc`, `tab`, `ctrl-d`, `space`, …, parted by blanks; unknown names are
    /// typed letter by letter.
    pub fn keys(&mut self, keys: &str) {
        for name in keys.split_whitespace() {
            match Key::parse(name) {
                Some(key) => self.send(Msg::Key(key)),
                None => self.type_text(name),
            }
        }
    }

    /// Types a text, letter by letter.
    pub fn type_text(&mut self, text: &str) {
        for c in text.chars() {
            self.send(Msg::Key(Key::Char(c)));
        }
    }

    /// Clicks at a cell.
    pub fn click(&mut self, x: u16, y: u16) {
        self.send(Msg::Click { x, y });
    }

    /// Turns the wheel by one notch.
    pub fn scroll(&mut self, down: bool) {
        self.send(Msg::Scroll { down });
    }

    /// Changes the size of the screen.
    pub fn resize(&mut self, width: u16, height: u16) {
        self.send(Msg::Resize(width, height));
    }

    /// True once a key has asked to leave.
    #[must_use]
    pub const fn left(&self) -> bool {
        self.left
    }

    /// What was last put into the clipboard.
    #[must_use]
    pub fn copied(&self) -> Option<&str> {
        self.copied.as_deref()
    }

    /// The screen, one line for each row, without the blanks at the ends of lines.
    #[must_use]
    pub fn text(&self) -> String {
        let (width, height) = self.model.size;
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        draw(&self.model, &mut buffer);
        let mut out = String::new();
        for y in 0..height {
            let mut line = String::new();
            let mut x = 0;
            while x < width {
                let symbol = buffer.cell((x, y)).map_or(" ", |cell| cell.symbol());
                line.push_str(symbol);
                // The cell behind a wide character belongs to it.
                x += u16::try_from(unicode_width::UnicodeWidthStr::width(symbol)).unwrap_or(1).max(1);
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    fn send(&mut self, msg: Msg) {
        let mut effects = update(&mut self.model, msg);
        while let Some(effect) = effects.pop() {
            match effect {
                Effect::Compare(job) => {
                    let comparison = std::sync::Arc::new(job.run(&self.engine));
                    let answer = Msg::Compared { generation: job.generation, comparison };
                    effects.extend(update(&mut self.model, answer));
                }
                Effect::Quit => self.left = true,
                Effect::Copy(text) => self.copied = Some(text),
                Effect::Mouse(_) | Effect::Redraw => {}
            }
        }
    }
}

/// A source that is being read for a [`Headless`].
#[derive(Debug)]
pub struct Attached {
    messages: Receiver<Msg>,
    stop: Arc<Stop>,
    clock: Clock,
}

impl Attached {
    /// Waits for the source's next word and hands it to the viewer; false when the source has ended and all is said.
    pub fn next(&self, viewer: &mut Headless) -> bool {
        let Ok(msg) = self.messages.recv() else { return false };
        viewer.send(msg);
        viewer.send(Msg::Refresh { now_unix_ns: self.clock.unix_ns(self.clock.now()) });
        true
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.stop.set();
    }
}

/// The model at the start, with the filter that was asked for.
pub(crate) fn start(source: &str, options: &Options, size: (u16, u16)) -> Model {
    let mut model = Model::new(source.to_owned(), options, size);
    if let Some(filter) = &options.filter {
        requests::set_filter(&mut model, filter);
    }
    model
}
