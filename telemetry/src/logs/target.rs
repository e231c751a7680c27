//! Where lines go: a standard stream or a file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of a file, made where it is not there.
    File(PathBuf),
}

impl Target {
    /// `stdout`, `stderr`, or a path.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "stdout" => Self::Stdout,
            "stderr" => Self::Stderr,
            path => Self::File(path.into()),
        }
    }

    /// Opens it. A standard stream gets a descriptor of its own: writing to it takes no lock that another thread, which may
    /// be stuck in it, could hold.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn open(&self) -> io::Result<File> {
        match self {
            Self::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from),
            Self::Stderr => io::stderr().as_fd().try_clone_to_owned().map(File::from),
            // Lines name clients and what they asked for: not for everybody on the machine.
            Self::File(path) => OpenOptions::new().append(true).create(true).mode(0o640).open(path),
        }
    }

    /// The most bytes of one write. A pipe takes up to 4,096 bytes in one piece (POSIX, `PIPE_BUF`), so lines of several
    /// writers to it do not mix.
    pub(super) const fn piece(&self) -> usize {
        match self {
            Self::Stdout | Self::Stderr => 4_096,
            Self::File(_) => 64 * 1_024,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}
