//! What is known of files before the first row: how large they are, what rows have in common, what
//! their numbers are stored as.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::groups::{GROUP_BYTES, Group, Size};
use super::records::{self, FirstFrames, first_frames};
use super::storage::Bounds;
use super::tables::Tables;
use super::{Args, Format, names, parts_of};
use crate::comm::Comm;
use crate::commands::progress::of_rank_0;
use crate::encoding::Encoding;
use crate::error::{Error, Result};
use crate::example::FeaturePart;
use crate::formats::class_names::ClassNames;
use crate::names::Names;
use crate::stint::{Length, Stint};

/// A file, or a run of its rows.
type FileRun<'a> = (&'a Path, Option<Range<u64>>);

/// Bytes of each file.
pub(super) fn sizes_of(paths: &[PathBuf]) -> Result<Vec<u64>> {
    let size = |path: &PathBuf| {
        let found = std::fs::metadata(path);
        let found = found.map_err(|error| Error::input(format!("{}: {error}", path.display())));
        found.map(|found| found.len())
    };
    paths.iter().map(size).collect()
}

/// The same, and rows of large files that can be read from any row on. Collective.
pub(super) fn with_rows(
    comm: &Comm,
    tables: Option<&Tables>,
    paths: &[PathBuf],
    bytes: Vec<u64>,
) -> Vec<Size> {
    let mut rows = vec![0; paths.len()];
    if let Some(tables) = tables {
        let large = (0..paths.len()).filter(|file| bytes[*file] > GROUP_BYTES);
        // What is wrong with a file is told once it is converted.
        let count = |file: usize| tables.count(&paths[file]).unwrap_or(0);
        let own = large.skip(comm.rank()).step_by(comm.size());
        own.for_each(|file| rows[file] = count(file));
    }
    comm.sum(&mut rows);
    bytes.into_iter().zip(rows).map(|(bytes, rows)| Size { bytes, rows }).collect()
}

/// What rows have in common.
pub(super) struct Sizes {
    pub(super) parts: Vec<FeaturePart>,
    pub(super) classes: usize,
    pub(super) tables: Option<Tables>,
    /// Of TFRecords.
    pub(super) first_frames: Option<FirstFrames>,
    pub(super) names: Option<Arc<Names>>,
}

pub(super) fn sizes(args: &Args, paths: &[PathBuf]) -> Result<Sizes> {
    let (features, mut listed) = (parts_of(args)?, None);
    let (parts, classes, tables, first_frames) = match args.from {
        Format::Tfrecord => {
            listed = names::listed(args)?;
            let classes = args.classes.map(|classes| classes as usize);
            let classes = classes.or(listed.as_ref().map(ClassNames::count)).expect("checked");
            let wanted = args.records.wanted(&features, classes);
            let mut passed = Vec::new();
            let mut pass = |error| args.damaged.pass(error, &mut passed);
            let first_frames = first_frames(paths, wanted, &mut pass)?;
            (features, classes, None, first_frames)
        }
        Format::Svmlight => {
            let (parts, classes) = args.text.sizes(&features, args.classes, paths)?;
            (parts, classes, None, None)
        }
        _ => {
            let wanted = (&args.features[..], args.text.one_based(), args.classes);
            let options = (&args.tables, &args.storage);
            let tables = Tables::of(args.from, wanted, options, paths)?;
            (tables.parts.clone(), tables.classes(), Some(tables), None)
        }
    };
    // Tables have read the list where labels may be given by names.
    let of_tables = tables.as_ref().and_then(Tables::class_names);
    if of_tables.is_none() && listed.is_none() {
        listed = names::listed(args)?;
    }
    let names = names::of_classes(args, of_tables.or(listed.as_ref()), classes)?;
    Ok(Sizes { parts, classes, names, tables, first_frames })
}

/// What numbers are stored as. `own` are this rank's groups. Collective.
pub(super) fn encoding(
    comm: &Comm,
    args: &Args,
    (parts, classes): (&[FeaturePart], usize),
    (tables, first_frames): (Option<&Tables>, Option<FirstFrames>),
    (paths, sizes, own): (&[PathBuf], &[Size], &[Group]),
) -> Result<Encoding> {
    let length = Length::of(own.iter().map(|group| group.bytes(sizes)).sum(), "bytes");
    let stint = Stint::begin("measuring", &of_rank_0(comm, "measuring"), length);
    let mut passed = 0;
    let own = own.iter().flat_map(|group| {
        stint.reach(passed);
        passed += group.bytes(sizes);
        group.files.clone().map(|file| (paths[file].as_path(), group.rows.clone()))
    });
    // What is passed over here is passed over again, and told, when it is converted.
    let mut passed = Vec::new();
    let mut pass = |error| args.damaged.pass(error, &mut passed);
    if let Some(tables) = tables {
        let widen = |run: FileRun, bounds: &mut Bounds| tables.widen(run, bounds, &mut pass);
        return args.storage.encoding(comm, (tables.given(), parts), own, widen);
    }
    let Some(first) = first_frames else { return Ok(Encoding::Floats) };
    let wanted = args.records.wanted(parts, classes);
    let widen =
        |run: FileRun, bounds: &mut Bounds| records::widen(run.0, wanted, bounds, &mut pass);
    args.storage.encoding(comm, (first.given, parts), own, widen)
}
