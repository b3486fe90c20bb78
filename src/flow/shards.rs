//! The shards of a list, opened over ranks: each is described by one rank, all ranks see the same
//! files, and each sees those that it will read as the rank that described them did.

use std::fmt::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::comm::{Comm, same_on_all};
use crate::data::{Dataset, Proof, ReadBefore, ShardInfo, ShardReader, Stamp, find, prove};
use crate::error::{Error, Exit, Result};
use crate::human::{self, counted};
use crate::names::Names;

/// Opens the shards that `patterns` name; files are divided over ranks. Those without proof are
/// read in full, unless they stand in `before` and haven't changed. `list` is what errors call it.
/// Collective.
///
/// # Errors
/// Exit 4: ranks see other files than others; what is wrong with any of them, all listed; exit 75
/// when told to stop; common to all ranks.
pub(crate) fn open(
    comm: &Comm,
    list: &str,
    patterns: &[String],
    before: &ReadBefore,
) -> Result<Dataset> {
    let found = find(patterns);
    same_on_all(comm, Exit::Input, list, &listing(&found))?;
    let paths = comm.agree(found)?;
    let infos = describe(comm, &paths[comm.deal(paths.len()).own()], before);
    let infos = together(comm, infos)?;
    let text = serde_json::to_vec(&infos).expect("shard descriptions are plain data");
    let all = comm.all_gather_any(&text).into_iter().flat_map(|text| {
        let infos: Vec<ShardInfo> = serde_json::from_slice(&text).expect("as they were written");
        infos
    });
    named(comm, list, comm.agree(Dataset::new(all.collect()))?)
}

/// The same rows with the names that their shards have of classes, which rank 0 reads. Collective.
fn named(comm: &Comm, list: &str, dataset: Dataset) -> Result<Dataset> {
    let shards = dataset.shards();
    let without = shards.iter().filter(|shard| shard.names.is_none());
    let count = without.clone().count();
    if count == shards.len() {
        return Ok(dataset);
    }
    if let (true, Some(first)) = (comm.is_root(), without.clone().next()) {
        log::warn!(
            "{list}: {count} of {} shards have no names of classes, such as {}: taken to have \
             those of the others",
            shards.len(),
            first.path.display()
        );
    }
    let names = if comm.is_root() { dataset.names_of_shards() } else { Ok(None) };
    let bytes = comm.agree(names)?.map_or_else(Vec::new, |names| names.to_bytes());
    let names = Names::from_bytes(&comm.all_gather_any(&bytes).swap_remove(0)).map(Arc::new);
    Ok(dataset.named(names))
}

/// What ranks compare of a list: the files and their sizes, or why there is none.
fn listing(found: &Result<Vec<PathBuf>>) -> String {
    let mut text = String::new();
    match found {
        Ok(paths) => {
            for path in paths {
                let size = path.metadata().map(|found| format!("{} bytes", found.len()));
                let size = size.unwrap_or_else(|error| error.to_string());
                writeln!(text, "{} = {size}", path.display()).expect("memory");
            }
        }
        Err(error) => text.push_str(&error.text),
    }
    text
}

/// What each of `paths` is.
fn describe(comm: &Comm, paths: &[PathBuf], before: &ReadBefore) -> Result<Vec<ShardInfo>> {
    let (mut infos, mut errors) = (Vec::new(), Vec::new());
    // Places in `infos` of shards without proof, and their paths.
    let (mut places, mut unproven) = (Vec::new(), Vec::new());
    for path in paths {
        match look(path, before) {
            Ok(Some(info)) => infos.push(Some(info)),
            Ok(None) => {
                places.push(infos.len());
                unproven.push(path.clone());
                infos.push(None);
            }
            Err(error) => errors.push(error),
        }
        comm.unless_stopped()?;
    }
    let bytes: u64 = unproven.iter().flat_map(|path| path.metadata()).map(|it| it.len()).sum();
    if bytes > READ_SILENTLY_MAX {
        let (count, bytes) = (counted(unproven.len() as u64, "shard"), human::bytes(bytes));
        log::info!("read in full once: {count} without proof, {bytes}");
    }
    let proven = prove(&unproven, &mut || comm.stop_asked())?;
    for (place, outcome) in places.into_iter().zip(proven) {
        match outcome {
            Ok(info) => infos[place] = Some(info),
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors)?;
    Ok(infos.into_iter().flatten().collect())
}

/// Shards without proof are read in full without a word where they have no more bytes.
const READ_SILENTLY_MAX: u64 = 1 << 30;

/// What the shard at `path` is, or None where it has to be read in full to know that.
fn look(path: &Path, before: &ReadBefore) -> Result<Option<ShardInfo>> {
    if let Some(info) = ShardInfo::look(path)? {
        return Ok(Some(info));
    }
    let Ok(stamp) = Stamp::of_path(path) else { return Ok(None) };
    let Some(digest) = before.digest(path, &stamp) else { return Ok(None) };
    let info = ShardInfo::read_unproven(path)?;
    Ok(Some(ShardInfo { digest: Some(digest.into()), proof: Proof::Read { stamp }, ..info }))
}

/// Sees that this rank finds the shards that `rows` of `dataset` lie in as the rank that described
/// them did. Collective.
///
/// # Errors
/// Exit 4, common to all ranks, naming the rank and all files that are missing, closed to it or
/// others.
pub(crate) fn see(comm: &Comm, dataset: &Dataset, rows: &Range<usize>) -> Result<()> {
    let shards = dataset.shards();
    let described = comm.deal(shards.len()).own();
    let others = dataset.shards_of(rows).into_iter().filter(|shard| !described.contains(shard));
    let errors: Vec<Error> =
        others.filter_map(|shard| ShardReader::open(&shards[shard]).err()).collect();
    let outcome = Error::all(errors)
        .map_err(|error| Error { text: format!("rank {}: {}", comm.rank(), error.text), ..error });
    together(comm, outcome)
}

/// As `Comm::agree`, with what all ranks have found wrong. Collective.
fn together<T>(comm: &Comm, outcome: Result<T>) -> Result<T> {
    let fault = outcome.as_ref().err().filter(|error| !error.is_stop());
    let own = fault.map_or("", |error| error.text.as_str());
    let texts = comm.all_gather_any(own.as_bytes());
    let texts = texts.iter().filter(|text| !text.is_empty());
    let texts: Vec<_> = texts.map(|text| String::from_utf8_lossy(text)).collect();
    let with_all = |error: Error| match error.is_stop() {
        true => error,
        false => Error { text: texts.join("\n  "), ..error },
    };
    comm.agree(outcome.map_err(with_all))
}

/// Tells once how many shards of all lists have no proof of their own. Collective.
pub(crate) fn warn_of_unproven(comm: &Comm, datasets: &[&Dataset]) {
    let shards = datasets.iter().flat_map(|dataset| dataset.shards());
    let unproven = |shard: &&ShardInfo| !matches!(shard.proof, Proof::Own { .. });
    let paths: std::collections::BTreeSet<&Path> =
        shards.filter(unproven).map(|shard| shard.path.as_path()).collect();
    if let (true, Some(first)) = (comm.is_root(), paths.first()) {
        let (count, first) = (counted(paths.len() as u64, "shard"), first.display());
        log::warn!("{count} without proof; hint: reelscale inspect --seal {first}");
    }
}
