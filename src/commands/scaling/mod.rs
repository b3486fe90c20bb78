//! `reelscale scaling`: a job on several numbers of ranks, each measured several times, and what
//! that comes to: speedup, efficiency, and whether the figures can be believed. It starts the runs
//! itself and is no rank: it never begins MPI.

mod launcher;
mod load;
mod measure;
mod picture;
mod row;
mod rows;
mod sizes;
mod study;
mod verdict;
mod written;

use std::path::PathBuf;

use self::launcher::Launcher;
use self::measure::{Measurement, measure};
use self::study::{Identity, Study};
use self::verdict::Wanted;
use super::out::{For, print_here};
use super::{examples, plan};
use crate::cost::network::Network;
use crate::error::{Error, Exit, Result};
use crate::human::counted;
use crate::job::Job;
use crate::{launch, report};

/// Ranks that a study may ask for.
const RANKS_MAX: u64 = 65_536;

/// Runs a job on several numbers of ranks, and tells speedup, efficiency, and whether they can be
/// believed.
///
/// It starts the runs itself, by mpirun, or by srun within an allocation. OUTPUT gets result.json,
/// table.csv, rows.csv and scaling.svg, renewed after every run, and the run.json of each. The same
/// command goes on where it was left off.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = examples::SCALING)]
pub(crate) struct Args {
    /// strong: all numbers of ranks have the same rows; weak: each rank has as many.
    #[arg(value_enum)]
    kind: Kind,
    /// The job file.
    job: PathBuf,
    /// Numbers of ranks: 1,2,4,8. Within an allocation of Slurm 1, 2, 4, ... up to its tasks.
    #[arg(long, value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=RANKS_MAX))]
    ranks: Vec<u64>,
    /// Runs on each number of ranks; they take turns.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    repeat: u64,
    /// weak: rows for each rank, of which the job's validation_fraction validates.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    rows_per_rank: Option<u64>,
    /// weak: where they are from. Without it they are synthesized, as many as it takes.
    #[arg(long, value_enum)]
    rows_from: Option<RowsFrom>,
    /// Threads of a rank. Without it SLURM_CPUS_PER_TASK, run.threads of the job, or the cores here
    /// divided by the most ranks.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=4096))]
    threads: Option<u64>,
    /// Directory of the study: new, empty, or that of the same study.
    #[arg(long)]
    output: PathBuf,
    /// How ranks are started, in place of mpirun or srun: "mpiexec -n {ranks}"; also {threads} and
    /// {nodes}.
    #[arg(long)]
    launcher: Option<String>,
    /// Ranks of a node. Without it as in the allocation, or all on this machine.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=RANKS_MAX))]
    ranks_per_node: Option<u64>,
    /// What a rank's link carries, and what a message costs, for the planned curve.
    #[arg(long, default_value = "10GB/s,2us", value_parser = str::parse::<Network>)]
    network: Network,
    /// Rates of the machine, which `plan --calibrate` has measured, for the planned curve.
    #[arg(long)]
    rates: Option<PathBuf>,
    /// Sets a key of the job: --set experts.epochs=2
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
}

/// What stays the same while ranks become more.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// All rows.
    Strong,
    /// The rows of a rank.
    Weak,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Strong => "strong",
            Kind::Weak => "weak",
        }
    }
}

/// Where the rows of a weak study are from.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(super) enum RowsFrom {
    /// Drawn from a planted model, in the shape of the job's section [plan], else of its shards.
    Synthesized,
    /// The first ones of the job's data.train.
    Data,
}

impl RowsFrom {
    fn name(self) -> &'static str {
        match self {
            RowsFrom::Synthesized => "synthesized",
            RowsFrom::Data => "data",
        }
    }
}

/// Runs the study on this process alone.
///
/// # Errors
/// What the arguments and the job have; exit 6: the folder is another study's; exit 75: a run was
/// told to stop; the exit code of the first run that failed, once all others are measured.
pub(crate) fn run(args: &Args) -> Result<()> {
    report::install(0, 1);
    if launch::by_launcher() {
        let text = "scaling: found a launcher of MPI, expected one process";
        return Err(Error::usage(text).hint("without mpirun or srun: it starts them itself"));
    }
    launch::check_variables()?;
    let mut job = Job::read(&args.job, &args.overrides)?;
    let ranks = ranks(args)?;
    job.run.threads = threads(args, &job, &ranks);
    let launcher = Launcher::of(args)?;
    let weak = rows::weak(args)?;
    let most = ranks.last().copied().unwrap_or(1);
    let data = rows::Data::of(&job, &args.job.display().to_string(), (weak, most))?;
    let identity = Identity::new(args.kind, &job, weak, data.contents());
    let wanted = Wanted { kind: args.kind, repeats: args.repeat as usize, ranks };
    let mut study = Study::open(&args.output, identity, &job)?;
    data.make(&study, &launcher, &wanted)?;
    study.planned = planned(args, &job, &data, &study, &wanted)?;
    let failed = measure_all(&mut study, &job, &data, &launcher, &wanted)?;
    print_here(For::Reading, &study.told(&wanted))?;
    match failed {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// The numbers of ranks, in order.
fn ranks(args: &Args) -> Result<Vec<usize>> {
    let mut ranks: Vec<usize> = args.ranks.iter().map(|ranks| *ranks as usize).collect();
    if ranks.is_empty() {
        let Some(most) = launcher::tasks() else {
            let text = "--ranks: found none, expected numbers of ranks";
            return Err(Error::usage(text).hint("--ranks 1,2,4,8"));
        };
        ranks = std::iter::successors(Some(1), |count| Some(2 * count))
            .take_while(|count| *count < most)
            .chain([most])
            .collect();
    }
    ranks.sort_unstable();
    ranks.dedup();
    Ok(ranks)
}

/// Threads of a rank, the same on any number of ranks.
fn threads(args: &Args, job: &Job, ranks: &[usize]) -> usize {
    let told = args.threads.map(|threads| threads as usize);
    let of_job = Some(job.run.threads).filter(|threads| *threads > 0);
    let most = ranks.last().copied().unwrap_or(1);
    told.or_else(launcher::cores_of_task)
        .or(of_job)
        .unwrap_or_else(|| (launch::cores() / most).max(1))
}

/// Seconds of each number of ranks as `reelscale plan` has them.
fn planned(
    args: &Args,
    job: &Job,
    data: &rows::Data,
    study: &Study,
    wanted: &Wanted,
) -> Result<Vec<(usize, f64)>> {
    let all = study.ranks(wanted).into_iter().map(|ranks| {
        let (job, validation_rows) = data.planned(job, ranks);
        (ranks, job, validation_rows)
    });
    plan::seconds_on(all.collect(), args.network, args.rates.as_deref())
}

/// Measures what isn't yet, in turns, and keeps each row as soon as it is there. The error of the
/// first run that failed comes back.
///
/// # Errors
/// Exit 75: a run was told to stop; exit 5: the file system; exit 3: there is no launcher.
fn measure_all(
    study: &mut Study,
    job: &Job,
    data: &rows::Data,
    launcher: &Launcher,
    wanted: &Wanted,
) -> Result<Option<Error>> {
    let (mut failed, mut first) = (Vec::new(), None);
    study.write(wanted)?;
    for repeat in 1..=wanted.repeats {
        for ranks in &wanted.ranks {
            // What has failed once would fail again: the next start tries it.
            if study.has(*ranks, repeat) || failed.contains(ranks) {
                continue;
            }
            let job = data.job(job, *ranks, study);
            let row = measure(&Measurement { study, job: &job, launcher }, *ranks, repeat)?;
            let of = counted(*ranks as u64, "rank");
            match &row.error {
                None => log::info!(
                    "{of}, run {repeat} of {}: {:.2} s",
                    wanted.repeats,
                    row.seconds.unwrap_or(0.0)
                ),
                Some(text) => {
                    log::warn!("{of}, run {repeat}: exit {}: {text}", row.exit);
                    failed.push(*ranks);
                    let error =
                        Error::new(exit_of(row.exit), format!("{of}: a run failed: {text}"));
                    let log = study.path(&format!("runs/{ranks}-ranks-{repeat}.log"));
                    first.get_or_insert(error.hint(format!("{} has all of it", log.display())));
                }
            }
            study.add(row);
            study.write(wanted)?;
        }
    }
    Ok(first)
}

/// The exit code that says what a run's own did: those of launchers say nothing.
fn exit_of(code: i32) -> Exit {
    let known = u8::try_from(code).map_or(Exit::Launch, Exit::from_code);
    match known {
        Exit::Bug if code != Exit::Bug as i32 => Exit::Launch,
        known => known,
    }
}
