//! A file under way.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::{Disk, DiskCall};

/// A file that is open for reading and writing. `Write` writes at its position, which begins at the
/// end of what was there.
#[derive(Debug)]
pub(crate) struct DiskFile {
    disk: Disk,
    path: PathBuf,
    file: File,
    at: u64,
}

impl DiskFile {
    pub(super) fn new(disk: Disk, path: &Path, file: File, at: u64) -> DiskFile {
        DiskFile { disk, path: path.to_path_buf(), file, at }
    }

    /// To read and to lock it.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Writes all of `bytes` at the byte `at`, wherever the position is.
    #[track_caller]
    pub(crate) fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let call = DiskCall::Write { path: &self.path, file: &self.file, at, bytes };
        self.disk.call(&call, || self.file.write_all_at(bytes, at))
    }

    /// Cuts it to `length` bytes, or fills it up with zeros; the position is its end.
    #[track_caller]
    pub(crate) fn set_len(&mut self, length: u64) -> io::Result<()> {
        let call = DiskCall::SetLength { path: &self.path, file: &self.file, length };
        self.disk.call(&call, || self.file.set_len(length))?;
        self.at = length;
        Ok(())
    }

    /// Locks it for this process alone, as long as it is open.
    ///
    /// # Errors
    /// `WouldBlock` where another process has locked it; else what the file system gives, which may
    /// know no locks.
    #[track_caller]
    pub(crate) fn lock(&self) -> io::Result<()> {
        self.disk.call(&DiskCall::Lock(&self.path), || {
            Ok(flock(&self.file, FlockOperation::NonBlockingLockExclusive)?)
        })
    }

    /// Makes all that was written last. That its name lasts is up to its folder.
    #[track_caller]
    pub(crate) fn sync(&self) -> io::Result<()> {
        let call = DiskCall::Sync { path: &self.path, file: &self.file };
        self.disk.call(&call, || self.file.sync_all())
    }
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a regular file, following no link and waiting for nobody at the other end of a pipe.
/// Returns its length, too.
pub(crate) fn open_regular(path: &Path, write: bool) -> io::Result<(File, u64)> {
    // Opening a device may already do something: looked at before, and again once it is open.
    regular(&fs::symlink_metadata(path)?)?;
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = File::options().read(true).write(write).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    regular(&found)?;
    Ok((file, found.len()))
}

/// An error unless it is a regular file.
pub(crate) fn regular(found: &Metadata) -> io::Result<()> {
    let kind = found.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let what = match (kind.is_symlink(), kind.is_dir()) {
        (true, _) => "a link",
        (_, true) => "a folder",
        _ => "a special file",
    };
    let text = format!("found {what}, expected a file");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}
