//! The rows of a study: strong, those of the job; weak, so many for each rank, drawn from a planted
//! model in the job's shape, in a shard for each rank: P ranks take the first P of them.

use super::launcher::{Launcher, why};
use super::study::Study;
use super::verdict::Wanted;
use super::{Args, Kind, exit_of};
use crate::commands::plan::{rows_of_shards, sizes_of_shards};
use crate::data::find;
use crate::disk::{Disk, there};
use crate::error::{Error, Result};
use crate::job::{Job, PlanJob, Validation};

/// What validates in a weak study of a job that names shards for it: they are of other rows.
const FRACTION: f64 = 0.1;

/// Rows for each rank that a weak study asks for.
///
/// # Errors
/// Exit 2: a weak one doesn't say, or a strong one does.
pub(super) fn per_rank(args: &Args) -> Result<Option<usize>> {
    let found = args.rows_per_rank.map(|rows| rows as usize);
    match args.kind {
        Kind::Weak if found.is_none() => {
            let text = "--rows-per-rank: found none, expected the rows of each rank";
            Err(Error::usage(text).hint("scaling weak JOB.toml --rows-per-rank 8192"))
        }
        Kind::Strong if found.is_some() => {
            let text = "--rows-per-rank: found with strong, whose rows are those of the job";
            Err(Error::usage(text).hint("scaling weak"))
        }
        _ => Ok(found),
    }
}

/// Where rows come from, and how many there are.
pub(super) struct Data {
    rows_per_rank: Option<usize>,
    shape: PlanJob,
    /// Rows of the job's own shards for validation.
    validation: usize,
}

impl Data {
    /// Looks at the job's shards, where rows are theirs, or the shape is.
    ///
    /// # Errors
    /// Exit 4: they aren't there, or aren't good.
    pub(super) fn of(job: &Job, name: &str, rows_per_rank: Option<usize>) -> Result<Data> {
        let mut shaped = job.clone();
        if rows_per_rank.is_none() || job.plan.rows == 0 {
            find(&job.data.train)?;
            sizes_of_shards(&mut shaped, name)?;
        }
        let validation = match job.data.validation_rows() {
            Validation::Globs(globs) if rows_per_rank.is_none() => rows_of_shards(globs)?,
            _ => 0,
        };
        Ok(Data { rows_per_rank, shape: shaped.plan, validation })
    }

    /// Makes the rows of a weak study by all its ranks, unless they are there.
    ///
    /// # Errors
    /// What `reelscale synthesize` ends with; exit 5: the file system.
    pub(super) fn make(&self, study: &Study, launcher: &Launcher, wanted: &Wanted) -> Result<()> {
        let Some(rows) = self.rows_per_rank else { return Ok(()) };
        let most = study.ranks(wanted).last().copied().unwrap_or(1);
        if find(&self.shards(study, most)).is_ok() {
            return Ok(());
        }
        // The first rows are the same, however many there are.
        let (folder, disk) = (study.path("data"), Disk::default());
        if there(&folder).map_err(|error| Error::file(&folder, &error))?.is_some() {
            disk.remove_dir_all(&folder).map_err(|error| Error::file(&folder, &error))?;
        }
        let PlanJob { classes, features, frames, .. } = self.shape;
        let numbers = [
            ("--rows", rows * most),
            ("--rows-per-shard", rows),
            ("--classes", classes),
            ("--features", features),
            ("--frames", frames),
        ];
        let numbers = numbers.iter().flat_map(|(name, n)| [name.to_string(), n.to_string()]);
        let output = ["--output".to_string(), folder.display().to_string()];
        let arguments: Vec<String> =
            ["synthesize".to_string()].into_iter().chain(numbers).chain(output).collect();
        log::info!("drawing {} rows of {features} features, {classes} classes", rows * most);
        let ended = launcher.run((most, 1), &arguments)?;
        match ended.code {
            0 => Ok(()),
            code => Err(Error::new(exit_of(code), format!("synthesize: {}", why(&ended.told)))),
        }
    }

    /// The shards of a weak study's first ranks.
    fn shards(&self, study: &Study, ranks: usize) -> Vec<String> {
        let name = |shard: usize| study.path(&format!("data/synthetic-{shard:05}.h5"));
        (0..ranks).map(|shard| name(shard).display().to_string()).collect()
    }

    /// The job as it runs on so many ranks.
    pub(super) fn job(&self, job: &Job, ranks: usize, study: &Study) -> Job {
        let mut job = job.clone();
        if self.rows_per_rank.is_some() {
            job.data.train = self.shards(study, ranks);
            job.data.validation_fraction = fraction(&job);
            job.data.validation = Vec::new();
        }
        job
    }

    /// The job with the sizes that it has on so many ranks, and rows that validate.
    pub(super) fn planned(&self, job: &Job, ranks: usize) -> (Job, usize) {
        let mut job = job.clone();
        let rows = self.rows_per_rank.map_or(self.shape.rows, |rows| rows * ranks);
        let share = match self.rows_per_rank {
            Some(_) => fraction(&job),
            None => job.data.validation_fraction,
        };
        let of_them = (rows as f64 * share) as usize;
        job.plan = PlanJob { rows: rows - of_them, ..self.shape.clone() };
        (job, of_them + self.validation)
    }
}

/// The share of a weak study's rows that validates.
fn fraction(job: &Job) -> f64 {
    match job.data.validation_rows() {
        Validation::Globs(_) => FRACTION,
        _ => job.data.validation_fraction,
    }
}
