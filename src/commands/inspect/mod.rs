//! `reelscale inspect`.

mod shards;

use std::path::{Path, PathBuf};

use super::out::{self, For};
use crate::artifact;
use crate::comm::Comm;
use crate::error::{Error, Result};
use crate::human;
use crate::names::Names;

/// Shows what shards or a model hold, and checks them in full.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = crate::commands::examples::INSPECT)]
pub(crate) struct Args {
    /// Shards, folders of shards, globs, or the directory of one model.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Print only a hash of the content, the same for equal contents however shards are cut.
    #[arg(long, conflicts_with = "seal")]
    hash: bool,
    /// Write shards without a proof anew, with one, each in the place of the old file; ones that
    /// have a proof stay as they are.
    #[arg(long)]
    seal: bool,
}

pub(crate) fn run(comm: &Comm, args: Args) -> Result<()> {
    // One of them alone makes it a model that isn't whole.
    let of_model = |path: &&PathBuf| {
        ["manifest.json", "shared.h5"].iter().any(|name| path.join(name).exists())
    };
    match args.paths.iter().find(of_model) {
        Some(path) if args.seal => {
            let text = format!("{}: found a model, expected shards to seal", path.display());
            comm.agree(Err(Error::usage(text)))
        }
        Some(path) if args.paths.len() > 1 => {
            let text = format!("{}: found a model, expected it alone", path.display());
            comm.agree(Err(Error::usage(text)))
        }
        Some(path) => model(comm, path, args.hash),
        None if args.seal => shards::seal_all(comm, &args.paths),
        None => shards::describe(comm, &args.paths, args.hash),
    }
}

fn model(comm: &Comm, path: &Path, hash: bool) -> Result<()> {
    if hash {
        let found = artifact::content_hash(comm, &artifact::load(comm, path)?);
        return out::print(comm, For::Reading, || found + "\n");
    }
    let model = artifact::ModelFolder::open_whole(comm, path)?;
    let names = comm.agree(artifact::names_of(&model))?;
    let manifest = model.manifest;
    out::print(comm, For::Reading, || {
        let shape = &manifest.shape;
        let layers = serde_json::to_string(&shape.layers).expect("layers are plain data");
        let bytes = manifest.files.iter().map(|file| file.bytes).sum();
        let mut lines = vec![
            format!("model      {} ({})", path.display(), manifest.creator),
            format!("features   {}", parts_of(&shape.parts)),
            format!("classes    {}", shape.class_count),
        ];
        lines.extend(names.as_ref().map(|names| format!("names      {}", described(names))));
        if let Some(pooling) = shape.pooling {
            let frames = serde_json::to_string(&shape.frames).expect("layers are plain data");
            lines.push(format!("frames     {frames}, pooling {}", pooling.name()));
        }
        let checksums = match manifest.has_sums() {
            true => "SHA256SUMS, all files as it says",
            false => "none of the manifest, which has those of the files",
        };
        lines.extend([
            format!("experts    {} in all, dummy {:?}", manifest.experts, shape.dummy),
            format!("shared     {layers}"),
            format!("files      {}, {}", manifest.files.len(), human::bytes(bytes)),
            format!("checksums  {checksums}"),
            format!("content    {}", manifest.content_hash),
        ]);
        lines.join("\n") + "\n"
    })
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
