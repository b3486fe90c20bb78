//! Annotations part by part into a folder, by ranks that come and go: what a start finds there,
//! what is left to do, and the end.

use std::path::Path;

use super::Args;
use super::file::REFUSED;
use super::folder::{FORMAT, Folder, Found, Identity, Left, Manifest, ManifestPart, look, names};
use super::journal::Sum;
use super::texts::check_ids;
use super::waves::in_waves;
use super::whole::{Work, by_whole_models};
use super::writer::Place;
use crate::comm::Comm;
use crate::commands::device::RankDevice;
use crate::commands::out::{self, For};
use crate::commands::scoring::ForParts;
use crate::cost::parts::{Way, batch_pieces};
use crate::data::Dataset;
use crate::device::Device;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::flow::experts_travel::gather_blocks;
use crate::flow::own_rows::Room;
use crate::flow::repeated_ids::warn_of_repeated_ids;
use crate::formats::predictions::WrittenAs;
use crate::human::{self, counted};
use crate::inference::parts::{Part, parts};
use crate::model::annotator::Annotator;

/// Rows of a part: 16 MB of submissions.
pub(super) const PART_ROWS: u32 = 65_536;

/// Annotates into the folder `args.output`.
///
/// # Errors
/// Those of the command, common to all ranks.
pub(super) fn run(comm: &Comm, args: &Args) -> Result<()> {
    let (disk, path) = (Disk::default(), args.output.as_path());
    let written_as = comm.agree(written_as(args))?;
    let take = || Folder::take(&disk, path, args.no_lock).map(Some);
    // One that is there is taken at once, so that no other process goes on with it meanwhile.
    let early = match comm.is_root() {
        true => {
            look(path).and_then(|found| if found == Found::Nothing { Ok(None) } else { take() })
        }
        false => Ok(None),
    };
    let mut folder = comm.agree(early)?;
    let (annotator, model) = args.which.load(comm, &args.model)?;
    let top = (args.top as usize).min(annotator.shape.class_count);
    let sizes = (top, args.part_rows as usize);
    let ForParts { dataset, device, way, room } =
        args.scoring.prepare_parts(comm, &annotator, &args.data, sizes)?;
    let class_names = annotator.names.clone().filter(|_| written_as.has_names());
    let all = parts(&dataset, args.part_rows as usize);
    let names = names(&all, written_as);

    // What a rank can't do leaves no folder behind: so a new one comes only now.
    check_ids(comm, &dataset, comm.deal(dataset.rows()).own(), written_as)?;
    let begun = match (comm.is_root(), folder.take()) {
        (true, there) => there.map_or_else(take, |there| Ok(Some(there))),
        (false, _) => Ok(None),
    };
    folder = comm.agree(begun)?;
    let names_digest = class_names.as_ref().map(|names| names.digest());
    let identity = identity(args, (&model, names_digest.as_deref()), top, written_as, &dataset);
    let left = folder.as_ref().map(|folder| {
        folder.begin(&identity)?;
        folder.left(&names)
    });
    let left = comm.agree(left.transpose())?;
    let (start, to_do) = shared(comm, left.as_ref(), all.len());
    tell_what_is_left(comm, path, &all, &to_do);
    if !to_do.is_empty() {
        warn_of_repeated_ids(comm, &dataset, comm.deal(dataset.rows()).own(), REFUSED)?;
    }

    let start = (start, comm.rank());
    let place = Place {
        disk,
        folder: path.to_path_buf(),
        written_as,
        model,
        top,
        class_names,
        names: names.clone(),
        start,
    };
    let patience = args.patience.stall_seconds;
    let work = Work { dataset: &dataset, parts: &all, to_do, place, way, room, patience };
    let written = match device {
        RankDevice::Host(mut host) => annotate(comm, &work, annotator, &mut host)?,
        RankDevice::Gpu(mut gpu) => annotate(comm, &work, annotator, &mut gpu)?,
    };
    let sums = together(comm, left, written, all.len());
    let manifest = |sums| manifest(written_as, top, &dataset, (&all, &names), sums);
    let finished = folder.as_ref().map(|folder| folder.finish(&manifest(sums)));
    comm.agree(finished.transpose())?;
    out::print(comm, For::Keeping, || {
        let (rows, count) = (dataset.rows(), counted(all.len() as u64, "part"));
        format!("{}: {rows} videos, {top} classes each, in {count}\n", path.display())
    })
}

/// The parts that are left to do; this rank's, with their sums.
fn annotate<D: Device>(
    comm: &Comm,
    work: &Work,
    annotator: Annotator,
    device: &mut D,
) -> Result<Vec<(usize, Sum)>> {
    if work.to_do.is_empty() {
        return Ok(Vec::new());
    }
    let outcome = match work.way {
        Way::Whole { pieces } => {
            let experts = gather_blocks(comm, &annotator.experts);
            comm.agree(Ok(()))?;
            let whole = Annotator { experts, ..annotator };
            by_whole_models(comm, work, &whole, pieces, device)
        }
        Way::Waves { parts, in_memory } => {
            in_waves(comm, work, &annotator, (parts, in_memory), device)
        }
    };
    comm.agree(outcome)
}

/// Annotates all of `dataset` by a model that is whole on this one rank, into the folder `path`,
/// which it makes: to be measured.
///
/// # Errors
/// What reading, computing and writing give.
pub(crate) fn annotate_all<D: Device>(
    dataset: &Dataset,
    annotator: &Annotator,
    device: &mut D,
    top: usize,
    path: &Path,
) -> Result<()> {
    let disk = Disk::default();
    disk.create_new_dir(path).map_err(|error| Error::file(path, &error))?;
    let (all, written_as) = (parts(dataset, PART_ROWS as usize), WrittenAs::Submission);
    let names = names(&all, written_as);
    let (folder, class_names) = (path.to_path_buf(), None);
    let (model, start) = (String::new(), (1, 0));
    let place = Place { disk, folder, written_as, model, top, class_names, names, start };
    let pieces = batch_pieces(&annotator.shape, device.at_once());
    let (way, room, to_do) = (Way::Whole { pieces }, Room::unlimited(), (0..all.len()).collect());
    let work = Work { dataset, parts: &all, to_do, place, way, room, patience: 0.0 };
    by_whole_models(&Comm::serial(), &work, annotator, pieces, device).map(drop)
}

/// How parts are written.
///
/// # Errors
/// Exit 2: as one file only.
fn written_as(args: &Args) -> Result<WrittenAs> {
    match args.format.as_deref().and_then(WrittenAs::named) {
        None => Ok(WrittenAs::Submission),
        Some(WrittenAs::Segments) => {
            let text = format!("--format segments: found the folder {}", args.output.display());
            Err(Error::usage(text).hint("it is one file of all: --output FILE.csv"))
        }
        Some(written_as) => Ok(written_as),
    }
}

fn identity(
    args: &Args,
    (model, names): (&str, Option<&str>),
    top: usize,
    written_as: WrittenAs,
    dataset: &Dataset,
) -> String {
    let digest = |shard: &'_ crate::data::ShardInfo| shard.digest.clone().unwrap_or_default();
    let shards: Vec<String> = dataset.shards().iter().map(digest).collect();
    let identity = Identity {
        format: FORMAT,
        version: 1,
        model,
        names,
        top,
        written_as: written_as.name(),
        part_rows: args.part_rows as usize,
        shards: shards.iter().map(String::as_str).collect(),
    };
    identity.text()
}

/// The number of this start and the parts that are left to do, on all ranks.
fn shared(comm: &Comm, left: Option<&Left>, parts: usize) -> (u32, Vec<usize>) {
    let own: Vec<u32> = left.map_or_else(Vec::new, |left| {
        let missing = (0..parts).filter(|part| left.sums[*part].is_none());
        std::iter::once(left.start).chain(missing.map(|part| part as u32)).collect()
    });
    let of_root = comm.all_gather_any(&own).swap_remove(0);
    (of_root[0], of_root[1..].iter().map(|part| *part as usize).collect())
}

fn tell_what_is_left(comm: &Comm, path: &Path, all: &[Part], to_do: &[usize]) {
    if comm.is_root() && to_do.len() < all.len() {
        let done = all.len() - to_do.len();
        let rows: usize = to_do.iter().map(|part| all[*part].rows.len()).sum();
        let (path, rows) = (path.display(), human::count(rows as f64));
        log::info!(
            "{path}: {done} of {} are there; {rows} rows left",
            counted(all.len() as u64, "part")
        );
    }
}

/// The sums of all parts, on rank 0; elsewhere nothing.
fn together(comm: &Comm, left: Option<Left>, written: Vec<(usize, Sum)>, parts: usize) -> Vec<Sum> {
    let lines = written.iter().map(|(part, sum)| format!("{part} {} {}", sum.bytes, sum.sha256));
    let lines = comm.all_gather_lines(&lines.collect::<Vec<_>>());
    let Some(left) = left else { return Vec::new() };
    let mut sums = left.sums;
    for line in lines {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("three words");
        let part: usize = word().parse().expect("a part");
        let bytes = word().parse().expect("bytes");
        sums[part] = Some(Sum { bytes, sha256: word().into() });
    }
    assert_eq!(sums.len(), parts);
    sums.into_iter().map(|sum| sum.expect("all parts are written")).collect()
}

fn manifest(
    written_as: WrittenAs,
    top: usize,
    dataset: &Dataset,
    (all, names): (&[Part], &[String]),
    sums: Vec<Sum>,
) -> Manifest {
    let shards = dataset.shards().iter().map(|shard| {
        let name = shard.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    });
    let parts = all.iter().zip(names).zip(sums).map(|((part, name), sum)| ManifestPart {
        name: name.clone(),
        rows: part.rows.len() as u64,
        bytes: sum.bytes,
        sha256: sum.sha256,
    });
    Manifest {
        format: FORMAT.into(),
        version: 1,
        creator: concat!("reelscale ", env!("CARGO_PKG_VERSION")).into(),
        written_as: written_as.name().into(),
        top,
        rows: dataset.rows() as u64,
        shards: shards.collect(),
        parts: parts.collect(),
    }
}
