//! From paths and globs to a sorted list of shards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The files that `patterns` name, sorted by path within each pattern, patterns in their order.
///
/// # Errors
/// Exit 4, all of them listed: a path that doesn't exist, a pattern that matches nothing, a file
/// that is named twice.
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
    let mut seen = BTreeSet::new();
    for path in &paths {
        let same = path.canonicalize().unwrap_or_else(|_| path.clone());
        if !seen.insert(same) {
            errors.push(Error::input(format!("{}: named twice", path.display())));
        }
    }
    Error::all(errors)?;
    Ok(paths)
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
