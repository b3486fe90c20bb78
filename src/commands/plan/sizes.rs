//! How large the data are: as options say, as the job's section [plan] says, or as its shards are.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Args;
use crate::comm::Comm;
use crate::data::{Dataset, Kind, ShardInfo, find};
use crate::error::{Error, Result};
use crate::flow::home_rows::HomeRows;
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

/// Features in all, of `rgb:1024,audio:128`, each of a name of its own, or a number.
fn features(text: &str) -> Option<u64> {
    let parts: Option<Vec<(&str, u64)>> = text
        .split(',')
        .map(|part| {
            let (name, size) = part.rsplit_once(':').unwrap_or(("", part));
            Some((name.trim(), size.trim().parse::<u32>().ok()?.into()))
        })
        .collect();
    let parts = parts?;
    let names: BTreeSet<&str> = parts.iter().map(|part| part.0).collect();
    (names.len() == parts.len()).then(|| parts.iter().map(|part| part.1).sum())
}

/// What is planned for.
pub(super) struct Sizes {
    /// With a section [plan] that has them.
    pub(super) job: Job,
    pub(super) validation_rows: usize,
    /// Of each class, where experts go by them and the shards are here.
    pub(super) positives: Option<Vec<u64>>,
}

/// The job with the sizes that are planned for.
///
/// # Errors
/// Exit 2: no sizes are known; exit 4: the shards that would say them.
pub(super) fn planned(args: &Args, name: &str) -> Result<Sizes> {
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
    let says = |key: &str| {
        let of = |set: &String| set.split('=').next().map(str::trim) == Some(key);
        sets.iter().any(of)
    };
    let mut job = Job::read(&args.job, &sets)?;
    // What a file without rows says in [plan] is no plan: records of runs name all keys.
    let apart = args.overrides.iter().filter(|set| !set.trim_start().starts_with("plan."));
    let apart: Vec<String> = apart.cloned().collect();
    let has_plan = Job::read(&args.job, &apart)?.plan.rows > 0;
    let told = ["plan.rows", "plan.features", "plan.classes"].into_iter().all(says);
    let mut shards = Vec::new();
    if !has_plan && !told {
        let mut shaped = job.clone();
        shards = sizes_of_shards(&mut shaped, name)?;
        let before = std::mem::replace(&mut job.plan, shaped.plan);
        let plan = &mut job.plan;
        let of = |told: &str, size: &mut usize, before: usize| {
            if says(told) {
                *size = before;
            }
        };
        of("plan.rows", &mut plan.rows, before.rows);
        of("plan.features", &mut plan.features, before.features);
        of("plan.classes", &mut plan.classes, before.classes);
        of("plan.frames", &mut plan.frames, before.frames);
        if says("plan.labels_per_row") {
            plan.labels_per_row = before.labels_per_row;
        }
    }
    if job.plan.rows == 0 {
        return Err(Error::usage("--rows: found 0, expected a row at least"));
    }
    let asked = args.validation_rows.map(|rows| rows as usize);
    let counted = !shards.is_empty() && !says("plan.rows");
    let validation = match job.data.validation_rows() {
        Validation::Fraction(share) if counted || asked.is_none() => {
            let rows = (job.plan.rows as f64 * share) as usize;
            job.plan.rows -= rows;
            rows
        }
        Validation::Globs(globs) if !shards.is_empty() && asked.is_none() => rows_of_shards(globs)?,
        _ => 0,
    };
    let validation_rows = asked.unwrap_or(validation);
    if job.plan.frames == 0 && !job.model.frames.is_empty() {
        let text = format!("{name}: model.frames: found layers, but rows without frames");
        return Err(Error::usage(text).hint("--frames 300, or --set model.frames=[]"));
    }
    if let Some(threads) = args.threads {
        job.run.threads = threads as usize;
    }
    job.run.threads = job.run.threads.max(1);
    let same_classes = shards.first().is_some_and(|info| info.class_count == job.plan.classes);
    let by_class = same_classes && job.experts.positives_per_expert > 0;
    let positives = by_class.then(|| positives(&job, shards)).transpose()?;
    Ok(Sizes { job, validation_rows, positives })
}

/// Positives of each class in the job's shards, as many as so many rows to train on have.
fn positives(job: &Job, shards: Vec<ShardInfo>) -> Result<Vec<u64>> {
    let (comm, all) = (Comm::serial(), Dataset::new(shards)?);
    let share = job.plan.rows as f64 / all.rows() as f64;
    let counted = HomeRows::new(&comm, all, 1).positives(&comm)?;
    Ok(counted.into_iter().map(|count| (count as f64 * share).round() as u64).collect())
}

/// Rows of the shards that these globs name.
///
/// # Errors
/// Exit 4: what is wrong with them.
pub(crate) fn rows_of_shards(globs: &[String]) -> Result<usize> {
    Ok(described(&find(globs)?)?.iter().map(|info| info.rows).sum())
}

/// Takes sizes from the job's shards, which it gives.
///
/// # Errors
/// Exit 2: they aren't here; exit 4: what is wrong with them.
pub(crate) fn sizes_of_shards(job: &mut Job, name: &str) -> Result<Vec<ShardInfo>> {
    let paths = find(&job.data.train).map_err(|error| {
        let text = format!("{name}: has no [plan], and its shards aren't here: {error}");
        Error::usage(text).hint("--rows 4e6 --features rgb:1024,audio:128 --classes 3862")
    })?;
    let infos = described(&paths)?;
    // Whoever trains would be told of shards that don't go together.
    Dataset::new(infos.clone())?;
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
    Ok(infos)
}

fn described(paths: &[PathBuf]) -> Result<Vec<ShardInfo>> {
    paths.iter().map(|path| ShardInfo::read(path)).collect()
}
