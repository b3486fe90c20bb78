//! A file under way whose parts have their places before they are filled.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile, identity, own_temporary, there};
use crate::error::{Error, Result};

/// A file that gets its name once it is whole; one that doesn't come to that is removed.
pub(super) struct NewFile {
    disk: Disk,
    path: PathBuf,
    temporary: PathBuf,
    file: DiskFile,
    placed: bool,
}

impl NewFile {
    /// Begins the file `path` of so many bytes, all of them zero.
    ///
    /// # Errors
    /// Exit 2: there is something of that name; exit 5: the file system refuses.
    pub(super) fn create(disk: &Disk, path: &Path, bytes: u64) -> Result<NewFile> {
        let failed = |error: io::Error| Error::file(path, &error);
        if there(path).map_err(failed)?.is_some() {
            let error = Error::usage(format!("{}: exists already", path.display()));
            return Err(error.hint("choose another --output"));
        }
        let temporary = own_temporary(path);
        let file = disk.create_temporary(&temporary).map_err(failed)?;
        let (disk, path) = (disk.clone(), path.to_path_buf());
        let mut new = NewFile { disk, path, temporary, file, placed: false };
        new.file.set_len(bytes).map_err(|error| new.failed(&error))?;
        Ok(new)
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::file(&self.path, error)
    }

    /// Writes `bytes` from the byte `at` on.
    ///
    /// # Errors
    /// Exit 5.
    pub(super) fn put(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.file.write_all_at(bytes, at).map_err(|error| self.failed(&error))
    }

    /// Syncs it and gives it its name.
    ///
    /// # Errors
    /// Exit 5: it has none.
    pub(super) fn put_in_place(mut self) -> Result<()> {
        let placed = self.disk.put_new(&self.temporary, &self.path);
        self.placed = placed.is_ok();
        placed.map_err(|error| self.failed(&error))
    }

    /// Whether it has its name already, whatever failed then.
    fn is_named(&self) -> io::Result<bool> {
        let found = there(&self.path)?.map(|found| identity(&found));
        Ok(found == Some(identity(&self.file.file().metadata()?)))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        if self.is_named().unwrap_or(false) {
            let _ = self.disk.remove_file(&self.path);
        }
        let _ = self.disk.remove_file(&self.temporary);
    }
}

/// Bytes of a file that are filled from the first to the last.
pub(super) struct Region {
    at: u64,
    end: u64,
    /// What zip wants to know of them.
    crc: Option<crc32fast::Hasher>,
}

impl Region {
    pub(super) fn new(at: u64, bytes: u64) -> Region {
        Region { at, end: at + bytes, crc: None }
    }

    /// The same, whose checksum is taken on from `crc`.
    pub(super) fn summed(self, crc: crc32fast::Hasher) -> Region {
        Region { crc: Some(crc), ..self }
    }

    /// Fills in what comes next.
    ///
    /// # Errors
    /// Exit 5.
    pub(super) fn push(&mut self, file: &NewFile, bytes: &[u8]) -> Result<()> {
        let next = self.at + bytes.len() as u64;
        assert!(next <= self.end, "a region takes what it was made for");
        file.put(bytes, self.at)?;
        self.at = next;
        if let Some(crc) = &mut self.crc {
            crc.update(bytes);
        }
        Ok(())
    }

    /// Leaves so many bytes zero.
    pub(super) fn skip(&mut self, bytes: u64) {
        assert!(self.crc.is_none(), "zeros that no checksum sees");
        self.at += bytes;
        assert!(self.at <= self.end, "a region takes what it was made for");
    }

    /// Sees that nothing is left to fill in.
    pub(super) fn assert_filled(&self) {
        assert_eq!(self.at, self.end, "a region is filled");
    }

    /// The checksum of what is complete.
    pub(super) fn checksum(self) -> u32 {
        self.assert_filled();
        self.crc.expect("it is asked for").finalize()
    }
}
