//! A checkpoint that is whole, while it is read: items in their order, class blocks by number.

use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::listing::{Families, FamilyFile};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::packed::{Numbers, take, take_numbers};
use crate::partition::Owners;

/// Bytes that are read at once.
const BUFFER: usize = 1 << 20;

/// A checkpoint that is whole.
pub struct Loaded {
    pub number: u64,
    /// Version of its records.
    pub(crate) version: u32,
    pub about: Value,
    pub events: Vec<u8>,
    pub common: SavedItems,
    pub blocks: SavedBlocks,
}

/// The items that all ranks hold alike, one after the other.
pub struct SavedItems {
    from: Cursor<Vec<u8>>,
    path: PathBuf,
}

impl SavedItems {
    pub(crate) fn new(items: Vec<u8>, path: PathBuf) -> SavedItems {
        SavedItems { from: Cursor::new(items), path }
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
    pub(crate) fn take_numbers<V: Numbers>(&mut self) -> Result<V> {
        take_numbers(&mut self.from).map_err(|error| damaged(&self.path, error))
    }

    /// An error: what was taken can't be in a checkpoint of this run.
    pub(crate) fn refused(&self, what: impl std::fmt::Display) -> Error {
        damaged(&self.path, what)
    }

    /// Sees that nothing is left.
    ///
    /// # Errors
    /// Exit 6: there is more.
    pub(crate) fn end(&self) -> Result<()> {
        let left = self.from.get_ref().len() as u64 - self.from.position();
        if left > 0 { Err(self.refused(format!("found {left} more bytes"))) } else { Ok(()) }
    }
}

/// An error: this file of a checkpoint can't be used.
pub(crate) fn damaged(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::run_directory(format!("{}: {what}", path.display()))
}

/// The class blocks in a checkpoint.
pub struct SavedBlocks {
    folder: Folder,
    families: Families,
}

impl SavedBlocks {
    /// The class blocks that lie in `folder`.
    pub(crate) fn new(folder: Folder, families: Families) -> SavedBlocks {
        SavedBlocks { folder, families }
    }

    /// What `read` makes of each block of `family` that this rank owns by `owners`. `read`
    /// is given the block's number, counted from the rank's first, and its items, all of which it
    /// takes.
    ///
    /// # Errors
    /// Exit 6: a block is missing or something else.
    pub fn each<T>(
        &self,
        family: &str,
        owners: &Owners,
        mut read: impl FnMut(usize, &mut dyn Read) -> io::Result<T>,
    ) -> Result<Vec<T>> {
        let parts = self.families.get(family).map_or(&[][..], Vec::as_slice);
        let found = parts.last().map_or(0, |last| last.first + last.lengths.len());
        let expected = owners.blocks();
        if found != expected {
            let text = format!("{family}: found {found} class blocks, expected {expected}");
            return Err(damaged(self.folder.path(), text));
        }
        let own = owners.own();
        own.clone()
            .map(|block| self.block(parts, block, |from| read(block - own.start, from)))
            .collect()
    }

    fn block<T>(
        &self,
        parts: &[FamilyFile],
        block: usize,
        read: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> Result<T> {
        let part = &parts[parts.partition_point(|part| part.first <= block) - 1];
        let file = self.folder.file(&part.file)?;
        let bytes = part.lengths.iter().try_fold(0u64, |sum, length| sum.checked_add(*length));
        if bytes != Some(file.bytes()) {
            let found = format!("found {} bytes, expected those of its blocks", file.bytes());
            return Err(damaged(file.path(), found));
        }
        let (before, from) = part.lengths.split_at(block - part.first);
        let start = before.iter().sum();
        let mut items = BufReader::with_capacity(BUFFER, file.reader(start)).take(from[0]);
        let found = read(&mut items).map_err(|error| damaged(file.path(), error))?;
        match items.limit() {
            0 => Ok(found),
            left => Err(damaged(file.path(), format!("block {block}: found {left} more bytes"))),
        }
    }
}
