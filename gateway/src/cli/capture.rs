//! `zerver capture`: the kept timelines of a running gateway as a file, for `zerver view` and `zerver compare` elsewhere or later.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use zerver_telemetry::exemplars::{Retained, failed};
use zerver_telemetry::recording::{Header, Writer};
use zerver_telemetry::timeline::{FORMAT_VERSION, Timeline};

use super::ask::Token;
use super::{ask, out};

/// What `zerver capture` takes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The admin address of the running gateway.
    #[arg(default_value = "127.0.0.1:9901")]
    source: String,
    /// The file to write; `-` is standard output.
    #[arg(short, long, default_value = "capture.zrec")]
    output: PathBuf,
    /// Only this route's requests.
    #[arg(long)]
    route: Option<String>,
    /// Only requests that took at least so many milliseconds.
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    slow_ms: Option<f64>,
    /// Only requests that failed: an error, a timeout, a 5xx.
    #[arg(long)]
    errors: bool,
    /// At most so many: the latest.
    #[arg(long)]
    limit: Option<NonZeroUsize>,
    /// Write lines of JSON instead, ten times as long, for text tools.
    #[arg(long)]
    json: bool,
    /// Overwrite the file if there is one.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    token: Token,
}

fn milliseconds(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no number of milliseconds");
    text.parse().ok().filter(|ms: &f64| ms.is_finite() && *ms >= 0.0).ok_or_else(wrong)
}

/// Timelines asked for at once: with 150 KiB for the longest, an answer stays within what is read.
const PAGE: usize = 256;

/// An answer of `GET /timelines`.
#[derive(Deserialize)]
struct Answer {
    v: u32,
    gateway: Gateway,
    retained: Retained,
    next: u64,
    timelines: Vec<Timeline>,
}

#[derive(Deserialize)]
struct Gateway {
    name: String,
    now_unix_ns: u64,
}

pub(super) fn main(arguments: &Arguments) -> ExitCode {
    match capture(arguments) {
        Ok(Written { timelines, bytes }) => {
            let to = if to_stdout(&arguments.output) {
                "standard output".to_owned()
            } else {
                arguments.output.display().to_string()
            };
            out::note(format!("wrote {timelines} timelines, {bytes} bytes, to {to}"));
            ExitCode::SUCCESS
        }
        Err(error) => out::fail(1, format!("error: {error}")),
    }
}

/// What was written.
struct Written {
    timelines: u64,
    bytes: u64,
}

fn to_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn capture(arguments: &Arguments) -> Result<Written, String> {
    let path = &arguments.output;
    let exists = || format!("{} is there already; --force overwrites it, -o names another file", path.display());
    if to_stdout(path) {
        if !arguments.json && io::stdout().is_terminal() {
            return Err("a capture is no text for a terminal; give a file with -o, or --json".to_owned());
        }
    } else if !arguments.force && path.exists() {
        return Err(exists());
    }
    // Nothing is made before the gateway has answered.
    let mut pages = Pages::new(arguments)?;
    if to_stdout(path) {
        return write(io::stdout().lock(), &mut pages, arguments).map_err(|failure| failure.told("standard output"));
    }
    let mut first = pages.find(arguments)?;
    if first.is_empty() {
        return Err(nothing());
    }
    pages.ahead.append(&mut first);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).create_new(!arguments.force);
    let file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(),
        _ => format!("cannot write {}: {error}", path.display()),
    })?;
    write_file(file, path, &mut pages, arguments)
}

fn nothing() -> String {
    "the gateway keeps no timeline that fits".to_owned()
}

fn write_file(file: File, path: &Path, pages: &mut Pages<'_>, arguments: &Arguments) -> Result<Written, String> {
    write(file, pages, arguments).map_err(|failure| {
        // Half a capture helps nobody, and whatever was there is gone by order.
        let _ = fs::remove_file(path);
        failure.told(&path.display().to_string())
    })
}

/// Why a capture was not written.
enum Failure {
    Asking(String),
    Writing(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Writing(error)
    }
}

impl Failure {
    fn told(self, to: &str) -> String {
        match self {
            Self::Asking(error) => error,
            Self::Writing(error) => format!("cannot write {to}: {error}"),
        }
    }
}

fn write(to: impl Write, pages: &mut Pages<'_>, arguments: &Arguments) -> Result<Written, Failure> {
    let header = Header::new(&pages.gateway.name, pages.gateway.now_unix_ns);
    let header = if arguments.json { header.in_lines() } else { header };
    let mut writer = Writer::new(Counting { to: BufWriter::new(to), bytes: 0 }, &header)?;
    let mut timelines = 0;
    loop {
        let found = pages.find(arguments).map_err(Failure::Asking)?;
        if found.is_empty() {
            break;
        }
        for timeline in &found {
            writer.write(timeline)?;
            timelines += 1;
        }
    }
    if timelines == 0 {
        return Err(Failure::Asking(nothing()));
    }
    let bytes = writer.finish()?.bytes;
    Ok(Written { timelines, bytes })
}

/// The gateway's kept timelines, page by page.
struct Pages<'a> {
    source: &'a str,
    token: &'a Token,
    filter: String,
    gateway: Gateway,
    /// Where the next page begins, and where the last one ends: what comes meanwhile would never end.
    next: u64,
    last: u64,
    /// Found, and not handed out.
    ahead: VecDeque<Timeline>,
}

impl<'a> Pages<'a> {
    fn new(arguments: &'a Arguments) -> Result<Self, String> {
        let mut filter = String::new();
        if let Some(route) = &arguments.route {
            filter.push_str(&format!("&route={}", ask::encode(route)));
        }
        if let Some(ms) = arguments.slow_ms {
            filter.push_str(&format!("&min_ms={ms}"));
        }
        let Arguments { source, token, .. } = arguments;
        let first = page(source, 0, &filter, token)?;
        let mut pages = Self {
            source,
            token,
            filter,
            gateway: first.gateway,
            next: first.next,
            last: first.retained.seen,
            ahead: VecDeque::new(),
        };
        pages.take(first.timelines, arguments);
        Ok(pages)
    }

    /// The next timelines that fit; none at the end. With a limit it is all of them at once.
    fn find(&mut self, arguments: &Arguments) -> Result<VecDeque<Timeline>, String> {
        while self.next < self.last && (self.ahead.is_empty() || arguments.limit.is_some()) {
            let answer = page(self.source, self.next, &self.filter, self.token)?;
            if answer.next <= self.next {
                break;
            }
            self.next = answer.next;
            self.take(answer.timelines, arguments);
        }
        Ok(std::mem::take(&mut self.ahead))
    }

    fn take(&mut self, timelines: Vec<Timeline>, arguments: &Arguments) {
        self.ahead.extend(timelines.into_iter().filter(|timeline| !arguments.errors || failed(timeline)));
        if let Some(limit) = arguments.limit {
            self.ahead.drain(..self.ahead.len().saturating_sub(limit.get()));
        }
    }
}

fn page(source: &str, since: u64, filter: &str, token: &Token) -> Result<Answer, String> {
    let answer: Answer = ask::page(source, &format!("/timelines?since={since}&limit={PAGE}{filter}"), token)?;
    if answer.v > FORMAT_VERSION {
        return Err(format!("{source} gives timelines of form {}; this build reads up to {FORMAT_VERSION}", answer.v));
    }
    Ok(answer)
}

/// Counts what goes through.
struct Counting<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
