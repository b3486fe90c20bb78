//! Annotations as one file: what fits. All rows pass the class blocks at once and go to rank 0.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::Args;
use super::segments::Segments;
use super::texts::check_ids;
use crate::comm::Comm;
use crate::commands::device::RankDevice;
use crate::commands::out::{self, For};
use crate::data::Annotations;
use crate::device::Device;
use crate::disk::{Disk, there};
use crate::error::{Error, Result};
use crate::flow::home_rows::HomeRows;
use crate::flow::repeated_ids::warn_of_repeated_ids;
use crate::formats::predictions::WrittenAs;
use crate::formats::written::{About, Written};
use crate::inference::best::best_of_own;
use crate::model::annotator::Annotator;
use crate::names::Names;

/// What comes of ids that stand twice.
pub(super) const REFUSED: &str = ": `evaluate` refuses such predictions";
/// More rows are parts; but segments, of which only ids and pairs come together, are one file.
const ROWS_MAX: usize = 1_000_000;
const SEGMENTS_MAX: usize = 10_000_000;

/// One rank's rows on their way to rank 0.
struct RankRows {
    ids: Vec<Vec<u8>>,
    /// [rows][top]
    scores: Vec<f32>,
    classes: Vec<u32>,
}

impl RankRows {
    fn pairs(&self) -> impl Iterator<Item = (f32, u32)> {
        self.scores.iter().copied().zip(self.classes.iter().copied())
    }
}

/// Annotates into the file `args.output`.
///
/// # Errors
/// Those of the command, common to all ranks.
pub(super) fn run(comm: &Comm, args: &Args) -> Result<()> {
    let (disk, name) = (Disk::default(), args.output.display());
    let written_as = comm.agree(written_as(&args.output, args.format.as_deref()))?;
    comm.agree(if comm.is_root() { check_output(&disk, &args.output) } else { Ok(()) })?;
    let (annotator, model) = args.which.load(comm, &args.model)?;
    let (rows, device) = args.scoring.prepare(comm, &annotator, &args.data)?;
    comm.agree(few(rows.rows(), written_as))?;
    check_ids(comm, rows.dataset(), rows.own_rows(), written_as)?;
    warn_of_repeated_ids(comm, rows.dataset(), rows.own_rows(), REFUSED)?;
    let top = (args.top as usize).min(annotator.shape.class_count);
    let own = match device {
        RankDevice::Host(mut host) => own_rows(comm, &annotator, &rows, &mut host, top)?,
        RankDevice::Gpu(mut gpu) => own_rows(comm, &annotator, &rows, &mut gpu, top)?,
    };
    let by_rank = gather(comm, own, top);
    let names = annotator.names.clone();
    let output = Output { disk, written_as, model, top, names, per_class: args.per_class as usize };
    let outcome = if comm.is_root() { output.write(&args.output, by_rank) } else { Ok(()) };
    comm.agree(outcome)?;
    out::print(comm, For::Keeping, || {
        format!("{name}: {} videos, {top} classes each\n", rows.rows())
    })
}

/// How the file `path` is written: as its ending says, of csv as `format` says.
///
/// # Errors
/// Exit 2: another ending; a format that isn't one of this ending.
fn written_as(path: &Path, format: Option<&str>) -> Result<WrittenAs> {
    let name = path.display();
    let by_ending = match path.extension().and_then(OsStr::to_str) {
        Some("csv") => WrittenAs::Submission,
        Some("h5") => WrittenAs::Hdf5,
        Some("jsonl") => WrittenAs::Jsonl,
        Some("parquet") => WrittenAs::Parquet,
        _ => {
            let text =
                format!("{name}: expected a name that ends in .csv, .jsonl, .h5 or .parquet");
            return Err(Error::usage(text).hint("--output DIR/ names a folder"));
        }
    };
    match format.and_then(WrittenAs::named) {
        None => Ok(by_ending),
        Some(format) if format.ending() == by_ending.ending() => Ok(format),
        Some(format) => {
            let text = format!("--format {}: found the file {name}", format.name());
            let hint = format!("--output FILE.{}, or DIR/ for parts", format.ending());
            Err(Error::usage(text).hint(hint))
        }
    }
}

/// Sees that a file holds so many rows.
fn few(rows: usize, written_as: WrittenAs) -> Result<()> {
    let most = if written_as == WrittenAs::Segments { SEGMENTS_MAX } else { ROWS_MAX };
    if rows <= most {
        return Ok(());
    }
    let text = format!("--output: found {rows} videos, a file takes {most}");
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
    if is_hdf5(path) && path.to_str().is_none() {
        return Err(Error::usage(format!("{name}: expected UTF-8 in the path of an HDF5 file")));
    }
    if there(path).map_err(refused)?.is_some() {
        return Err(Error::usage(format!("{name}: exists already")).hint("choose another --output"));
    }
    disk.try_folder_of(path).map_err(refused)
}

/// How a file is written.
struct Output {
    disk: Disk,
    written_as: WrittenAs,
    /// Content hash of the model.
    model: String,
    top: usize,
    names: Option<Arc<Names>>,
    /// Segments of a class at most.
    per_class: usize,
}

impl Output {
    /// Writes all ranks' rows to `path`, whole or not at all.
    fn write(&self, path: &Path, by_rank: Vec<RankRows>) -> Result<()> {
        let Output { disk, written_as, model, top, names, .. } = self;
        let refused = |error: io::Error| Error::storage(format!("{}: {error}", path.display()));
        match written_as {
            WrittenAs::Hdf5 => {
                let names = names.clone();
                let mut all = Annotations { top: *top, names, ..Annotations::default() };
                for RankRows { ids, scores, classes } in by_rank {
                    all.ids.extend(ids);
                    all.scores.extend(scores);
                    all.classes.extend(classes);
                }
                all.write_new(disk, path)
            }
            WrittenAs::Segments => {
                let best: Vec<(f32, u32)> = by_rank.iter().flat_map(RankRows::pairs).collect();
                let ids = by_rank.iter().flat_map(|rows| rows.ids.iter().map(Vec::as_slice));
                let segments = Segments { ids: ids.collect(), best: &best, top: *top };
                segments
                    .check()
                    .map_err(|text| Error::input(format!("--format segments: {text}")))?;
                let write = |out: &mut dyn Write| segments.write(out, self.per_class);
                disk.write_new(path, write).map_err(refused)
            }
            _ => {
                let write = |out: &mut dyn Write| {
                    let about = About { model, top: *top, names: names.as_deref() };
                    let mut written = Written::begin(*written_as, out, about)?;
                    for rows in &by_rank {
                        let pairs: Vec<(f32, u32)> = rows.pairs().collect();
                        for (id, pairs) in rows.ids.iter().zip(pairs.chunks(*top)) {
                            written.video(out, id, pairs)?;
                        }
                    }
                    written.end(out)
                };
                disk.write_new(path, write).map_err(refused)
            }
        }
    }
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
            let written_as = WrittenAs::Submission;
            let model = String::new();
            let (used, names) = (disk.clone(), None);
            let output = Output { disk: used, written_as, model, top: 1, names, per_class: 1 };
            let outcome = check_output(&disk, &path).and_then(|()| output.write(&path, by_rank()));
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
