//! From paths and globs to a sorted list of shards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::disk::folder_of;
use crate::error::{Error, Result};

/// Name of the folder, within a folder of shards under way, that holds them until all are there.
pub(crate) const UNFINISHED: &str = "reelscale-unfinished";

/// The files that `patterns` name, sorted by path within each pattern, patterns in their order.
///
/// # Errors
/// Exit 4, all of them listed: a path that doesn't exist, a pattern that matches nothing, what is
/// no file (a pipe would be empty for whoever reads it second), a file that is named twice, one of
/// a set of shards that was never finished.
pub fn find(patterns: &[String]) -> Result<Vec<PathBuf>> {
    let (mut paths, mut errors) = (Vec::new(), Vec::new());
    for pattern in patterns {
        match expand(pattern) {
            Ok(found) => paths.extend(found),
            Err(error) => errors.push(error),
        }
    }
    if patterns.is_empty() {
        errors.push(Error::input("no shard is named"));
    }
    let (mut seen, mut folders) = (BTreeSet::new(), BTreeSet::new());
    for path in &paths {
        if folders.insert(folder_of(path))
            && let Err(error) = finished(folder_of(path))
        {
            errors.push(error);
        }
        if let Err(error) = regular(path) {
            errors.push(error);
        }
        let same = path.canonicalize().unwrap_or_else(|_| path.clone());
        if !seen.insert(same) {
            errors.push(Error::input(format!("{}: named twice", path.display())));
        }
    }
    Error::all(errors)?;
    Ok(paths)
}

/// Whether whoever writes shards into this folder has finished, or into the one that it is a side
/// of: a set that is split is whole as one.
fn finished(folder: &Path) -> Result<()> {
    beside(folder)?;
    // The folder's own place, whatever link has led to it.
    match folder.canonicalize().ok().as_deref().and_then(Path::parent) {
        Some(above) => beside(above),
        None => Ok(()),
    }
}

fn beside(folder: &Path) -> Result<()> {
    let inner = folder.join(UNFINISHED);
    let within = folder.file_name().is_some_and(|name| name == UNFINISHED);
    if !within && std::fs::symlink_metadata(&inner).is_err() {
        return Ok(());
    }
    let (folder, inner) = if within { (folder_of(folder), folder) } else { (folder, &*inner) };
    let text = "found shards of a command that is under way or was stopped";
    let hint = format!("wait for it, run it again to go on, or remove {}", folder.display());
    Err(Error::input(format!("{}: {text}", inner.display())).hint(hint))
}

/// An error unless the path leads to a regular file.
fn regular(path: &Path) -> Result<()> {
    let wrong = |text: &dyn std::fmt::Display| Error::input(format!("{}: {text}", path.display()));
    let kind = std::fs::metadata(path).map_err(|error| wrong(&error))?.file_type();
    match (kind.is_file(), kind.is_dir()) {
        (true, _) => Ok(()),
        (_, true) => Err(wrong(&"found a folder, expected a file")),
        _ => Err(wrong(&"found a pipe, device or socket, expected a file")
            .hint("write what it gives to a file first")),
    }
}

fn expand(pattern: &str) -> Result<Vec<PathBuf>> {
    let wrong = |text: &str| Error::input(format!("{pattern}: {text}"));
    // A file of that very name wins over what its brackets and stars would mean.
    if Path::new(pattern).exists() {
        return match Path::new(pattern).is_dir() {
            true => Err(wrong("is a folder").hint(format!("{pattern}/*.h5"))),
            false => Ok(vec![PathBuf::from(pattern)]),
        };
    }
    if !pattern.contains(['*', '?', '[']) {
        return Err(wrong("no such file"));
    }
    let matches = glob::glob(pattern).map_err(|error| wrong(&error.to_string()))?;
    let mut paths = Vec::new();
    for path in matches {
        paths.push(path.map_err(|error| wrong(&error.to_string()))?);
    }
    paths.sort();
    if paths.is_empty() {
        return Err(wrong("matches no file"));
    }
    Ok(paths)
}
