//! Standard output of commands: what becomes of it where nobody takes it.
//!
//! The only place that writes there. `println!` would panic.

use std::io;

use rustix::io::{Errno, write};
use rustix::stdio::stdout;

use crate::comm::Comm;
use crate::error::{Error, Exit, Result};
use crate::human::in_lines;
use crate::tell;

/// What a text is to whoever gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// To look at: a reader who has seen enough may go (`| head`).
    Reading,
    /// A result: all of it has to arrive.
    Keeping,
}

/// How a command prints what it has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Rank 0 prints what `text` makes. Every rank calls it.
///
/// # Errors
/// Exit 5, common to all ranks: it doesn't arrive.
pub(crate) fn print(comm: &Comm, purpose: For, text: impl FnOnce() -> String) -> Result<()> {
    comm.agree(if comm.is_root() { print_here(purpose, &text()) } else { Ok(()) })
}

/// Prints on this rank.
///
/// # Errors
/// Exit 5: it doesn't arrive.
pub(crate) fn print_here(purpose: For, text: &str) -> Result<()> {
    let written = match purpose {
        // Names of files may be anything.
        For::Reading => write_all(in_lines(text).as_bytes()),
        For::Keeping => write_all(text.as_bytes()),
    };
    arrived(purpose, written)
}

/// What has become of a text that was printed.
///
/// # Errors
/// Exit 5: it doesn't arrive.
pub(crate) fn arrived(purpose: For, outcome: io::Result<()>) -> Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe && purpose == For::Reading => {
            Ok(())
        }
        outcome => {
            outcome.map_err(|error| Error::new(Exit::Storage, format!("standard output: {error}")))
        }
    }
}

fn write_all(mut rest: &[u8]) -> io::Result<()> {
    tell::live(None);
    if tell::output_was_closed() {
        return Err(Errno::BADF.into());
    }
    while !rest.is_empty() {
        match write(stdout(), rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
