//! `reelscale train`.

mod advice;
mod end_report;
mod kernel_rate;
mod output;
mod result;
mod session;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use self::end_report::Began;
pub(crate) use self::end_report::ended_by_force;
use self::kernel_rate::KernelRates;
pub(crate) use self::output::refusal;
use self::output::{finished, in_utf8, read_before, same_data};
use self::result::{ComputedBy, Ending};
use self::session::{shared_by_ranks, tries};
use super::allocator::{Counted, counted_from_here, keep_what_is_given_back};
use super::device::{RankDevice, Told, chosen};
use super::examples;
use super::progress::Progress;
use crate::checkpoint::Store;
use crate::clock::Clock;
use crate::comm::{Comm, same_on_all};
use crate::data::ReadBefore;
use crate::device::Device;
use crate::disk::Disk;
use crate::error::{Error, Exit, Result};
use crate::flow::verify::verify;
use crate::human::{self, counted};
use crate::job::{Job, documented};
use crate::launch;
use crate::model::experts::layouts;
use crate::report::{CHECKPOINTS, EarlierRun, Report, RunDirectory, SHARDS_READ, failure};
use crate::signals;
use crate::train::{Data, Heartbeat, Run, Setting, host_of, longer_window, memory_budget};

/// Trains a model as a job file says.
///
/// A run that was told to stop (SIGUSR1, SIGUSR2, SIGTERM, SIGINT to any rank, the end of its time)
/// leaves a checkpoint; the same command goes on from it, on any number of ranks, with the same
/// result.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = examples::TRAIN)]
#[command(after_long_help = format!("{}\n\n{}", examples::TRAIN, documented()))]
pub struct Args {
    /// The job file, or RUN/job.toml of a run; --help lists every key.
    pub job: PathBuf,
    /// Directory of the run: new, empty, or that of the same run. The trained model is
    /// OUTPUT/model.
    #[arg(long)]
    pub output: PathBuf,
    /// Sets a key of the job: --set experts.count=16
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Stops in time before this is over: 90m, 36h, 1:30:00. Slurm's time limit counts by itself.
    #[arg(long, value_parser = signals::duration)]
    pub max_time: Option<Duration>,
    /// Leaves with exit code 75, not 0, when told to stop before the run is done.
    #[arg(long)]
    pub stop_exit_code: bool,
    /// Goes on where the file system gives no locks. Then nothing keeps two runs with the same
    /// OUTPUT apart.
    #[arg(long)]
    pub no_lock: bool,
    /// Reads all shards in full before anything is computed, and checks every byte.
    #[arg(long)]
    pub verify: bool,
    #[command(flatten)]
    pub progress: Progress,
}

/// The world in which a run takes place: its disk and its clock.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub disk: Disk,
    pub clock: Clock,
    /// In a test's world there are no signals, no allocation that ends and nobody who watches ranks
    /// from outside.
    pub simulated: bool,
}

pub(crate) fn run(comm: &Comm, args: Args) -> Result<()> {
    let _narrator = args.progress.begin(comm);
    run_in(comm, args, &Surroundings::default())
}

/// The same in a world that may be a test's own.
///
/// # Errors
/// Those of the command.
pub fn run_in(comm: &Comm, args: Args, surroundings: &Surroundings) -> Result<()> {
    let Surroundings { disk, clock, simulated } = surroundings;
    let started = clock.today();
    if !simulated {
        comm.agree(signals::set_on_signals(comm.stop_flag()))?;
        keep_what_is_given_back();
    }
    let counted = (!simulated).then(counted_from_here);
    comm.agree(in_utf8(&args.output))?;
    let job = comm.agree(Job::read(&args.job, &args.overrides))?;
    if let Some(watch) = comm.watch() {
        watch.set_patience(Duration::from_secs_f64(job.run.stall_seconds));
    }
    same_on_all(comm, Exit::Launch, "job", &shared_by_ranks(&args, &job))?;
    // Every rank looks: what it finds is the same for all, or an error that all share.
    let found = comm.agree(RunDirectory::look(&args.output, &job))?;
    same_on_all(comm, Exit::RunDirectory, &args.output.to_string_lossy(), found.name())?;
    if let EarlierRun::Finished(run) = &found {
        same_data(comm, &args, &job, run)?;
        return comm.agree(finished(disk, &args.output, run));
    }
    let args = &args;
    let (directory, nodes) = (None, 1);
    let mut start = Start { comm, args, surroundings, started, counted, directory, found, nodes };
    let outcome = start.run(job);
    if let Err(error) = &outcome
        && !error.is_stop()
        && (comm.is_root() || !error.agreed)
    {
        failure::run_fails(error.rank.unwrap_or(comm.rank()), error);
    }
    failure::run_ends();
    outcome
}

/// One start of a run: the run directory, which rank 0 has, and what was found in it.
struct Start<'a> {
    comm: &'a Comm,
    args: &'a Args,
    surroundings: &'a Surroundings,
    started: SystemTime,
    /// The memory of this process from then on.
    counted: Option<Counted>,
    directory: Option<RunDirectory>,
    found: EarlierRun,
    /// Machines that ranks run on.
    nodes: usize,
}

impl Start<'_> {
    fn run(&mut self, mut job: Job) -> Result<()> {
        let (comm, args, whole_job) = (self.comm, self.args, job.clone());
        let there = matches!(self.found, EarlierRun::Unfinished(_));
        // A run that is there is taken at once, so that no other goes on with it meanwhile.
        if there && self.take(&whole_job)?.is_none() {
            return Ok(());
        }
        job.run.threads = launch::threads(job.run.threads);
        let host = host_of(&job);
        let given = chosen(comm, Told::by_job(&job), host, job.model.epsilon)?;
        let kernel = given.device.kernel();
        let before = read_before(&args.output.join(SHARDS_READ));
        let data = match opened(comm, &job, &before, args.verify) {
            Err(error) if error.is_stop() => {
                let reason = "told to stop before anything was computed";
                let next = if there { "goes on with it" } else { "begins it" };
                return stopped(comm, args, reason, &format!("the same command {next}"));
            }
            data => data?,
        };
        announce(comm, &job, &data, kernel);
        job.run.memory_gib = memory_budget(comm, &job, &data, given.least_limit(comm))?;
        let shards = data.read_in_full();
        // A run that can't begin leaves no directory behind.
        let mut setting = Setting::new(comm, &job, data)?;
        let given = given.planned(&mut setting)?;
        if !there && self.take(&whole_job)?.is_none() {
            return Ok(());
        }
        let directory = self.directory.as_ref();
        comm.agree(directory.map_or(Ok(()), |directory| directory.begin(&whole_job)))?;
        let write_shards = |directory: &RunDirectory| match shards != before {
            true => directory.write_shards(&shards.to_text()),
            false => Ok(()),
        };
        comm.agree(directory.map_or(Ok(()), write_shards))?;
        let (devices, on_host) = (given.line(), given.on_host());
        let computed_by = ComputedBy { kernel, devices: &devices, on_host };
        let processors = given.instructions().filter(|_| !self.surroundings.simulated);
        let rates = processors.map(|kernel| kernel_rate::measured(&setting, kernel));
        let told = (computed_by, rates.unwrap_or_default());
        match given.device {
            RankDevice::Host(host) => self.compute(setting, &whole_job, told, host),
            RankDevice::Gpu(gpu) => self.compute(setting, &whole_job, told, gpu),
        }
    }

    /// Trains, and leaves what it comes to.
    fn compute<D: Device>(
        &self,
        setting: Setting,
        whole_job: &Job,
        (computed_by, kernel_rates): (ComputedBy, KernelRates),
        device: D,
    ) -> Result<()> {
        let (comm, args, directory) = (self.comm, self.args, self.directory.as_ref());
        let job = setting.job;
        let Surroundings { disk, clock, .. } = self.surroundings;
        let events = directory.map(RunDirectory::events);
        let tensorboard = directory.filter(|_| job.report.tensorboard);
        let mut report = Report::with_clock(events, clock.clone()).keeping(
            setting.data.train.rows() as u64,
            tensorboard.map(RunDirectory::tensorboard),
            directory.map(RunDirectory::validation),
        );
        let checkpoints = self.checkpoints(job, whole_job, &setting.data);
        let heartbeat = self.heartbeat(job);
        let record = (whole_job, computed_by, job.run.threads);
        let began = (self.began(&setting, kernel_rates), setting.data.recorded(job));
        let mut ending = Ending::new((comm, disk, args), directory, record, began);
        if let EarlierRun::Unfinished(before) = &self.found {
            ending.named_before.clone_from(&before.model_hash);
        }

        let run = Run::begin(setting, device, &mut report, Some(checkpoints))?;
        let trained =
            run.finish_and_keep(tries(), &mut |report, trained| ending.keep(report, trained))?;

        drop(heartbeat);
        comm.barrier();
        self.tidy_up(trained.done);
        ending.lines.iter().for_each(|line| log::info!("{line}"));
        match trained.done {
            true => Ok(()),
            false => stopped(comm, args, "told to stop", &self.what_next()),
        }
    }

    /// What the report at the end has of the beginning.
    fn began(&self, setting: &Setting, kernel_rates: KernelRates) -> Began<'_> {
        let opening = self.surroundings.clock.today().duration_since(self.started);
        let train = &setting.data.train;
        let (experts, shape) = (setting.data.experts.clone(), &setting.shape);
        let cut = layouts(&experts, shape.dummy, shape.outputs(), shape.class_blocks);
        let owners = setting.owners(&cut, false);
        Began {
            started: self.started,
            opening_seconds: opening.unwrap_or_default().as_secs_f64(),
            nodes: self.nodes,
            experts,
            class_blocks: owners.runs().iter().map(|run| run.len()).collect(),
            row_blocks: train.block_runs().iter().map(|run| run.len()).collect(),
            rows: train.rows(),
            grid: setting.grid.rows() > 1,
            longer_window: longer_window(setting),
            kernel_rates,
            planned_bytes: setting.plan.peak as u64,
            counted: self.counted.as_ref(),
            earlier: match &self.found {
                EarlierRun::Unfinished(before) => before.sessions.clone(),
                _ => Vec::new(),
            },
        }
    }

    /// What somebody does who wants a run to go on that was told to stop.
    fn what_next(&self) -> String {
        let output = self.args.output.display();
        format!(
            "the same command goes on from its checkpoint, on any number of ranks; `reelscale \
             status {output}` says where it stands"
        )
    }

    /// Signs of life in files, for ranks that can't reach each other.
    fn heartbeat(&self, job: &Job) -> Heartbeat {
        let patience = match self.surroundings.simulated || self.comm.watch().is_some() {
            true => Duration::ZERO,
            false => Duration::from_secs_f64(job.run.stall_seconds),
        };
        Heartbeat::start(self.comm, &self.args.output.join("ranks"), patience)
    }

    /// Removes what is of no more use once the run is `done`, or waits to be gone on with.
    fn tidy_up(&self, done: bool) {
        let Some(directory) = &self.directory else { return };
        directory.remove_signs();
        if done {
            let disk = self.surroundings.disk.clone();
            Store::new(self.args.output.join(CHECKPOINTS), disk).remove_all();
        }
    }
}

/// Says what is about to be computed, on what.
fn announce(comm: &Comm, job: &Job, data: &Data, kernel: &str) {
    let (rows, ranks, threads) = (data.train.rows(), comm.size(), job.run.threads);
    log::info!(
        "{} rows of {} features, {} classes; {} x {}, {kernel} kernel",
        human::count(rows as f64),
        data.train.dataset().width(),
        data.train.dataset().class_count(),
        counted(ranks as u64, "rank"),
        counted(threads as u64, "thread")
    );
}

/// The end of a run that was told to stop: says so, and what to do `next`.
///
/// # Errors
/// Exit 75, where that is wanted.
fn stopped(comm: &Comm, args: &Args, reason: &str, next: &str) -> Result<()> {
    match args.stop_exit_code {
        true => comm.agree(Err(Error::new(Exit::Stopped, reason).hint(next))),
        false => {
            log::info!("{reason}; {next}");
            Ok(())
        }
    }
}

/// What the job names, checked in full where that is asked for.
fn opened(comm: &Comm, job: &Job, before: &ReadBefore, verified: bool) -> Result<Data> {
    let data = Data::open_again(comm, job, before)?;
    if verified {
        let lists = std::iter::once(&data.train).chain(&data.validation);
        verify(comm, &lists.map(|rows| rows.dataset()).collect::<Vec<_>>())?;
    }
    Ok(data)
}
