//! `reelscale evaluate`.

mod by_class;

use std::ffi::OsStr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use self::by_class::ByClass;
use super::annotate::read::{read_folder, read_hdf5};
use super::device::RankDevice;
use super::model_path::Which;
use super::out::{self, For};
use super::progress::Progress;
use super::scoring::Scoring;
use crate::comm::{Comm, same_on_all};
use crate::device::Device;
use crate::disk::Disk;
use crate::error::{Error, Exit, Result};
use crate::flow::home_rows::HomeRows;
use crate::flow::repeated_ids::warn_of_repeated_ids;
use crate::formats::predictions::{WrittenAs, read_csv};
use crate::formats::submission::{Apart, Both, Predictions, Source, Video};
use crate::formats::table::read_parquet;
use crate::human::{counted, hex};
use crate::inference::class_table::figures_of_lists;
use crate::inference::rankings::{Ranked, Visited, metrics};
use crate::inference::scores::{TOP, evaluate, evaluate_with_classes};
use crate::labels::Labels;
use crate::metrics::{ClassFigures, Metrics, TopLists};
use crate::model::annotator::Annotator;

/// Measures a model on shards, or a file of predictions against a file of labels.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = crate::commands::examples::EVALUATE)]
pub(crate) struct Args {
    /// Directory of the model, or of a run or one of its checkpoints.
    #[arg(long, requires = "data", required_unless_present = "predictions")]
    model: Option<PathBuf>,
    /// Shards: paths or globs.
    #[arg(long, num_args = 1.., requires = "model")]
    data: Vec<String>,
    /// Predictions as `annotate` writes them: a folder of parts of any format, FILE.h5,
    /// FILE.parquet, FILE.jsonl, or a csv with `VideoId,LabelConfidencePairs` or
    /// `VideoId,Class,Score`.
    #[arg(long, requires = "labels", conflicts_with = "model")]
    predictions: Option<PathBuf>,
    /// True labels: `VideoId,Labels`.
    #[arg(long, requires = "predictions")]
    labels: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    by_class: ByClass,
    #[command(flatten)]
    scoring: Scoring,
    #[command(flatten)]
    progress: Progress,
    #[command(flatten)]
    pub(crate) patience: super::Patience,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(crate) fn run(comm: &Comm, args: Args) -> Result<()> {
    let _narrator = args.progress.begin(comm);
    let measured = if args.model.is_some() { "a model" } else { "predictions" };
    let by_class = args.by_class.shared_by_ranks();
    let shared = format!("measured = {measured}\nwhich = {:?}\n{by_class}", args.which);
    same_on_all(comm, Exit::Launch, "arguments", &shared)?;
    let disk = Disk::default();
    args.by_class.check(comm, &disk)?;
    let metrics = match (&args.model, &args.predictions, &args.labels) {
        (Some(model), _, _) => evaluate_model(comm, &disk, model, &args)?,
        (_, Some(predictions), Some(labels)) => {
            evaluate_files(comm, &disk, (predictions, labels), &args.by_class)?
        }
        _ => return comm.agree(Err(Error::usage("expected --model and --data"))),
    };
    out::print(comm, For::Keeping, || match args.format {
        Format::Json => serde_json::to_string(&metrics).expect("plain data") + "\n",
        Format::Table => as_table(&metrics),
    })
}

fn evaluate_model(comm: &Comm, disk: &Disk, model: &Path, args: &Args) -> Result<Metrics> {
    let (annotator, _) = args.which.load(comm, model)?;
    let (rows, device) = args.scoring.prepare(comm, &annotator, &args.data)?;
    warn_of_repeated_ids(comm, rows.dataset(), rows.own_rows(), ", counted all the same")?;
    if rows.dataset().is_unlabelled() && comm.is_root() {
        log::warn!("--data: none of {} rows has a label: every metric is 0", rows.rows());
    }
    let threshold = args.by_class.threshold();
    let (metrics, figures) = match device {
        RankDevice::Host(mut host) => measured(comm, &annotator, &rows, &mut host, threshold)?,
        RankDevice::Gpu(mut gpu) => measured(comm, &annotator, &rows, &mut gpu, threshold)?,
    };
    let names = annotator.names.as_ref().or(rows.dataset().names());
    let class = |class: usize| (class as u32, names.map_or("", |names| names.of(class)));
    args.by_class.write(comm, disk, class, &figures)?;
    Ok(metrics)
}

/// The metrics of the model, and the figures of its classes where there is a threshold.
fn measured<D: Device>(
    comm: &Comm,
    annotator: &Annotator,
    rows: &HomeRows,
    device: &mut D,
    threshold: Option<f32>,
) -> Result<(Metrics, Vec<ClassFigures>)> {
    match threshold {
        None => Ok((evaluate(comm, annotator, rows, device)?, Vec::new())),
        Some(threshold) => {
            let found = evaluate_with_classes(comm, annotator, rows, device, threshold)?;
            Ok((found.0, found.1.figures))
        }
    }
}

/// Metrics of predictions that any system made. A labelled video without prediction counts as one
/// that predicts nothing; a prediction without labels as a video that has none.
fn evaluate_files(
    comm: &Comm,
    disk: &Disk,
    (predictions, labels): (&Path, &Path),
    by_class: &ByClass,
) -> Result<Metrics> {
    let read = || {
        readable(comm, labels)?;
        let both = predicted(comm, predictions)?.with_labels(Source::open(labels)?)?;
        some_in_both(&both, predictions, labels)?;
        Ok(both)
    };
    let both = comm.agree(read())?;
    same_on_all(comm, Exit::Input, "predictions and labels", &described(&both.videos))?;
    if comm.is_root() {
        warn_of_videos_apart(&both);
    }
    let mut videos = both.videos;
    let classes = number_classes(&mut videos);
    let mine = comm.deal(videos.len()).own();
    let own = &videos[mine.clone()];
    let top = TopLists::of_all(own.iter().map(|video| &video.scores[..]));
    let mut own_labels = Labels::new();
    own.iter().for_each(|video| own_labels.push(&video.labels));
    let ranked = Ranked { first_row: mine.start as u64, top: &top, labels: &own_labels };
    if let Some(threshold) = by_class.threshold() {
        let figures = figures_of_lists(comm, &ranked, classes.len(), threshold);
        let name = |class: u32| both.names.get(&class).map_or("", String::as_str);
        let class = |place: usize| (classes[place], name(classes[place]));
        by_class.write(comm, disk, class, &figures)?;
    }
    Ok(metrics(comm, &ranked, classes.len(), TOP, Visited::default()))
}

/// Sees that predictions and labels are of the same videos, be it one.
fn some_in_both(both: &Both, predictions: &Path, labels: &Path) -> Result<()> {
    let Both { videos, unlabelled, unpredicted, .. } = both;
    if unlabelled.count + unpredicted.count < videos.len() || videos.is_empty() {
        return Ok(());
    }
    let what = |apart: &Apart| match apart.count {
        0 => "no video".to_string(),
        count => format!("{} such as {}", counted(count as u64, "video"), apart.first),
    };
    let text = format!(
        "{}: found {}, expected some of {}, which has {}",
        predictions.display(),
        what(unlabelled),
        labels.display(),
        what(unpredicted)
    );
    Err(Error::input(text).hint("ids must be the same to the byte in both"))
}

fn warn_of_videos_apart(both: &Both) {
    let of = both.videos.len();
    both.cut.iter().for_each(|name| log::warn!("{name}: its last line has no end; is it cut?"));
    for (apart, what) in [
        (&both.unpredicted, "labelled videos have no predictions and count as such"),
        (
            &both.unlabelled,
            "videos with predictions aren't among the labels and count as unlabelled",
        ),
    ] {
        if apart.count > 0 {
            log::warn!("{} of {of} {what}, such as {}", apart.count, apart.first);
        }
    }
}

/// The predictions at `path`: a folder of parts, HDF5, Parquet or lines of JSON by its name, or
/// else csv in the format of submissions or a line for each pair.
fn predicted(comm: &Comm, path: &Path) -> Result<Predictions> {
    if path.is_dir() {
        return read_folder(path);
    }
    readable(comm, path)?;
    let mut found = Predictions::default();
    match path.extension().and_then(OsStr::to_str) {
        Some("h5") => read_hdf5(path, &mut found)?,
        Some("parquet") => read_parquet(path, &mut found)?,
        Some("jsonl") => WrittenAs::Jsonl.read(Source::open(path)?, &mut found)?,
        _ => read_csv(Source::open(path)?, &mut found)?,
    }
    Ok(found)
}

/// What ranks compare of the videos that each has read.
fn described(videos: &[Video]) -> String {
    let mut digest = Sha256::new();
    for video in videos {
        for length in [video.id.len(), video.scores.len(), video.labels.len()] {
            digest.update((length as u64).to_le_bytes());
        }
        digest.update(&video.id);
        video.scores.iter().for_each(|(score, class)| {
            digest.update(class.to_le_bytes());
            digest.update(score.to_le_bytes());
        });
        video.labels.iter().for_each(|label| digest.update(label.to_le_bytes()));
    }
    format!("videos = {}\nSHA-256 = {}\n", videos.len(), hex(&digest.finalize()))
}

/// A pipe can be read by one rank only; a device has no end, or waits.
fn readable(comm: &Comm, path: &Path) -> Result<()> {
    let wrong = |text: &str| Error::input(format!("{}: {text}", path.display()));
    let kind = std::fs::metadata(path).map_err(|error| wrong(&error.to_string()))?.file_type();
    if kind.is_file() || kind.is_fifo() && comm.size() == 1 {
        return Ok(());
    }
    let hint = "write it to a file first";
    match (kind.is_dir(), kind.is_fifo()) {
        (true, _) => Err(wrong("found a folder, expected a file")),
        (_, true) => Err(wrong("found a pipe, which ranks can't share").hint(hint)),
        _ => Err(wrong("found a device or socket, expected a file").hint(hint)),
    }
}

/// Numbers the classes that are named anew, in their order, and returns what they are called. No
/// metric depends on classes that nobody names, so memory needn't either.
fn number_classes(videos: &mut [Video]) -> Vec<u32> {
    let mut classes: Vec<u32> = Vec::new();
    for video in &*videos {
        classes.extend(video.scores.iter().map(|pair| pair.1));
        classes.extend(&video.labels);
    }
    classes.sort_unstable();
    classes.dedup();
    let place = |class: &mut u32| {
        *class = classes.binary_search(class).expect("every class was named") as u32;
    };
    for video in videos {
        video.scores.iter_mut().for_each(|pair| place(&mut pair.1));
        video.labels.iter_mut().for_each(place);
    }
    classes
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
