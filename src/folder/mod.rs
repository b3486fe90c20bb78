//! A directory whose files are read: opened once, so that everything that is read through it is of
//! that one directory, whatever is renamed over its path meanwhile.

pub mod sums;

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::error::{Error, Exit, Result};
use crate::human::hex;
use crate::progress::{CallGuard, tick};
use crate::system;

/// Bytes that are read at once.
const BUFFER: usize = 1 << 20;

const DAMAGED: &str = "the file was changed or is damaged";

/// An open directory.
pub(crate) struct Folder {
    directory: File,
    path: PathBuf,
}

/// An open regular file of a folder. What is read of it is of this very file, also where another
/// one has taken its name.
pub(crate) struct FolderFile {
    file: File,
    path: PathBuf,
    found: Metadata,
}

/// Exit 6, or 9 where file handles or memory are used up.
pub(crate) fn refused(path: &Path, error: &io::Error) -> Error {
    let error = Error::file(path, error);
    let exit = if error.exit == Exit::Storage { Exit::RunDirectory } else { error.exit };
    Error { exit, ..error }
}

impl Folder {
    /// Opens the directory `path`, which may be a link to one.
    ///
    /// # Errors
    /// Exit 6: it is none; exit 9: no more file handles.
    pub(crate) fn open(path: &Path) -> Result<Folder> {
        Folder::open_with(path, OFlags::empty())
    }

    /// The same, but a link is refused.
    ///
    /// # Errors
    /// As `open`.
    pub(crate) fn open_no_link(path: &Path) -> Result<Folder> {
        Folder::open_with(path, OFlags::NOFOLLOW)
    }

    fn open_with(path: &Path, flags: OFlags) -> Result<Folder> {
        let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match open(path, flags, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let text =
                    format!("{}: found a link or a file, expected a directory", path.display());
                Err(Error::run_directory(text))
            }
            opened => {
                let directory = File::from(opened.map_err(|errno| refused(path, &errno.into()))?);
                Ok(Folder { directory, path: path.to_path_buf() })
            }
        }
    }

    /// The path that it was opened by.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all that is in it, in order.
    ///
    /// # Errors
    /// Exit 6: they can't be read.
    pub(crate) fn names(&self) -> Result<Vec<OsString>> {
        let entries = fs::read_dir(system::path_of(&self.directory, &self.path));
        let entries = entries.map_err(|error| refused(&self.path, &error))?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let names = names.collect::<io::Result<Vec<OsString>>>();
        let mut names = names.map_err(|error| refused(&self.path, &error))?;
        names.sort();
        Ok(names)
    }

    /// Opens its file `name`.
    ///
    /// # Errors
    /// Exit 6: it isn't there, is a link or no regular file; exit 9: no more file handles.
    pub(crate) fn file(&self, name: &str) -> Result<FolderFile> {
        let path = self.path.join(name);
        // Not waiting: a pipe of that name would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match openat(&self.directory, name, flags, Mode::empty()) {
            Err(Errno::LOOP) => {
                let text = format!("{}: found a link, expected a file", path.display());
                return Err(Error::run_directory(text));
            }
            opened => opened.map_err(|errno| refused(&path, &errno.into()))?,
        };
        let file = File::from(opened);
        let found = file.metadata().map_err(|error| refused(&path, &error))?;
        if !found.is_file() {
            let text = format!("{}: found no regular file", path.display());
            return Err(Error::run_directory(text));
        }
        Ok(FolderFile { file, path, found })
    }
}

impl FolderFile {
    /// The path that people know it by.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path that leads to this very file, for libraries that open by path.
    pub(crate) fn own_path(&self) -> PathBuf {
        system::path_of(&self.file, &self.path)
    }

    /// Its length in bytes when it was opened.
    pub(crate) fn bytes(&self) -> u64 {
        self.found.len()
    }

    /// Its bytes from `from` on.
    pub(crate) fn reader(&self, from: u64) -> impl Read + '_ {
        At { file: &self.file, at: from }
    }

    /// All of it, if it has no more than `bytes_max` bytes.
    ///
    /// # Errors
    /// Exit 6: it is longer, or can't be read.
    pub(crate) fn whole(&self, bytes_max: u64) -> Result<Vec<u8>> {
        if self.bytes() > bytes_max {
            let found = format!("found {} bytes, expected at most {bytes_max}", self.bytes());
            return Err(Error::run_directory(format!("{}: {found}", self.path.display())));
        }
        let mut bytes = Vec::with_capacity(self.bytes() as usize);
        // No more than that: it may be growing.
        let read = self.reader(0).take(self.bytes()).read_to_end(&mut bytes);
        read.map_err(|error| refused(&self.path, &error))?;
        Ok(bytes)
    }

    /// Compares its length and SHA-256 with what is expected; a length of none is any.
    ///
    /// # Errors
    /// Exit 6: they differ, or it can't be read.
    pub(crate) fn verify(&self, bytes: Option<u64>, sha256: &str) -> Result<()> {
        if let Some(expected) = bytes.filter(|expected| *expected != self.bytes()) {
            let text = format!("found {} bytes, expected {expected}", self.bytes());
            let error = Error::run_directory(format!("{}: {text}", self.path.display()));
            return Err(error.hint(DAMAGED));
        }
        let (mut sum, mut reader) = (Sha256::new(), self.reader(0));
        let _reading = CallGuard::on("reading", &self.path);
        let mut buffer = vec![0; BUFFER.min(self.bytes() as usize + 1)];
        loop {
            match reader.read(&mut buffer).map_err(|error| refused(&self.path, &error))? {
                0 => break,
                read => sum.update(&buffer[..read]),
            }
        }
        same_sum(&self.path, &hex(&sum.finalize()), sha256)
    }

    /// Whether it is still what was opened, as far as the file system says.
    ///
    /// # Errors
    /// Exit 6: it has been written to.
    pub(crate) fn unchanged(&self) -> Result<()> {
        let now = self.file.metadata().map_err(|error| refused(&self.path, &error))?;
        let stamp = |found: &Metadata| (found.len(), found.mtime(), found.mtime_nsec());
        if stamp(&now) == stamp(&self.found) {
            return Ok(());
        }
        let text = format!("{}: it was changed while it was read", self.path.display());
        Err(Error::run_directory(text))
    }
}

/// Compares the SHA-256 of the file `path` with what is expected.
///
/// # Errors
/// Exit 6: they differ.
pub(crate) fn same_sum(path: &Path, found: &str, expected: &str) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let text = format!("{}: found SHA-256 {found}, expected {expected}", path.display());
    Err(Error::run_directory(text).hint(DAMAGED))
}

/// A place within a file; the file's own is left alone.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(to, self.at)?;
        tick();
        self.at += read as u64;
        Ok(read)
    }
}
