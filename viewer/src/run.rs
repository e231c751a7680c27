//! The loop: keys and data in, frames out, threads started and ended.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEventKind};
use zerver_telemetry::clock::{Clock, Ticks};

use crate::analysis::Desk;
use crate::arrival::Link;
use crate::engine::Engine;
use crate::headless::start;
use crate::ingest::Ingest;
use crate::keys::Key;
use crate::model::{Effect, Model, Msg};
use crate::options::Options;
use crate::source::Source;
use crate::stop::Stop;
use crate::terminal::Terminal;
use crate::update::update;

/// Frames are at least this far apart.
const FRAME_MIN: Duration = Duration::from_millis(16);
/// Numbers change at most this often, so that they can be read.
const REFRESH: Duration = Duration::from_millis(250);
/// How long the loop waits for a key before it looks at the source and at the stop flag.
const WAIT: Duration = Duration::from_millis(50);
/// Batches between the thread that reads and the one that draws.
const BACKLOG: usize = 64;
/// Keys and mouse moves taken before the next frame.
const EVENTS_MAX: usize = 256;

/// Why the viewer ended other than by a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ViewerError {
    /// Standard output or input is not a terminal.
    #[error("the viewer needs a terminal; `zerver compare` writes text")]
    NotATerminal,
    /// The filter of [`Options::filter`] cannot be read.
    #[error("the filter `{filter}` cannot be read: {reason}")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The terminal failed.
    #[error("the terminal failed: {0}")]
    Terminal(#[from] io::Error),
    /// A thread of the viewer panicked; its message was printed.
    #[error("the viewer's {0} thread panicked")]
    Panicked(&'static str),
}

/// Shows a source in the terminal until a person leaves or [`Options::stop`] is set.
///
/// The first frame is drawn before the source is tried. The source is read on a thread of its own, the comparison runs
/// on another; both end with the viewer, the reading one after at most its network time-out of a few seconds. The
/// terminal is restored on every way out: return, error, and panic of any thread.
///
/// # Errors
/// [`ViewerError`]; a source that does not answer is no error but is shown, and tried again.
pub fn run(source: Source, options: Options, engine: Engine) -> Result<(), ViewerError> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(ViewerError::NotATerminal);
    }
    if let Some(filter) = &options.filter {
        crate::filter::Filter::parse(filter)
            .map_err(|e| ViewerError::Filter { filter: filter.clone(), reason: e.to_string() })?;
    }
    let clock = Clock::real();
    let mut terminal = Terminal::take(options.mouse)?;
    let mut model = start(&source.name(), &options, terminal.size()?);
    model.now_unix_ns = clock.unix_ns(clock.now());
    terminal.draw(&model)?;
    model.dirty = false;

    let (out, messages) = sync_channel(BACKLOG);
    let threads = Threads::start(source, &engine, &clock, &out)?;
    drop(out);
    let mut session = Session { terminal, model, clock, messages, threads, refreshed: Ticks(0), drawn: Ticks(0) };
    session.refreshed = session.clock.now();
    while !options.stop.load(Ordering::Relaxed) {
        if session.turn()? {
            break;
        }
    }
    Ok(())
}

/// The two threads beside the one that draws.
struct Threads {
    stop: Arc<Stop>,
    desk: Arc<Desk>,
    reader: Option<JoinHandle<()>>,
    worker: Option<JoinHandle<()>>,
}

impl Threads {
    fn start(source: Source, engine: &Engine, clock: &Clock, out: &SyncSender<Msg>) -> io::Result<Self> {
        let (stop, desk) = (Arc::new(Stop::default()), Arc::new(Desk::default()));
        let ingest = Ingest { clock: clock.clone(), out: out.clone(), stop: Arc::clone(&stop) };
        let reader = thread::Builder::new().name("viewer-source".into()).spawn(move || ingest.run(source))?;
        let (at, engine, out) = (Arc::clone(&desk), engine.clone(), out.clone());
        let worker = thread::Builder::new().name("viewer-compare".into()).spawn(move || {
            at.work(&engine, |generation, comparison| {
                out.send(Msg::Compared { generation, comparison: Arc::new(comparison) }).is_ok()
            });
        })?;
        Ok(Self { stop, desk, reader: Some(reader), worker: Some(worker) })
    }

    /// Ends the viewer when one of its threads has panicked.
    fn check(&mut self) -> Result<(), ViewerError> {
        for (name, handle) in [("source", &mut self.reader), ("comparison", &mut self.worker)] {
            if handle.as_ref().is_some_and(JoinHandle::is_finished) {
                handle.take().map_or(Ok(()), JoinHandle::join).map_err(|_| ViewerError::Panicked(name))?;
            }
        }
        Ok(())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // They are not waited for: the one that reads may be in the middle of a network time-out.
        self.stop.set();
        self.desk.close();
    }
}

// Fields drop in this order: the terminal is given back first.
struct Session {
    terminal: Terminal,
    model: Model,
    clock: Clock,
    messages: Receiver<Msg>,
    threads: Threads,
    refreshed: Ticks,
    drawn: Ticks,
}

impl Session {
    /// One turn of the loop; answers whether to leave.
    fn turn(&mut self) -> Result<bool, ViewerError> {
        let mut leave = false;
        let mut input = event::poll(self.patience())?;
        for _ in 0..EVENTS_MAX {
            if !input {
                break;
            }
            if let Some(msg) = translate(event::read()?) {
                leave |= self.take(msg)?;
            }
            input = event::poll(Duration::ZERO)?;
        }
        // A source that is faster than the screen does not keep it from being drawn.
        for msg in self.messages.try_iter().take(BACKLOG).collect::<Vec<_>>() {
            leave |= self.take(msg)?;
        }
        self.threads.check()?;
        // Numbers wait for their turn; the first ones do not.
        let first = self.model.stale && self.model.routes.is_empty();
        let due = self.clock.since(self.refreshed) >= REFRESH;
        let news = self.model.stale || self.model.comparison_outdated();
        if first || (due && (news || matches!(self.model.link, Link::Retrying { .. }))) {
            self.refreshed = self.clock.now();
            let now_unix_ns = self.clock.unix_ns(self.refreshed);
            leave |= self.take(Msg::Refresh { now_unix_ns })?;
        }
        if self.model.dirty && self.clock.since(self.drawn) >= FRAME_MIN {
            self.terminal.draw(&self.model)?;
            self.drawn = self.clock.now();
            self.model.dirty = false;
        }
        Ok(leave)
    }

    /// How long to wait for a key: until the next frame may be drawn, or the source is looked at.
    fn patience(&self) -> Duration {
        if self.model.dirty { FRAME_MIN.saturating_sub(self.clock.since(self.drawn)) } else { WAIT }
    }

    fn take(&mut self, msg: Msg) -> Result<bool, ViewerError> {
        if let Msg::Resize(..) = msg {
            self.terminal.forget()?;
        }
        let mut leave = false;
        for effect in update(&mut self.model, msg) {
            match effect {
                Effect::Compare(job) => self.threads.desk.put(job),
                Effect::Mouse(on) => self.terminal.mouse(on)?,
                Effect::Redraw => self.terminal.forget()?,
                Effect::Copy(text) => self.terminal.copy(&text)?,
                Effect::Quit => leave = true,
            }
        }
        Ok(leave)
    }
}

/// What the terminal says, in the viewer's words.
fn translate(event: Event) -> Option<Msg> {
    match event {
        Event::Key(key) => key_of(key).map(Msg::Key),
        Event::Paste(text) => Some(Msg::Paste(text)),
        Event::Resize(width, height) => Some(Msg::Resize(width, height)),
        Event::Mouse(mouse) => match mouse.kind {
            MouseEventKind::Down(MouseButton::Left) => Some(Msg::Click { x: mouse.column, y: mouse.row }),
            MouseEventKind::ScrollDown => Some(Msg::Scroll { down: true }),
            MouseEventKind::ScrollUp => Some(Msg::Scroll { down: false }),
            _ => None,
        },
        Event::FocusGained | Event::FocusLost => None,
    }
}

fn key_of(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release || key.modifiers.contains(KeyModifiers::ALT) {
        return None;
    }
    Some(match key.code {
        KeyCode::Char(c) if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Ctrl(c.to_ascii_lowercase()),
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete => Key::Delete,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terminals_keys_are_translated() {
        let key = |code, modifiers| key_of(KeyEvent::new(code, modifiers));
        assert_eq!(key(KeyCode::Char('C'), KeyModifiers::CONTROL), Some(Key::Ctrl('c')));
        assert_eq!(key(KeyCode::Char('G'), KeyModifiers::SHIFT), Some(Key::Char('G')));
        assert_eq!(key(KeyCode::F(1), KeyModifiers::NONE), None);
        assert_eq!(key(KeyCode::Char('x'), KeyModifiers::ALT), None);
        let mut release = KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE);
        release.kind = KeyEventKind::Release;
        assert_eq!(key_of(release), None);
    }

    #[test]
    fn without_a_terminal_it_says_so() {
        // Test runners have no terminal on both ends; where one has, nothing may be taken from it.
        if io::stdout().is_terminal() && io::stdin().is_terminal() {
            return;
        }
        let result = run(Source::parse("x.zrec", None), Options::default(), crate::sample::engine());
        assert!(matches!(result, Err(ViewerError::NotATerminal)));
    }
}
