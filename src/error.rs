//! The one error type: a documented exit code and one line of text.
//!
//! An operating error says where, what was found, what was expected and what to try. Broken
//! invariants are asserts, not errors.

use std::path::Path;
use std::{fmt, io};

use rustix::io::Errno;

use crate::human::in_a_line;

/// The documented exit codes (README, "Exit codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Wrong command line or job file.
    Usage = 2,
    /// Wrong launch or environment (several tasks, each alone in its world).
    Launch = 3,
    /// Input data are missing, malformed or damaged.
    Input = 4,
    /// The file system refused or failed.
    Storage = 5,
    /// A checkpoint, model or run directory can't be used.
    RunDirectory = 6,
    /// NaN, infinity or diverged replicas.
    Numeric = 7,
    /// Another rank was lost or has stalled.
    Peer = 8,
    /// Memory, threads or file handles ran out.
    Resources = 9,
    /// A broken invariant of the program itself.
    Bug = 70,
    /// Stopped early, on request, with a good checkpoint.
    Stopped = 75,
}

impl Exit {
    /// The exit code that has this number, `Bug` for any other number.
    pub(crate) fn from_code(code: u8) -> Exit {
        use Exit::*;
        [Usage, Launch, Input, Storage, RunDirectory, Numeric, Peer, Resources, Stopped]
            .into_iter()
            .find(|exit| *exit as u8 == code)
            .unwrap_or(Bug)
    }
}

/// An operating error: its exit code and its one line of text, without the leading `reelscale: `.
#[derive(Clone, Debug)]
pub struct Error {
    pub exit: Exit,
    pub text: String,
    /// True once every rank holds this same error, so that one of them alone prints it.
    pub agreed: bool,
    /// The rank that had it, where ranks have agreed on it.
    pub rank: Option<usize>,
}

/// The result of everything that reads, writes or is told something by a user.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// `text` may hold what others have named: it stays one line, and no command to a terminal.
    pub fn new(exit: Exit, text: impl Into<String>) -> Error {
        Error { exit, text: in_a_line(&text.into()), agreed: false, rank: None }
    }

    /// Exit 2: command line or job file.
    pub fn usage(text: impl Into<String>) -> Error {
        Error::new(Exit::Usage, text)
    }

    /// Exit 4: input data.
    pub fn input(text: impl Into<String>) -> Error {
        Error::new(Exit::Input, text)
    }

    /// Exit 5: storage.
    pub fn storage(text: impl Into<String>) -> Error {
        Error::new(Exit::Storage, text)
    }

    /// What the file system has refused at `path`: exit 9 where file handles or memory are used up,
    /// else exit 5.
    pub(crate) fn file(path: &Path, error: &io::Error) -> Error {
        let text = format!("{}: {error}", path.display());
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE) => {
                Error::new(Exit::Resources, text).hint("ulimit -n 1024")
            }
            Some(Errno::NOMEM) => Error::new(Exit::Resources, text),
            _ => Error::storage(text),
        }
    }

    /// Exit 6: checkpoint, model or run directory.
    pub(crate) fn run_directory(text: impl Into<String>) -> Error {
        Error::new(Exit::RunDirectory, text)
    }

    /// Exit 75: told to stop.
    pub(crate) fn stopped() -> Error {
        Error::new(Exit::Stopped, "told to stop")
    }

    /// Whether this is no fault, but a stop that was asked for.
    pub fn is_stop(&self) -> bool {
        self.exit == Exit::Stopped
    }

    /// Appends what to try.
    pub fn hint(mut self, text: impl fmt::Display) -> Error {
        self.text = format!("{}; hint: {}", self.text, in_a_line(&text.to_string()));
        self
    }

    /// Joins the errors of many places into one of the first one's exit code, a line each.
    pub(crate) fn all(errors: Vec<Error>) -> Result<()> {
        let Some(first) = errors.first() else { return Ok(()) };
        let lines: Vec<&str> = errors.iter().map(|error| error.text.as_str()).collect();
        Err(Error { text: lines.join("\n  "), ..Error::new(first.exit, "") })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
