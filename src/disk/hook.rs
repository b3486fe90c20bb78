//! The calls of the disk, and what all of them pass through.

use std::fmt;
use std::fs::File;
use std::io;
use std::panic::Location;
use std::path::Path;

use crate::progress;

/// A call that changes the file system, or what others may do in it.
#[derive(Debug)]
pub enum DiskCall<'a> {
    CreateDir(&'a Path),
    /// Makes a new, empty file.
    Create(&'a Path),
    /// Takes in a file that something else has made and written, and that nobody has synced.
    Adopt(&'a Path),
    /// Writes `bytes` at the byte `at` of the file that has been opened as `path`. A hook that lets
    /// it fail may write some of them to `file` by itself.
    Write {
        path: &'a Path,
        file: &'a File,
        at: u64,
        bytes: &'a [u8],
    },
    SetLength {
        path: &'a Path,
        file: &'a File,
        length: u64,
    },
    Sync {
        path: &'a Path,
        file: &'a File,
    },
    SyncDir(&'a Path),
    /// Replaces what stands at `to`.
    Rename {
        from: &'a Path,
        to: &'a Path,
    },
    /// Fails where something stands at `to`.
    HardLink {
        from: &'a Path,
        to: &'a Path,
    },
    RemoveFile(&'a Path),
    /// Removes an empty folder.
    RemoveDir(&'a Path),
    /// Locks a file for this process alone, without waiting.
    Lock(&'a Path),
}

/// Where in the program a call stands.
pub type CallSite = &'static Location<'static>;

/// Makes a call.
pub type Go<'a> = &'a mut dyn FnMut() -> io::Result<()>;

impl DiskCall<'_> {
    /// Tells those who watch over the process what it is at. A sync or a rename that takes its time
    /// loses nothing: it may.
    pub(super) fn under_way(&self) -> progress::CallGuard {
        match self {
            DiskCall::CreateDir(path) | DiskCall::Create(path) | DiskCall::Adopt(path) => {
                progress::CallGuard::on("creating", path)
            }
            DiskCall::Write { path, .. } => progress::CallGuard::on("writing", path),
            DiskCall::SetLength { path, .. } => {
                progress::CallGuard::slow("setting the length of", path)
            }
            DiskCall::Sync { path, .. } | DiskCall::SyncDir(path) => {
                progress::CallGuard::slow("syncing", path)
            }
            DiskCall::Rename { to, .. } | DiskCall::HardLink { to, .. } => {
                progress::CallGuard::slow("renaming to", to)
            }
            DiskCall::RemoveFile(path) | DiskCall::RemoveDir(path) => {
                progress::CallGuard::on("removing", path)
            }
            DiskCall::Lock(path) => progress::CallGuard::on("locking", path),
        }
    }
}

/// What every call passes through.
pub trait DiskHook: fmt::Debug + Send + Sync {
    /// Makes the call, which stands at `place` in the program, by `go`, at most once, or gives the
    /// error that the caller gets instead. An `Ok` without having called `go` is a bug.
    ///
    /// # Errors
    /// What `go` gives, or what is to be simulated.
    fn around(&self, call: &DiskCall, place: CallSite, go: Go) -> io::Result<()>;

    /// The program says that what is at `path` lasts from now on, with all that is in it.
    fn lasts(&self, _path: &Path) {}
}
