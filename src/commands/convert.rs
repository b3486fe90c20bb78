//! `reelscale convert`.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::synthesize::prepare_output;
use crate::comm::{Comm, same_on_all};
use crate::data::{Kind, ShardHeader, ShardWriter, find};
use crate::error::{Error, Exit, Result};
use crate::example::{Example, FeaturePart, Values};
use crate::formats::{svmlight, tf_example, tfrecord};
use crate::human;
use crate::model::features::FRAMES_MAX;
use crate::partition::owned;
use crate::progress::{Call, tick};

/// Bytes of input that go into one group of shards: input is cut by this, never by rank.
const GROUP_BYTES: u64 = 8 << 20;

/// Makes shards of records in other formats.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Format of the files.
    #[arg(long, value_enum)]
    from: Format,
    /// Features in their order: rgb:1024,audio:128. Text files say it themselves.
    #[arg(long, value_delimiter = ',', value_parser = part)]
    features: Vec<FeaturePart>,
    /// Number of classes. Text files say it themselves.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    classes: Option<u32>,
    /// Folder for the shards; it must be new or empty.
    #[arg(long)]
    output: PathBuf,
    /// Rows of a shard at most.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows_per_shard: u64,
    /// Files or globs; they are taken in the order of their names. After `--` names may begin with
    /// -.
    #[arg(required = true)]
    files: Vec<String>,
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

/// What was converted, in numbers that add up over ranks.
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Counts {
    files: u64,
    rows: u64,
    labels: u64,
    unlabelled: u64,
    frames: u64,
    /// Videos of more frames than count.
    long: u64,
    repeated_labels: u64,
    bytes: u64,
    shards: u64,
}

/// An id's hash and where it stood: file and record.
type IdPlace = [u64; 3];

/// What one rank has done.
struct Done {
    counts: Counts,
    class_sizes: Vec<u64>,
    ids: Vec<IdPlace>,
}

pub fn run(comm: &Comm, args: Args) -> Result<()> {
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
    let prepared = if comm.is_root() { prepare_output(&args.output) } else { Ok(()) };
    comm.agree(prepared)?;
    let mut done =
        Done { counts: Counts::default(), class_sizes: vec![0; classes], ids: Vec::new() };
    let mut mine = owned(groups.len(), comm.size(), comm.rank());
    let outcome = mine.try_for_each(|group| {
        let header = ShardHeader {
            parts: parts.clone(),
            class_count: classes,
            kind: Kind::Video,
            source: format!("{:?} files", args.from).to_lowercase(),
        };
        Group {
            args: &args,
            paths: &paths,
            group,
            header,
            writer: None,
            written: 0,
            done: &mut done,
        }
        .convert(groups[group].clone())
    });
    comm.agree(outcome)?;
    warn_of_repeated_ids(comm, &paths, std::mem::take(&mut done.ids));
    comm.sum(bytemuck::cast_slice_mut(std::slice::from_mut(&mut done.counts)));
    comm.sum(&mut done.class_sizes);
    if comm.is_root() {
        summary(&args.output, &done, started.elapsed().as_secs_f64());
    }
    Ok(())
}

fn check(args: &Args, paths: &[PathBuf]) -> Result<()> {
    if args.from == Format::Tfrecord && (args.features.is_empty() || args.classes.is_none()) {
        return Err(Error::usage("--from tfrecord: expected --features and --classes")
            .hint("--features rgb:1024,audio:128 --classes 3862"));
    }
    assert!(!paths.is_empty(), "find gives a file or an error");
    Ok(())
}

/// What all ranks must be told alike.
fn shared_by_ranks(args: &Args) -> String {
    let Args { from, features, classes, output, rows_per_shard, files } = args;
    let features: Vec<String> =
        features.iter().map(|part| format!("{}:{}", part.name, part.size)).collect();
    let classes = classes.map_or("of the files".into(), |classes| classes.to_string());
    format!(
        "--from = {from:?}\n--features = {}\n--classes = {classes}\n--output = {output:?}\n\
         --rows-per-shard = {rows_per_shard}\nfiles = {files:?}\n",
        features.join(",")
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

/// Features and number of classes: as asked for, or as the headers of text files say.
fn sizes(args: &Args, paths: &[PathBuf]) -> Result<(Vec<FeaturePart>, usize)> {
    if args.from == Format::Tfrecord {
        return Ok((args.features.clone(), args.classes.expect("checked") as usize));
    }
    let header = svmlight::Rows::open(&paths[0])?.header;
    let width: usize = args.features.iter().map(|part| part.size).sum();
    let parts = match width {
        0 => vec![FeaturePart { name: "features".into(), size: header.features }],
        _ => args.features.clone(),
    };
    let classes = args.classes.map_or(header.classes, |classes| classes as usize);
    let expected = (parts.iter().map(|part| part.size).sum::<usize>(), classes);
    for path in paths {
        let header = svmlight::Rows::open(path)?.header;
        if (header.features, header.classes) != expected {
            let (features, classes) = (header.features, header.classes);
            return Err(Error::input(format!(
                "{}: line 1: found {features} features and {classes} labels, expected {} and {}",
                path.display(),
                expected.0,
                expected.1
            )));
        }
    }
    Ok((parts, classes))
}

/// One group of files on its way into shards.
struct Group<'a> {
    args: &'a Args,
    paths: &'a [PathBuf],
    group: usize,
    header: ShardHeader,
    writer: Option<ShardWriter>,
    /// Shards of this group so far.
    written: usize,
    done: &'a mut Done,
}

impl Group<'_> {
    fn convert(mut self, files: Range<usize>) -> Result<()> {
        for file in files {
            let path = &self.paths[file];
            let _converting = Call::on("converting", path);
            self.done.counts.files += 1;
            self.done.counts.bytes += std::fs::metadata(path).map_or(0, |data| data.len());
            match self.args.from {
                Format::Tfrecord => self.tfrecord(file)?,
                Format::Svmlight => self.svmlight(file)?,
            }
        }
        self.writer.take().map_or(Ok(()), ShardWriter::finish)
    }

    fn tfrecord(&mut self, file: usize) -> Result<()> {
        let path = self.paths[file].clone();
        let mut records = tfrecord::Records::open(&path)?;
        loop {
            let record = records.record();
            let Some(data) = records.next()? else { return Ok(()) };
            let parsed = tf_example::parse(data, &self.header.parts, self.header.class_count);
            let parsed = parsed.map_err(|text| {
                Error::input(format!("{}: record {record}: {text}", path.display()))
            })?;
            self.done.counts.repeated_labels += parsed.repeated_labels as u64;
            self.push(file, record, &parsed.example)?;
        }
    }

    fn svmlight(&mut self, file: usize) -> Result<()> {
        let mut rows = svmlight::Rows::open(&self.paths[file])?;
        let mut row = 0;
        while let Some(example) = rows.next()? {
            self.push(file, row, &example)?;
            row += 1;
        }
        self.done.counts.repeated_labels += rows.repeated_labels as u64;
        Ok(())
    }

    fn push(&mut self, file: usize, record: u64, example: &Example) -> Result<()> {
        let kind = match example.values {
            Values::Video(_) => Kind::Video,
            Values::Frames(_) => Kind::Frames,
        };
        if self.writer.is_some() && kind != self.header.kind {
            let path = self.paths[file].display();
            return Err(Error::input(format!(
                "{path}: record {record}: found {kind:?} features among {:?} ones",
                self.header.kind
            )));
        }
        if self
            .writer
            .as_ref()
            .is_some_and(|writer| writer.rows() as u64 == self.args.rows_per_shard)
        {
            self.writer.take().map_or(Ok(()), ShardWriter::finish)?;
        }
        if self.writer.is_none() {
            self.header.kind = kind;
            let name = format!("shard-{:05}-{:04}.h5", self.group, self.written);
            self.writer = Some(ShardWriter::create(&self.args.output.join(name), &self.header)?);
            self.written += 1;
            self.done.counts.shards += 1;
        }
        self.count(file, record, example);
        tick();
        self.writer.as_mut().expect("just made").push(example)
    }

    fn count(&mut self, file: usize, record: u64, example: &Example) {
        let counts = &mut self.done.counts;
        counts.rows += 1;
        counts.labels += example.labels.len() as u64;
        counts.unlabelled += u64::from(example.labels.is_empty());
        if let Values::Frames(bytes) = &example.values {
            let frames = bytes.len() / self.header.width();
            counts.frames += frames as u64;
            counts.long += u64::from(frames > FRAMES_MAX);
        }
        example.labels.iter().for_each(|label| self.done.class_sizes[*label as usize] += 1);
        self.done.ids.push([hash(&example.id), file as u64, record]);
    }
}

/// FNV-1a, 64 bits: only for finding ids that may be equal.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Warnings about ids that stand twice: at most so many are printed one by one.
const WARNINGS_MAX: usize = 5;

fn warn_of_repeated_ids(comm: &Comm, paths: &[PathBuf], ids: Vec<IdPlace>) {
    let size = comm.size() as u64;
    let mut parts = vec![Vec::new(); comm.size()];
    ids.into_iter().for_each(|id| parts[(id[0] % size) as usize].push(id));
    let mut own = comm.all_to_all(parts).concat();
    own.sort_unstable();
    let twice: Vec<[IdPlace; 2]> = own
        .windows(2)
        .filter(|pair| pair[0][0] == pair[1][0])
        .map(|pair| [pair[0], pair[1]])
        .collect();
    let mut all = comm.all_gather_any(&twice).concat();
    all.sort_unstable();
    if !comm.is_root() {
        return;
    }
    let place = |id: &IdPlace| format!("{}: record {}", paths[id[1] as usize].display(), id[2]);
    for [first, second] in all.iter().take(WARNINGS_MAX) {
        log::warn!("the same id twice: {} and {}", place(first), place(second));
    }
    if all.len() > WARNINGS_MAX {
        log::warn!("... and {} more ids that stand twice", all.len() - WARNINGS_MAX);
    }
}

fn summary(output: &Path, done: &Done, seconds: f64) {
    let counts = &done.counts;
    let seen = done.class_sizes.iter().filter(|size| **size > 0).count();
    println!(
        "{}: {} files, {} rows, {} labels, {} frames, {seen} classes seen, {} rows without labels, \
         {} shards; {} in {seconds:.1} s ({}/s)",
        output.display(),
        counts.files,
        counts.rows,
        counts.labels,
        counts.frames,
        counts.unlabelled,
        counts.shards,
        human::bytes(counts.bytes),
        human::bytes((counts.bytes as f64 / seconds.max(1e-9)) as u64)
    );
    if counts.long > 0 {
        log::warn!(
            "{} videos have more than {FRAMES_MAX} frames: the first {FRAMES_MAX} are used",
            counts.long
        );
    }
    if counts.repeated_labels > 0 {
        log::warn!(
            "{} labels stood twice in their record and are kept once",
            counts.repeated_labels
        );
    }
}
