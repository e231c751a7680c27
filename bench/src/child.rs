//! A server in a process of its own: started, asked what it allocated, and ended with its owner.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::serve::{COUNT, COUNTED};

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its process.
    pub(crate) pid: u32,
    process: Process,
    talk: Option<(ChildStdin, BufReader<ChildStdout>)>,
}

/// A process that does not outlive its owner.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody left to tell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts this program as `serve <words>`.
    ///
    /// # Errors
    /// When it does not start, with what it said.
    pub(crate) fn own(words: &[&str]) -> Result<Self, Box<dyn Error>> {
        Self::of(&std::env::current_exe()?, words)
    }

    /// Starts another build of this program as `serve <words>`.
    ///
    /// # Errors
    /// When it does not start, with what it said.
    pub(crate) fn of(program: &Path, words: &[&str]) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(program);
        command.arg("serve").args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process(command.spawn()?);
        let (to, from) = (process.0.stdin.take(), process.0.stdout.take());
        let (Some(to), Some(from)) = (to, from) else { return Err("a child without its pipes".into()) };
        let mut talk = (to, BufReader::new(from));
        let line = read(&mut talk.1)?;
        let address = line.strip_prefix("ready ").ok_or_else(|| format!("`serve {words:?}` said `{line}`"))?.parse()?;
        Ok(Self { address, pid: process.0.id(), process, talk: Some(talk) })
    }

    /// Starts another program, which will listen at `address`.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn foreign(command: &mut Command, address: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let process = Process(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        Ok(Self { address, pid: process.0.id(), process, talk: None })
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.process.0.try_wait(), Ok(None))
    }

    /// Begins counting its allocations. Does nothing for a foreign program.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn start_counting(&mut self) -> Result<(), Box<dyn Error>> {
        self.ask(COUNT).map(|_| ())
    }

    /// Ends counting: allocations and bytes; none for a foreign program.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn stop_counting(&mut self) -> Result<Option<(f64, f64)>, Box<dyn Error>> {
        let Some(line) = self.ask(COUNTED)? else { return Ok(None) };
        let (calls, bytes) = line.split_once(' ').ok_or("two numbers were expected")?;
        Ok(Some((calls.parse()?, bytes.parse()?)))
    }

    fn ask(&mut self, word: &str) -> Result<Option<String>, Box<dyn Error>> {
        let Some((to, from)) = &mut self.talk else { return Ok(None) };
        writeln!(to, "{word}")?;
        to.flush()?;
        read(from).map(Some)
    }
}

fn read(from: &mut BufReader<ChildStdout>) -> Result<String, Box<dyn Error>> {
    let mut line = String::new();
    match from.read_line(&mut line)? {
        0 => Err("a server of the benchmark ended by itself".into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}
