//! What of a conversion is done: a record for each group of files, written once its shards last, so
//! that a later start of the same command takes the group as it is.
//!
//! ```text
//!   group-NNNNN in the folder of shards under way:
//!     8 bytes     length of the head, little-endian
//!     head        JSON
//!     ids         24 bytes each
//!     16 bytes    XXH3-128 of all before
//! ```

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::done::{Counts, Done, First, IdPlace};
use super::groups::Group;
use crate::commands::new_set::NewSet;
use crate::data::{Kind, proof_of};
use crate::disk::{self, Disk};
use crate::error::{Error, Result};

/// Bytes before the head, and behind the ids.
const BEFORE: usize = 8;
const BEHIND: usize = 16;

/// What there is of a group, beside its ids.
#[derive(Serialize, Deserialize)]
struct Head {
    /// What the group is made of, and how.
    key: String,
    shards: Vec<Shard>,
    /// `Counts` as numbers.
    counts: Vec<u64>,
    /// Classes that are seen, and how often.
    class_sizes: Vec<(u32, u64)>,
    first: Option<(Kind, usize, u64, String)>,
    empty_files: Vec<u64>,
    damaged: Vec<String>,
    matched: u64,
    /// `Loss` of each part as numbers.
    losses: Vec<u64>,
    /// `SideCounts` as numbers.
    sides: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct Shard {
    name: String,
    /// The digest of its proof, which tells any other file apart.
    proof: String,
}

/// The name of a group's record.
pub(super) fn name(group: usize) -> String {
    format!("group-{group:05}")
}

/// What decides what a group's shards are: `command` and the files as they are now.
///
/// # Errors
/// Exit 4: a file is gone.
pub(super) fn key(command: &str, paths: &[PathBuf], group: &Group) -> Result<String> {
    let Group { files, rows } = group;
    let (version, first) = (env!("CARGO_PKG_VERSION"), files.start);
    let mut text = format!("{version}\n{command}first file {first}\nrows {rows:?}\n");
    for path in &paths[files.clone()] {
        text += &stamp(path)?;
    }
    Ok(format!("{:032x}", xxh3_128(text.as_bytes())))
}

/// What tells a file apart from what it was before it was changed.
///
/// # Errors
/// Exit 4: it is gone.
pub(super) fn stamp(path: &Path) -> Result<String> {
    let name = path.display();
    let found = std::fs::metadata(path).and_then(|found| Ok((found.len(), found.modified()?)));
    let (bytes, time) = found.map_err(|error| Error::input(format!("{name}: {error}")))?;
    Ok(format!("{name}: {bytes} bytes of {time:?}\n"))
}

/// Says that the group's shards, those of the set from `shards` on, are whole.
///
/// # Errors
/// Exit 5.
pub(super) fn write(
    set: &mut NewSet,
    (group, key): (usize, &str),
    shards: Range<usize>,
    done: &Done,
) -> Result<()> {
    let shard = |name: &String| Ok(Shard { name: name.clone(), proof: proof_of(&set.part(name))? });
    let shards: Result<Vec<Shard>> = set.names()[shards].iter().map(shard).collect();
    let seen = done.class_sizes.iter().enumerate().filter(|(_, size)| **size > 0);
    let head = Head {
        key: key.into(),
        shards: shards?,
        counts: bytemuck::cast_slice(std::slice::from_ref(&done.counts)).to_vec(),
        class_sizes: seen.map(|(class, size)| (class as u32, *size)).collect(),
        first: done.first.clone().map(|first| (first.kind, first.file, first.record, first.keys)),
        empty_files: done.empty_files.clone(),
        damaged: done.damaged.clone(),
        matched: done.matched,
        losses: bytemuck::cast_slice(&done.losses).to_vec(),
        sides: bytemuck::cast_slice(&done.sides).to_vec(),
    };
    let head = serde_json::to_vec(&head).expect("plain data");
    let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
    bytes.extend(head);
    bytes.extend_from_slice(bytemuck::cast_slice(&done.ids));
    bytes.extend(xxh3_128(&bytes).to_le_bytes());
    let path = set.unfinished().join(name(group));
    let written = Disk::default().write_atomic(&path, |to| to.write_all(&bytes));
    written.map_err(|error| Error::file(&path, &error))?;
    set.keep();
    Ok(())
}

/// What a start before has done of the group, in the place of `done`, which is nothing; if that is
/// whole and would be done again just so. Its shards are the set's from then on.
pub(super) fn take(
    set: &mut NewSet,
    group: usize,
    key: &str,
    (mut done, allowed): (Done, &dyn Fn(&Done) -> bool),
) -> Option<Done> {
    let bytes = disk::read(&set.unfinished().join(name(group))).ok()?;
    let (bytes, digest) = bytes.split_at_checked(bytes.len().checked_sub(BEHIND)?)?;
    if digest != xxh3_128(bytes).to_le_bytes() {
        return None;
    }
    let (length, rest) = bytes.split_at_checked(BEFORE)?;
    let length = u64::from_le_bytes(length.try_into().ok()?);
    let (head, ids) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let head: Head = serde_json::from_slice(head).ok()?;
    let whole =
        |shard: &Shard| proof_of(&set.part(&shard.name)).ok().as_ref() == Some(&shard.proof);
    if head.key != key || !head.shards.iter().all(whole) {
        return None;
    }
    let counts: &[Counts] = bytemuck::try_cast_slice(&head.counts).ok()?;
    done.counts = *counts.first()?;
    for (class, size) in head.class_sizes {
        *done.class_sizes.get_mut(class as usize)? = size;
    }
    let first = |(kind, file, record, keys)| First { kind, file, record, keys };
    done.first = head.first.map(first);
    // Read bytes begin where they like.
    let ids = ids.chunks_exact(size_of::<IdPlace>());
    done.ids = ids.map(bytemuck::pod_read_unaligned).collect();
    (done.empty_files, done.damaged) = (head.empty_files, head.damaged);
    done.matched = head.matched;
    done.losses = bytemuck::try_cast_slice(&head.losses).ok()?.to_vec();
    let sides = done.sides.len();
    done.sides = bytemuck::try_cast_slice(&head.sides).ok()?.to_vec();
    if !allowed(&done) || done.sides.len() != sides {
        return None;
    }
    head.shards.into_iter().for_each(|shard| drop(set.add(shard.name)));
    set.keep();
    Some(done)
}
