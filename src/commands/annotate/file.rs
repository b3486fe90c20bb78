//! Annotations as one file: what fits. All rows pass the class blocks at once and go to rank 0.

use std::path::Path;

use super::Args;
use crate::comm::Comm;
use crate::commands::device::RankDevice;
use crate::commands::out::{self, For};
use crate::data::Annotations;
use crate::device::Device;
use crate::disk::{Disk, there};
use crate::error::{Error, Result};
use crate::flow::home_rows::HomeRows;
use crate::flow::repeated_ids::warn_of_repeated_ids;
use crate::formats::submission;
use crate::inference::best::best_of_own;
use crate::model::annotator::Annotator;

/// What comes of ids that stand twice.
pub(super) const REFUSED: &str = ": `evaluate` refuses such predictions";
/// More rows are parts.
const ROWS_MAX: usize = 1_000_000;

/// One rank's rows on their way to rank 0.
struct RankRows {
    ids: Vec<Vec<u8>>,
    /// [rows][top]
    scores: Vec<f32>,
    classes: Vec<u32>,
}

/// Annotates into the file `args.output`.
///
/// # Errors
/// Those of the command, common to all ranks.
pub(super) fn run(comm: &Comm, args: &Args) -> Result<()> {
    let (disk, name) = (Disk::default(), args.output.display());
    comm.agree(if comm.is_root() { check_output(&disk, &args.output) } else { Ok(()) })?;
    let annotator = crate::artifact::load(comm, &args.model)?;
    let (rows, device) = args.scoring.prepare(comm, &annotator, &args.data)?;
    comm.agree(few(rows.rows()))?;
    warn_of_repeated_ids(comm, rows.dataset(), rows.own_rows(), REFUSED)?;
    let top = (args.top as usize).min(annotator.shape.class_count);
    let own = match device {
        RankDevice::Host(mut host) => own_rows(comm, &annotator, &rows, &mut host, top)?,
        RankDevice::Gpu(mut gpu) => own_rows(comm, &annotator, &rows, &mut gpu, top)?,
    };
    let by_rank = gather(comm, own, top);
    let outcome = if comm.is_root() { write(&disk, &args.output, by_rank, top) } else { Ok(()) };
    comm.agree(outcome)?;
    out::print(comm, For::Keeping, || {
        format!("{name}: {} videos, {top} classes each\n", rows.rows())
    })
}

/// Sees that a file holds so many rows.
fn few(rows: usize) -> Result<()> {
    if rows <= ROWS_MAX {
        return Ok(());
    }
    let text = format!("--output: found {rows} videos, a file takes {ROWS_MAX}");
    Err(Error::usage(text).hint("--output DIR/ writes them in parts"))
}

/// This rank's rows with their best classes.
fn own_rows<D: Device>(
    comm: &Comm,
    annotator: &Annotator,
    rows: &HomeRows,
    device: &mut D,
    top: usize,
) -> Result<RankRows> {
    let own = comm.agree(rows.activations(annotator, device))?;
    let best = best_of_own(comm, annotator, &own, device, top)?;
    let ids = comm.agree(rows.dataset().reader().ids(rows.own_rows()))?;
    let (scores, classes) = (0..ids.len()).flat_map(|row| best.row(row)).copied().unzip();
    Ok(RankRows { ids, scores, classes })
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
        return Err(Error::usage(format!("{name}: expected a name that ends in .csv or .h5"))
            .hint("--output DIR/ names a folder"));
    }
    if is_hdf5(path) && path.to_str().is_none() {
        return Err(Error::usage(format!("{name}: expected UTF-8 in the path of an HDF5 file")));
    }
    if there(path).map_err(refused)?.is_some() {
        return Err(Error::usage(format!("{name}: exists already")).hint("choose another --output"));
    }
    disk.try_folder_of(path).map_err(refused)
}

fn write(disk: &Disk, path: &Path, by_rank: Vec<RankRows>, top: usize) -> Result<()> {
    if is_hdf5(path) {
        let mut all = Annotations { top, ..Annotations::default() };
        for RankRows { ids, scores, classes } in by_rank {
            all.ids.extend(ids);
            all.scores.extend(scores);
            all.classes.extend(classes);
        }
        return all.write_new(disk, path);
    }
    let written = disk.write_new(path, |out| {
        writeln!(out, "{}", submission::HEADER)?;
        for rows in &by_rank {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FaultKind;
    use crate::error::Exit;

    #[test]
    fn a_call_that_fails_leaves_nothing_under_the_final_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let by_rank = || {
            let (ids, scores, classes) = (vec![b"a,b".to_vec()], vec![0.5], vec![3]);
            vec![RankRows { ids, scores, classes }]
        };
        for calls in 0.. {
            let disk = Disk::failing_after(calls, FaultKind::Once);
            let outcome =
                check_output(&disk, &path).and_then(|()| write(&disk, &path, by_rank(), 1));
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
