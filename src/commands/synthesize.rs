//! `reelscale synthesize`.

use std::path::PathBuf;

use super::new_set::NewSet;
use super::out::{self, For};
use super::progress::{Progress, of_rank_0};
use crate::comm::{Comm, same_on_all};
use crate::data::{Kind, ShardHeader, ShardWriter};
use crate::disk::Disk;
use crate::error::{Exit, Result};
use crate::human::counted;
use crate::progress::tick;
use crate::stint::{Length, Stint};
use crate::synthetic::Planted;

/// Makes shards of examples drawn from a planted model.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = crate::commands::examples::SYNTHESIZE)]
pub(crate) struct Args {
    /// Number of examples.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1 << 48))]
    rows: u64,
    /// Number of classes.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    classes: u32,
    /// Number of features of an example.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    features: u32,
    /// Experts of each planted class.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    experts: u32,
    /// Frame-level: 1 to so many frames for each example; 0: video-level features.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=300))]
    frames: u32,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for the shards; it must be new or empty. They appear there once all are written.
    #[arg(long)]
    output: PathBuf,
    /// Rows of a shard.
    #[arg(long, default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 48))]
    rows_per_shard: u64,
    #[command(flatten)]
    progress: Progress,
    #[command(flatten)]
    pub(crate) patience: super::Patience,
}

/// Each rank writes its own shards; which rows a shard holds doesn't depend on the ranks.
pub(crate) fn run(comm: &Comm, args: Args) -> Result<()> {
    let _narrator = args.progress.begin(comm);
    same_on_all(comm, Exit::Launch, "arguments", &shared_by_ranks(&args))?;
    let mut set = NewSet::begin(comm, Disk::default(), &args.output)?;
    let [classes, features, experts] =
        [args.classes, args.features, args.experts].map(|n| n as usize);
    let planted = Planted::new(args.seed, features, classes, experts);
    let source = format!(
        "synthesize --rows {} --classes {classes} --features {features} --experts {experts} \
         --frames {} --seed {}",
        args.rows, args.frames, args.seed
    );
    let kind = if args.frames > 0 { Kind::Frames } else { Kind::Video };
    let header = ShardHeader { parts: planted.parts(), class_count: classes, kind, source };
    let shards = args.rows.div_ceil(args.rows_per_shard) as usize;
    let mut mine = comm.deal(shards).own();
    let [first, end] = [mine.start, mine.end].map(|shard| shard as u64 * args.rows_per_shard);
    let rows = end.min(args.rows).saturating_sub(first);
    let stint = Stint::begin("synthesis", &of_rank_0(comm, "drawing"), Length::of(rows, "rows"));
    let mut positives = 0;
    let mut write = |shard: usize| -> Result<()> {
        let path = set.add(format!("synthetic-{shard:05}.h5"));
        let mut writer = ShardWriter::create(&path, &header)?;
        let from = shard as u64 * args.rows_per_shard;
        for row in from..from.saturating_add(args.rows_per_shard).min(args.rows) {
            let example = planted.example_of(row, args.frames as usize);
            positives += example.labels.len() as u64;
            tick();
            stint.add(1);
            writer.push(&example)?;
        }
        writer.finish()
    };
    let outcome = mine.try_for_each(&mut write);
    drop(stint);
    set.finish(outcome)?;
    let mut sums = [positives];
    comm.sum(&mut sums);
    out::print(comm, For::Keeping, || {
        let (output, rows, labels) = (args.output.display(), args.rows, sums[0]);
        let [rows, labels, shards] = [(rows, "row"), (labels, "label"), (shards as u64, "shard")]
            .map(|(n, of)| counted(n, of));
        format!("{output}: {rows}, {labels}, {shards}\n")
    })
}

/// The arguments that must be the same on all ranks.
fn shared_by_ranks(args: &Args) -> String {
    let Args {
        rows,
        classes,
        features,
        experts,
        frames,
        seed,
        output,
        rows_per_shard,
        progress: _,
        patience: _,
    } = args;
    format!(
        "--rows = {rows}\n--classes = {classes}\n--features = {features}\n--experts = {experts}\n\
         --frames = {frames}\n--seed = {seed}\n--output = {output:?}\n\
         --rows-per-shard = {rows_per_shard}\n"
    )
}
