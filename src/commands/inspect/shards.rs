//! What shards hold, checked in full; their proofs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::out::{self, For, Format};
use super::{described, parts_of};
use crate::comm::Comm;
use crate::data::{
    Dataset, Kind, Proof, SealOutcome, ShardInfo, ShardReader, find, prove, prove_to_seal, seal,
};
use crate::disk::Disk;
use crate::encoding::Encoding;
use crate::error::{Error, Result};
use crate::example::FeaturePart;
use crate::flow::repeated_ids::warn_of_repeated_ids;
use crate::human::{self, json_line};
use crate::labels::Labels;

/// The shards that `paths` name, in folders those whose names end in `.h5`.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let pattern = |path: &PathBuf| {
        let text = path.to_string_lossy();
        match path.is_dir() {
            true => format!("{}/*.h5", glob::Pattern::escape(&text)),
            false => text.into_owned(),
        }
    };
    find(&paths.iter().map(pattern).collect::<Vec<_>>())
}

/// Gives all shards without proof one, each rank its share. A shard that can't be sealed keeps none
/// of the others from it.
pub(crate) fn seal_all(comm: &Comm, paths: &[PathBuf]) -> Result<()> {
    let files = comm.agree(files(paths))?;
    let (mut counts, mut errors) = ([0u64; 2], Vec::new());
    for path in &files[comm.deal(files.len()).own()] {
        match seal_one(path) {
            Ok(SealOutcome::Now) => counts[0] += 1,
            Ok(SealOutcome::Before) => counts[1] += 1,
            Err(error) => errors.push(error),
        }
    }
    comm.agree(Error::all(errors))?;
    comm.sum(&mut counts);
    let [now, before] = counts;
    let line = format!("sealed     {now} shards; {before} were sealed before, and whole\n");
    out::print(comm, For::Reading, || line)
}

/// One without proof is read by another process first.
fn seal_one(path: &Path) -> Result<SealOutcome> {
    if ShardInfo::look(path)?.is_none() {
        prove_to_seal(path)?;
    }
    seal(path, &Disk::default())
}

/// Prints what shards hold, or the hash of it alone. Each rank checks its share in full.
pub(super) fn describe(comm: &Comm, paths: &[PathBuf], hash: bool, format: Format) -> Result<()> {
    let started = Instant::now();
    let files = comm.agree(files(paths))?;
    let dataset = comm.agree(dataset(&files))?;
    if hash {
        // All is read, and so checked.
        let found = if comm.is_root() { content_hash(&dataset) } else { Ok(String::new()) };
        let found = comm.agree(found)?;
        return out::print(comm, For::Reading, || found + "\n");
    }
    let own = comm.deal(files.len()).own();
    let checked = comm.agree(check(&dataset.shards()[own.clone()]))?;
    let rows_before = |shard: usize| dataset.shards()[..shard].iter().map(|it| it.rows).sum();
    warn_of_repeated_ids(comm, &dataset, rows_before(own.start)..rows_before(own.end), "")?;
    // Which shards have which digest and checksums, from all ranks.
    let text = serde_json::to_vec(&checked).expect("plain data");
    let all: Vec<Checked> = comm
        .all_gather_any(&text)
        .iter()
        .flat_map(|text| serde_json::from_slice::<Vec<Checked>>(text).expect("as it was written"))
        .collect();
    out::print(comm, For::Reading, || {
        if format == Format::Json {
            return json_line(&plain(paths, &dataset, &all));
        }
        let mut lines = lines(paths, &dataset);
        lines.extend(lines_of_proofs(&dataset, &all, started.elapsed().as_secs_f64()));
        lines.join("\n") + "\n"
    })
}

fn dataset(files: &[PathBuf]) -> Result<Dataset> {
    let (mut infos, mut errors) = (Vec::new(), Vec::new());
    for path in files {
        match proven(path) {
            Ok(info) => infos.push(info),
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors)?;
    let dataset = Dataset::new(infos)?;
    let names = dataset.names_of_shards()?.map(Arc::new);
    Ok(dataset.named(names))
}

/// What the shard at `path` is. One without proof is read by another process first.
fn proven(path: &PathBuf) -> Result<ShardInfo> {
    match ShardInfo::look(path)? {
        Some(info) => Ok(info),
        None => prove(std::slice::from_ref(path), &mut || false)?.remove(0),
    }
}

/// What a full check of a shard says.
#[derive(serde::Serialize, serde::Deserialize)]
struct Checked {
    /// Of its content.
    digest: String,
    /// Bytes of the file.
    bytes: u64,
    /// The datasets with a chunk without Fletcher-32.
    without_checksums: Vec<String>,
}

/// Reads all of `shards`.
fn check(shards: &[ShardInfo]) -> Result<Vec<Checked>> {
    let (mut checked, mut errors) = (Vec::new(), Vec::new());
    let one = |shard: &ShardInfo| -> Result<Checked> {
        let digest = ShardReader::open(shard)?.check_in_full()?;
        let without_checksums = match shard.proof {
            Proof::Own { .. } => Vec::new(),
            _ => shard.without_checksums()?.into_iter().map(String::from).collect(),
        };
        let bytes = std::fs::metadata(&shard.path).map_or(0, |data| data.len());
        Ok(Checked { digest: format!("{digest:032x}"), bytes, without_checksums })
    };
    for shard in shards {
        match one(shard) {
            Ok(one) => checked.push(one),
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors)?;
    Ok(checked)
}

/// What shards hold, for other programs.
fn plain(paths: &[PathBuf], dataset: &Dataset, checked: &[Checked]) -> Value {
    let shards = dataset.shards();
    let sum = |number: fn(&ShardInfo) -> usize| shards.iter().map(number).sum::<usize>();
    let proven = |shard: &&ShardInfo| matches!(shard.proof, Proof::Own { .. });
    let frames = dataset.kind() == Kind::Frames;
    json!({
        "shards": shards.len(),
        "paths": paths.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "rows": dataset.rows(),
        "features": parts_of(dataset.parts()),
        "values": values_of(&shards[0]),
        "classes": dataset.class_count(),
        "names": dataset.names().map(|names| names.all()),
        "labels": sum(|shard| shard.positives),
        "frames": frames.then(|| sum(|shard| shard.frames)),
        "source": shards[0].source,
        "proven": shards.iter().filter(proven).count(),
        "content": checked.iter().map(|one| one.digest.as_str()).collect::<Vec<_>>(),
        "bytes": checked.iter().map(|one| one.bytes).sum::<u64>(),
    })
}

/// What the rows of shards are, for people.
fn lines(paths: &[PathBuf], dataset: &Dataset) -> Vec<String> {
    let shards = dataset.shards();
    let sum = |number: fn(&ShardInfo) -> usize| shards.iter().map(number).sum::<usize>();
    let values = values_of(&shards[0]);
    let places: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let mut lines = vec![
        format!("shards     {} in {}", shards.len(), places.join(" ")),
        format!("rows       {}", dataset.rows()),
        format!("features   {} ({}, {values})", parts_of(dataset.parts()), shards[0].values()),
        format!("classes    {}", dataset.class_count()),
        format!("labels     {}", sum(|shard| shard.positives)),
    ];
    if let Some(names) = dataset.names() {
        let named = shards.iter().filter(|shard| shard.names.is_some()).count();
        let of = if named < shards.len() { format!("; in {named} shards") } else { "".into() };
        lines.insert(4, format!("names      {}{of}", described(names)));
    }
    if dataset.kind() == Kind::Frames {
        lines.push(format!("frames     {}", sum(|shard| shard.frames)));
    }
    lines.push(format!("source     {}", shards[0].source));
    lines
}

/// How values are stored, for people.
fn values_of(shard: &ShardInfo) -> String {
    let Encoding::Bytes(scaling) = &shard.encoding else { return shard.encoding.name().into() };
    match &scaling[..] {
        [[scale, offset]] => format!("u8 * {scale} + {offset}"),
        all => {
            let one = |(part, [scale, offset]): (&FeaturePart, &[f32; 2])| {
                format!("{} u8 * {scale} + {offset}", part.name)
            };
            shard.parts.iter().zip(all).map(one).collect::<Vec<_>>().join(", ")
        }
    }
}

/// What speaks for them.
fn lines_of_proofs(dataset: &Dataset, checked: &[Checked], seconds: f64) -> Vec<String> {
    let shards = dataset.shards();
    let unproven = |shard: &&ShardInfo| !matches!(shard.proof, Proof::Own { .. });
    let (count, of) = (shards.iter().filter(unproven).count(), shards.len());
    let proof = match shards.iter().find(unproven) {
        None => "of all bytes".into(),
        Some(first) => {
            let path = first.path.display();
            format!("none of {count} of {of} shards; hint: reelscale inspect --seal {path}")
        }
    };
    let mut lines =
        vec![format!("checksums  {}", checksums(shards, checked)), format!("proof      {proof}")];
    if let [one] = checked {
        lines.push(format!("content    {}", one.digest));
    }
    let bytes = human::bytes(checked.iter().map(|one| one.bytes).sum());
    lines.push(format!("checked    {bytes} in full in {seconds:.1} s"));
    lines
}

/// Which chunks have checksums of HDF5's.
fn checksums(shards: &[ShardInfo], checked: &[Checked]) -> String {
    let lacking: Vec<(&ShardInfo, &Checked)> =
        shards.iter().zip(checked).filter(|(_, one)| !one.without_checksums.is_empty()).collect();
    let Some((first, one)) = lacking.first() else { return "Fletcher-32 of every chunk".into() };
    let all = if first.kind == Kind::Frames { 5 } else { 4 };
    let text = match one.without_checksums.len() {
        found if found == all => "none".to_string(),
        _ => format!("none of {}, Fletcher-32 of the others", one.without_checksums.join(", ")),
    };
    match shards.len() {
        1 => text,
        count => {
            let (of, path) = (lacking.len(), first.path.display());
            format!("{text} ({of} of {count} shards lack some, such as {path})")
        }
    }
}

/// Rows that are hashed at once.
const ROWS: usize = 256;

/// SHA-256 over features, classes and every row's id, labels and values, however shards are cut.
fn content_hash(dataset: &Dataset) -> Result<String> {
    let mut sha = Sha256::new();
    let kind = format!("{:?}", dataset.kind());
    let parts = dataset.parts();
    let plain = parts.iter().all(|part| !part.name.contains([',', ':']));
    // Names may hold what else divides them.
    let parts = if plain { parts_of(parts) } else { serde_json::to_string(parts).expect("plain") };
    sha.update(format!("{kind} {parts} {}", dataset.class_count()));
    let mut reader = dataset.reader();
    let mut at = 0;
    for shard in dataset.shards() {
        let end = at + shard.rows;
        for from in (at..end).step_by(ROWS) {
            hash_rows(&mut sha, &mut reader, shard, from..(from + ROWS).min(end))?;
        }
        at = end;
    }
    Ok(human::hex(&sha.finalize()))
}

/// Of videos the features as they are trained on; of frames their bytes and what scales them, or
/// which floats they are.
fn hash_rows(
    sha: &mut Sha256,
    reader: &mut crate::data::Reader,
    shard: &ShardInfo,
    rows: std::ops::Range<usize>,
) -> Result<()> {
    let (ids, mut labels) = (reader.ids(rows.clone())?, Labels::new());
    let (values, scaling): (Vec<Vec<u8>>, Option<Vec<u8>>) = match shard.kind {
        Kind::Frames => {
            reader.labels(rows.clone(), &mut labels)?;
            let scaling = match &shard.encoding {
                Encoding::Bytes(scaling) => {
                    scaling.iter().flatten().flat_map(|number| number.to_le_bytes()).collect()
                }
                floats => floats.name().into(),
            };
            (reader.frames(rows)?, Some(scaling))
        }
        Kind::Video => {
            let mut features = vec![0.0; rows.len() * shard.width()];
            reader.read(rows, &mut features, &mut labels)?;
            let row = |row: &[f32]| row.iter().flat_map(|x| x.to_le_bytes()).collect();
            (features.chunks_exact(shard.width()).map(row).collect(), None)
        }
    };
    for (row, (id, values)) in ids.iter().zip(&values).enumerate() {
        let fields = [id, bytemuck::cast_slice(labels.row(row)), &values[..]];
        for field in fields.into_iter().chain(scaling.as_ref().map(|bytes| &bytes[..])) {
            sha.update((field.len() as u64).to_le_bytes());
            sha.update(field);
        }
    }
    Ok(())
}
