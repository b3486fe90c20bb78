//! The names that files have while they are written, and names that the program hasn't given.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The folder that holds `path`: `.` for a name alone.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) => Path::new("."),
        None => path,
    }
}

/// `NAME.tmp` beside `path`: for a folder that no other process writes into.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    with_ending(path, ".tmp".into())
}

/// `NAME.PID.tmp` beside `path`.
pub(crate) fn own_temporary(path: &Path) -> PathBuf {
    with_ending(path, format!(".{}.tmp", std::process::id()))
}

/// `NAMEENDING` beside `path`.
pub(crate) fn with_ending(path: &Path, ending: String) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(ending);
    path.with_file_name(name)
}

/// Says, once for each folder, that it stays, since something in it isn't the program's.
pub(crate) fn left_there(folder: &Path, foreign: &OsStr) {
    static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if TOLD.lock().is_ok_and(|mut told| told.insert(folder.to_path_buf())) {
        let (folder, foreign) = (folder.display(), foreign.display());
        log::warn!("{folder}: {foreign}: not written by this program; left there");
    }
}
