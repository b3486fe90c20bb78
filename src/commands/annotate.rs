//! `reelscale annotate`.

use std::path::{Path, PathBuf};

use super::device::RankDevice;
use super::out::{self, For};
use super::scoring::Scoring;
use crate::artifact;
use crate::comm::{Comm, same_on_all};
use crate::data::write_annotations;
use crate::disk::{Disk, own_temporary, there};
use crate::error::{Error, Exit, Result};
use crate::formats::{csv, submission};
use crate::inference::scores::score;

/// Writes each video's best classes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the model.
    #[arg(long)]
    model: PathBuf,
    /// Shards: paths or globs.
    #[arg(long, num_args = 1.., required = true)]
    data: Vec<String>,
    /// FILE.csv in the format of submissions, or FILE.h5; it must not exist.
    #[arg(long)]
    output: PathBuf,
    /// Classes of a video.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    top: u32,
    #[command(flatten)]
    scoring: Scoring,
    #[command(flatten)]
    pub(crate) patience: super::Patience,
}

/// One rank's rows on their way to rank 0.
struct RankRows {
    ids: Vec<Vec<u8>>,
    /// [rows][top]
    scores: Vec<f32>,
    classes: Vec<u32>,
}

/// The arguments that must be the same on all ranks.
fn shared_by_ranks(args: &Args) -> String {
    let Args { model: _, data: _, output, top, scoring: _, patience: _ } = args;
    format!("--output = {output:?}\n--top = {top}\n")
}

pub(crate) fn run(comm: &Comm, args: Args) -> Result<()> {
    same_on_all(comm, Exit::Launch, "arguments", &shared_by_ranks(&args))?;
    let (disk, name) = (Disk::default(), args.output.display());
    comm.agree(if comm.is_root() { check_output(&disk, &args.output) } else { Ok(()) })?;
    let annotator = artifact::load(comm, &args.model)?;
    let (rows, device) = args.scoring.prepare(comm, &annotator, &args.data)?;
    let top = (args.top as usize).min(annotator.shape.class_count);
    let scored = match device {
        RankDevice::Host(mut host) => score(comm, &annotator, &rows, &mut host, top)?,
        RankDevice::Gpu(mut gpu) => score(comm, &annotator, &rows, &mut gpu, top)?,
    };
    let ids = comm.agree(rows.dataset().reader().ids(rows.own_rows()))?;
    let lists = (0..ids.len()).flat_map(|row| &scored.top.row(row)[..top]);
    let (scores, classes) = lists.copied().unzip();
    let by_rank = gather(comm, RankRows { ids, scores, classes }, top);
    let outcome = if comm.is_root() { write(&disk, &args.output, &by_rank, top) } else { Ok(()) };
    comm.agree(outcome)?;
    out::print(comm, For::Keeping, || {
        format!("{name}: {} videos, {top} classes each\n", rows.rows())
    })
}

/// Every rank's rows on rank 0 (`top` pairs a row: small beside the features).
fn gather(comm: &Comm, own: RankRows, top: usize) -> Vec<RankRows> {
    fn to_root<T: bytemuck::Pod>(comm: &Comm, own: Vec<T>) -> Vec<Vec<T>> {
        let mut by_rank = vec![Vec::new(); comm.size()];
        by_rank[0] = own;
        comm.all_to_all(by_rank)
    }
    let lengths = own.ids.iter().map(|id| id.len() as u32).collect();
    let lengths = to_root(comm, lengths);
    let bytes = to_root(comm, own.ids.concat());
    let (scores, classes) = (to_root(comm, own.scores), to_root(comm, own.classes));
    let whole = lengths.into_iter().zip(bytes).zip(scores.into_iter().zip(classes));
    whole
        .map(|((lengths, bytes), (scores, classes))| {
            let mut rest = &bytes[..];
            let mut ids = Vec::new();
            for length in lengths {
                let (id, after) = rest.split_at(length as usize);
                ids.push(id.to_vec());
                rest = after;
            }
            assert_eq!(scores.len(), ids.len() * top);
            RankRows { ids, scores, classes }
        })
        .collect()
}

fn is_hdf5(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "h5")
}

/// Checks, before hours of computing, that the output can be written: its name is free, and its
/// folder takes a file.
fn check_output(disk: &Disk, path: &Path) -> Result<()> {
    let name = path.display();
    let refused = |error| Error::storage(format!("{name}: {error}"));
    if !is_hdf5(path) && path.extension().is_none_or(|extension| extension != "csv") {
        return Err(Error::usage(format!("{name}: expected a name that ends in .csv or .h5")));
    }
    if is_hdf5(path) && path.to_str().is_none() {
        return Err(Error::usage(format!("{name}: expected UTF-8 in the path of an HDF5 file")));
    }
    if there(path).map_err(refused)?.is_some() {
        return Err(Error::usage(format!("{name}: exists already")).hint("choose another --output"));
    }
    let trial = own_temporary(path);
    if there(&trial).map_err(refused)?.is_some() {
        disk.remove_file(&trial).map_err(refused)?;
    }
    disk.create(&trial).and_then(|_| disk.remove_file(&trial)).map_err(refused)
}

fn write(disk: &Disk, path: &Path, by_rank: &[RankRows], top: usize) -> Result<()> {
    if is_hdf5(path) {
        let ids: Vec<Vec<u8>> = by_rank.iter().flat_map(|rows| rows.ids.iter().cloned()).collect();
        let scores: Vec<f32> =
            by_rank.iter().flat_map(|rows| rows.scores.iter().copied()).collect();
        let classes: Vec<u32> =
            by_rank.iter().flat_map(|rows| rows.classes.iter().copied()).collect();
        return write_annotations(path, &ids, &classes, &scores, top);
    }
    warn_of_repeated_ids(by_rank);
    let written = disk.write_new(path, |out| {
        writeln!(out, "{}", submission::HEADER)?;
        for rows in by_rank {
            let pairs: Vec<(f32, u32)> =
                rows.scores.iter().copied().zip(rows.classes.iter().copied()).collect();
            for (id, pairs) in rows.ids.iter().zip(pairs.chunks(top)) {
                submission::write_line(out, id, pairs)?;
            }
        }
        Ok(())
    });
    written.map_err(|error| Error::storage(format!("{}: {error}", path.display())))
}

/// A file of predictions has each id once, for whoever reads it.
fn warn_of_repeated_ids(by_rank: &[RankRows]) {
    let mut ids: Vec<&[u8]> =
        by_rank.iter().flat_map(|rows| &rows.ids).map(Vec::as_slice).collect();
    ids.sort_unstable();
    let repeated: Vec<_> = ids.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    if let Some(first) = repeated.first() {
        let (count, id) = (repeated.len(), csv::shown(first[0]));
        log::warn!(
            "{count} videos have the id of another one, such as {id}: `evaluate` refuses such files"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FaultKind;

    #[test]
    fn a_call_that_fails_leaves_nothing_under_the_final_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let (ids, scores, classes) = (vec![b"a,b".to_vec()], vec![0.5], vec![3]);
        let by_rank = [RankRows { ids, scores, classes }];
        for calls in 0.. {
            let disk = Disk::failing_after(calls, FaultKind::Once);
            let outcome =
                check_output(&disk, &path).and_then(|()| write(&disk, &path, &by_rank, 1));
            if !disk.has_failed() {
                outcome.unwrap();
                break;
            }
            // Once the name is there the file is whole, though it may not last.
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(text.is_empty() || text.ends_with("\"a,b\",3 0.5\n"), "{text}");
            assert_eq!(outcome.unwrap_err().exit, Exit::Storage);
            let _ = std::fs::remove_file(&path);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file");
    }
}
