//! The calls that change the file system, and what they pass through.

use std::fmt;
use std::fs::File;
use std::io;
use std::panic::Location;
use std::path::Path;

use crate::progress;

/// A call that changes the file system, or what others may do in it.
#[derive(Debug)]
pub enum Call<'a> {
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
pub type Place = &'static Location<'static>;

/// Makes a call.
pub type Go<'a> = &'a mut dyn FnMut() -> io::Result<()>;

impl Call<'_> {
    /// Tells those who watch over the process what it is at. A sync or a rename that takes its time
    /// loses nothing: it may.
    pub(super) fn under_way(&self) -> progress::Call {
        match self {
            Call::CreateDir(path) | Call::Create(path) | Call::Adopt(path) => {
                progress::Call::on("creating", path)
            }
            Call::Write { path, .. } => progress::Call::on("writing", path),
            Call::SetLength { path, .. } => progress::Call::slow("setting the length of", path),
            Call::Sync { path, .. } | Call::SyncDir(path) => progress::Call::slow("syncing", path),
            Call::Rename { to, .. } | Call::HardLink { to, .. } => {
                progress::Call::slow("renaming to", to)
            }
            Call::RemoveFile(path) | Call::RemoveDir(path) => progress::Call::on("removing", path),
            Call::Lock(path) => progress::Call::on("locking", path),
        }
    }
}

/// What every call passes through.
pub trait Hook: fmt::Debug + Send + Sync {
    /// Makes the call, which stands at `place` in the program, by `go`, at most once, or gives the
    /// error that the caller gets instead. An `Ok` without having called `go` is a bug.
    ///
    /// # Errors
    /// What `go` gives, or what is to be simulated.
    fn around(&self, call: &Call, place: Place, go: Go) -> io::Result<()>;

    /// The program says that what is at `path` lasts from now on, with all that is in it.
    fn lasts(&self, _path: &Path) {}
}
