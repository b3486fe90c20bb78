//! `reelscale convert`.

mod group;
mod outcome;
mod record_options;
mod text;

use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

use self::group::{Done, FileGroup};
use self::record_options::RecordOptions;
use self::text::TextOptions;
use super::new_set::NewSet;
use super::out::{self, For};
use crate::comm::{Comm, same_on_all};
use crate::data::{Kind, ShardHeader, find};
use crate::disk::Disk;
use crate::error::{Error, Exit, Result};
use crate::example::FeaturePart;
use crate::limits::{CLASSES_MAX, check_parts};

/// Bytes of input that go into one group of shards: input is cut by this, never by rank.
const GROUP_BYTES: u64 = 8 << 20;

/// Makes shards of records in other formats.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Format of the files.
    #[arg(long, value_enum)]
    from: Format,
    /// Features in their order: rgb:1024,audio:128. Text files say it themselves.
    #[arg(long, value_delimiter = ',', value_parser = part)]
    features: Vec<FeaturePart>,
    /// Number of classes. Text files say it themselves.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=CLASSES_MAX as i64))]
    classes: Option<u32>,
    #[command(flatten)]
    records: RecordOptions,
    #[command(flatten)]
    text: TextOptions,
    /// Folder for the shards; it must be new or empty. They appear there once all are written.
    #[arg(long)]
    output: PathBuf,
    /// Rows of a shard at most.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows_per_shard: u64,
    /// Files or globs; they are taken in the order of their names. After `--` names may begin with
    /// -.
    #[arg(required = true)]
    files: Vec<String>,
    #[command(flatten)]
    pub(crate) patience: super::Patience,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Format {
    Tfrecord,
    Svmlight,
}

fn part(text: &str) -> std::result::Result<FeaturePart, String> {
    let parsed = text.split_once(':').and_then(|(name, size)| {
        let size = size.parse().ok().filter(|size| (1..1 << 20).contains(size))?;
        (!name.is_empty()).then(|| FeaturePart { name: name.into(), size })
    });
    parsed.ok_or_else(|| "expected name:size,name:size such as rgb:1024,audio:128".into())
}

pub(crate) fn run(comm: &Comm, args: Args) -> Result<()> {
    let started = Instant::now();
    same_on_all(comm, Exit::Launch, "arguments", &shared_by_ranks(&args))?;
    let paths = comm.agree(find(&args.files).and_then(|mut paths| {
        paths.sort();
        check(&args, &paths)?;
        Ok(paths)
    }))?;
    // Groups follow from the sizes of files.
    let sizes_of_files = comm.agree(sizes_of(&paths))?;
    let files = paths.iter().zip(&sizes_of_files);
    let files = files.map(|(path, size)| format!("{}: {size} bytes\n", path.display()));
    same_on_all(comm, Exit::Input, "files", &files.collect::<String>())?;
    let groups = groups(&sizes_of_files);
    let (parts, classes) = comm.agree(sizes(&args, &paths))?;
    if args.from == Format::Svmlight {
        let features = parts.iter().map(|part| part.size).sum();
        args.text.check_room(comm, &paths, features, classes)?;
    }
    let mut set = NewSet::begin(comm, Disk::default(), &args.output)?;
    let mut done = Done::nothing(classes);
    let mut mine = comm.deal(groups.len()).own();
    let outcome = mine.try_for_each(|group| {
        let header = ShardHeader {
            parts: parts.clone(),
            class_count: classes,
            kind: Kind::Video,
            source: format!("{:?} files", args.from).to_lowercase(),
        };
        let (args, paths, set, done) = (&args, &paths[..], &mut set, &mut done);
        FileGroup { args, paths, group, header, set, done, writer: None, written: 0 }
            .convert(groups[group].clone())
    });
    let first = comm.agree(outcome).and_then(|()| {
        let found = outcome::check(comm, &paths, &done);
        comm.agree(found)
    });
    let first = set.finish(first)?;
    outcome::warn_of_empty_files(comm, &paths, &done.empty_files);
    outcome::warn_of_repeated_ids(comm, &paths, std::mem::take(&mut done.ids));
    comm.sum(bytemuck::cast_slice_mut(std::slice::from_mut(&mut done.counts)));
    comm.sum(&mut done.class_sizes);
    let seconds = started.elapsed().as_secs_f64();
    out::print(comm, For::Keeping, || outcome::summary(&args.output, &done, &first, seconds))
}

fn check(args: &Args, paths: &[PathBuf]) -> Result<()> {
    if args.from == Format::Tfrecord && (args.features.is_empty() || args.classes.is_none()) {
        return Err(Error::usage("--from tfrecord: expected --features and --classes")
            .hint("--features rgb:1024,audio:128 --classes 3862"));
    }
    args.records.check(args.from == Format::Tfrecord)?;
    args.text.check(args.from == Format::Svmlight, &args.features, args.classes)?;
    if !args.features.is_empty() {
        check_parts(&args.features).map_err(|text| Error::usage(format!("--features: {text}")))?;
    }
    assert!(!paths.is_empty(), "find gives a file or an error");
    Ok(())
}

/// The arguments that must be the same on all ranks.
fn shared_by_ranks(args: &Args) -> String {
    let Args { from, features, classes, records, text, output, rows_per_shard, files, patience } =
        args;
    // How long ranks wait for one another is for each to say.
    let _ = patience;
    let features: Vec<String> =
        features.iter().map(|part| format!("{}:{}", part.name, part.size)).collect();
    let classes = classes.map_or("of the files".into(), |classes| classes.to_string());
    format!(
        "--from = {from:?}\n--features = {}\n--classes = {classes}\n{}{}--output = {output:?}\n\
         --rows-per-shard = {rows_per_shard}\nfiles = {files:?}\n",
        features.join(","),
        records.described(),
        text.described()
    )
}

/// Bytes of each file.
fn sizes_of(paths: &[PathBuf]) -> Result<Vec<u64>> {
    let size = |path: &PathBuf| {
        let found = std::fs::metadata(path);
        let found = found.map_err(|error| Error::input(format!("{}: {error}", path.display())));
        found.map(|found| found.len())
    };
    paths.iter().map(size).collect()
}

/// Runs of files, of these sizes, of about `GROUP_BYTES` each.
fn groups(sizes: &[u64]) -> Vec<Range<usize>> {
    let (mut groups, mut from, mut bytes) = (Vec::new(), 0, 0);
    for (index, size) in sizes.iter().enumerate() {
        if bytes > 0 && bytes + size > GROUP_BYTES {
            groups.push(from..index);
            (from, bytes) = (index, 0);
        }
        bytes += size;
    }
    groups.push(from..sizes.len());
    groups
}

/// Features and number of classes.
fn sizes(args: &Args, paths: &[PathBuf]) -> Result<(Vec<FeaturePart>, usize)> {
    match args.from {
        Format::Tfrecord => Ok((args.features.clone(), args.classes.expect("checked") as usize)),
        Format::Svmlight => args.text.sizes(&args.features, args.classes, paths),
    }
}
