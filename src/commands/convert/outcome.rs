//! What a conversion comes to: what must not pass in silence, ids that stand twice, the sums.

use std::path::{Path, PathBuf};

use super::done::{Done, First, IdPlace, SideCounts, mixed};
use super::record_options::warn_of;
use crate::comm::Comm;
use crate::data::Kind;
use crate::error::{Error, Result};
use crate::human::{self, counted};
use crate::model::features::FRAMES_MAX;

/// Warnings of one kind: at most so many are printed one by one.
const WARNINGS_MAX: usize = 5;

/// The first record of all ranks, once it is known that all records together make a set: there is
/// one, some make rows, and all are of its kind. Collective.
///
/// # Errors
/// Exit 4, common to all ranks.
pub(crate) fn check(comm: &Comm, paths: &[PathBuf], done: &Done) -> Result<First> {
    let own = done.first.as_ref();
    let mut rows = [done.counts.rows];
    comm.sum(&mut rows);
    let numbers = own.map(|first| [first.file as u64, first.record, first.kind as u64]);
    let keys = own.map_or("", |first| &first.keys);
    let all = comm.all_gather_any(numbers.as_slice());
    let keys = comm.all_gather_any(keys.as_bytes());
    let kind = |number: u64| if number == Kind::Video as u64 { Kind::Video } else { Kind::Frames };
    let ranks = (0..all.len()).filter(|rank| !all[*rank].is_empty());
    let Some(rank) = ranks.min_by_key(|rank| all[*rank][0]) else {
        let more = if paths.len() > 1 { " nor in the files after it" } else { "" };
        return Err(Error::input(format!("{}: found no record{more}", paths[0].display())));
    };
    let [file, record, number] = all[rank][0];
    let keys = String::from_utf8_lossy(&keys[rank]).into_owned();
    let first = First { kind: kind(number), file: file as usize, record, keys };
    if rows == [0] {
        let (path, keys) = (paths[first.file].display(), &first.keys);
        return Err(Error::input(format!(
            "{path}: record {record}: no record makes a row; {keys}"
        )));
    }
    match all.iter().flatten().find(|other| other[2] != number) {
        Some([file, record, other]) => {
            let (file, keys) = (*file as usize, String::new());
            let found = First { kind: kind(*other), file, record: *record, keys };
            Err(mixed(&found, &first, paths))
        }
        None => Ok(first),
    }
}

/// Warns of files without any record. Collective.
pub(crate) fn warn_of_empty_files(comm: &Comm, paths: &[PathBuf], own: &[u64]) {
    let all = comm.all_gather_any(own).concat();
    if !comm.is_root() {
        return;
    }
    for file in all.iter().take(WARNINGS_MAX) {
        log::warn!("{}: found no record", paths[*file as usize].display());
    }
    if all.len() > WARNINGS_MAX {
        log::warn!("... and {} more files without a record", all.len() - WARNINGS_MAX);
    }
}

/// Warns of ids that stand twice. Collective.
pub(crate) fn warn_of_repeated_ids(comm: &Comm, paths: &[PathBuf], ids: Vec<IdPlace>) {
    let size = comm.size() as u64;
    let mut parts = vec![Vec::new(); comm.size()];
    ids.into_iter().for_each(|id| parts[(id[0] % size) as usize].push(id));
    let mut own = comm.all_to_all(parts).concat();
    own.sort_unstable();
    let twice: Vec<[IdPlace; 2]> = own
        .windows(2)
        .filter(|pair| pair[0][0] == pair[1][0])
        .map(|pair| [pair[0], pair[1]])
        .collect();
    let mut all = comm.all_gather_any(&twice).concat();
    all.sort_unstable();
    if !comm.is_root() {
        return;
    }
    let place = |id: &IdPlace| format!("{}: record {}", paths[id[1] as usize].display(), id[2]);
    for [first, second] in all.iter().take(WARNINGS_MAX) {
        log::warn!("the same id twice: {} and {}", place(first), place(second));
    }
    if all.len() > WARNINGS_MAX {
        log::warn!("... and {} more ids that stand twice", all.len() - WARNINGS_MAX);
    }
}

/// What each side has got, in a line each; warns of those that have got nothing.
pub(crate) fn of_sides(output: &Path, names: &[&str], sides: &[SideCounts]) -> String {
    let mut text = String::new();
    for (name, side) in names.iter().zip(sides) {
        let folder = output.join(name);
        if side.rows == 0 {
            log::warn!("{}: no row has come to this side", folder.display());
        }
        let (rows, labels) = (counted(side.rows, "row"), counted(side.labels, "label"));
        let shards = counted(side.shards, "shard");
        text += &format!("{}: {rows}, {labels}, {shards}\n", folder.display());
    }
    text
}

/// The sums over all ranks in a line; warns of what they show.
pub(crate) fn summary(output: &Path, done: &Done, first: &First, seconds: f64) -> String {
    let counts = &done.counts;
    let seen = done.class_sizes.iter().filter(|size| **size > 0).count();
    let text = format!(
        "{}: {} files, {} rows, {} labels, {} frames, {seen} classes seen, {} rows without labels, \
         {} shards; {} in {seconds:.1} s ({}/s)\n",
        output.display(),
        counts.files,
        counts.rows,
        counts.labels,
        counts.frames,
        counts.unlabelled,
        counts.shards,
        human::bytes(counts.bytes),
        human::bytes((counts.bytes as f64 / seconds.max(1e-9)) as u64)
    );
    if counts.long > 0 {
        log::warn!(
            "{} videos have more than {FRAMES_MAX} frames: the first {FRAMES_MAX} are used",
            counts.long
        );
    }
    if counts.repeated_labels > 0 {
        log::warn!(
            "{} labels stood twice in their record and are kept once",
            counts.repeated_labels
        );
    }
    if counts.empty_ids > 0 {
        log::warn!("{} records have an empty id", counts.empty_ids);
    }
    warn_of(&counts.notes);
    counts.tables.warn();
    if counts.labels == 0 {
        let keys = match first.keys.is_empty() {
            true => String::new(),
            false => {
                format!("; in the first record: {}; hint: --labels-key names theirs", first.keys)
            }
        };
        log::warn!("no record has labels{keys}");
    }
    text
}
