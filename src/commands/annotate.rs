//! `reelscale annotate`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::scoring::Scoring;
use crate::checkpoint;
use crate::comm::{Comm, same_on_all};
use crate::data::write_annotations;
use crate::error::{Error, Exit, Result};
use crate::flow::scoring::score;
use crate::formats::submission;

/// Writes each video's best classes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Directory of the model.
    #[arg(long)]
    model: PathBuf,
    /// Shards: paths or globs.
    #[arg(long, num_args = 1.., required = true)]
    data: Vec<String>,
    /// FILE.csv in the format of submissions, or FILE.h5; it must not exist.
    #[arg(long)]
    output: PathBuf,
    /// Classes of a video.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    top: u32,
    #[command(flatten)]
    scoring: Scoring,
}

/// One rank's rows on their way to rank 0.
struct Part {
    ids: Vec<Vec<u8>>,
    /// [rows][top]
    scores: Vec<f32>,
    classes: Vec<u32>,
}

/// What all ranks must be told alike.
fn shared_by_ranks(args: &Args) -> String {
    let Args { model: _, data: _, output, top, scoring: _ } = args;
    format!("--output = {output:?}\n--top = {top}\n")
}

pub fn run(comm: &Comm, args: Args) -> Result<()> {
    same_on_all(comm, Exit::Launch, "arguments", &shared_by_ranks(&args))?;
    let extension = args.output.extension().and_then(|text| text.to_str());
    let name = args.output.display();
    let checked = match extension {
        Some("csv" | "h5") if !args.output.exists() => Ok(()),
        Some("csv" | "h5") => Err(Error::usage(format!("{name}: exists already"))),
        _ => Err(Error::usage(format!("{name}: expected a name that ends in .csv or .h5"))),
    };
    comm.agree(checked)?;
    let annotator = checkpoint::load(comm, &args.model)?;
    let (rows, mut kernels) = args.scoring.prepare(comm, &annotator, &args.data)?;
    let top = (args.top as usize).min(annotator.shape.class_count);
    let scored = score(comm, &annotator, &rows, &mut kernels, top)?;
    let ids = comm.agree(rows.dataset().reader().ids(rows.own_rows()))?;
    let lists = (0..ids.len()).flat_map(|row| &scored.top.row(row)[..top]);
    let (scores, classes) = lists.copied().unzip();
    let parts = gather(comm, Part { ids, scores, classes }, top);
    let outcome = if comm.is_root() { write(&args.output, &parts, top) } else { Ok(()) };
    comm.agree(outcome)?;
    if comm.is_root() {
        println!("{name}: {} videos, {top} classes each", rows.rows());
    }
    Ok(())
}

/// Every rank's rows on rank 0 (`top` pairs a row: small beside the features).
fn gather(comm: &Comm, own: Part, top: usize) -> Vec<Part> {
    fn to_root<T: bytemuck::Pod>(comm: &Comm, own: Vec<T>) -> Vec<Vec<T>> {
        let mut parts = vec![Vec::new(); comm.size()];
        parts[0] = own;
        comm.all_to_all(parts)
    }
    let lengths = own.ids.iter().map(|id| id.len() as u32).collect();
    let lengths = to_root(comm, lengths);
    let bytes = to_root(comm, own.ids.concat());
    let (scores, classes) = (to_root(comm, own.scores), to_root(comm, own.classes));
    let whole = lengths.into_iter().zip(bytes).zip(scores.into_iter().zip(classes));
    whole
        .map(|((lengths, bytes), (scores, classes))| {
            let mut rest = &bytes[..];
            let mut ids = Vec::new();
            for length in lengths {
                let (id, after) = rest.split_at(length as usize);
                ids.push(id.to_vec());
                rest = after;
            }
            assert_eq!(scores.len(), ids.len() * top);
            Part { ids, scores, classes }
        })
        .collect()
}

fn write(path: &Path, parts: &[Part], top: usize) -> Result<()> {
    if path.extension().is_some_and(|extension| extension == "h5") {
        let ids: Vec<Vec<u8>> = parts.iter().flat_map(|part| part.ids.iter().cloned()).collect();
        let scores: Vec<f32> = parts.iter().flat_map(|part| part.scores.iter().copied()).collect();
        let classes: Vec<u32> =
            parts.iter().flat_map(|part| part.classes.iter().copied()).collect();
        return write_annotations(path, &ids, &classes, &scores, top);
    }
    let temporary = path.with_extension(format!("csv.{}.tmp", std::process::id()));
    let all = || -> std::io::Result<()> {
        let mut out = BufWriter::new(File::create(&temporary)?);
        writeln!(out, "{}", submission::HEADER)?;
        for part in parts {
            let pairs: Vec<(f32, u32)> =
                part.scores.iter().copied().zip(part.classes.iter().copied()).collect();
            for (id, pairs) in part.ids.iter().zip(pairs.chunks(top)) {
                submission::write_line(&mut out, id, pairs)?;
            }
        }
        out.into_inner()?.sync_all()?;
        std::fs::hard_link(&temporary, path)
    };
    let outcome = all();
    let _ = std::fs::remove_file(&temporary);
    outcome.map_err(|error| Error::storage(format!("{}: {error}", path.display())))
}
