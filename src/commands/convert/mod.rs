//! `reelscale convert`.

mod before;
mod damaged;
mod done;
mod group;
mod groups;
mod kept;
mod looked_at;
mod losses;
mod names;
mod outcome;
mod record_options;
mod records;
mod split;
mod storage;
mod tables;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use self::before::{Sizes, encoding, sizes, sizes_of};
use self::damaged::DamagedOptions;
use self::done::Done;
use self::group::{FileGroup, Known, SideWriter, Told};
use self::groups::{Group, Size, groups};
use self::losses::{Loss, told_of_losses};
use self::record_options::RecordOptions;
use self::split::SplitOptions;
use self::storage::StorageOptions;
use self::tables::{TableNotes, TableOptions, Tables};
use self::text::TextOptions;
use super::new_set::NewSet;
use super::out::{self, For};
use super::progress::{Progress, of_rank_0};
use crate::comm::{Comm, same_on_all};
use crate::data::{Kind, ShardHeader, find};
use crate::disk::Disk;
use crate::error::{Error, Exit, Result};
use crate::example::FeaturePart;
use crate::limits::{CLASSES_MAX, check_parts};
use crate::names::Names;
use crate::stint::{Length, Stint};

/// Makes shards of records in other formats.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = crate::commands::examples::CONVERT)]
pub(crate) struct Args {
    /// Format of the files.
    #[arg(long, value_enum)]
    from: Format,
    /// Features in their order: rgb:1024,audio:128; of tables their fields: names, ranges such as
    /// f0..f511, globs such as 'f*'. Text files say it themselves.
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
    /// Number of classes. Text files say it themselves.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=CLASSES_MAX as i64))]
    classes: Option<u32>,
    #[command(flatten)]
    records: RecordOptions,
    #[command(flatten)]
    text: TextOptions,
    #[command(flatten)]
    tables: TableOptions,
    #[command(flatten)]
    storage: StorageOptions,
    #[command(flatten)]
    damaged: DamagedOptions,
    #[command(flatten)]
    split: SplitOptions,
    /// Folder for the shards; it must be new or empty, or hold what the same command has left.
    /// They appear there once all are written.
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
    progress: Progress,
    #[command(flatten)]
    pub(crate) patience: super::Patience,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Format {
    Tfrecord,
    Svmlight,
    /// An array of numpy a file.
    Npy,
    /// Arrays of numpy.
    Npz,
    /// A header, then a line a row; commas or tabs.
    Csv,
    /// Datasets of HDF5 files of others, MATLAB's too; `TABLE/FIELD` of tables of records, `*/NAME`
    /// where each row is a group.
    Hdf5,
    /// Columns of Parquet: numbers, texts, lists of them; lists of lists are frames.
    Parquet,
}

impl Format {
    /// Whether fields of files have names.
    fn is_table(self) -> bool {
        !matches!(self, Format::Tfrecord | Format::Svmlight)
    }
}

fn part(text: &str) -> std::result::Result<FeaturePart, String> {
    let parsed = text.split_once(':').and_then(|(name, size)| {
        let size = size.parse().ok().filter(|size| (1..1 << 20).contains(size))?;
        (!name.is_empty()).then(|| FeaturePart { name: name.into(), size })
    });
    parsed.ok_or_else(|| "expected name:size,name:size such as rgb:1024,audio:128".into())
}

pub(crate) fn run(comm: &Comm, args: Args) -> Result<()> {
    let _narrator = args.progress.begin(comm);
    let started = Instant::now();
    let command = shared_by_ranks(&args);
    let others = format!("{}--output = {:?}\n", args.damaged.described(), args.output);
    same_on_all(comm, Exit::Launch, "arguments", &format!("{command}{others}"))?;
    let paths = comm.agree(find(&args.files).and_then(|mut paths| {
        paths.sort();
        check(&args, &paths)?;
        Ok(paths)
    }))?;
    let sizes_of_files = comm.agree(sizes_of(&paths))?;
    let files = paths.iter().zip(&sizes_of_files);
    let files = files.map(|(path, size)| format!("{}: {size} bytes\n", path.display()));
    same_on_all(comm, Exit::Input, "files", &files.collect::<String>())?;
    looked_at::first(comm, &args, &paths)?;
    let found = comm.agree(sizes(&args, &paths))?;
    let Sizes { parts, classes, names, mut tables, first_frames } = found;
    looked_at::all(comm, &args, tables.as_mut(), (&paths, &sizes_of_files))?;
    let sizes = before::with_rows(comm, tables.as_ref(), &paths, sizes_of_files);
    let groups = groups(&sizes, args.rows_per_shard);
    if args.from == Format::Svmlight {
        let features = parts.iter().map(|part| part.size).sum();
        args.text.check_room(comm, &paths, features, classes)?;
    }
    let (own, first) = (comm.deal(groups.len()).own(), (tables.as_ref(), first_frames));
    let files = (&paths[..], &sizes[..], &groups[own]);
    let encoding = encoding(comm, &args, (&parts, classes), first, files)?;
    let (sides, disk) = (args.split.names(), Disk::default());
    let mut set = NewSet::begin_or_go_on(comm, disk, &args.output, (&command, &sides))?;
    let known = Known { tables, first_frames, encoding };
    let all = Conversion { args: &args, paths, sizes, groups, parts, classes, names, known };
    let converted = all.convert(comm, &mut set, &command);
    let outcome = converted.and_then(|done| {
        let first = outcome::check(comm, &all.paths, &done);
        let first = comm.agree(first)?;
        comm.agree(args.damaged.tell(comm, &mut set, &done.damaged))?;
        Ok((done, first))
    });
    let (mut done, first) = set.finish(outcome)?;
    outcome::warn_of_empty_files(comm, &all.paths, &done.empty_files);
    outcome::warn_of_repeated_ids(comm, &all.paths, std::mem::take(&mut done.ids));
    if let Some(tables) = &all.known.tables {
        tables.warn_of_lines(comm, done.matched);
    }
    comm.sum(bytemuck::cast_slice_mut(std::slice::from_mut(&mut done.counts)));
    comm.sum(&mut done.class_sizes);
    comm.sum(bytemuck::cast_slice_mut::<_, u64>(&mut done.sides));
    let seconds = started.elapsed().as_secs_f64();
    let losses = Loss::of_all(comm, &done.losses);
    out::print(comm, For::Keeping, || {
        let summary = outcome::summary(&args.output, &done, &first, seconds);
        let sides = outcome::of_sides(&args.output, &sides, &done.sides);
        summary + &sides + &told_of_losses(&losses, &all.parts, &all.known.encoding)
    })
}

/// Files on their way into shards, and what is known of them before the first row.
struct Conversion<'a> {
    args: &'a Args,
    paths: Vec<PathBuf>,
    sizes: Vec<Size>,
    groups: Vec<Group>,
    parts: Vec<FeaturePart>,
    classes: usize,
    names: Option<Arc<Names>>,
    known: Known,
}

impl Conversion<'_> {
    /// Converts the groups that no start before has. Collective.
    ///
    /// # Errors
    /// Exit 4: an input; exit 5: the file system refuses.
    fn convert(&self, comm: &Comm, set: &mut NewSet, command: &str) -> Result<Done> {
        let key = comm.agree(self.key(command))?;
        let mut done = self.nothing();
        let mut left = (0..self.groups.len()).collect();
        if set.goes_on() {
            left = self.take_kept(comm, set, &key, &mut done)?;
        }
        let own = comm.deal(left.len()).own();
        let bytes = |group: &usize| self.groups[*group].bytes(&self.sizes);
        let length = Length::of(left[own.clone()].iter().map(bytes).sum(), "bytes");
        let stint = Stint::begin("converting", &of_rank_0(comm, "converting"), length);
        let mut passed = 0;
        let outcome = left[own].iter().try_for_each(|group| {
            let (shards, mut own) = (set.names().len(), self.nothing());
            let key = kept::key(&key, &self.paths, &self.groups[*group])?;
            self.group(set, *group, (&stint, passed), &mut own)?;
            passed += bytes(group);
            kept::write(set, (*group, &key), shards..set.names().len(), &own)?;
            done.add(own, &self.paths)
        });
        comm.agree(outcome)?;
        Ok(done)
    }

    fn nothing(&self) -> Done {
        Done::nothing(self.classes, self.parts.len(), self.args.split.names().len())
    }

    /// What decides what shards are, beside the files themselves.
    ///
    /// # Errors
    /// Exit 4: a file is gone.
    fn key(&self, command: &str) -> Result<String> {
        let mut key = String::from(command);
        for path in self.args.tables.files() {
            key += &kept::stamp(path)?;
        }
        let (parts, classes, encoding) = (&self.parts, self.classes, &self.known.encoding);
        let names = self.names.as_ref().map_or_else(String::new, |names| names.digest() + "\n");
        Ok(format!("{key}{parts:?} {classes} {encoding:?}\n{names}"))
    }

    /// Takes what a start before has done; the groups that are left, which all ranks know.
    /// Collective.
    ///
    /// # Errors
    /// Exit 4: files are gone, or of several kinds; exit 2, 5: see `NewSet::clear`.
    fn take_kept(
        &self,
        comm: &Comm,
        set: &mut NewSet,
        key: &str,
        done: &mut Done,
    ) -> Result<Vec<usize>> {
        let mut taken = vec![0; self.groups.len()];
        let mut records = Vec::new();
        let outcome = comm.deal(self.groups.len()).own().try_for_each(|group| {
            let key = kept::key(key, &self.paths, &self.groups[group])?;
            let allowed = |kept: &Done| self.args.damaged.allow(&kept.damaged);
            if let Some(kept) = kept::take(set, group, &key, (self.nothing(), &allowed)) {
                taken[group] = 1;
                records.push(kept::name(group));
                done.add(kept, &self.paths)?;
            }
            Ok(())
        });
        comm.agree(outcome)?;
        comm.sum(&mut taken);
        set.clear(&records)?;
        let left: Vec<usize> = (0..taken.len()).filter(|group| taken[*group] == 0).collect();
        if comm.is_root() {
            let (all, left, unfinished) = (taken.len(), left.len(), set.unfinished().display());
            log::info!("{unfinished}: goes on with {left} of {all} groups of files");
        }
        Ok(left)
    }

    /// One group, before which so many bytes of the stint have passed.
    fn group(
        &self,
        set: &mut NewSet,
        group: usize,
        (stint, passed): (&Stint, u64),
        done: &mut Done,
    ) -> Result<()> {
        let header = ShardHeader {
            parts: self.parts.clone(),
            class_count: self.classes,
            kind: Kind::Video,
            source: format!("{:?} files", self.args.from).to_lowercase(),
        };
        let (args, known, paths) = (self.args, &self.known, &self.paths[..]);
        let sizes = &self.sizes[..];
        let names = self.names.clone();
        let mut writers = Vec::new();
        writers.resize_with(args.split.names().len().max(1), SideWriter::default);
        let told = Told { stint, sizes, passed };
        FileGroup { args, known, paths, group, header, names, set, done, writers, told }
            .convert(&self.groups[group])
    }
}

/// What is wrong with a file.
fn at(path: &Path, text: impl std::fmt::Display) -> Error {
    Error::input(format!("{}: {text}", path.display()))
}

fn check(args: &Args, paths: &[PathBuf]) -> Result<()> {
    let classes = args.classes.is_some() || args.tables.names.is_some();
    if args.from == Format::Tfrecord && (args.features.is_empty() || !classes) {
        return Err(Error::usage("--from tfrecord: expected --features and --classes")
            .hint("--features rgb:1024,audio:128 --classes 3862"));
    }
    args.records.check(args.from == Format::Tfrecord)?;
    args.split.check()?;
    args.tables.check(args.from)?;
    args.storage.check(args.from)?;
    let features = parts_of(args)?;
    args.text.check(
        (args.from == Format::Svmlight, args.from.is_table()),
        &features,
        args.classes,
    )?;
    if !features.is_empty() {
        check_parts(&features).map_err(|text| Error::usage(format!("--features: {text}")))?;
    }
    assert!(!paths.is_empty(), "find gives a file or an error");
    Ok(())
}

/// Features with their sizes, where formats have no fields of their own.
fn parts_of(args: &Args) -> Result<Vec<FeaturePart>> {
    if args.from.is_table() {
        return Ok(Vec::new());
    }
    let wrong = |text| Error::usage(format!("--features: {text}"));
    args.features.iter().map(|text| part(text).map_err(wrong)).collect()
}

/// The arguments that decide what shards are.
fn shared_by_ranks(args: &Args) -> String {
    let Args { from, features, classes, records, text, tables, rows_per_shard, .. } = args;
    let (split, files) = (args.split.described(), &args.files);
    let classes = classes.map_or("of the files".into(), |classes| classes.to_string());
    format!(
        "--from = {from:?}\n--features = {}\n--classes = {classes}\n{}{}{}{}{split}\
         --rows-per-shard = {rows_per_shard}\nfiles = {files:?}\n",
        features.join(","),
        records.described(),
        text.described(),
        tables.described(),
        args.storage.described()
    )
}
