//! `reelscale evaluate`.

use std::path::{Path, PathBuf};

use crate::checkpoint;
use crate::comm::Comm;
use crate::data::Kind;
use crate::error::{Error, Result};
use crate::example::FeaturePart;
use crate::flow::home_rows::{HomeRows, open};
use crate::flow::rankings::{Ranked, Visited, metrics};
use crate::flow::scoring::{TOP, evaluate};
use crate::formats::submission;
use crate::labels::Labels;
use crate::launch;
use crate::metrics::{Metrics, TopLists};
use crate::model::annotator::Annotator;
use crate::model::vector::Instructions;
use crate::partition::owned;
use crate::train::kernels;

/// Measures a model on shards, or a file of predictions against a file of labels.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Directory of the model.
    #[arg(long, requires = "data", required_unless_present = "predictions")]
    model: Option<PathBuf>,
    /// Shards: paths or globs.
    #[arg(long, num_args = 1.., requires = "model")]
    data: Vec<String>,
    /// Predictions as `annotate` writes them: `VideoId,LabelConfidencePairs`.
    #[arg(long, requires = "labels", conflicts_with = "model")]
    predictions: Option<PathBuf>,
    /// True labels: `VideoId,Labels`.
    #[arg(long, requires = "predictions")]
    labels: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Threads of a rank; 0: the cores it may run on.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

pub fn run(comm: &Comm, args: Args) -> Result<()> {
    let metrics = match (&args.model, &args.predictions, &args.labels) {
        (Some(model), _, _) => evaluate_model(comm, model, &args.data, args.threads)?,
        (_, Some(predictions), Some(labels)) => evaluate_files(comm, predictions, labels)?,
        _ => return comm.agree(Err(Error::usage("expected --model and --data"))),
    };
    if comm.is_root() {
        match args.format {
            Format::Json => println!("{}", serde_json::to_string(&metrics).expect("plain data")),
            Format::Table => print!("{}", as_table(&metrics)),
        }
    }
    Ok(())
}

fn evaluate_model(comm: &Comm, model: &Path, data: &[String], threads: usize) -> Result<Metrics> {
    let annotator = checkpoint::load(comm, model)?;
    let rows = rows_for(comm, &annotator, data)?;
    let mut kernels =
        kernels(Instructions::detect(), launch::threads(threads), annotator.shape.epsilon);
    evaluate(comm, &annotator, &rows, &mut kernels)
}

/// Blocks that rows are cut into for scoring; nothing that is computed depends on it.
const ROW_BLOCKS: usize = 256;

/// The rows that `data` names, if the model takes them.
///
/// # Errors
/// Exit 4, common to all ranks.
pub fn rows_for(comm: &Comm, annotator: &Annotator, data: &[String]) -> Result<HomeRows> {
    let dataset = open(comm, data)?;
    let shape = &annotator.shape;
    let (found, expected) = (dataset.parts(), &shape.parts[..]);
    let of_frames = (dataset.kind() == Kind::Frames, shape.pooling.is_some());
    let same = found == expected && dataset.class_count() == shape.class_count;
    let fits = if same && of_frames.0 == of_frames.1 {
        Ok(())
    } else {
        let describe = |parts: &[FeaturePart], of_frames, classes| {
            let parts: Vec<_> =
                parts.iter().map(|part| format!("{}:{}", part.name, part.size)).collect();
            let kind = if of_frames { "frames of " } else { "" };
            format!("{kind}{} and {classes} classes", parts.join(","))
        };
        Err(Error::input(format!(
            "{}: found {}, expected {} as the model has",
            dataset.shards()[0].path.display(),
            describe(found, of_frames.0, dataset.class_count()),
            describe(expected, of_frames.1, shape.class_count)
        )))
    };
    comm.agree(fits)?;
    Ok(HomeRows::new(comm, dataset, ROW_BLOCKS))
}

/// Metrics of predictions that any system made. A labelled video without prediction counts as one
/// that predicts nothing; a prediction without labels as a video that has none.
fn evaluate_files(comm: &Comm, predictions: &Path, labels: &Path) -> Result<Metrics> {
    let videos = comm.agree(submission::read_both(predictions, labels))?;
    let mine = owned(videos.len(), comm.size(), comm.rank());
    let own = &videos[mine.clone()];
    let longest = |video: &submission::Video| video.scores.len().max(1);
    let limit = own.iter().map(longest).max().unwrap_or(1);
    let (mut top, mut own_labels) = (TopLists::new(own.len(), limit), Labels::new());
    for (row, video) in own.iter().enumerate() {
        video.scores.iter().for_each(|(class, score)| top.offer_one(row, *score, *class));
        own_labels.push(&video.labels);
    }
    let classes = videos.iter().flat_map(|video| {
        video.scores.iter().map(|score| score.0).chain(video.labels.iter().copied())
    });
    let class_count = classes.max().map_or(0, |class| class as usize + 1);
    let ranked = Ranked { first_row: mine.start as u64, top: &top, labels: &own_labels };
    Ok(metrics(comm, &ranked, class_count, TOP, Visited::default()))
}

fn as_table(metrics: &Metrics) -> String {
    let number = |value: f64| format!("{value:.4}");
    let optional = |value: Option<f64>| value.map_or("-".to_string(), number);
    let rows = [
        ("GAP@20", number(metrics.gap_at_20)),
        ("MAP@20", number(metrics.map_at_20)),
        ("MAP, all scores", optional(metrics.map_full)),
        ("Hit@1", number(metrics.hit_at_1)),
        ("Hit@5", number(metrics.hit_at_5)),
        ("PERR", number(metrics.perr)),
        ("PERR, labelled", number(metrics.perr_labelled)),
        ("loss", optional(metrics.loss)),
        ("classes", metrics.map_classes.to_string()),
        ("videos", metrics.videos.to_string()),
        ("positives", metrics.positives.to_string()),
    ];
    rows.iter().map(|(name, value)| format!("{name:<16} {value:>10}\n")).collect()
}
