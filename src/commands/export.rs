//! `reelscale export`: a model in the formats of others.

use std::path::{Path, PathBuf};

use super::model_path::{Found, Which};
use super::out::{self, For};
use crate::artifact::export::{ExportFormat, OnnxCut, Source, export};
use crate::comm::{Comm, same_on_all};
use crate::disk::Disk;
use crate::error::{Error, Exit, Result};
use crate::human;
use crate::train::source_of_checkpoint;

/// Writes a model for other programs: its numbers, or a graph that computes scores with them.
///
/// docs/model-format.md says what is in each, and how scores follow from it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = crate::commands::examples::EXPORT)]
pub(crate) struct Args {
    /// What is written: the model's numbers for safetensors or numpy (.npz), or a graph of ONNX
    /// from features to scores.
    #[arg(long, value_enum)]
    to: To,
    /// Directory of the model, or of a run, whose best model so far it is, or of one of its
    /// checkpoints.
    #[arg(long)]
    model: PathBuf,
    /// The file; it must not exist. With --to onnx weights of more than 1 GB stand in OUTPUT.data.
    #[arg(long)]
    output: PathBuf,
    /// The graph gives so many best classes and their scores, not the scores of all classes.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    top: Option<u32>,
    /// Bytes of weights that stand in the file itself, for tests.
    #[arg(long, hide = true, default_value_t = 1_000_000_000)]
    inside_max: u64,
    /// Bytes of the largest tensor of mixtures, for tests.
    #[arg(long, hide = true, default_value_t = 1 << 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    piece_max: u64,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    pub(crate) patience: super::Patience,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum To {
    Safetensors,
    Onnx,
    Numpy,
}

pub(crate) fn run(comm: &Comm, args: Args) -> Result<()> {
    let Args { to, output, top, inside_max, piece_max, which, model: _, patience: _ } = &args;
    let told = format!(
        "--to = {to:?}\n--output = {output:?}\n--top = {top:?}\n--inside-max = {inside_max}\n\
         --piece-max = {piece_max}\n--which = {which:?}\n"
    );
    same_on_all(comm, Exit::Launch, "arguments", &told)?;
    let format = comm.agree(args.format())?;
    let found = which.found(comm, &args.model)?;
    // One rank writes; what all have done is to read and prove the model.
    let written = comm.is_root().then(|| {
        let source = match found {
            Found::Model(model) => return written(&Source::of_folder(&model)?, format, output),
            Found::Checkpoint(loaded, _) => {
                log::info!("{}", which.told(&args.model, &loaded));
                source_of_checkpoint(*loaded, which.of_checkpoint())?
            }
        };
        written(&source, format, output)
    });
    let line = comm.agree(written.transpose())?.unwrap_or_default();
    out::print(comm, For::Keeping, || line)
}

impl Args {
    fn format(&self) -> Result<ExportFormat> {
        let Args { top, inside_max, piece_max, .. } = *self;
        match (self.to, top) {
            (To::Onnx, top) => {
                let cut = OnnxCut { inside_max, piece_max };
                Ok(ExportFormat::Onnx { top: top.map(|top| top as usize), cut })
            }
            (_, Some(_)) => Err(Error::usage("--top: expected --to onnx, which alone has scores")),
            (To::Safetensors, None) => Ok(ExportFormat::Safetensors),
            (To::Numpy, None) => Ok(ExportFormat::Numpy),
        }
    }
}

/// Exports, and says so.
fn written(source: &Source, format: ExportFormat, output: &Path) -> Result<String> {
    let bytes = human::bytes(export(&Disk::default(), source, format, output)?);
    let (classes, experts) = (source.counts.len(), source.counts.iter().sum::<usize>());
    Ok(format!("{}: {classes} classes of {experts} experts, {bytes}\n", output.display()))
}
