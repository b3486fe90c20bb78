//! The folder that annotations go to. It belongs to one command: what that is stands in
//! `annotate.json`, which is the first file there; `manifest.json` is the last.
//!
//! ```text
//!   annotate.json              digests of model and shards, top, format, rows of a part
//!   lock                       who is at it
//!   000000-0000065536.csv ...  a part: number of the shard, number of its first row in it
//!   sums-START-RANK            journals, while it isn't finished
//!   manifest.json              all parts in order, with size and SHA-256
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::journal::{self, Sum};
use crate::disk::{Disk, read_text};
use crate::error::{Error, Result};
use crate::formats::predictions::WrittenAs;
use crate::inference::parts::Part;
use crate::report::{LOCK, Lock};

const IDENTITY: &str = "annotate.json";
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const FORMAT: &str = "reelscale-annotations";
/// No such file is larger: a line for each of a billion rows' parts is far below.
pub(super) const TEXT_BYTES_MAX: u64 = 1 << 30;

/// What the command computes: equal ones go on with each other's parts.
#[derive(Serialize)]
pub(super) struct Identity<'a> {
    pub(super) format: &'a str,
    pub(super) version: u32,
    /// Content hash of the model.
    pub(super) model: &'a str,
    /// Digest of the names of classes, where they are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) names: Option<&'a str>,
    pub(super) top: usize,
    pub(super) written_as: &'a str,
    pub(super) part_rows: usize,
    /// Digests of the shards' contents, in order.
    pub(super) shards: Vec<&'a str>,
}

impl Identity<'_> {
    /// The text of `annotate.json`.
    pub(super) fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data") + "\n"
    }
}

/// All that there is in the end.
#[derive(Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: String,
    pub(super) version: u32,
    pub(super) creator: String,
    pub(super) written_as: String,
    pub(super) top: usize,
    pub(super) rows: u64,
    /// Names of the shards' files, whose numbers the names of parts have.
    pub(super) shards: Vec<String>,
    pub(super) parts: Vec<ManifestPart>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ManifestPart {
    pub(super) name: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// The names of parts: sorted they are in the order of the rows.
pub(super) fn names(parts: &[Part], written_as: WrittenAs) -> Vec<String> {
    let digits = |number: usize| number.max(1).ilog10() as usize + 1;
    let most = |of: &dyn Fn(&Part) -> usize| parts.iter().map(of).max().unwrap_or(0);
    let shard = digits(most(&|part| part.shard)).max(6);
    let first = digits(most(&|part| part.first)).max(10);
    let ending = written_as.ending();
    let name = |part: &Part| format!("{:0shard$}-{:0first$}.{ending}", part.shard, part.first);
    parts.iter().map(name).collect()
}

/// The folder, held by rank 0 for this command.
pub(super) struct Folder {
    disk: Disk,
    path: PathBuf,
    _lock: Lock,
}

/// What earlier starts have left.
pub(super) struct Left {
    /// Number of this start.
    pub(super) start: u32,
    /// Of each part that is there its sum.
    pub(super) sums: Vec<Option<Sum>>,
}

/// What is in the place of the folder.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    Nothing,
    /// Of some command.
    Annotations,
}

/// Looks at `path`, and changes nothing.
///
/// # Errors
/// Exit 2: there is something else.
pub(super) fn look(path: &Path) -> Result<Found> {
    let name = path.display();
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(Error::usage(format!("{name}: found a file, expected a folder")));
        }
        entries => entries.map_err(|error| Error::file(path, &error))?,
    };
    let mut others = false;
    for entry in entries {
        let name = entry.map_err(|error| Error::file(path, &error))?.file_name();
        if name == IDENTITY {
            return Ok(Found::Annotations);
        }
        // A start that ended before it wrote the first file leaves these.
        others |= name != LOCK && name != format!("{IDENTITY}.tmp").as_str();
    }
    match others {
        true => Err(Error::usage(format!("{name}: exists and isn't a folder of annotations"))
            .hint("choose another --output")),
        false => Ok(Found::Nothing),
    }
}

impl Folder {
    /// Makes the folder, if it isn't there, and takes it for this process.
    ///
    /// # Errors
    /// Exit 6: another process has it; exit 2: it is something else; exit 5: the file system
    /// refuses, or gives no locks.
    pub(super) fn take(disk: &Disk, path: &Path, without_lock: bool) -> Result<Folder> {
        disk.create_dir_all(path)
            .and_then(|()| disk.sync_above(path))
            .map_err(|error| Error::file(path, &error))?;
        let lock = Lock::take(disk, path, without_lock, &serde_json::Value::Null)?;
        look(path)?;
        Ok(Folder { disk: disk.clone(), path: path.to_path_buf(), _lock: lock })
    }

    /// Says what the command is, or sees that it is this one.
    ///
    /// # Errors
    /// Exit 6: it is another one, with the first line that differs; exit 5.
    pub(super) fn begin(&self, identity: &str) -> Result<()> {
        let path = self.path.join(IDENTITY);
        if look(&self.path)? == Found::Nothing {
            return self.write(IDENTITY, identity);
        }
        let unread =
            |error: io::Error| Error::run_directory(format!("{}: {error}", path.display()));
        let before = read_text(&path, TEXT_BYTES_MAX).map_err(unread)?;
        if before == identity {
            return Ok(());
        }
        let lines = before.lines().map(Some).chain(std::iter::repeat(None));
        let now = identity.lines().map(Some).chain(std::iter::repeat(None));
        let (index, (before, now)) =
            lines.zip(now).enumerate().find(|(_, pair)| pair.0 != pair.1).expect("they differ");
        let shown = |line: Option<&str>| {
            line.map_or("nothing", |line| line.trim().trim_end_matches(',')).to_string()
        };
        let text = format!(
            "{}: holds annotations of another model, of other shards or by other arguments: line \
             {}: found {}, this command has {}",
            path.display(),
            index + 1,
            shown(before),
            shown(now)
        );
        Err(Error::run_directory(text).hint("choose another --output"))
    }

    /// What there is of the parts of these names, as journals and the manifest say and the sizes of
    /// files don't deny. What has been left half goes.
    ///
    /// # Errors
    /// Exit 5.
    pub(super) fn left(&self, names: &[String]) -> Result<Left> {
        let failed = |error: io::Error| Error::file(&self.path, &error);
        let mut files: BTreeMap<OsString, u64> = BTreeMap::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_file() {
                files.insert(entry.file_name(), entry.metadata().map_err(failed)?.len());
            }
        }
        let places: BTreeMap<&str, usize> =
            names.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
        let (mut sums, mut start) = (vec![None; names.len()], 0);
        let mut says = |name: &str, sum: Sum| {
            if let Some(place) = places.get(name)
                && files.get(&OsString::from(name)) == Some(&sum.bytes)
            {
                sums[*place] = Some(sum);
            }
        };
        for name in files.keys() {
            if let Some(number) = journal::start_of(name) {
                start = start.max(number);
                let text = fs::read(self.path.join(name)).map_err(failed)?;
                let text = String::from_utf8_lossy(&text);
                journal::lines(&text).for_each(|(name, sum)| says(name, sum));
            }
        }
        if files.contains_key(&OsString::from(MANIFEST)) {
            for part in read_manifest(&self.path)?.parts {
                says(&part.name, Sum { bytes: part.bytes, sha256: part.sha256 });
            }
        }
        for name in files.keys().filter(|name| is_temporary(name, &places)) {
            self.disk.remove_file(&self.path.join(name)).map_err(failed)?;
        }
        Ok(Left { start: start + 1, sums })
    }

    /// Writes the manifest, after which nothing says any more how it came about.
    ///
    /// # Errors
    /// Exit 5.
    pub(super) fn finish(&self, manifest: &Manifest) -> Result<()> {
        let text = serde_json::to_string_pretty(manifest).expect("plain data") + "\n";
        let there = read_text(&self.path.join(MANIFEST), TEXT_BYTES_MAX);
        if there.ok().is_none_or(|there| there != text) {
            self.write(MANIFEST, &text)?;
        }
        let failed = |error: io::Error| Error::file(&self.path, &error);
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if journal::start_of(&name).is_some() {
                self.disk.remove_file(&self.path.join(name)).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        self.disk.write_text(&path, text).map_err(|error| Error::file(&path, &error))
    }
}

/// The name that a part has while rank `rank` of start `start` writes it: no other writes there.
pub(super) fn temporary_name(name: &str, (start, rank): (u32, usize)) -> String {
    format!("{name}.{start}-{rank}.tmp")
}

fn is_temporary(name: &OsString, parts: &BTreeMap<&str, usize>) -> bool {
    let stem = name.to_str().and_then(|name| name.strip_suffix(".tmp"));
    let part = stem.and_then(|stem| stem.rsplit_once('.')).map(|(part, _)| part);
    part.is_some_and(|part| parts.contains_key(part))
}

/// Reads the manifest of the folder `path`.
///
/// # Errors
/// Exit 6: it isn't one.
pub(super) fn read_manifest(path: &Path) -> Result<Manifest> {
    let path = path.join(MANIFEST);
    let wrong = |text: String| Error::run_directory(format!("{}: {text}", path.display()));
    let text = read_text(&path, TEXT_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
    let manifest: Manifest =
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let found = (manifest.format.as_str(), manifest.version);
    match found == (FORMAT, 1) {
        true => Ok(manifest),
        false => Err(wrong(format!("found {found:?}, expected {:?}", (FORMAT, 1)))),
    }
}
