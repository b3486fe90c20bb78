//! The rows of a study: strong, those of the job; weak, so many for each rank. Synthesized ones are
//! drawn from a planted model in the job's shape, in a shard for each rank, of which P ranks take
//! the first P. Those of the job's data are its shards as far as they go, and of the one in which
//! the rows of P ranks end a shard of its own with the rows before that.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::launcher::{Launcher, why};
use super::study::Study;
use super::verdict::Wanted;
use super::{Args, Kind, RowsFrom, exit_of};
use crate::commands::plan::{rows_of_shards, sizes_of_shards};
use crate::data::{ShardInfo, ShardReader, find};
use crate::disk::{Disk, there};
use crate::error::{Error, Exit, Result};
use crate::human::counted;
use crate::job::{Job, PlanJob, Validation};
use crate::train;

/// What validates in a weak study of a job that names shards for it: drawn rows have nothing to do
/// with them, and as many on any number of ranks would be ever fewer for each.
const FRACTION: f64 = 0.1;

/// What a weak study asks for.
#[derive(Clone, Copy)]
pub(super) struct Weak {
    pub(super) rows_per_rank: usize,
    pub(super) from: RowsFrom,
}

/// What the arguments of a weak study ask for; none of a strong one.
///
/// # Errors
/// Exit 2: a weak one doesn't say how many rows a rank has, or a strong one says anything of rows.
pub(super) fn weak(args: &Args) -> Result<Option<Weak>> {
    let of_the_job = |option: &str| {
        let text = format!("{option}: found with strong, whose rows are those of the job");
        Err(Error::usage(text).hint("scaling weak"))
    };
    match (args.kind, args.rows_per_rank) {
        (Kind::Weak, None) => {
            let text = "--rows-per-rank: found none, expected the rows of each rank";
            Err(Error::usage(text).hint("scaling weak JOB.toml --rows-per-rank 8192"))
        }
        (Kind::Weak, Some(rows)) => {
            let from = args.rows_from.unwrap_or(RowsFrom::Synthesized);
            Ok(Some(Weak { rows_per_rank: rows as usize, from }))
        }
        (Kind::Strong, Some(_)) => of_the_job("--rows-per-rank"),
        (Kind::Strong, None) if args.rows_from.is_some() => of_the_job("--rows-from"),
        (Kind::Strong, None) => Ok(None),
    }
}

/// Where rows come from, and how many there are.
pub(super) struct Data {
    weak: Option<Weak>,
    shape: PlanJob,
    /// The job's own shards to train on, where rows are theirs.
    shards: Option<Vec<ShardInfo>>,
    /// Rows of the job's own shards for validation.
    validation: usize,
}

impl Data {
    /// Looks at the job's shards, where rows are theirs, or the shape is.
    ///
    /// # Errors
    /// Exit 4: they aren't there, or aren't good; exit 2: they have fewer rows than `most` ranks
    /// are to have.
    pub(super) fn of(job: &Job, name: &str, (weak, most): (Option<Weak>, usize)) -> Result<Data> {
        let mut shaped = job.clone();
        let own = weak.is_none_or(|weak| weak.from == RowsFrom::Data);
        let mut shards = None;
        if own || job.plan.rows == 0 {
            find(&job.data.train)?;
            shards = Some(sizes_of_shards(&mut shaped, name)?).filter(|_| own);
        }
        if let Some(Weak { rows_per_rank, from: RowsFrom::Data }) = weak {
            enough(shaped.plan.rows, rows_per_rank, most)?;
        }
        let validation = match job.data.validation_rows() {
            Validation::Globs(globs) if weak.is_none() => rows_of_shards(globs)?,
            _ => 0,
        };
        Ok(Data { weak, shape: shaped.plan, shards, validation })
    }

    /// The digest of what the job's shards hold, where rows are theirs.
    pub(super) fn contents(&self) -> Option<String> {
        let contents = train::of_shards(self.shards.as_deref()?)["contents"].take();
        contents.as_str().map(String::from)
    }

    /// Makes what a weak study's runs read that isn't there yet.
    ///
    /// # Errors
    /// What `reelscale synthesize` ends with; exit 4: a shard of the job is damaged; exit 5: the
    /// file system.
    pub(super) fn make(&self, study: &Study, launcher: &Launcher, wanted: &Wanted) -> Result<()> {
        let Some(Weak { rows_per_rank, from }) = self.weak else { return Ok(()) };
        match from {
            RowsFrom::Synthesized => {
                let most = study.ranks(wanted).last().copied().unwrap_or(1);
                self.synthesize(study, launcher, (rows_per_rank, most))
            }
            RowsFrom::Data => {
                remove_unfinished(&study.path("data"))?;
                let unmeasured =
                    |ranks: &&usize| (1..=wanted.repeats).any(|run| !study.has(**ranks, run));
                let ranks = wanted.ranks.iter().filter(unmeasured);
                ranks.copied().try_for_each(|ranks| self.cut(study, ranks))
            }
        }
    }

    /// Draws the rows of `most` ranks by as many.
    fn synthesize(
        &self,
        study: &Study,
        launcher: &Launcher,
        (rows, most): (usize, usize),
    ) -> Result<()> {
        if find(&self.train(study, most)).is_ok() {
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

    /// Writes the rows of the job's shard in which those of so many ranks end. What is there is of
    /// the same rows, as far as it is whole: a study whose job has other ones is refused.
    fn cut(&self, study: &Study, ranks: usize) -> Result<()> {
        let (_, Some((shard, rows))) = self.first(ranks) else { return Ok(()) };
        let (path, disk) = (study.path(&cut_name(ranks)), Disk::default());
        let (folder, failed) = (study.path("data"), |error| Error::file(&path, &error));
        disk.create_dir_all(&folder).map_err(|error| Error::file(&folder, &error))?;
        if there(&path).map_err(failed)?.is_some() {
            match whole(&path) {
                Ok(found) if found.rows == rows => return Ok(()),
                Ok(found) => {
                    let text = format!("found {} rows, expected {rows}", found.rows);
                    log::info!("{}: {text}; it is written anew", path.display());
                }
                Err(error) if error.exit == Exit::Input => {
                    log::info!("{}; it is written anew", error.text);
                }
                Err(error) => return Err(error),
            }
            disk.remove_file(&path).map_err(failed)?;
        }
        let of = counted(ranks as u64, "rank");
        log::info!("{of}: the first {rows} of {} rows of {}", shard.rows, shard.path.display());
        shard.write_first(rows, &path)
    }

    /// The job's shards that so many ranks take whole, and of the next one how many rows.
    fn first(&self, ranks: usize) -> (&[ShardInfo], Option<(&ShardInfo, usize)>) {
        let shards = self.shards.as_deref().unwrap_or_default();
        let mut left = self.weak.map_or(0, |weak| weak.rows_per_rank * ranks);
        for (whole, shard) in shards.iter().enumerate() {
            if left < shard.rows {
                return (&shards[..whole], Some((shard, left)).filter(|_| left > 0));
            }
            left -= shard.rows;
        }
        (shards, None)
    }

    /// The shards that a weak study's first ranks train on.
    fn train(&self, study: &Study, ranks: usize) -> Vec<String> {
        let within = |name: String| study.path(&name).display().to_string();
        if self.shards.is_none() {
            return (0..ranks).map(|at| within(format!("data/synthetic-{at:05}.h5"))).collect();
        }
        let (whole, cut) = self.first(ranks);
        let whole = whole.iter().map(|shard| shard.path.display().to_string());
        whole.chain(cut.map(|_| within(cut_name(ranks)))).collect()
    }

    /// The job as it runs on so many ranks.
    pub(super) fn job(&self, job: &Job, ranks: usize, study: &Study) -> Job {
        let mut job = job.clone();
        if self.weak.is_some() {
            job.data.train = self.train(study, ranks);
            job.data.validation_fraction = fraction(&job);
            job.data.validation = Vec::new();
        }
        job
    }

    /// The job with the sizes that it has on so many ranks, and rows that validate.
    pub(super) fn planned(&self, job: &Job, ranks: usize) -> (Job, usize) {
        let mut job = job.clone();
        let rows = self.weak.map_or(self.shape.rows, |weak| weak.rows_per_rank * ranks);
        let share = match self.weak {
            Some(_) => fraction(&job),
            None => job.data.validation_fraction,
        };
        let of_them = (rows as f64 * share) as usize;
        job.plan = PlanJob { rows: rows - of_them, ..self.shape.clone() };
        (job, of_them + self.validation)
    }
}

/// Within the study, the rows of a shard that so many ranks don't take whole.
fn cut_name(ranks: usize) -> String {
    format!("data/{ranks}-ranks.h5")
}

/// What the shard at `path` is, if every byte of it is as it was written.
///
/// # Errors
/// Exit 4: it isn't.
fn whole(path: &Path) -> Result<ShardInfo> {
    let found = ShardInfo::read(path)?;
    ShardReader::open(&found)?.check_in_full()?;
    Ok(found)
}

/// Whether this is a shard of `cut_name` that a start was writing when it was killed:
/// `4-ranks.h5.PID.tmp`.
fn is_unfinished(name: &OsStr) -> bool {
    let parts = name.to_str().map(|name| name.split('.').collect::<Vec<_>>());
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match parts.as_deref() {
        Some([ranks, "h5", process, "tmp"]) => {
            ranks.strip_suffix("-ranks").is_some_and(number) && number(process)
        }
        _ => false,
    }
}

/// Removes what starts that were killed have left in the study's folder of rows, which no other
/// process has meanwhile.
///
/// # Errors
/// Exit 5.
fn remove_unfinished(folder: &Path) -> Result<()> {
    // `cut` says what is wrong with the folder.
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let entry = entry.map_err(|error| Error::file(folder, &error))?;
        if is_unfinished(&entry.file_name()) {
            let path = entry.path();
            Disk::default().remove_file(&path).map_err(|error| Error::file(&path, &error))?;
        }
    }
    Ok(())
}

/// Whether so many ranks can have so many rows each.
///
/// # Errors
/// Exit 2.
fn enough(there: usize, rows_per_rank: usize, ranks: usize) -> Result<()> {
    if rows_per_rank.checked_mul(ranks).is_some_and(|rows| rows <= there) {
        return Ok(());
    }
    let of = counted(ranks as u64, "rank");
    let text = format!(
        "--rows-per-rank: found {rows_per_rank} on {of}, expected {} at most: data.train has {}",
        there / ranks,
        counted(there as u64, "row")
    );
    Err(Error::usage(text).hint("fewer --ranks, or --rows-from synthesized"))
}

/// The share of a weak study's rows that validates.
fn fraction(job: &Job) -> f64 {
    match job.data.validation_rows() {
        Validation::Globs(_) => FRACTION,
        _ => job.data.validation_fraction,
    }
}
