//! `state.json` of a checkpoint: what it is of, and in which files its class blocks lie.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::loaded::damaged;
use super::names::{numbers, path_of};
use crate::error::{Error, Result};
use crate::folder::sums::{self, LIST_BYTES_MAX, Sums};
use crate::folder::{Folder, same_sum};
use crate::human::hex;

const FORMAT: &str = "reelscale-checkpoint";
/// Version of the records in a checkpoint. In version 1 they were values without names, one after
/// the other.
const VERSION: u32 = 2;
const VERSION_MIN: u32 = 1;

/// The name of the file.
pub(super) const STATE: &str = "state.json";

/// The number of the newest checkpoint in `folder` whose list is whole, and what that says it is
/// of; nothing where there are none. Its other files aren't read, and it may be gone by now: a
/// run may go on meanwhile.
///
/// # Errors
/// Exit 6, as `Store::newest`: no list can be read, or the newest one is of a newer version.
pub(crate) fn newest_listed(folder: &Path) -> Result<Option<(u64, Value)>> {
    let numbers = numbers(folder).map_err(|error| cannot_be_listed(folder, error))?;
    newest(numbers, |number| {
        let path = path_of(folder, number);
        let (_, text) = proven(&Folder::open_no_link(&path)?)?;
        let listing = Listing::parse(&path.join(STATE), &text)?;
        Ok(listing.map(|listing| (number, listing.about)))
    })
}

/// What `read` gives of the newest one of these checkpoints, oldest first, that is whole. Its inner
/// error, one of a newer version, is the end: going on from the one before would lose what it has.
///
/// # Errors
/// That inner error; the first one of `read` where none is whole.
pub(super) fn newest<T>(
    numbers: Vec<u64>,
    read: impl Fn(u64) -> Result<Result<T>>,
) -> Result<Option<T>> {
    let mut first_error = None;
    for number in numbers.into_iter().rev() {
        match read(number) {
            Ok(found) => return found.map(Some),
            Err(error) => _ = first_error.get_or_insert(error),
        }
    }
    let hint = "no checkpoint of this run is whole; use a new --output";
    first_error.map_or(Ok(None), |error| Err(error.hint(hint)))
}

/// A folder of which nobody can say which checkpoints it has.
pub(super) fn cannot_be_listed(folder: &Path, error: io::Error) -> Error {
    Error::storage(format!("{}: {error}", folder.display()))
}

/// The sums of all files of the checkpoint in `folder`, which has these files and no others, and
/// the text of its list, which has the sum that they say.
///
/// # Errors
/// Exit 6: it isn't so.
pub(super) fn proven(folder: &Folder) -> Result<(Sums, Vec<u8>)> {
    let listed = sums::read(folder)?;
    sums::same_files(folder, listed.keys().map(String::as_str))?;
    let file = folder.file(STATE)?;
    let text = file.whole(LIST_BYTES_MAX)?;
    let expected = listed.get(STATE).map_or("none", String::as_str);
    same_sum(file.path(), &hex(&Sha256::digest(&text)), expected)?;
    Ok((listed, text))
}

/// A run of a family's blocks in one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FamilyFile {
    pub(crate) family: String,
    pub file: String,
    pub first: usize,
    /// Bytes of each block.
    pub lengths: Vec<u64>,
}

/// The parts of each family, end to end.
pub(crate) type Families = BTreeMap<String, Vec<FamilyFile>>;

/// All that `state.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    format: String,
    pub(crate) version: u32,
    creator: String,
    pub(crate) about: Value,
    pub parts: Vec<FamilyFile>,
}

impl Listing {
    pub(crate) fn new(about: Value, parts: Vec<FamilyFile>) -> Listing {
        let creator = concat!("reelscale ", env!("CARGO_PKG_VERSION")).into();
        Listing { format: FORMAT.into(), version: VERSION, creator, about, parts }
    }

    /// The text that is written.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a listing is plain data")
    }

    /// Reads `text`; errors name `path`. The inner result is an error where a newer program wrote
    /// the checkpoint, which is no damage.
    ///
    /// # Errors
    /// Exit 6: it is damaged, or of another format.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Result<Listing>> {
        let value: Value = serde_json::from_slice(text).map_err(|error| damaged(path, error))?;
        if let Err(newer) = not_newer(path, &value) {
            return Ok(Err(newer));
        }
        let version = value["version"].as_u64().filter(|version| *version >= VERSION_MIN.into());
        if value["format"] != FORMAT || version.is_none() {
            let (format, version) = (&value["format"], &value["version"]);
            let text = format!(
                "found format {format} and version {version}, expected {FORMAT:?} and version \
                 {VERSION_MIN} or {VERSION}"
            );
            return Err(damaged(path, text));
        }
        serde_json::from_value(value).map(Ok).map_err(|error| damaged(path, error))
    }

    /// The parts, which lie in `files`, one in each, family by family.
    ///
    /// # Errors
    /// Exit 6: the parts aren't those of the files, or not end to end.
    pub fn families<'a>(
        mut self,
        path: &Path,
        files: impl Iterator<Item = &'a String>,
    ) -> Result<Families> {
        let refused = |what: String| Err(damaged(path, what));
        let mut named: Vec<&String> = self.parts.iter().map(|part| &part.file).collect();
        named.sort();
        if !named.into_iter().eq(files) {
            return refused("parts: found other files than SHA256SUMS has".into());
        }
        self.parts.sort_by_key(|part| part.first);
        let mut families = Families::new();
        for part in self.parts {
            let before = families.entry(part.family.clone()).or_default();
            let next = before.last().map_or(0, |last| last.first + last.lengths.len());
            if part.first != next || part.lengths.is_empty() {
                let found = format!("found {} blocks from {}", part.lengths.len(), part.first);
                return refused(format!("parts: {}: {found}, expected {next}", part.file));
            }
            before.push(part);
        }
        Ok(families)
    }
}

/// Refuses the state of a newer program, with the versions.
fn not_newer(path: &Path, state: &Value) -> Result<()> {
    match state["version"].as_u64().filter(|version| *version > VERSION.into()) {
        None => Ok(()),
        Some(version) => {
            let found = format!("found {version}, this program reads {VERSION_MIN} and {VERSION}");
            let error = Error::run_directory(format!("{}: version: {found}", path.display()));
            Err(error.hint("go on with the program that wrote it, or use a new --output"))
        }
    }
}
