//! What the file system says of a file. By comparing it a changed file is noticed without being
//! read.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::schema::{Proof, ShardInfo};

/// Place, size and times (seconds, nanoseconds) of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    pub(crate) bytes: u64,
    modified: (i64, i64),
    /// When anything of it was changed last, a link to it included.
    changed: (i64, i64),
}

impl Stamp {
    fn of(found: &Metadata) -> Stamp {
        Stamp {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    /// # Errors
    /// What the file system gives.
    pub(crate) fn of_file(file: &File) -> io::Result<Stamp> {
        file.metadata().map(|found| Stamp::of(&found))
    }

    /// # Errors
    /// What the file system gives.
    pub(crate) fn of_path(path: &Path) -> io::Result<Stamp> {
        path.metadata().map(|found| Stamp::of(&found))
    }

    /// Whether both are of one file with the same bytes, as far as any node can tell: nodes number
    /// devices as they like, and one more link to a file changes nothing in it.
    pub(crate) fn same_bytes(&self, other: &Stamp) -> bool {
        let of = |stamp: &Stamp| (stamp.inode, stamp.bytes, stamp.modified);
        of(self) == of(other)
    }
}

/// Shards without proof that have been read in full, and what their contents were.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ReadBefore(BTreeMap<PathBuf, (Stamp, String)>);

#[derive(Serialize, Deserialize)]
struct Entry {
    path: PathBuf,
    stamp: Stamp,
    digest: String,
}

impl ReadBefore {
    /// Those among `shards`.
    pub(crate) fn among<'a>(shards: impl IntoIterator<Item = &'a ShardInfo>) -> ReadBefore {
        let entry = |shard: &ShardInfo| match (&shard.proof, &shard.digest) {
            (Proof::Read { stamp }, Some(digest)) => {
                Some((shard.path.clone(), (*stamp, digest.clone())))
            }
            _ => None,
        };
        ReadBefore(shards.into_iter().filter_map(entry).collect())
    }

    /// The digest of the file at `path`, if nothing at all has changed since it was read.
    pub(crate) fn digest(&self, path: &Path, now: &Stamp) -> Option<&str> {
        self.0.get(path).filter(|(then, _)| then == now).map(|(_, digest)| digest.as_str())
    }

    /// A line of JSON for each. Paths that aren't UTF-8 are left out: those files are read again.
    pub(crate) fn to_text(&self) -> String {
        let line = |(path, (stamp, digest)): (&PathBuf, &(Stamp, String))| {
            let entry = Entry { path: path.clone(), stamp: *stamp, digest: digest.clone() };
            serde_json::to_string(&entry).map(|line| line + "\n").unwrap_or_default()
        };
        self.0.iter().map(line).collect()
    }

    /// What `to_text` gave.
    ///
    /// # Errors
    /// What isn't right with a line.
    pub(crate) fn parse(text: &str) -> Result<ReadBefore, String> {
        let entry = |line: &str| {
            let entry: Entry = serde_json::from_str(line).map_err(|error| error.to_string())?;
            Ok((entry.path, (entry.stamp, entry.digest)))
        };
        text.lines().map(entry).collect::<Result<_, String>>().map(ReadBefore)
    }
}
