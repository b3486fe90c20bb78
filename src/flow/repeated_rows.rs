//! Rows that stand twice: among those that train and those that validate, or within one of both.
//!
//! The hash of every row's id goes to the rank that is responsible for that hash. Rows are read
//! only where equal ids meet there: rows with the same labels and features, too, are the same
//! video. A rank takes 32 bytes for each of its rows, and the time to read their ids once; rows
//! whose ids stand in both lists are read once, all of them in the worst case.

use std::collections::BTreeMap;
use std::path::PathBuf;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::home_rows::HomeRows;
use super::repeated_ids::{NONE, Named, Tally, each_id, id_of, place_of};
use crate::comm::Comm;
use crate::data::{Kind, Reader, ShardInfo};
use crate::error::{Error, Result};
use crate::human::counted;
use crate::labels::Labels;

/// Set in the number of a validation row, so that those come behind the rows that train.
const VALIDATES: u64 = 1 << 63;

/// The rows that train and those that validate.
pub(crate) struct Lists<'a> {
    pub(crate) train: &'a HomeRows,
    pub(crate) validation: Option<&'a HomeRows>,
    /// Whether both were named by the job: then a row in both is an error.
    pub(crate) named: bool,
    /// `data.allow_overlap`: then it is a warning.
    pub(crate) allowed: bool,
}

/// Sees whether rows stand twice. Collective.
///
/// # Errors
/// Exit 4: shards or rows that train validate, too, and the job doesn't allow it; what reading rows
/// gives; exit 75 when told to stop; common to all ranks.
pub(crate) fn check(comm: &Comm, lists: &Lists) -> Result<()> {
    let same_shards = if lists.named { lists.same_shards() } else { Vec::new() };
    if let Some([train, validation]) = same_shards.first() {
        let count = same_shards.len();
        let text = format!(
            "data.validation: {count} of its shards have the rows of shards of data.train: {} \
             those of {}",
            validation.display(),
            train.display()
        );
        lists.refuse_or_warn(comm, text)?;
    }
    let [same, alike, in_train, in_validation, without_id] = lists.look(comm)?;
    let place = |found: Tally| lists.place(found.first);
    if same.count > 0 {
        let count = same.count;
        let text = format!(
            "data.validation: {count} rows are rows of data.train, too, with the same id, labels \
             and features: {}",
            place(same)
        );
        lists.refuse_or_warn(comm, text)?;
    }
    let warn = |found: Tally, what: &str| {
        if found.count > 0 && comm.is_root() {
            log::warn!("{} {what}: {}", found.count, place(found));
        }
    };
    warn(alike, "rows that validate have the id of one that trains, with other labels or features");
    warn(in_train, "rows that train have the id of another one");
    warn(in_validation, "rows that validate have the id of another one");
    if let (true, Some(place)) = (comm.is_root(), lists.place_without_id(without_id)) {
        log::warn!(
            "{} have no id, so nothing tells whether they both train and validate: {place}",
            counted(without_id.count, "row")
        );
    }
    Ok(())
}

impl Lists<'_> {
    fn list(&self, row: u64) -> &HomeRows {
        match row & VALIDATES {
            0 => self.train,
            _ => self.validation.expect("a row of it"),
        }
    }

    /// An error, or a warning where the job allows it, or where the user didn't choose which rows
    /// validate.
    fn refuse_or_warn(&self, comm: &Comm, text: String) -> Result<()> {
        if self.named && !self.allowed {
            let error = Error::input(text).hint("take them out, or data.allow_overlap = true");
            return Err(Error { agreed: true, ..error });
        }
        if comm.is_root() {
            log::warn!("{text}");
        }
        Ok(())
    }

    /// Shards of both lists that have the same content: copies, links, other names.
    fn same_shards(&self) -> Vec<[PathBuf; 2]> {
        let Some(validation) = self.validation else { return Vec::new() };
        fn with_rows(list: &HomeRows) -> impl Iterator<Item = &ShardInfo> {
            list.dataset().shards().iter().filter(|shard| shard.rows > 0)
        }
        let of = |shard: &ShardInfo| Some((shard.digest.clone()?, shard.path.clone()));
        let train: BTreeMap<String, PathBuf> = with_rows(self.train).filter_map(of).collect();
        let both = |(digest, path)| Some([train.get(&digest)?.clone(), path]);
        with_rows(validation).filter_map(of).filter_map(both).collect()
    }

    /// What stands in both lists, with the same labels and features and with others, what stands
    /// twice in each, and what has no id. Collective.
    fn look(&self, comm: &Comm) -> Result<[Tally; 5]> {
        let (mut parts, mut without_id) = (vec![Vec::new(); comm.size()], Tally::NOTHING);
        let mut named = |list: &HomeRows, mark: u64| -> Result<()> {
            each_id(comm, list.dataset(), list.own_rows(), |row, id| {
                if id.is_empty() {
                    without_id.add(1, [row | mark, NONE]);
                    return Ok(());
                }
                let id = xxh3_64(id);
                parts[(id % comm.size() as u64) as usize].push(Named { id, row: row | mark });
                Ok(())
            })
        };
        let read = named(self.train, 0)
            .and_then(|()| self.validation.map_or(Ok(()), |list| named(list, VALIDATES)));
        comm.agree(read)?;
        let mut named = comm.all_to_all(parts).concat();
        named.sort_unstable();
        let mut found = [Tally::NOTHING; 5];
        found[4] = without_id;
        let mut met = Vec::new();
        for group in named.chunk_by(|a, b| a.id == b.id).filter(|group| group.len() > 1) {
            let (train, validation) =
                group.split_at(group.partition_point(|it| it.row < VALIDATES));
            for (list, found) in [train, validation].into_iter().zip(&mut found[2..4]) {
                if let [first, second, ..] = list {
                    found.add(list.len() as u64 - 1, [first.row, second.row]);
                }
            }
            if !train.is_empty() && !validation.is_empty() {
                met.push((train, validation));
            }
        }
        let rows = met.iter().flat_map(|(train, validation)| train.iter().chain(*validation));
        let digests = self.digests(comm, rows.map(|it| it.row).collect())?;
        for (train, validation) in met {
            for other in validation {
                let same = train.iter().find(|it| digests[&it.row] == digests[&other.row]);
                let place = usize::from(same.is_none());
                found[place].add(1, [same.unwrap_or(&train[0]).row, other.row]);
            }
        }
        Ok(found.map(|found| found.of_all(comm)))
    }

    /// Digests of id, labels and features of `rows`, read by the ranks that own them. Collective.
    fn digests(&self, comm: &Comm, rows: Vec<u64>) -> Result<BTreeMap<u64, [u64; 2]>> {
        let mut asked = vec![Vec::new(); comm.size()];
        let runs = [Some(self.train), self.validation].map(|list| list.map(HomeRows::row_runs));
        for row in rows {
            let runs = runs[usize::from(row >= VALIDATES)].as_ref().expect("a list that has rows");
            let own = (row & !VALIDATES) as usize;
            asked[runs.partition_point(|run| run.end <= own)].push(row);
        }
        asked.iter_mut().for_each(|rows| rows.sort_unstable());
        let wanted = comm.all_to_all(asked.clone());
        let answers = comm.agree(self.read(comm, &wanted))?;
        let answers = comm.all_to_all(answers);
        Ok(asked.concat().into_iter().zip(answers.concat()).collect())
    }

    /// The digests of own rows, each list of which is in order.
    fn read(&self, comm: &Comm, wanted: &[Vec<u64>]) -> Result<Vec<Vec<[u64; 2]>>> {
        let mut readers = [Some(self.train), self.validation]
            .map(|list| list.map(|list| list.dataset().reader()));
        // Rows in the order in which they lie in files, whoever asks.
        let mut rows = wanted.concat();
        rows.sort_unstable();
        rows.dedup();
        let mut digests = BTreeMap::new();
        for row in rows {
            comm.unless_stopped()?;
            let reader = &mut readers[usize::from(row >= VALIDATES)];
            let reader = reader.as_mut().expect("a list that has rows");
            digests.insert(row, digest(reader, (row & !VALIDATES) as usize)?);
        }
        Ok(wanted.iter().map(|rows| rows.iter().map(|row| digests[row]).collect()).collect())
    }

    /// `FILE row 3`
    fn place_of(&self, row: u64) -> String {
        place_of(self.list(row).dataset(), row & !VALIDATES)
    }

    /// The first row without an id, where that could stand in both lists.
    fn place_without_id(&self, found: Tally) -> Option<String> {
        (found.count > 0 && self.validation.is_some()).then(|| self.place_of(found.first[0]))
    }

    /// `video "a", FILE row 3 and FILE row 9`
    fn place(&self, rows: [u64; 2]) -> String {
        let places = rows.map(|row| self.place_of(row));
        let id = id_of(self.list(rows[0]).dataset(), rows[0] & !VALIDATES);
        format!("video {id:?}, {} and {}", places[0], places[1])
    }
}

/// A digest of a row's id, labels and features.
fn digest(reader: &mut Reader, row: usize) -> Result<[u64; 2]> {
    let (mut sum, mut labels) = (Xxh3::new(), Labels::new());
    let mut field = |bytes: &[u8]| {
        sum.update(&(bytes.len() as u64).to_le_bytes());
        sum.update(bytes);
    };
    field(&reader.ids(row..row + 1)?[0]);
    match reader.dataset().kind() {
        Kind::Frames => {
            field(&reader.frames(row..row + 1)?[0]);
            reader.labels(row..row + 1, &mut labels)?;
        }
        Kind::Video => {
            let mut features = vec![0.0; reader.dataset().width()];
            reader.read(row..row + 1, &mut features, &mut labels)?;
            field(bytemuck::cast_slice(&features));
        }
    }
    field(bytemuck::cast_slice(labels.row(0)));
    let digest = sum.digest128();
    Ok([digest as u64, (digest >> 64) as u64])
}
