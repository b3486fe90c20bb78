//! Rows of one list whose ids stand more than once, found without any rank holding all ids.
//!
//! The hash of every row's id goes to the rank that is responsible for that hash, so many at a
//! time: of longer lists a share of all hashes in each of several passes, which read the ids again.
//! So a rank takes 100 MB at most, however many rows there are, and a pass reads about a hundredth
//! of what the features are.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use xxhash_rust::xxh3::xxh3_64;

use crate::comm::Comm;
use crate::data::Dataset;
use crate::error::Result;
use crate::human::counted;

/// Ids that are read at once: each is an allocation of its own.
const IDS_AT_ONCE: usize = 1 << 12;
/// Ids of a rank's rows that it sends in one pass: 16 bytes each, and an exchange has up to five
/// copies of them.
const PASS_IDS: usize = 1 << 20;
/// No row.
pub(super) const NONE: u64 = u64::MAX;

/// A row's id on its way to the rank that is responsible for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Named {
    pub(super) id: u64,
    pub(super) row: u64,
}

/// How often something was found, and the first two rows of which it is true, in that order.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) first: [u64; 2],
}

impl Tally {
    pub(super) const NOTHING: Tally = Tally { count: 0, first: [NONE; 2] };

    pub(super) fn add(&mut self, count: u64, rows: [u64; 2]) {
        if count > 0 {
            self.count += count;
            self.first = self.first.min(rows);
        }
    }

    /// What all ranks have found. Collective.
    pub(super) fn of_all(self, comm: &Comm) -> Tally {
        let mut all = Tally::NOTHING;
        comm.all_gather(&[self]).iter().for_each(|found| all.add(found.count, found.first));
        all
    }
}

/// Tells of rows of `dataset` that have the id of another one, of which this rank reads the ids of
/// `own`; `what` says what comes of that. Collective.
///
/// # Errors
/// Exit 4: what reading ids gives; exit 75 when told to stop; common to all ranks.
pub(crate) fn warn_of_repeated_ids(
    comm: &Comm,
    dataset: &Dataset,
    own: Range<usize>,
    what: &str,
) -> Result<()> {
    let found = repeated(comm, dataset, own, PASS_IDS)?;
    if found.count > 0 && comm.is_root() {
        let (count, place) = (counted(found.count, "row"), place(dataset, found.first));
        log::warn!("{count} with the id of another one{what}: {place}");
    }
    Ok(())
}

/// Rows that have the id of an earlier one, `pass_ids` of a rank's ids at a time.
fn repeated(comm: &Comm, dataset: &Dataset, own: Range<usize>, pass_ids: usize) -> Result<Tally> {
    let passes = comm.max(own.len() as u64).div_ceil(pass_ids as u64).max(1);
    let mut found = Tally::NOTHING;
    for pass in 0..passes {
        let parts = hashes(comm, dataset, own.clone(), (pass, passes));
        let mut parts = comm.all_to_all(comm.agree(parts)?);
        // One part is all of it, without a copy.
        let mut named = if parts.len() == 1 { parts.remove(0) } else { parts.concat() };
        drop(parts);
        named.sort_unstable();
        for group in named.chunk_by(|a, b| a.id == b.id) {
            if let [first, second, ..] = group {
                found.add(group.len() as u64 - 1, [first.row, second.row]);
            }
        }
    }
    Ok(found.of_all(comm))
}

/// For each rank the hashes that it is responsible for in a pass. Rows without an id have none.
fn hashes(
    comm: &Comm,
    dataset: &Dataset,
    own: Range<usize>,
    (pass, passes): (u64, u64),
) -> Result<Vec<Vec<Named>>> {
    let mut parts = vec![Vec::new(); comm.size()];
    each_id(comm, dataset, own, |row, id| {
        let hash = xxh3_64(id);
        if !id.is_empty() && (hash >> 32) % passes == pass {
            parts[(hash % comm.size() as u64) as usize].push(Named { id: hash, row });
        }
        Ok(())
    })?;
    Ok(parts)
}

/// Calls `visit` with each row of `own` and its id, in order. Not collective.
///
/// # Errors
/// What reading ids or `visit` gives; exit 75 when told to stop.
pub(crate) fn each_id(
    comm: &Comm,
    dataset: &Dataset,
    own: Range<usize>,
    mut visit: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut reader = dataset.reader();
    for from in own.clone().step_by(IDS_AT_ONCE) {
        comm.unless_stopped()?;
        let ids = reader.ids(from..own.end.min(from + IDS_AT_ONCE))?;
        (from as u64..).zip(ids).try_for_each(|(row, id)| visit(row, &id))?;
    }
    Ok(())
}

/// `FILE row 3`
pub(crate) fn place_of(dataset: &Dataset, row: u64) -> String {
    let (shard, row) = dataset.place_of(row as usize);
    format!("{} row {row}", dataset.shards()[shard].path.display())
}

/// `video "a", FILE row 3 and FILE row 9`
fn place(dataset: &Dataset, rows: [u64; 2]) -> String {
    let places = rows.map(|row| place_of(dataset, row));
    format!("video {:?}, {} and {}", id_of(dataset, rows[0]), places[0], places[1])
}

/// The id of a row, as messages show it.
pub(super) fn id_of(dataset: &Dataset, row: u64) -> String {
    let row = row as usize;
    let id = dataset.reader().ids(row..row + 1).ok();
    id.map(|ids| String::from_utf8_lossy(&ids[0]).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comm::run_threads;
    use crate::data::{Kind, ShardHeader, ShardInfo, ShardWriter};
    use crate::synthetic::Planted;

    #[test]
    fn passes_and_ranks_find_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let planted = Planted::new(1, 4, 3, 1);
        let shard = |name: &str, ids: &[&str]| {
            let path = folder.path().join(name);
            let (parts, source) = (planted.parts(), "a test".to_string());
            let header = ShardHeader { parts, class_count: 3, kind: Kind::Video, source };
            let mut writer = ShardWriter::create(&path, &header).unwrap();
            for id in ids {
                let mut example = planted.example(0);
                example.id = id.as_bytes().to_vec();
                writer.push(&example).unwrap();
            }
            writer.finish().unwrap();
            ShardInfo::read(&path).unwrap()
        };
        let one = shard("a.h5", &["e", "", "b", "c", "d", "b"]);
        let two = shard("b.h5", &["", "c", "f", "b", "g"]);
        let dataset = Dataset::new(vec![one, two]).unwrap();
        for (size, pass_ids) in [(1, 100), (1, 2), (2, 1), (3, 3), (5, 1)] {
            let found = run_threads(size, |comm| {
                repeated(comm, &dataset, comm.deal(dataset.rows()).own(), pass_ids)
            });
            let expected = Tally { count: 3, first: [2, 5] };
            assert!(found.unwrap().iter().all(|found| *found == expected), "{size} {pass_ids}");
        }
        let told = place(&dataset, [2, 9]);
        assert!(told.starts_with("video \"b\", ") && told.ends_with("b.h5 row 3"), "{told}");
    }
}
