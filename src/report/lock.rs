//! The lock of a run directory: a file that says who has it, locked by the kernel, so that it goes
//! with the process however that ends.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::failure;
use super::run_record::host;
use crate::disk::{Disk, DiskFile, identity, there};
use crate::error::{Error, Result};

/// The name of the file.
pub(crate) const LOCK: &str = "lock";
/// No such file is larger.
const BYTES_MAX: u64 = 4096;
/// Nor is what the program writes into it.
const OWNER_BYTES_MAX: usize = 1024;
/// How often another process may take the file away while it is being locked.
const TRIES: usize = 10;

/// A lock that is held.
pub(crate) struct Lock {
    _file: DiskFile,
    held: HeldDirectory,
}

/// What tells whether a run directory is still where it was when it was locked.
#[derive(Clone, Debug)]
pub(crate) struct HeldDirectory {
    path: PathBuf,
    /// Device and inode of the directory and of its lock.
    folder: (u64, u64),
    lock: (u64, u64),
}

impl HeldDirectory {
    /// To be asked before something is made in there: another run may have the place. A file system
    /// that doesn't answer will tell whoever writes.
    ///
    /// # Errors
    /// Exit 6: the directory was moved or removed.
    pub(crate) fn check(&self) -> Result<()> {
        let folder = match fs::metadata(&self.path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => return Ok(()),
        };
        let lock = there(&self.path.join(LOCK)).unwrap_or_default();
        // A lock file that somebody removed by hand is not another run's lock.
        if folder.is_some_and(|found| identity(&found) == self.folder)
            && lock.is_none_or(|found| identity(&found) == self.lock)
        {
            return Ok(());
        }
        // The directory that is there now belongs to another run: nothing is written into it.
        failure::run_ends();
        let text = "was moved or removed while the run went on";
        let text = format!("{}: {text}", self.path.display());
        Err(Error::run_directory(text).hint("its checkpoints are where it was moved to"))
    }
}

impl Lock {
    pub(crate) fn held(&self) -> &HeldDirectory {
        &self.held
    }

    /// Takes the lock of the run directory `folder`, which then names this process and has the
    /// fields of `start`. `without` goes on where the file system gives no locks; a lock that
    /// another process has is respected all the same.
    ///
    /// # Errors
    /// Exit 6: another process has it, or the file is something else's; exit 5: the file system
    /// refuses or gives no locks.
    pub(crate) fn take(disk: &Disk, folder: &Path, without: bool, start: &Value) -> Result<Lock> {
        let path = folder.join(LOCK);
        let failed = |error: io::Error| Error::file(&path, &error);
        for _ in 0..TRIES {
            let mut file = open(disk, &path).map_err(failed)?;
            match file.lock() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(taken(folder, file.file()));
                }
                Err(error) if without => {
                    log::warn!("{}: goes on without a lock ({})", folder.display(), plain(&error));
                }
                Err(error) => return Err(no_locks(folder, &error)),
            }
            // The one before may have gone with all of the folder in this very moment.
            if !same(file.file(), &path).map_err(failed)? {
                continue;
            }
            if !is_own(&contents(file.file()).map_err(failed)?) {
                let text = format!("{}: found something else's file", path.display());
                return Err(Error::run_directory(text).hint("choose another --output"));
            }
            // `is_own` knows how it begins.
            let mut owner = json!({
                "host": host(),
                "pid": std::process::id(),
                "slurm_job": std::env::var("SLURM_JOB_ID").ok(),
            });
            for (key, value) in start.as_object().into_iter().flatten() {
                owner[key] = value.clone();
            }
            file.set_len(0)
                .and_then(|()| file.write_all_at(format!("{owner}\n").as_bytes(), 0))
                .map_err(failed)?;
            let lock = identity(&file.file().metadata().map_err(failed)?);
            let (path, folder) = (folder.into(), identity(&fs::metadata(folder).map_err(failed)?));
            return Ok(Lock { _file: file, held: HeldDirectory { path, folder, lock } });
        }
        let text = format!("{}: it comes and goes while it is being locked", path.display());
        Err(Error::run_directory(text).hint("another process removes it"))
    }
}

/// The file, which may be new.
fn open(disk: &Disk, path: &Path) -> io::Result<DiskFile> {
    match disk.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open_existing(path),
        file => file,
    }
}

/// Whether `file` still has the name `path`.
fn same(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    Ok(there(path)?.is_some_and(|found| identity(&found) == identity(&open)))
}

fn contents(mut file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.by_ref().take(BYTES_MAX).read_to_end(&mut bytes)?;
    bytes.truncate(bytes.trim_ascii_end().len());
    Ok(bytes)
}

/// Whether the program has written it. A loss of power may have left zeros of it, a part, or a
/// line with the rest of a longer one before.
fn is_own(contents: &[u8]) -> bool {
    let torn = contents.first().is_none_or(|byte| *byte == 0);
    contents.len() <= OWNER_BYTES_MAX && (torn || contents.starts_with(b"{\"host\":\""))
}

fn taken(folder: &Path, file: &File) -> Error {
    let owner = contents(file).unwrap_or_default();
    let owner = String::from_utf8_lossy(&owner);
    let text = format!("{}: another process runs in it: {owner}", folder.display());
    Error::run_directory(text).hint("wait for it, or choose another --output")
}

/// The error's words without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_string()
}

fn no_locks(folder: &Path, error: &io::Error) -> Error {
    let text = format!("{}: the file system gives no locks ({})", folder.display(), plain(error));
    Error::storage(text).hint(
        "mount it with flock, put --output elsewhere, or give --no-lock where no other run can \
         use the same --output",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_lock_is_known_and_a_letter_is_not() {
        for own in
            ["", "\0\0\0\0", "{\"host\":\"n1\",\"pid\":4}", "{\"host\":\"n1\",\"p\0\0:9}\n9}"]
        {
            assert!(is_own(own.as_bytes()), "{own:?}");
        }
        let long = format!("{{\"host\":\"{}", "x".repeat(OWNER_BYTES_MAX));
        for foreign in ["Dear thesis", "{\"pid\":4}", &long] {
            assert!(!is_own(foreign.as_bytes()), "{foreign:?}");
        }
    }
}
