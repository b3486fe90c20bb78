//! A checkpoint that is whole, on its way back: items in their order, class blocks by number.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::comm::Comm;
use crate::error::{Error, Result};
use crate::packed::{Numbers, take, take_numbers};
use crate::partition::owned;

/// Bytes that are read at once.
const BUFFER: usize = 1 << 20;

/// A run of a family's blocks in one file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    pub family: String,
    pub file: String,
    pub first: usize,
    /// Bytes of each block.
    pub lengths: Vec<u64>,
}

/// A checkpoint that is whole.
pub struct Loaded {
    pub number: u64,
    pub about: Value,
    pub events: Vec<u8>,
    pub common: Items,
    pub blocks: Blocks,
}

/// Items one after the other.
pub struct Items {
    from: Cursor<Vec<u8>>,
    path: PathBuf,
}

impl Items {
    pub fn new(items: Vec<u8>, path: PathBuf) -> Items {
        Items { from: Cursor::new(items), path }
    }

    /// The next item.
    ///
    /// # Errors
    /// Exit 6: it is something else.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<T> {
        take(&mut self.from).map_err(|error| damaged(&self.path, error))
    }

    /// The next item, a vector of numbers.
    ///
    /// # Errors
    /// Exit 6: it is something else.
    pub fn take_numbers<V: Numbers>(&mut self) -> Result<V> {
        take_numbers(&mut self.from).map_err(|error| damaged(&self.path, error))
    }
}

fn damaged(path: &Path, error: io::Error) -> Error {
    Error::run_directory(format!("{}: {error}", path.display()))
}

/// The class blocks in a checkpoint.
pub struct Blocks {
    path: PathBuf,
    parts: Vec<Part>,
    rank: usize,
    size: usize,
}

impl Blocks {
    pub fn new(comm: &Comm, path: PathBuf, parts: Vec<Part>) -> Blocks {
        Blocks { path, parts, rank: comm.rank(), size: comm.size() }
    }

    /// What `read` makes of each block of `family` that this rank owns, of `count` in all. `read`
    /// is given the block's number, counted from the rank's first, and its items.
    ///
    /// # Errors
    /// Exit 6: a block is missing or something else.
    pub fn each<T>(
        &self,
        family: &str,
        count: usize,
        mut read: impl FnMut(usize, &mut dyn Read) -> io::Result<T>,
    ) -> Result<Vec<T>> {
        let own = owned(count, self.size, self.rank);
        own.clone()
            .map(|block| self.block(family, block, |from| read(block - own.start, from)))
            .collect()
    }

    fn block<T>(
        &self,
        family: &str,
        block: usize,
        read: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> Result<T> {
        let holds = |part: &&Part| {
            let blocks: Range<usize> = part.first..part.first + part.lengths.len();
            part.family == family && blocks.contains(&block)
        };
        let Some(part) = self.parts.iter().find(holds) else {
            let text = format!("{}: found no {family} of class block {block}", self.path.display());
            return Err(Error::run_directory(text));
        };
        let path = self.path.join(&part.file);
        let (before, from) = part.lengths.split_at(block - part.first);
        let open = || {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(before.iter().sum()))?;
            read(&mut BufReader::with_capacity(BUFFER, file).take(from[0]))
        };
        open().map_err(|error| damaged(&path, error))
    }
}
