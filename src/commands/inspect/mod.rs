//! `reelscale inspect`.

mod mixtures;
mod shards;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::mixtures::Survey;
use super::out::{self, For, Format};
use crate::artifact::{self, ModelFolder};
use crate::comm::Comm;
use crate::error::{Error, Result};
use crate::human::{self, json_line};
use crate::names::Names;
use crate::report::{JOB, MODEL};

/// Shows what shards or a model hold, and checks them in full.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = crate::commands::examples::INSPECT)]
pub(crate) struct Args {
    /// Shards, folders of shards, globs, or the directory of one model or of a finished run.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Print only a hash of the content, the same for equal contents however shards are cut.
    #[arg(long, conflicts_with = "seal")]
    hash: bool,
    /// Write shards without a proof anew, with one, each in the place of the old file; ones that
    /// have a proof stay as they are.
    #[arg(long)]
    seal: bool,
    /// Of a model: which classes have experts most like those of this class, a name or a number.
    #[arg(long, conflicts_with_all = ["hash", "seal"])]
    class: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Text, conflicts_with_all = ["hash", "seal"])]
    format: Format,
}

pub(crate) fn run(comm: &Comm, args: Args) -> Result<()> {
    // One of them alone makes it a model that isn't whole.
    let of_model = |path: &&PathBuf| {
        ["manifest.json", "shared.h5"].iter().any(|name| path.join(name).exists())
    };
    // A run stands for its model.
    let of_run = |path: &PathBuf| {
        let within = path.join(MODEL);
        if path.join(JOB).exists() && of_model(&&within) { within } else { path.clone() }
    };
    let args = Args { paths: args.paths.iter().map(of_run).collect(), ..args };
    match args.paths.iter().find(of_model) {
        Some(path) if args.seal => {
            let text = format!("{}: found a model, expected shards to seal", path.display());
            comm.agree(Err(Error::usage(text)))
        }
        Some(path) if args.paths.len() > 1 => {
            let text = format!("{}: found a model, expected it alone", path.display());
            comm.agree(Err(Error::usage(text)))
        }
        Some(path) => model(comm, path, &args),
        None if args.class.is_some() => {
            let text = "--class: found no model, expected the directory of one, or of a run";
            comm.agree(Err(Error::usage(text)))
        }
        None if args.seal => shards::seal_all(comm, &args.paths),
        None => {
            let run = args.paths.iter().find(|path| path.join(JOB).exists());
            let shards = shards::describe(comm, &args.paths, args.hash, args.format);
            shards.map_err(|error| match run {
                Some(_) => error.hint("a run has its model once it is finished: reelscale status"),
                None => error,
            })
        }
    }
}

fn model(comm: &Comm, path: &Path, args: &Args) -> Result<()> {
    if args.hash {
        let found = artifact::content_hash(comm, &artifact::load(comm, path)?);
        return out::print(comm, For::Reading, || found + "\n");
    }
    let model = ModelFolder::open_whole(comm, path)?;
    let names = comm.agree(artifact::names_of(&model))?;
    let class = args.class.as_deref();
    // One rank looks; what all have done is to prove the model.
    let described = || match args.format {
        Format::Text => {
            let survey = Survey::of(&model)?.lines(class)?;
            Ok(lines(path, &model, names.as_ref(), survey).join("\n") + "\n")
        }
        Format::Json => {
            let mut found = plain(path, &model, names.as_ref());
            found["mixtures"] = Survey::of(&model)?.json(class)?;
            Ok(json_line(&found))
        }
    };
    let text = comm.agree(comm.is_root().then(described).transpose())?.unwrap_or_default();
    out::print(comm, For::Reading, || text)
}

fn bytes_of(model: &ModelFolder) -> u64 {
    model.manifest.files.iter().map(|file| file.bytes).sum()
}

/// A model for other programs, but for its mixtures.
fn plain(path: &Path, model: &ModelFolder, names: Option<&Names>) -> Value {
    let manifest = &model.manifest;
    let shape = &manifest.shape;
    json!({
        "model": path.to_string_lossy(),
        "creator": manifest.creator,
        "features": parts_of(&shape.parts),
        "classes": shape.class_count,
        "names": names.map(Names::all),
        "pooling": shape.pooling.map(|pooling| pooling.name()),
        "frames": shape.frames,
        "experts": manifest.experts,
        "dummy": shape.dummy,
        "shared": shape.layers,
        "files": manifest.files.len(),
        "bytes": bytes_of(model),
        "checksums": manifest.has_sums(),
        "content": manifest.content_hash,
    })
}

/// A model for people; of its mixtures these lines.
fn lines(
    path: &Path,
    model: &ModelFolder,
    names: Option<&Names>,
    mixtures: Vec<String>,
) -> Vec<String> {
    let manifest = &model.manifest;
    let shape = &manifest.shape;
    let layers = serde_json::to_string(&shape.layers).expect("layers are plain data");
    let mut lines = vec![
        format!("model      {} ({})", path.display(), manifest.creator),
        format!("features   {}", parts_of(&shape.parts)),
        format!("classes    {}", shape.class_count),
    ];
    lines.extend(names.map(|names| format!("names      {}", described(names))));
    if let Some(pooling) = shape.pooling {
        let frames = serde_json::to_string(&shape.frames).expect("layers are plain data");
        lines.push(format!("frames     {frames}, pooling {}", pooling.name()));
    }
    let checksums = match manifest.has_sums() {
        true => "SHA256SUMS, all files as it says",
        false => "none of the manifest, which has those of the files",
    };
    lines.push(format!("experts    {} in all, dummy {:?}", manifest.experts, shape.dummy));
    lines.extend(mixtures);
    lines.extend([
        format!("shared     {layers}"),
        format!("files      {}, {}", manifest.files.len(), human::bytes(bytes_of(model))),
        format!("checksums  {checksums}"),
        format!("content    {}", manifest.content_hash),
    ]);
    lines
}

fn parts_of(parts: &[crate::example::FeaturePart]) -> String {
    let parts: Vec<String> =
        parts.iter().map(|part| format!("{}:{}", part.name, part.size)).collect();
    parts.join(",")
}

/// Names of classes, for people.
fn described(names: &Names) -> String {
    let count = names.all().iter().filter(|name| !name.is_empty()).count();
    format!("of {count} classes, such as {}", names.shown())
}
