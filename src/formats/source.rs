//! A file of text under way, by its name and its content: csv, lines of JSON.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use super::compressed;
use super::csv::RECORD_BYTES_MAX;
use crate::error::{Error, Result};
use crate::stint::Counted;

/// A file under way: its name for messages and its content.
pub struct Source<'a> {
    pub(super) name: String,
    pub(super) from: Box<dyn BufRead + 'a>,
}

impl<'a> Source<'a> {
    pub fn new(name: impl Into<String>, from: impl BufRead + 'a) -> Source<'a> {
        Source { name: name.into(), from: Box::new(from) }
    }

    /// What messages call it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Calls `take` with each line that says something.
    ///
    /// # Errors
    /// The first of `take`; exit 4: it can't be read.
    pub(super) fn each_line(mut self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut line = Vec::new();
        let unread = |error| Error::input(format!("{}: {error}", self.name));
        loop {
            let mut limited = (&mut self.from).take(RECORD_BYTES_MAX as u64);
            match limited.read_until(b'\n', &mut line).map_err(unread)? {
                0 => return Ok(()),
                RECORD_BYTES_MAX => {
                    let text = format!("found a line of {RECORD_BYTES_MAX} bytes or more");
                    return Err(Error::input(format!("{}: {text}", self.name)));
                }
                _ => take(line.trim_ascii())?,
            }
            line.clear();
        }
    }

    /// # Errors
    /// Exit 4 where the file can't be opened.
    pub(crate) fn open(path: &Path) -> Result<Source<'static>> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| Error::input(format!("{name}: {error}")))?;
        let from = compressed::text(&name, BufReader::new(Counted(file)))?;
        Ok(Source { name, from })
    }
}
