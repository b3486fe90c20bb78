//! The file system as the program changes it: few calls, each of which passes one hook, so that
//! tests can make any of them fail and a simulation can lose what wasn't synced.
//!
//! What lasts: a file's bytes once the file was synced (`DiskFile::sync`), what stands in a folder
//! (new names, names that are gone) once the folder was synced (`Disk::sync_dir`). All else may be
//! lost when a machine loses power, in any order. `Disk::write_atomic` puts that together: at any
//! moment its path is the whole old file or the whole new one.
//!
//! Reading needs no hook and is done with `std::fs`; only this module makes, renames and removes.

mod file;
mod hook;
mod names;
mod planned;
mod text;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::progress;

pub(crate) use file::DiskFile;
pub use hook::{CallSite, DiskCall, DiskHook, Go};
pub(crate) use names::{folder_of, left_there, own_temporary, temporary, with_ending};
pub use planned::FaultKind;
use planned::Planned;
pub(crate) use text::read_text;

/// Bytes that `write_atomic` gathers before it writes them.
const BUFFER: usize = 1 << 16;
/// Bytes that `read` asks for at once.
const READ_AT_ONCE: u64 = 4 << 20;
/// Names that a temporary folder may have.
const TEMPORARIES: usize = 10;

/// The real file system, unless there is a hook.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    hook: Option<Arc<dyn DiskHook>>,
    planned: Option<Arc<Planned>>,
}

impl Disk {
    /// A file system whose every call passes `hook`.
    pub fn hooked(hook: Arc<dyn DiskHook>) -> Disk {
        Disk { hook: Some(hook), planned: None }
    }

    /// A file system whose call number `calls` (from 0) fails.
    pub fn failing_after(calls: usize, kind: FaultKind) -> Disk {
        let planned = Arc::new(Planned::new(calls, kind));
        Disk { hook: Some(planned.clone()), planned: Some(planned) }
    }

    /// Whether the planned fault has happened.
    pub fn has_failed(&self) -> bool {
        self.planned.as_ref().is_some_and(|planned| planned.has_happened())
    }

    /// The one place where the file system is changed.
    #[track_caller]
    fn call<T>(&self, call: &DiskCall, go: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let _under_way = call.under_way();
        let Some(hook) = &self.hook else { return go() };
        let (mut go, mut value) = (Some(go), None);
        hook.around(call, Location::caller(), &mut || {
            let go = go.take().expect("a hook makes its call once");
            go().map(|given| value = Some(given))
        })?;
        Ok(value.expect("a hook gives no success of its own"))
    }

    /// Says that what is at `path` lasts from now on, with all that is in it. That does nothing:
    /// whoever simulates crashes holds the program to it.
    pub(crate) fn lasts(&self, path: &Path) {
        if let Some(hook) = &self.hook {
            hook.lasts(path);
        }
    }

    /// Makes one folder that isn't there yet, whose parent is.
    ///
    /// # Errors
    /// `AlreadyExists`: of several that make it at once one succeeds.
    #[track_caller]
    pub(crate) fn create_new_dir(&self, path: &Path) -> io::Result<()> {
        self.call(&DiskCall::CreateDir(path), || fs::create_dir(path))
    }

    /// Makes one folder, whose parent is there. A folder that is there is fine, a link isn't.
    #[track_caller]
    pub(crate) fn create_dir(&self, path: &Path) -> io::Result<()> {
        match self.create_new_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                match fs::symlink_metadata(path)?.is_dir() {
                    true => Ok(()),
                    false => Err(io::ErrorKind::NotADirectory.into()),
                }
            }
            outcome => outcome,
        }
    }

    /// Makes a folder and those above it, which may be links. The names that are new last.
    pub(crate) fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        self.create_dir_all(folder_of(path))?;
        self.create_dir(path)?;
        self.sync_dir(folder_of(path))
    }

    /// Makes the names that lead to `path` last: a start that was killed may have made them and not
    /// come to it. Folders that this user may not open were there before.
    ///
    /// # Errors
    /// What the file system gives.
    pub(crate) fn sync_above(&self, path: &Path) -> io::Result<()> {
        let above = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        for folder in above.chain(path.is_relative().then_some(Path::new("."))) {
            match self.sync_dir(folder) {
                Err(error) if cannot_sync(&error) => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Makes a file that isn't there yet, not even as a link.
    #[track_caller]
    pub(crate) fn create(&self, path: &Path) -> io::Result<DiskFile> {
        let file = self.call(&DiskCall::Create(path), || {
            File::options().read(true).write(true).create_new(true).open(path)
        })?;
        Ok(DiskFile::new(self.clone(), path, file, 0))
    }

    /// Makes a temporary file of this process; one that is there was left by a killed namesake.
    pub(crate) fn create_temporary(&self, temporary: &Path) -> io::Result<DiskFile> {
        if let Some(left) = there(temporary)? {
            file::regular(&left)?;
            self.remove_file(temporary)?;
        }
        self.create(temporary)
    }

    /// Sees, before hours of computing, that the folder of `path` takes a file.
    pub(crate) fn try_folder_of(&self, path: &Path) -> io::Result<()> {
        let trial = own_temporary(path);
        self.create_temporary(&trial)?;
        self.remove_file(&trial)
    }

    /// Opens a regular file for reading and writing, at its end. A link isn't followed.
    ///
    /// # Errors
    /// `InvalidInput` where it is a link, a folder or a special file.
    pub(crate) fn open_existing(&self, path: &Path) -> io::Result<DiskFile> {
        let (file, length) = file::open_regular(path, true)?;
        Ok(DiskFile::new(self.clone(), path, file, length))
    }

    /// Takes in a file that something else (HDF5) has made at `path` and written: to be synced by
    /// `DiskFile::sync` like any other.
    #[track_caller]
    pub(crate) fn adopt(&self, path: &Path) -> io::Result<DiskFile> {
        self.call(&DiskCall::Adopt(path), || Ok(()))?;
        self.open_existing(path)
    }

    /// Renames a file or folder; a file at `to` is replaced.
    #[track_caller]
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(&DiskCall::Rename { from, to }, || fs::rename(from, to))
    }

    /// Gives a file a second name; unlike a rename this never replaces what came meanwhile.
    #[track_caller]
    pub(crate) fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(&DiskCall::HardLink { from, to }, || fs::hard_link(from, to))
    }

    /// Makes what stands in a folder last: its names, not the bytes of its files.
    #[track_caller]
    pub(crate) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        self.call(&DiskCall::SyncDir(path), || File::open(path)?.sync_all())
    }

    #[track_caller]
    pub(crate) fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call(&DiskCall::RemoveFile(path), || fs::remove_file(path))
    }

    /// Removes an empty folder.
    #[track_caller]
    pub(crate) fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.call(&DiskCall::RemoveDir(path), || fs::remove_dir(path))
    }

    /// Removes a folder and all in it, links and not what they lead to; fine if it isn't there.
    pub(crate) fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => self.remove_dir_all(&entry.path())?,
                false => self.remove_file(&entry.path())?,
            }
        }
        self.remove_dir(path)
    }

    /// Makes `path` the file that `write` writes, or leaves it as it is: under a temporary name in
    /// the same folder, synced, renamed, the folder synced. The one way to replace a file.
    ///
    /// # Errors
    /// What `write` or the file system gives; nothing is left under the temporary name where that
    /// can be removed. `InvalidInput` where a link or a folder stands under one of both names.
    pub(crate) fn write_atomic(
        &self,
        path: &Path,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        self.replace_by(&temporary(path), path, write)
    }

    /// Makes `path` a file of this text, which lasts from then on; errors are `write_atomic`'s.
    pub(crate) fn write_text(&self, path: &Path, text: &str) -> io::Result<()> {
        self.write_atomic(path, |to| to.write_all(text.as_bytes()))?;
        self.lasts(path);
        Ok(())
    }

    /// The same by way of this temporary file, beside `path`, for one of several processes.
    ///
    /// # Errors
    /// As `write_atomic`.
    pub(crate) fn replace_by(
        &self,
        temporary: &Path,
        path: &Path,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if let Some(found) = there(path)? {
            file::regular(&found)?;
        }
        self.write_temporary(temporary, path, write, |temporary| self.rename(temporary, path))
    }

    /// The same for a file that isn't there yet, and that isn't replaced where it has come
    /// meanwhile. The temporary name is this process's own.
    ///
    /// # Errors
    /// As `write_atomic`; `AlreadyExists`.
    pub(crate) fn write_new(
        &self,
        path: &Path,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if there(path)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.write_temporary(&own_temporary(path), path, write, |temporary| {
            self.hard_link(temporary, path)?;
            self.remove_file(temporary)
        })
    }

    fn write_temporary(
        &self,
        temporary: &Path,
        path: &Path,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
        put_in_place: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut file = BufWriter::with_capacity(BUFFER, self.create_temporary(temporary)?);
        let written = write(&mut file)
            .and_then(|()| file.into_inner().map_err(io::IntoInnerError::into_error)?.sync())
            .and_then(|()| put_in_place(temporary));
        if let Err(error) = written {
            let _ = self.remove_file(temporary);
            return Err(error);
        }
        self.sync_dir(folder_of(path))
    }

    /// Removes the files of the folder `path`, and it, if it holds regular files alone and all of
    /// them have names that `own` knows. Else nothing is removed, and the name of an entry that
    /// isn't known comes back. Fine if it isn't there.
    ///
    /// # Errors
    /// What the file system gives.
    pub(crate) fn remove_own(
        &self,
        path: &Path,
        own: impl Fn(&OsStr) -> bool,
    ) -> io::Result<Option<OsString>> {
        let Some(found) = there(path)? else { return Ok(None) };
        if !found.is_dir() {
            return Ok(path.file_name().map(OsStr::to_os_string));
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if !entry.file_type()?.is_file() || !own(&entry.file_name()) {
                return Ok(Some(entry.file_name()));
            }
            names.push(entry.file_name());
        }
        names.sort();
        names.iter().try_for_each(|name| self.remove_file(&path.join(name)))?;
        self.remove_dir(path)?;
        Ok(None)
    }

    /// Makes an empty folder `NAME.tmp` beside `path` and returns its path. What an earlier try has
    /// left there goes if all of it has names that `own` knows; else it is left alone, and the
    /// folder is `NAME.1.tmp`, ...
    ///
    /// # Errors
    /// What the file system gives; `AlreadyExists` where all these names are taken.
    pub(crate) fn temporary_dir(
        &self,
        path: &Path,
        own: impl Fn(&OsStr) -> bool,
    ) -> io::Result<PathBuf> {
        let others = (1..TEMPORARIES).map(|number| with_ending(path, format!(".{number}.tmp")));
        for candidate in std::iter::once(temporary(path)).chain(others) {
            match self.remove_own(&candidate, &own)? {
                None => {
                    self.create_dir(&candidate)?;
                    return Ok(candidate);
                }
                Some(foreign) => left_there(&candidate, &foreign),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Syncs the file that HDF5 has written at `temporary` and gives it its name `path`, under
    /// which nothing may be; the folder is synced.
    ///
    /// # Errors
    /// What the file system gives; `AlreadyExists`.
    pub(crate) fn put_new(&self, temporary: &Path, path: &Path) -> io::Result<()> {
        self.adopt(temporary)?.sync()?;
        self.hard_link(temporary, path)?;
        self.remove_file(temporary)?;
        self.sync_dir(folder_of(path))
    }
}

/// Whether a folder can't be synced by anybody like us, so that none of its names is ours.
fn cannot_sync(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    [InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported].contains(&error.kind())
}

/// What stands at `path`, a link as itself; nothing is fine.
///
/// # Errors
/// What the file system gives.
pub(crate) fn there(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Device and inode: the same for all names of one file or folder, as long as it is there.
pub(crate) fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// All bytes of a file, read in pieces: a large one on a slow disk is no hang.
///
/// # Errors
/// What the file system gives.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let _reading = progress::CallGuard::on("reading", path);
    let mut file = File::open(path)?;
    let mut bytes = Vec::with_capacity(file.metadata()?.len() as usize);
    while (&mut file).take(READ_AT_ONCE).read_to_end(&mut bytes)? > 0 {
        progress::tick();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
