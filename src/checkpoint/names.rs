//! Names of the folders and files of checkpoints. Files of any other name are somebody else's and
//! stay.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::folder::sums::SUMS;

/// The folder of a checkpoint that is being written begins with this.
pub(crate) const NEXT: &str = "next";

/// Names of all that is in a folder, in order; none where there is no folder.
pub(crate) fn entries(folder: &Path) -> io::Result<Vec<OsString>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names =
        entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<OsString>>>()?;
    names.sort();
    Ok(names)
}

/// The checkpoints in `folder`, oldest first.
pub(crate) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    Ok(entries(folder)?.iter().filter_map(|name| number_of(name.to_str()?)).collect())
}

/// Where the checkpoint of this number lies in `folder`.
pub(crate) fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}"))
}

/// The number of a checkpoint whose folder has this name.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|_| digits)
}

/// Whether a folder of this name is a checkpoint: one in use, a damaged or an unfinished one.
pub(crate) fn is_checkpoint(name: &str) -> bool {
    let (number, aside) = name.split_once(".damaged").unwrap_or((name, ""));
    let another = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit());
    let plain = aside.is_empty() || aside.strip_prefix('.').is_some_and(another);
    let unfinished = name.strip_prefix(NEXT).is_some_and(|rest| rest.ends_with(".tmp"));
    number_of(number).is_some() && plain || unfinished
}

/// Whether a checkpoint has a file of this name.
pub(crate) fn is_own(name: &OsStr) -> bool {
    let name = name.to_str().unwrap_or_default();
    let part = name.strip_suffix(".bin").and_then(|name| name.split_once('-'));
    let part = part.is_some_and(|(family, first)| {
        family.bytes().all(|byte| byte.is_ascii_lowercase())
            && first.len() >= 5
            && first.bytes().all(|byte| byte.is_ascii_digit())
    });
    part || ["state.json", "common.bin", "metrics.jsonl", SUMS].contains(&name)
}
