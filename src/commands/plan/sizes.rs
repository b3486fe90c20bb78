//! How large the data are: as options say, as the job's section [plan] says, or as its shards are.

use std::path::PathBuf;

use super::Args;
use crate::data::{Kind, ShardInfo, find};
use crate::error::{Error, Result};
use crate::job::{Job, Validation};
use crate::model::features::FRAMES_MAX;

/// A whole number, also as 500e6.
pub(super) fn count(text: &str) -> std::result::Result<u64, String> {
    let whole = |number: &f64| number.fract() == 0.0 && (0.0..1e15).contains(number);
    let number = text.parse::<f64>().ok().filter(whole);
    number
        .map(|number| number as u64)
        .ok_or_else(|| "expected a whole number, such as 500e6".into())
}

/// Features in all, of `rgb:1024,audio:128` or a number.
fn features(text: &str) -> Option<u64> {
    let part = |part: &str| part.rsplit(':').next()?.trim().parse::<u64>().ok();
    text.split(',').map(part).sum()
}

/// The job with the sizes that are planned for, and rows to validate on.
///
/// # Errors
/// Exit 2: no sizes are known; exit 4: the shards that would say them.
pub(super) fn planned(args: &Args, name: &str) -> Result<(Job, usize)> {
    let mut sets = args.overrides.clone();
    let mut set = |key: &str, value: Option<u64>| {
        sets.extend(value.map(|value| format!("plan.{key}={value}")));
    };
    let wide = args.features.as_deref().map(|text| {
        let expected = "expected rgb:1024,audio:128 or a number";
        features(text)
            .ok_or_else(|| Error::usage(format!("--features: found {text:?}, {expected}")))
    });
    set("features", wide.transpose()?);
    set("rows", args.rows);
    set("classes", args.classes);
    set("frames", args.frames);
    let mut job = Job::read(&args.job, &sets)?;
    let asked = args.validation_rows.map(|rows| rows as usize);
    let of_shards = job.plan.rows == 0;
    if of_shards {
        sizes_of_shards(&mut job, name)?;
    }
    let validation = match job.data.validation_rows() {
        Validation::Fraction(share) if of_shards || asked.is_none() => {
            let rows = (job.plan.rows as f64 * share) as usize;
            job.plan.rows -= rows;
            rows
        }
        Validation::Globs(globs) if of_shards => rows_of_shards(globs)?,
        _ => 0,
    };
    let validation = asked.unwrap_or(validation);
    if job.plan.frames == 0 && !job.model.frames.is_empty() {
        let text = format!("{name}: model.frames: found layers, but rows without frames");
        return Err(Error::usage(text).hint("--frames 300, or --set model.frames=[]"));
    }
    if let Some(threads) = args.threads {
        job.run.threads = threads as usize;
    }
    job.run.threads = job.run.threads.max(1);
    Ok((job, validation))
}

/// Rows of the shards that these globs name.
///
/// # Errors
/// Exit 4: what is wrong with them.
pub(crate) fn rows_of_shards(globs: &[String]) -> Result<usize> {
    Ok(described(&find(globs)?)?.iter().map(|info| info.rows).sum())
}

/// Takes sizes from the job's shards.
///
/// # Errors
/// Exit 2: they aren't here; exit 4: what is wrong with them.
pub(crate) fn sizes_of_shards(job: &mut Job, name: &str) -> Result<()> {
    let paths = find(&job.data.train).map_err(|error| {
        let text = format!("{name}: has no [plan], and its shards aren't here: {error}");
        Error::usage(text).hint("--rows 4e6 --features rgb:1024,audio:128 --classes 3862")
    })?;
    let infos = described(&paths)?;
    let sum = |of: &dyn Fn(&ShardInfo) -> usize| infos.iter().map(of).sum::<usize>();
    let (rows, first) = (sum(&|info| info.rows), &infos[0]);
    if rows == 0 {
        return Err(Error::input(format!("{name}: data.train: found no row")));
    }
    job.plan.rows = rows;
    job.plan.features = first.width();
    job.plan.classes = first.class_count;
    job.plan.frames = match first.kind {
        Kind::Video => 0,
        Kind::Frames => sum(&|info| info.frames).div_ceil(rows).clamp(1, FRAMES_MAX),
    };
    job.plan.labels_per_row = sum(&|info| info.positives) as f64 / rows as f64;
    Ok(())
}

fn described(paths: &[PathBuf]) -> Result<Vec<ShardInfo>> {
    paths.iter().map(|path| ShardInfo::read(path)).collect()
}
