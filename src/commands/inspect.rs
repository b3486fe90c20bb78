//! `reelscale inspect`.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::out::{self, For};
use crate::checkpoint;
use crate::comm::Comm;
use crate::data::{Dataset, Kind, ShardInfo, find, prove};
use crate::error::{Error, Result};
use crate::human;
use crate::labels::Labels;

/// Shows what a shard, dataset or model holds.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A shard, a folder of shards, or the directory of a model.
    path: PathBuf,
    /// Print only a hash of the content, the same for equal contents however shards are cut.
    #[arg(long)]
    hash: bool,
}

pub fn run(comm: &Comm, args: Args) -> Result<()> {
    let path = &args.path;
    // One of them alone makes it a model that isn't whole.
    if ["manifest.json", "shared.h5"].iter().any(|name| path.join(name).exists()) {
        return model(comm, path, args.hash);
    }
    let dataset = comm.agree(dataset(path))?;
    let text = match (comm.is_root(), args.hash) {
        (false, _) => Ok(String::new()),
        (true, true) => content_hash(&dataset).map(|hash| hash + "\n"),
        (true, false) => Ok(describe(path, &dataset)),
    };
    let text = comm.agree(text)?;
    out::print(comm, For::Reading, || text)
}

fn model(comm: &Comm, path: &Path, hash: bool) -> Result<()> {
    if hash {
        let found = checkpoint::content_hash(comm, &checkpoint::load(comm, path)?);
        return out::print(comm, For::Reading, || found + "\n");
    }
    let manifest = checkpoint::ModelFolder::open_whole(comm, path)?.manifest;
    out::print(comm, For::Reading, || {
        let shape = &manifest.shape;
        let layers = serde_json::to_string(&shape.layers).expect("layers are plain data");
        let bytes = manifest.files.iter().map(|file| file.bytes).sum();
        let mut lines = vec![
            format!("model      {} ({})", path.display(), manifest.creator),
            format!("features   {}", parts_of(&shape.parts)),
            format!("classes    {}", shape.class_count),
        ];
        if let Some(pooling) = shape.pooling {
            let frames = serde_json::to_string(&shape.frames).expect("layers are plain data");
            lines.push(format!("frames     {frames}, pooling {pooling:?}"));
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

fn dataset(path: &Path) -> Result<Dataset> {
    let text = path.to_string_lossy();
    let patterns = match path.is_dir() {
        true => vec![format!("{}/*.h5", glob::Pattern::escape(&text))],
        false => vec![text.into_owned()],
    };
    let (mut infos, mut errors) = (Vec::new(), Vec::new());
    for path in find(&patterns)? {
        let info = match ShardInfo::look(&path) {
            Ok(None) => prove(&[path], &mut || false)?.remove(0),
            look => look.map(|info| info.expect("looked at just now")),
        };
        match info {
            Ok(info) => infos.push(info),
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors)?;
    Dataset::new(infos)
}

fn parts_of(parts: &[crate::example::FeaturePart]) -> String {
    let parts: Vec<String> =
        parts.iter().map(|part| format!("{}:{}", part.name, part.size)).collect();
    parts.join(",")
}

/// Lines for people.
fn describe(path: &Path, dataset: &Dataset) -> String {
    let shards = dataset.shards();
    let sum = |number: fn(&ShardInfo) -> usize| shards.iter().map(number).sum::<usize>();
    let values = match shards[0].quantised {
        Some((scale, offset)) => format!("u8 * {scale} + {offset}"),
        None => "f32".into(),
    };
    let mut lines = vec![
        format!("shards     {} in {}", shards.len(), path.display()),
        format!("rows       {}", dataset.rows()),
        format!("features   {} ({}, {values})", parts_of(dataset.parts()), shards[0].values()),
        format!("classes    {}", dataset.class_count()),
        format!("labels     {}", sum(|shard| shard.positives)),
    ];
    if dataset.kind() == Kind::Frames {
        lines.push(format!("frames     {}", sum(|shard| shard.frames)));
    }
    lines.push("checksums  Fletcher-32 of every chunk".into());
    lines.push(format!("source     {}", shards[0].source));
    lines.join("\n") + "\n"
}

/// Rows that are hashed at once.
const ROWS: usize = 256;

/// SHA-256 over features, classes and every row's id, labels and values, however shards are cut.
fn content_hash(dataset: &Dataset) -> Result<String> {
    let mut sha = Sha256::new();
    let kind = format!("{:?}", dataset.kind());
    let head = format!("{kind} {} {}", parts_of(dataset.parts()), dataset.class_count());
    sha.update(head.as_bytes());
    let mut reader = dataset.reader();
    for from in (0..dataset.rows()).step_by(ROWS) {
        let rows = from..(from + ROWS).min(dataset.rows());
        let (ids, mut labels) = (reader.ids(rows.clone())?, Labels::new());
        let values: Vec<Vec<u8>> = match dataset.kind() {
            Kind::Frames => {
                reader.labels(rows.clone(), &mut labels)?;
                reader.frames(rows)?
            }
            Kind::Video => {
                let mut features = vec![0.0; rows.len() * dataset.width()];
                reader.read(rows, &mut features, &mut labels)?;
                let row = |row: &[f32]| row.iter().flat_map(|x| x.to_le_bytes()).collect();
                features.chunks_exact(dataset.width()).map(row).collect()
            }
        };
        for (row, (id, values)) in ids.iter().zip(&values).enumerate() {
            for field in [id, bytemuck::cast_slice(labels.row(row)), values] {
                sha.update((field.len() as u64).to_le_bytes());
                sha.update(field);
            }
        }
    }
    Ok(human::hex(&sha.finalize()))
}
