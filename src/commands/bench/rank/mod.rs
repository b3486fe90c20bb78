//! `reelscale bench rank`: one rank's real share of a job at full scale, by training's own steps,
//! while stand-ins send what other ranks would (docs/benchmarks.md, "One rank of many").

mod meter;
mod metered;
mod planned;
mod pool;
mod report;
mod stand_ins;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

pub use self::pool::Pool;
use self::stand_ins::StandIns;

use self::meter::{Clock, Meter, Sample, Taken};
use self::metered::{Metered, columns};
use self::report::{Found, Measured};
use super::mixture::rate_of_core;
use super::{Format, Measuring, at_least_one};
use crate::comm::{Comm, StopFlag};
use crate::commands::allocator::counted_from_here;
use crate::cost::network::Network;
use crate::device::Host;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::launch;
use crate::model::Layout;
use crate::model::experts::Experts;
use crate::system;
use crate::team::replay::{self, Replaying};
use crate::train::{Setting, alone, shape_of};

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Step {
    Experts,
}

/// Runs of the kernel alone, before and after.
const RATE_RUNS: usize = 3;
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
    let found = match comm.size() {
        1 => one_of_many(measuring, args, &job),
        _ => one_that_is_here(comm, measuring, args, &job),
    };
    let chosen = match (&found, args.rank) {
        (Ok(found), asked) if found.here => asked.unwrap_or(found.fullest),
        _ => 0,
    };
    let found = found.and_then(|found| found.json(args, &name));
    report::print(comm, found, chosen, format)
}

/// A rank whose others are stand-ins.
fn one_of_many(measuring: &Measuring, args: &Args, job: &Job) -> Result<Found> {
    let ranks = args.ranks;
    let team_seconds = replay::team_seconds(args.threads);
    let (layouts, owners, width, counts) = {
        let data = planned::data(&Comm::serial(), job);
        let shape = shape_of(job, &data);
        let (layouts, owners) = planned::class_blocks(&shape, &data, ranks);
        (layouts, owners, shape.outputs(), data.experts)
    };
    let fullest = planned::fullest(&layouts, &owners);
    let rank = args.rank.unwrap_or(fullest);
    if rank >= ranks {
        return Err(Error::usage(format!("--rank: found {rank}, expected below {ranks}")));
    }
    let pool = Rc::new(Pool::new(&job.plan, width));
    let rate = || rate(measuring, &layouts[owners.run(fullest)], &system::own_thread_seconds);
    let before = rate();
    let memory = counted_from_here();
    let place = (rank, ranks);
    let (taken, missing) =
        among_stand_ins(place, args.network, &pool, team_seconds, |comm, waited| {
            let sample = match args.windows {
                Some(windows) => Sample::Pieces(windows),
                None => Sample::Seconds(args.seconds),
            };
            let meter = Meter::new(comm, Clock::Replayed(waited), sample);
            let missing = experts(comm, measuring, args, job, &meter, &pool)?;
            Ok((taken(&meter)?, missing))
        })?;
    let peak_bytes = memory.peak().map(|peak| peak + missing);
    let steps = vec![epoch(job, &counts, width, taken, ranks, before.max(rate()))];
    Ok(Found { ranks, rank, fullest, here: false, team_seconds, missing, peak_bytes, steps })
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

/// A rank among those that are there.
fn one_that_is_here(comm: &Comm, measuring: &Measuring, args: &Args, job: &Job) -> Result<Found> {
    let data = planned::data(comm, job);
    let shape = shape_of(job, &data);
    let (layouts, owners) = planned::class_blocks(&shape, &data, comm.size());
    let fullest = planned::fullest(&layouts, &owners);
    let pool = Pool::new(&job.plan, shape.outputs());
    let rate = || rate(measuring, &layouts[owners.run(fullest)], &system::own_thread_seconds);
    let before = rate();
    let memory = counted_from_here();
    let sample = Sample::Pieces(args.windows.unwrap_or(WINDOWS));
    let meter = Meter::new(comm, Clock::Wall(Instant::now()), sample);
    comm.barrier();
    let missing = experts(comm, measuring, args, job, &meter, &pool)?;
    let (taken, peak) = (comm.agree(taken(&meter))?, memory.peak());
    let rate = before.max(rate());
    let (counts, width) = (&data.experts, shape.outputs());
    let steps = vec![epoch(job, counts, width, taken, comm.size(), rate)];
    // Threads share one process, whose memory that is.
    let peak_bytes = peak.filter(|_| comm.kind() != "threads of one process");
    let (ranks, rank, team_seconds) = (comm.size(), comm.rank(), 0.0);
    Ok(Found { ranks, rank, fullest, here: true, team_seconds, missing, peak_bytes, steps })
}

/// An epoch of the expert step, of a sample of its windows.
fn epoch(
    job: &Job,
    experts: &[usize],
    width: usize,
    taken: Taken,
    ranks: usize,
    rate: f64,
) -> Measured {
    let rows = job.plan.rows;
    // A class block learns from some of the rows without its labels.
    let learned = f64::from(job.experts.negatives);
    let flop = learned * report::flop_of_an_epoch(rows, width, experts) / ranks as f64;
    let times = rows as f64 / taken.rows as f64;
    Measured { step: "experts", piece: "window", of: "epoch", taken, times, flop, rate }
}

/// Runs the expert step, and gives the bytes of rows that aren't here.
fn experts(
    comm: &Comm,
    measuring: &Measuring,
    args: &Args,
    job: &Job,
    meter: &Meter,
    pool: &Pool,
) -> Result<usize> {
    let bytes_max = launch::memory().unwrap_or(u64::MAX) / RESTING_SHARE;
    let data = planned::data(comm, job);
    let (own, missing) = planned::rows_at_rest(&data, pool, bytes_max as usize);
    let setting = Setting::measured(comm, job, data)?;
    let host = Host::new(measuring.kernel, args.threads, job.model.epsilon);
    let rests = args.rest.map(|rate| rate * 1e9 * args.threads as f64);
    let device = Metered { host, meter, rests };
    match alone::expert_step(setting, device, &own) {
        Err(error) if !error.is_stop() => Err(error),
        _ => Ok(missing),
    }
}

/// What one core does in a second on some of these class blocks.
fn rate(measuring: &Measuring, layouts: &[Layout], clock: &dyn Fn() -> f64) -> f64 {
    let mut sum = 0;
    let some = layouts.iter().take_while(|layout| {
        let wanted = sum == 0 || sum < RATE_COLUMNS;
        sum += columns(std::iter::once(*layout));
        wanted
    });
    let some: Vec<Layout> = some.cloned().collect();
    let owners = Comm::serial().deal(some.len());
    let experts = Experts::new(some, owners, 7, 0);
    rate_of_core(measuring.kernel, 1, &experts, RATE_RUNS, clock)
}

fn taken(meter: &Meter) -> Result<Taken> {
    meter.taken().ok_or_else(|| {
        let text = "plan.rows: found rows of one window, expected those of two at least";
        Error::usage(text)
    })
}
