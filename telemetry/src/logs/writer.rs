//! Writes entries as lines on a thread of its own, behind a bounded queue: whoever logs never waits for a disk or a reader.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use parking_lot::{Condvar, Mutex};

use super::access;
use super::entry::{Entry, Log, Sink};
use super::line;
use super::steps;
use super::target::Target;
use crate::metrics::{Sink as Readings, Source, catalog};

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterSettings {
    /// Entries that may wait (default 8,192).
    pub entries: usize,
    /// Memory that they may take, by estimate (default 16 MiB).
    pub bytes: usize,
}

impl Default for WriterSettings {
    fn default() -> Self {
        Self { entries: 8_192, bytes: 16 << 20 }
    }
}

/// The forms of its lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forms {
    /// Of records.
    pub record: line::Form,
    /// Whether records as text are coloured, for terminals.
    pub colour: bool,
    /// Of requests.
    pub access: access::Form,
}

/// Writes entries to one target. Cloning shares it; [`Writer::stop`] ends it.
///
/// When more waits than may, what comes is lost; what cannot be written is lost too. Both are counted.
#[derive(Clone, Debug)]
pub struct Writer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: ArrayQueue<Entry>,
    bytes: AtomicUsize,
    bytes_max: usize,
    counts: Arc<Counts>,
    stopping: AtomicBool,
    /// What changes between two lines.
    change: Mutex<Change>,
    progress: Mutex<Progress>,
    moved: Condvar,
    thread: OnceLock<Thread>,
}

/// What became of the lines of several writers, by log. Outlives the writers, so that no count falls back.
#[derive(Debug, Default)]
pub struct Counts {
    written: [AtomicU64; 2],
    queue_full: [AtomicU64; 2],
    write_failed: [AtomicU64; 2],
    shutdown: [AtomicU64; 2],
}

impl Counts {
    /// Lines that were lost so far, whatever the cause.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let lost = [&self.queue_full, &self.write_failed, &self.shutdown];
        lost.iter().flat_map(|counts| counts.iter()).map(|count| count.load(Relaxed)).sum()
    }
}

impl Source for Counts {
    fn collect(&self, out: &mut Readings) {
        for log in Log::ALL {
            let read = |counts: &[AtomicU64; 2]| counts[log as usize].load(Relaxed) as f64;
            out.put(catalog::LOG_LINES, &[log.as_str()], read(&self.written));
            for (cause, counts) in
                [("queue_full", &self.queue_full), ("write_failed", &self.write_failed), ("shutdown", &self.shutdown)]
            {
                out.put(catalog::LOG_DROPPED, &[log.as_str(), cause], read(counts));
            }
        }
    }
}

#[derive(Default)]
struct Change {
    out: Option<(Box<dyn Write + Send>, usize)>,
    forms: Option<Forms>,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change").field("out", &self.out.is_some()).field("forms", &self.forms).finish()
    }
}

#[derive(Debug, Default)]
struct Progress {
    /// Flushes asked for, and the last one asked for before the queue was found empty.
    asked: u64,
    done: u64,
    ended: bool,
}

impl Writer {
    /// Opens the target and starts the writer's thread.
    ///
    /// # Errors
    /// When the target cannot be opened, or no thread can be made.
    pub fn open(target: &Target, forms: Forms, settings: WriterSettings, counts: Arc<Counts>) -> io::Result<Self> {
        Self::start(Box::new(target.open()?), target.piece(), forms, settings, counts)
    }

    fn start(
        out: Box<dyn Write + Send>,
        piece: usize,
        forms: Forms,
        settings: WriterSettings,
        counts: Arc<Counts>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: ArrayQueue::new(settings.entries.max(1)),
            bytes: AtomicUsize::new(0),
            bytes_max: settings.bytes,
            counts,
            stopping: AtomicBool::new(false),
            change: Mutex::default(),
            progress: Mutex::default(),
            moved: Condvar::new(),
            thread: OnceLock::new(),
        });
        let mut worker =
            Worker { shared: Arc::clone(&shared), out, piece, forms, lines: String::new(), counts: [0; 2] };
        let thread = thread::Builder::new().name("zerver-log".into()).spawn(move || worker.run())?;
        let _ = shared.thread.set(thread.thread().clone());
        Ok(Self(shared))
    }

    /// From the next line on lines have these forms.
    pub fn form(&self, forms: Forms) {
        self.0.change.lock().forms = Some(forms);
        self.wake();
    }

    /// From the next line on lines go to this target, opened anew: after a file was renamed by `logrotate`.
    ///
    /// # Errors
    /// The operating system's; lines go on to where they went.
    pub fn reopen(&self, target: &Target) -> io::Result<()> {
        let file: File = target.open()?;
        self.0.change.lock().out = Some((Box::new(file), target.piece()));
        self.wake();
        Ok(())
    }

    /// Waits until what was offered by now is written or counted as lost, at most so long. Whether it came to that.
    pub fn flush(&self, deadline: Duration) -> bool {
        let mut progress = self.0.progress.lock();
        progress.asked += 1;
        let mine = progress.asked;
        self.wake();
        self.0.moved.wait_while_for(&mut progress, |progress| progress.done < mine && !progress.ended, deadline);
        progress.done >= mine
    }

    /// Writes what waits, at most so long, and ends. What is left then, and what comes later, is counted as lost; a thread
    /// that is stuck in a write is left behind. Whether all was written.
    pub fn stop(&self, deadline: Duration) -> bool {
        let flushed = self.flush(deadline);
        self.0.stopping.store(true, Relaxed);
        self.wake();
        while let Some(entry) = self.0.queue.pop() {
            self.0.counts.shutdown[entry.log() as usize].fetch_add(entry.lines(), Relaxed);
        }
        flushed
    }

    fn wake(&self) {
        if let Some(thread) = self.0.thread.get() {
            thread.unpark();
        }
    }
}

impl Sink for Writer {
    fn offer(&self, entry: Entry) {
        let shared = &self.0;
        let (log, lines, bytes) = (entry.log() as usize, entry.lines(), entry.bytes());
        if shared.stopping.load(Relaxed) {
            shared.counts.shutdown[log].fetch_add(lines, Relaxed);
            return;
        }
        let waiting = shared.bytes.fetch_add(bytes, Relaxed);
        if waiting.saturating_add(bytes) > shared.bytes_max || shared.queue.push(entry).is_err() {
            shared.bytes.fetch_sub(bytes, Relaxed);
            shared.counts.queue_full[log].fetch_add(lines, Relaxed);
            return;
        }
        self.wake();
    }
}

/// The writer's own side.
struct Worker {
    shared: Arc<Shared>,
    out: Box<dyn Write + Send>,
    piece: usize,
    forms: Forms,
    /// Whole lines that are not written yet, and how many of each log.
    lines: String,
    counts: [u64; 2],
}

/// Tells whoever waits that the thread is gone, whatever made it go.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.progress.lock().ended = true;
        self.0.moved.notify_all();
    }
}

impl Worker {
    fn run(&mut self) {
        let shared = Arc::clone(&self.shared);
        let _end = End(Arc::clone(&shared));
        loop {
            // Read before the queue: what was offered before the flush was asked for is in the queue by now.
            let asked = shared.progress.lock().asked;
            self.change();
            while let Some(entry) = shared.queue.pop() {
                shared.bytes.fetch_sub(entry.bytes(), Relaxed);
                self.add(&entry);
                self.change();
            }
            self.write();
            shared.progress.lock().done = asked;
            shared.moved.notify_all();
            if shared.stopping.load(Relaxed) {
                return;
            }
            if shared.queue.is_empty() && shared.progress.lock().asked == asked {
                thread::park();
            }
        }
    }

    /// Takes up what has changed, after what was said before is written.
    fn change(&mut self) {
        let Some(mut change) = self.shared.change.try_lock() else { return };
        if change.out.is_none() && change.forms.is_none() {
            return;
        }
        let (out, forms) = (change.out.take(), change.forms.take());
        drop(change);
        self.write();
        if let Some((out, piece)) = out {
            (self.out, self.piece) = (out, piece);
        }
        self.forms = forms.unwrap_or(self.forms);
    }

    fn add(&mut self, entry: &Entry) {
        match entry {
            Entry::Record(record) => {
                self.line(Log::Application, |out, forms| line::write(out, record, forms.record, forms.colour));
            }
            Entry::Request(timeline) => self.line(Log::Access, |out, forms| access::write(out, timeline, forms.access)),
            Entry::Steps(timeline) => {
                for record in steps::records(timeline) {
                    self.line(Log::Application, |out, forms| line::write(out, &record, forms.record, forms.colour));
                }
            }
        }
    }

    /// Adds a line; those before it are written first where they would not go in one piece.
    fn line(&mut self, log: Log, write: impl FnOnce(&mut String, Forms)) {
        let before = self.lines.len();
        write(&mut self.lines, self.forms);
        if self.lines.len() > self.piece && before > 0 {
            let this = self.lines.split_off(before);
            self.write();
            self.lines = this;
        }
        self.counts[log as usize] += 1;
    }

    fn write(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let done = write_all(&mut *self.out, self.lines.as_bytes(), &self.shared.stopping);
        let counts = if done.is_ok() { &self.shared.counts.written } else { &self.shared.counts.write_failed };
        for (count, lines) in counts.iter().zip(std::mem::take(&mut self.counts)) {
            count.fetch_add(lines, Relaxed);
        }
        self.lines.clear();
        // A very long line must not hold its memory for ever.
        self.lines.shrink_to(self.piece * 2);
    }
}

/// Writes all of it, also where the stream was made non-blocking by somebody who shares it: then it waits and tries again.
fn write_all(out: &mut dyn Write, mut bytes: &[u8], stopping: &AtomicBool) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && !stopping.load(Relaxed) => {
                thread::park_timeout(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests;
