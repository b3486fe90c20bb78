//! The names that files have while they are written.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

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
