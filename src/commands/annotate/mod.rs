//! `reelscale annotate`: each video's best classes, in one file, or part by part in a folder.

mod file;
mod folder;
mod journal;
#[cfg(test)]
mod lost_power;
mod parts;
pub(crate) mod read;
mod segments;
mod texts;
mod waves;
mod whole;
mod writer;

pub(crate) use parts::annotate_all;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;

use super::model_path::Which;
use super::progress::Progress;
use super::scoring::Scoring;
use crate::comm::{Comm, same_on_all};
use crate::error::{Exit, Result};
use crate::formats::predictions::WrittenAs;
use crate::signals;

/// Writes each video's best classes.
///
/// Into a folder videos go part by part, divided over ranks as these get free. A run that was told
/// to stop (SIGUSR1, SIGUSR2, SIGTERM, SIGINT to any rank) leaves with exit code 75; the same
/// command goes on, on any number of ranks, and leaves the same files.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = crate::commands::examples::ANNOTATE)]
pub(crate) struct Args {
    /// Directory of the model, or of a run or one of its checkpoints.
    #[arg(long)]
    model: PathBuf,
    /// Shards: paths or globs.
    #[arg(long, num_args = 1.., required = true)]
    data: Vec<String>,
    /// DIR/, a folder of parts: new, empty, or that of the same command. Or FILE.csv, FILE.jsonl,
    /// FILE.h5 or FILE.parquet, for at most a million videos; it must not exist.
    #[arg(long)]
    output: PathBuf,
    /// How parts, or FILE, are written: csv as submission (default) or long, of segments as
    /// segments; all but submissions say the names of classes.
    #[arg(long, value_parser = PossibleValuesParser::new(WrittenAs::NAMES))]
    format: Option<String>,
    /// Classes of a video.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    top: u32,
    /// Of --format segments: the most segments of a class.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    per_class: u32,
    /// Goes on where the file system gives no locks. Then nothing keeps two runs with the same DIR
    /// apart.
    #[arg(long)]
    no_lock: bool,
    /// Rows of a part, for tests.
    #[arg(long, hide = true, default_value_t = parts::PART_ROWS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    part_rows: u32,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    scoring: Scoring,
    #[command(flatten)]
    progress: Progress,
    #[command(flatten)]
    pub(crate) patience: super::Patience,
}

/// The arguments that must be the same on all ranks.
fn shared_by_ranks(args: &Args) -> String {
    let Args { output, format, top, per_class, no_lock: _, part_rows, which, .. } = args;
    format!(
        "--output = {output:?}\n--format = {format:?}\n--top = {top}\n\
         --per-class = {per_class}\n--part-rows = {part_rows}\n--which = {which:?}\n"
    )
}

pub(crate) fn run(comm: &Comm, args: Args) -> Result<()> {
    let _narrator = args.progress.begin(comm);
    comm.agree(signals::set_on_signals(comm.stop_flag()))?;
    same_on_all(comm, Exit::Launch, "arguments", &shared_by_ranks(&args))?;
    // Ranks may see a folder that is new later than others: rank 0 says whether there is one.
    let of_root = comm.all_gather(&[u8::from(names_a_folder(&args.output))])[0];
    let (outcome, next) = match of_root {
        1 => (parts::run(comm, &args), "the same command goes on with the parts that are left"),
        _ => (file::run(comm, &args), "nothing was written; the same command begins anew"),
    };
    outcome.map_err(|error| if error.is_stop() { error.hint(next) } else { error })
}

/// Whether this is `DIR/`, or a folder that is there; not where it is called like a file.
fn names_a_folder(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    let ending = path.extension().and_then(OsStr::to_str);
    let called_a_file = matches!(ending, Some("csv" | "h5" | "jsonl" | "parquet"));
    text.ends_with(b"/") || !called_a_file && path.is_dir()
}
