//! `SHA256SUMS`, as `sha256sum -c` reads it: which files a directory holds, each with its digest.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::Folder;
use crate::error::{Error, Result};

pub(crate) const SUMS: &str = "SHA256SUMS";
/// No list of files is larger; what claims to be is not read.
pub(crate) const LIST_BYTES_MAX: u64 = 256 << 20;

/// Digests by name.
pub(crate) type Sums = BTreeMap<String, String>;

/// The line of a file.
pub fn line((name, sha256): (&str, &str)) -> String {
    format!("{sha256}  {name}\n")
}

/// Whether `text` is a SHA-256 as it is written here.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What the text of a list says; `path` is what errors name.
///
/// # Errors
/// Exit 6: it is no such list.
pub fn parse(path: &Path, text: &[u8]) -> Result<Sums> {
    let refused = |what: String| Error::run_directory(format!("{}: {what}", path.display()));
    let text = std::str::from_utf8(text).map_err(|error| refused(error.to_string()))?;
    if !text.ends_with('\n') {
        return Err(refused("found no whole last line".into()));
    }
    let mut sums = Sums::new();
    // Not `lines`, which would pass over a CR.
    for line in text.split_terminator('\n') {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        let entry = line.split_once("  ").filter(|(sum, name)| {
            is_sha256(sum) && name.bytes().all(plain) && !name.is_empty() && !name.starts_with('.')
        });
        let (sum, name) = entry.ok_or_else(|| refused(format!("found {line:?}")))?;
        if sums.insert(name.to_string(), sum.to_string()).is_some() {
            return Err(refused(format!("found {name:?} twice")));
        }
    }
    Ok(sums)
}

/// Reads the list of `folder`.
///
/// # Errors
/// Exit 6: there is none, or it isn't one.
pub(crate) fn read(folder: &Folder) -> Result<Sums> {
    let file = folder.file(SUMS)?;
    parse(file.path(), &file.whole(LIST_BYTES_MAX)?)
}

/// Sees that `folder` holds `SHA256SUMS` and exactly the files `listed`.
///
/// # Errors
/// Exit 6, naming the first one that is missing or not listed.
pub(crate) fn same_files<'a>(folder: &Folder, listed: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut listed: Vec<&str> = listed.chain([SUMS]).collect();
    listed.sort_unstable();
    let found = folder.names()?;
    let refused = |name: &OsStr, what: &str| {
        let path = folder.path().join(name);
        Err(Error::run_directory(format!("{}: {what}", path.display())))
    };
    let is_listed =
        |name: &OsString| name.to_str().is_some_and(|name| listed.binary_search(&name).is_ok());
    if let Some(name) = found.iter().find(|name| !is_listed(name)) {
        return refused(name, "found a file that isn't listed");
    }
    let missing =
        |name: &&&str| found.binary_search_by(|one| one.as_os_str().cmp(OsStr::new(name)));
    match listed.iter().find(|name| missing(name).is_err()) {
        Some(name) => refused(OsStr::new(name), "missing"),
        None => Ok(()),
    }
}
