//! `reelscale bench rank`: one rank's real share of a job at full scale, by training's own steps,
//! while stand-ins send what other ranks would (docs/benchmarks.md, "One rank of many").

mod aside;
mod meter;
mod metered;
pub(crate) mod planned;
mod pool;
pub(crate) mod rehearse;
mod report;
mod stand_ins;
pub(crate) mod steps;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use self::meter::{Clock, Meter, Sample, Taken};
use self::metered::Metered;
pub use self::pool::Pool;
use self::report::{Found, Measured};
use self::stand_ins::StandIns;
use self::steps::{Missing, Step, Whole, columns};
use super::mixture::{SomeRows, best, rates_of_core};
use super::{Measuring, at_least_one};
use crate::comm::{Comm, StopFlag};
use crate::commands::allocator::counted_from_here;
use crate::commands::out::Format;
use crate::cost::grid::Machine;
use crate::cost::network::Network;
use crate::device::Host;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::launch;
use crate::model::Layout;
use crate::model::experts::Experts;
use crate::system;
use crate::team::replay::{self, Replaying};
use crate::train::{Setting, alone, grid, shape_of};

/// One rank of many: its real share of a job at the size that the job plans, while stand-ins send
/// what other ranks would. Under mpirun, or with --comm threads=N, the ranks that are there.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The job file, with a section [plan].
    job: PathBuf,
    /// Ranks meant; those that are there, where they are several.
    #[arg(long, default_value_t = 1)]
    ranks: usize,
    /// Threads of a rank meant.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// The rank that is measured; without it the fullest, whose efficiency counts.
    #[arg(long)]
    rank: Option<usize>,
    /// What a rank's link carries, and what a message costs.
    #[arg(long, default_value = "10GB/s,2us", value_parser = str::parse::<Network>)]
    network: Network,
    /// Steps to measure.
    #[arg(long, value_delimiter = ',', default_value = "experts")]
    steps: Vec<Step>,
    /// Seconds of a step's sample here, about.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Windows of the sample, instead; of ranks that are there 4 without it.
    #[arg(long)]
    windows: Option<usize>,
    /// Rests instead of computing, as long as a core of so many GFLOP/s would take.
    #[arg(long)]
    rest: Option<f64>,
    /// Sets a key of the job: --set experts.count=16
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
}

/// Runs of the kernel alone, before and after, and their rows.
const RATE_RUNS: usize = 3;
const RATE_ROWS: usize = 2048;
/// Columns of the class blocks that they take, about.
const RATE_COLUMNS: usize = 4096;
/// Windows of ranks that are there.
const WINDOWS: usize = 4;
/// Rows at rest may take this share of the machine's memory.
const RESTING_SHARE: u64 = 4;

pub(super) fn run(comm: &Comm, measuring: &Measuring, args: &Args, format: Format) -> Result<()> {
    at_least_one(&[("ranks", args.ranks), ("threads", args.threads)])?;
    let name = args.job.display().to_string();
    let job = Job::read(&args.job, &args.overrides)?;
    let job = planned::without_validation(job, &name, args.threads)?;
    let pool = Rc::new(Pool::new(&job.plan, planned::width(&job)));
    let found = Measure { measuring, args, job: &job, pool }.found(comm);
    let found = found.and_then(|found| found.json(args, &name));
    report::print(comm, found, args.rank, format)
}

/// How a rank of a job is measured.
struct Measure<'a> {
    measuring: &'a Measuring,
    args: &'a Args,
    job: &'a Job,
    pool: Rc<Pool>,
}

impl Measure<'_> {
    /// All steps, of one rank of many or of those that are there.
    fn found(&self, comm: &Comm) -> Result<Found> {
        let here = comm.size() > 1;
        if here && self.args.steps.len() > 1 {
            let text = "--steps: found several, expected one of ranks that are there";
            return Err(Error::usage(text));
        }
        let ranks = if here { comm.size() } else { self.args.ranks };
        if let Some(rank) = self.args.rank.filter(|rank| *rank >= ranks) {
            return Err(Error::usage(format!("--rank: found {rank}, expected below {ranks}")));
        }
        let data = planned::data(&Comm::serial(), self.job, &self.pool, self.job.plan.rows);
        let grid = |comm: &Comm| {
            let (shape, machine) = (shape_of(self.job, &data), Machine::host(self.args.threads));
            grid(comm, self.job, (&data, &shape), &machine)
        };
        let grid = match here {
            true => grid(comm),
            false => {
                let place = (0, ranks);
                among_stand_ins(place, self.args.network, &self.pool, 0.0, |comm, _| grid(comm))
            }
        };
        let whole = Whole::new(self.job, &data, grid?);
        self.nobody_waits(&whole, here)?;
        let team_seconds = if here { 0.0 } else { replay::team_seconds(self.args.threads) };
        let steps = self.args.steps.iter().map(|step| match here {
            true => self.here(comm, &whole, *step),
            false => self.among_stand_ins(&whole, *step, team_seconds),
        });
        let steps = steps.collect::<Result<Vec<_>>>()?;
        let pretrains = self.args.steps.contains(&Step::Pretrain);
        let learners = pretrains.then_some(whole.learners);
        Ok(Found { ranks, learners, here, team_seconds, steps })
    }

    /// A rank that waits while others pretrain has no mini-batch that could be measured.
    fn nobody_waits(&self, whole: &Whole, here: bool) -> Result<()> {
        let Whole { learners, ranks, .. } = *whole;
        let rank = if here { Some(ranks - 1) } else { self.args.rank };
        match rank.filter(|rank| self.args.steps.contains(&Step::Pretrain) && *rank >= learners) {
            None => Ok(()),
            Some(rank) => {
                let text = format!("rank {rank} waits, pretraining is on {learners} of {ranks}");
                Err(Error::usage(text).hint(format!("--set pretrain.ranks={ranks}")))
            }
        }
    }

    /// A rank whose others are stand-ins.
    fn among_stand_ins(&self, whole: &Whole, step: Step, team_seconds: f64) -> Result<Measured> {
        let (ranks, fullest) = (whole.ranks, whole.fullest(step));
        let rank = self.args.rank.unwrap_or(fullest);
        let rate = || self.rate(step, whole.some(step, fullest), &system::own_thread_seconds);
        let before = rate();
        let memory = counted_from_here();
        let place = (rank, ranks);
        let sample = match self.args.windows {
            Some(windows) => Sample::Pieces(windows),
            None => Sample::Seconds(self.args.seconds),
        };
        let (taken, missing) =
            among_stand_ins(place, self.args.network, &self.pool, team_seconds, |comm, waited| {
                let meter = Meter::new(comm, Clock::Replayed(waited), sample, step.skipped());
                let missing = self.step(comm, whole, (step, true), &meter)?;
                Ok((taken(&meter)?, missing))
            })?;
        let peak_bytes = memory.peak().map(|peak| peak + missing.bytes);
        Ok(self.measured(
            whole,
            step,
            (rank, fullest),
            taken,
            (missing, peak_bytes),
            before.max(rate()),
        ))
    }

    /// A rank among those that are there.
    fn here(&self, comm: &Comm, whole: &Whole, step: Step) -> Result<Measured> {
        let fullest = whole.fullest(step);
        let rate = || self.rate(step, whole.some(step, fullest), &system::own_thread_seconds);
        let before = rate();
        let memory = counted_from_here();
        let sample = Sample::Pieces(self.args.windows.unwrap_or(WINDOWS));
        let meter = Meter::new(comm, Clock::Wall(Instant::now()), sample, step.skipped());
        comm.barrier();
        let missing = self.step(comm, whole, (step, false), &meter)?;
        let (taken, peak) = (comm.agree(taken(&meter))?, memory.peak());
        // Threads share one process, whose memory that is.
        let peak = peak.filter(|_| comm.kind() != "threads of one process");
        let peak = peak.map(|peak| peak + missing.bytes);
        let place = (comm.rank(), fullest);
        Ok(self.measured(whole, step, place, taken, (missing, peak), before.max(rate())))
    }

    fn measured(
        &self,
        whole: &Whole,
        step: Step,
        (rank, fullest): (usize, usize),
        taken: Taken,
        (missing, peak_bytes): (Missing, Option<usize>),
        rate: f64,
    ) -> Measured {
        let all = if step == Step::Shared { 1 } else { self.job.plan.rows };
        let waves = missing.waves.map_or(1.0, |waves| waves.times);
        let times = waves * all as f64 / taken.rows as f64;
        let flop = whole.flop(step) / whole.ranks as f64;
        Measured { step, rank, fullest, taken, times, flop, rate, missing, peak_bytes }
    }

    /// Runs a step, of the shared step perhaps a sample of its rows, and gives what of it isn't
    /// here.
    fn step(
        &self,
        comm: &Comm,
        whole: &Whole,
        (step, sampled): (Step, bool),
        meter: &Meter,
    ) -> Result<Missing> {
        let mut job = self.job.clone();
        job.shared.iterations = self.args.windows.unwrap_or(1) + 1;
        let data = planned::data(comm, &job, &self.pool, job.plan.rows);
        let setting = Setting::measured(comm, &job, data, None)?;
        let host = Host::new(self.measuring.kernel, self.args.threads, job.model.epsilon);
        let rests = self.args.rest.map(|rate| rate * 1e9 * self.args.threads as f64);
        let mut device = Metered { host, meter, rests, stretch: 1.0, batch: 0 };
        let mut missing = Missing::default();
        let outcome = match step {
            Step::Pretrain => alone::pretraining(setting, device),
            Step::Experts => {
                let most = launch::memory().unwrap_or(u64::MAX) / RESTING_SHARE;
                let (own, bytes) = planned::rows_at_rest(&setting.data, &self.pool, most as usize);
                missing.bytes = bytes;
                alone::expert_step(setting, device, &own)
            }
            Step::Shared if sampled => {
                let (seconds, threads) = (self.args.seconds, self.args.threads);
                let waves = whole.sample(comm.rank(), seconds, threads, setting.plan.wave);
                missing = Missing { bytes: waves.bytes, waves: Some(waves) };
                device.stretch = waves.stretch;
                let mut sample = job.clone();
                sample.run.row_blocks = waves.row_blocks;
                let data = planned::data(comm, &sample, &self.pool, waves.rows);
                let plan = setting.plan;
                let setting = Setting { plan, ..Setting::measured(comm, &sample, data, None)? };
                alone::shared_step(setting, device)
            }
            Step::Shared => alone::shared_step(setting, device),
        };
        match outcome {
            Err(error) if !error.is_stop() => Err(error),
            _ => Ok(missing),
        }
    }

    /// What one core does in a second on some of these class blocks.
    fn rate(&self, step: Step, layouts: &[Layout], clock: &dyn Fn() -> f64) -> f64 {
        let mut sum = 0;
        let some = layouts.iter().take_while(|layout| {
            let wanted = sum == 0 || sum < RATE_COLUMNS;
            sum += columns(std::iter::once(*layout));
            wanted
        });
        let some: Vec<Layout> = some.cloned().collect();
        let owners = Comm::serial().deal(some.len());
        let experts = Experts::new(some, owners, 7, 0);
        let kernel = self.measuring.kernel;
        let rows = SomeRows::of(&experts, RATE_ROWS);
        best(&rates_of_core(kernel, step.stage(), (&experts, &rows), RATE_RUNS, clock))
    }
}

/// What `body` makes on rank `place.0` of `place.1`, whose others are stand-ins that send what is
/// in `pool`. Meanwhile this thread replays (`team::replay`); `body` is also given what says how
/// long it has waited.
pub fn among_stand_ins<R>(
    place: (usize, usize),
    network: Network,
    pool: &Rc<Pool>,
    team_seconds: f64,
    body: impl FnOnce(&Comm, Box<dyn Fn() -> f64>) -> R,
) -> R {
    let _replaying = Replaying::begin(system::own_thread_seconds, team_seconds);
    let others = StandIns::new(place, network, pool.clone());
    let waited = Box::new(others.waited());
    body(&Comm::with_stop(Box::new(others), StopFlag::default()), waited)
}

fn taken(meter: &Meter) -> Result<Taken> {
    meter.taken().ok_or_else(|| {
        let text = "plan.rows: found rows of one window, expected those of two at least";
        Error::usage(text)
    })
}
