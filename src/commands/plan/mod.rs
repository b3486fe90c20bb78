//! `reelscale plan`: what a job will take of memory, network, disk and time on ranks that are not
//! there, by the formulas of `cost/`, in one process.

mod advice;
mod calibration;
mod device;
mod experts;
mod rates;
mod rehearse;
mod sizes;
mod step_plan;
mod steps;
mod text;
mod world;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::{Value, json};

use self::device::{Gpu, Meant};
use self::rates::Rates;
use self::sizes::Sizes;
pub(crate) use self::sizes::{rows_of_shards, sizes_of_shards};
use self::steps::Steps;
use self::world::{Checkpoint, World};
use super::bench::rank::{Pool, planned};
use super::out::{self, For, Format};
use super::progress::Progress;
use crate::comm::Comm;
use crate::cost::network::{Network, bytes_per_second};
use crate::error::{Error, Result};
use crate::human::json_line;
use crate::job::Job;
use crate::launch;
use crate::stint::{Length, Stint};

/// What a rank is said to write of a checkpoint in a second, where nobody says it.
const STORAGE: f64 = 1e9;
/// Ranks of the curve, at most.
const RANKS_MAX: u64 = 4096;

/// Says what a job will take: memory, bytes, seconds of each step, and what limits it. No data are
/// needed, and nothing but --rehearse and --calibrate computes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = crate::commands::examples::PLAN)]
pub(crate) struct Args {
    /// The job file. Sizes of data are those of its section [plan], else those of its shards.
    job: PathBuf,
    /// Ranks meant.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=RANKS_MAX))]
    ranks: u64,
    /// Threads of a rank meant. Without it those of the job, or 1.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=4096))]
    threads: Option<u64>,
    /// Rows of the data, of which data.validation_fraction is held back, unless --validation-rows
    /// says what is: 500e6.
    #[arg(long, value_parser = sizes::count)]
    rows: Option<u64>,
    /// Rows to validate on.
    #[arg(long, value_parser = sizes::count)]
    validation_rows: Option<u64>,
    /// Features: rgb:1024,audio:128, or their number.
    #[arg(long)]
    features: Option<String>,
    /// Classes.
    #[arg(long, value_parser = sizes::count)]
    classes: Option<u64>,
    /// Frames of a row; 0: video-level features.
    #[arg(long, value_parser = sizes::count)]
    frames: Option<u64>,
    /// What a rank's link carries, and what a message costs.
    #[arg(long, default_value = "10GB/s,2us", value_parser = str::parse::<Network>)]
    network: Network,
    /// What a rank reads and writes a second: 2GB/s. Steps that read more than that wait for their
    /// input. Without it none does, and checkpoints are timed at 1 GB/s.
    #[arg(long, value_parser = bytes_per_second)]
    storage: Option<f64>,
    /// What each rank computes with: host; a GPU that was measured (h200, h100); what one does of a
    /// large product in float32, and its memory, as 40TFLOP/s,80GiB; cuda or opencl: that of the
    /// rates, which --calibrate measures then. Without it the processor, or where run.device is
    /// cuda or opencl that of the rates, or an H200.
    #[arg(long, value_parser = str::parse::<Meant>)]
    device: Option<Meant>,
    /// Rates of the machine meant, which --calibrate has measured there.
    #[arg(long)]
    rates: Option<PathBuf>,
    /// Measures this machine, all of its cores, for a minute or two, keeps its rates in this file
    /// and plans by them.
    #[arg(long, conflicts_with = "rates")]
    calibrate: Option<PathBuf>,
    /// Also measures here one rank of each kind that there would be, as `bench rank` does, and says
    /// its seconds and memory beside those that are planned.
    #[arg(long)]
    rehearse: bool,
    /// The one rank that is measured.
    #[arg(long, requires = "rehearse")]
    rank: Option<usize>,
    /// Seconds of each step's sample, about.
    #[arg(long, requires = "rehearse", default_value = "20", value_parser = seconds)]
    rehearse_seconds: f64,
    #[command(flatten)]
    progress: Progress,
    /// For people, or one JSON object.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Also the lines of a Slurm script that ask for what is planned.
    #[arg(long)]
    sbatch: bool,
    /// Ranks of a node, for --sbatch and the bytes that come to it. Seconds don't count a link that
    /// they share.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    ranks_per_node: u64,
    /// Sets a key of the job: --set experts.count=16
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
}

/// Seconds of a rehearsed step at most.
const REHEARSED_MAX: f64 = 86_400.0;

/// Seconds of a sample, more than 0.
fn seconds(text: &str) -> std::result::Result<f64, String> {
    let found = text.parse().ok().filter(|seconds| *seconds > 0.0 && *seconds <= REHEARSED_MAX);
    found.ok_or_else(|| format!("expected more than 0 and at most {REHEARSED_MAX}"))
}

/// A job whose plan is to be made.
struct Question {
    job: Job,
    name: String,
    ranks: usize,
    threads: usize,
    validation_rows: usize,
    network: Network,
    /// Bytes a second that a rank reads and writes, where that limits steps.
    storage: Option<f64>,
    ranks_per_node: usize,
    rates: Rates,
    /// The GPU that each rank has, if they have any.
    device: Option<Gpu>,
    pool: Rc<Pool>,
    /// Whether the positives of each class are those of the job's shards.
    counted: bool,
}

impl Question {
    fn new(
        sizes: Sizes,
        name: String,
        ranks: usize,
        network: Network,
        (rates, device): (Rates, Option<Gpu>),
    ) -> Question {
        let Sizes { job, validation_rows, positives } = sizes;
        let (threads, counted) = (job.run.threads, positives.is_some());
        let mut pool = Pool::new(&job.plan, planned::width(&job));
        if let Some(positives) = positives {
            pool = pool.counted(positives);
        }
        let pool = Rc::new(pool);
        Question {
            device,
            job,
            name,
            ranks,
            threads,
            validation_rows,
            network,
            storage: None,
            ranks_per_node: 1,
            rates,
            pool,
            counted,
        }
    }

    /// Bytes of a checkpoint that a rank writes in a second.
    fn written_per_second(&self) -> f64 {
        self.storage.unwrap_or(STORAGE)
    }

    /// The same on other ranks.
    fn on(&self, ranks: usize) -> Result<(World, Steps)> {
        self.with(&self.job, ranks)
    }

    /// The same for another job.
    fn with(&self, job: &Job, ranks: usize) -> Result<(World, Steps)> {
        let world = World::new(job, ranks, self)?;
        let steps = Steps::new(&world, self);
        Ok((world, steps))
    }
}

pub(crate) fn run(comm: &Comm, args: Args) -> Result<()> {
    let processes = comm.size().max(launch::processes());
    if processes > 1 {
        let text = format!("plan: found {processes} ranks, expected one process");
        let error = Error::usage(text).hint("reelscale plan JOB --ranks 1024, without mpirun");
        return launch::in_turn(Err(error));
    }
    if args.sbatch && args.format == Format::Json {
        let text = "--sbatch: found --format json, expected text, whose lines Slurm reads";
        return Err(Error::usage(text));
    }
    let name = args.job.display().to_string();
    let sizes = sizes::planned(&args, &name)?;
    let told = args.device.as_ref();
    let rates = Rates::of(args.rates.as_deref(), args.calibrate.as_deref(), told)?;
    let device = Gpu::meant(told, &sizes.job, rates.device.as_ref())?;
    let ranks = args.ranks as usize;
    let question = Question {
        storage: args.storage,
        ranks_per_node: args.ranks_per_node.min(args.ranks) as usize,
        ..Question::new(sizes, name, ranks, args.network, (rates, device))
    };
    if args.rehearse && question.device.is_some() {
        let text = "--rehearse: found ranks with a GPU each, expected the processor";
        return Err(Error::usage(text).hint("--device host"));
    }
    let rehearsal = args.rehearse.then_some((args.rank, args.rehearse_seconds));
    let narrator = args.progress.begin(comm);
    let found = found(&question, rehearsal)?;
    drop(narrator);
    out::print(comm, For::Reading, || match args.format {
        Format::Json => json_line(&found),
        Format::Text => {
            let script = args.sbatch.then(|| text::sbatch(&found, &args));
            text::text(&found) + &script.unwrap_or_default()
        }
    })
}

/// Seconds of a run of each job on so many ranks, without those that memory or grid don't allow:
/// (ranks, the job, whose section [plan] has its sizes, and rows to validate on).
///
/// # Errors
/// Exit 2: the file isn't one of rates.
pub(crate) fn seconds_on(
    jobs: Vec<(usize, Job, usize)>,
    network: Network,
    rates: Option<&Path>,
) -> Result<Vec<(usize, f64)>> {
    let rates = Rates::of(rates, None, None)?;
    let seconds = |(ranks, job, validation_rows): (usize, Job, usize)| {
        let sizes = Sizes { job, validation_rows, positives: None };
        let device = Gpu::meant(None, &sizes.job, rates.device.as_ref()).ok()?;
        let of_ranks = (rates.clone(), device);
        let question = Question::new(sizes, String::new(), ranks, network, of_ranks);
        let (_, steps) = question.on(ranks).ok()?;
        Some((ranks, steps.total()))
    };
    let jobs = jobs.into_iter().filter(|job| job.0 <= RANKS_MAX as usize);
    Ok(jobs.filter_map(seconds).collect())
}

/// The whole plan.
fn found(question: &Question, rehearsal: Option<(Option<usize>, f64)>) -> Result<Value> {
    let (world, steps) = question.on(question.ranks)?;
    let curve = curve(question, (&world, &steps));
    let advice = advice::advice(question, &world, &steps);
    let phases = world.phases.iter().map(|it| phase(it.name, it.bytes(), &it.parts));
    let checkpoints = world.checkpoints();
    // All ranks write at once.
    let storage = question.written_per_second() * question.ranks as f64;
    let mut found = json!({
        "job": question.name,
        "ranks": question.ranks,
        "ranks_per_node": question.ranks_per_node,
        "threads": question.threads,
        "rows": question.job.plan.rows,
        "validation_rows": question.validation_rows,
        "features": question.job.plan.features,
        "classes": question.job.plan.classes,
        "frames": question.job.plan.frames,
        "grid": format!("{}x{}", world.whole.grid.rows(), world.whole.grid.columns()),
        "pretraining_ranks": world.whole.learners,
        "memory_bytes": world.plan.peak,
        "memory": phases.collect::<Vec<_>>(),
        "scratch_file": world.plan.scratch(),
        "checkpoint_bytes": checkpoints.iter().map(Checkpoint::bytes).max().unwrap_or(0),
        "checkpoint_seconds": checkpoints.iter().map(|it| it.seconds(storage)).fold(0.0, f64::max),
        "checkpoints": checkpoints.iter().map(|it| it.json(storage)).collect::<Vec<_>>(),
        "model_bytes": world.model_bytes(),
        "input_bytes_per_second": steps.input_rate(),
        "idle_ranks": steps.idle_ranks(),
        "seconds": steps.total(),
        "steps": steps.json(question.ranks, question.ranks_per_node),
        "curve": curve,
        "pays_up_to_ranks": pays_up_to(&curve),
        "advice": advice,
        "assumptions": question.rates.assumptions(question, steps.core_rates()),
    });
    if let (Some(gpu), Some(plan)) = (&question.device, &world.device) {
        let phases = plan.phases.iter().map(|it| phase(it.name, it.bytes(), &it.parts));
        found["device"] = json!({
            "name": gpu.name,
            "memory_bytes": plan.peak(),
            "memory": phases.collect::<Vec<_>>(),
            "class_blocks_come_and_go": plan.streams,
        });
    }
    if let Some(rehearsal) = rehearsal {
        found["rehearsed"] = rehearse::rehearse(question, &world, &found, rehearsal)?;
    }
    Ok(found)
}

/// What a phase takes of memory, part by part.
fn phase(name: &str, bytes: usize, parts: &[(&str, usize)]) -> Value {
    let parts = parts.iter().filter(|part| part.1 > 0);
    let parts: Vec<Value> =
        parts.map(|(name, bytes)| json!({ "part": name, "bytes": bytes })).collect();
    json!({ "phase": name, "bytes": bytes, "parts": parts })
}

/// The job on other numbers of ranks: seconds of a run, efficiency of the expert step, memory.
fn curve(question: &Question, (world, steps): (&World, &Steps)) -> Vec<Value> {
    let most = (2 * question.ranks).clamp(16, RANKS_MAX as usize);
    let doubled = std::iter::successors(Some(1), |count| Some(2 * count));
    let counts: BTreeSet<usize> =
        doubled.take_while(|count| *count <= most).chain([question.ranks]).collect();
    let point = |ranks: usize, world: &World, steps: &Steps| {
        json!({
            "ranks": ranks,
            "seconds": steps.total(),
            "efficiency": steps.efficiency(),
            "memory_bytes": world.plan.peak,
        })
    };
    let numbers = Length::of(counts.len() as u64, "numbers of ranks");
    let stint = Stint::begin("planning", "planning", numbers);
    let points = counts.into_iter().filter_map(|ranks| {
        let point = match ranks == question.ranks {
            true => Some(point(ranks, world, steps)),
            // Where they are too few for its grid or its memory there is none.
            false => question.on(ranks).ok().map(|(world, steps)| point(ranks, &world, &steps)),
        };
        stint.add(1);
        point
    });
    points.collect()
}

/// The most ranks that pay. The fewest that can run do; k doublings of a number that pays do if
/// they take at most (2/3)^k of its time.
fn pays_up_to(curve: &[Value]) -> u64 {
    let of = |point: &Value| point["ranks"].as_u64().zip(point["seconds"].as_f64());
    let doublings = curve.iter().filter_map(of).filter(|point| point.0.is_power_of_two());
    let better = |(fewer, longer): (u64, f64), (ranks, seconds): (u64, f64)| {
        let doubled = (ranks / fewer).ilog2() as i32;
        match seconds <= longer * (2.0_f64 / 3.0).powi(doubled) {
            true => (ranks, seconds),
            false => (fewer, longer),
        }
    };
    doublings.reduce(better).map_or(1, |point| point.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubling_that_does_not_pay_is_no_end_where_the_next_one_does() {
        let pays = |points: &[(u64, f64)]| {
            let point =
                |(ranks, seconds): &(u64, f64)| json!({ "ranks": ranks, "seconds": seconds });
            pays_up_to(&points.iter().map(point).collect::<Vec<_>>())
        };
        assert_eq!(pays(&[(1, 9.0), (2, 6.0), (4, 5.0), (8, 4.5)]), 2);
        assert_eq!(pays(&[(1, 9.0), (2, 7.0), (3, 1.0), (4, 4.0), (8, 2.6), (16, 2.0)]), 8);
        // The fewest that can run are the first, were they many.
        assert_eq!(pays(&[(4, 9.0), (8, 7.0)]), 4);
        assert_eq!(pays(&[(8, 9.0), (16, 5.0)]), 16);
    }
}
