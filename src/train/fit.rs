//! How a run fits the machine: warnings before anything large is made.

use super::data::Data;
use super::grid::{RanksHave, grid};
use super::pretrain::{Learners, RowGroups, learners_of};
use super::setting::{Setting, fit, planned, shape_of};
use crate::comm::Comm;
use crate::cost::budget::{BESIDE_THE_PLAN, GIB};
use crate::error::{Error, Exit, Result};
use crate::job::{ExpertsJob, Job};
use crate::model::annotator::Shape;
use crate::model::experts::layouts;
use crate::optim::Solver;
use crate::{human, launch};

/// Warns, once, if the planned memory of a rank is more than the rank with least memory can count
/// on. Collective.
pub(crate) fn warn_of_memory(comm: &Comm, planned: u64) {
    let here = comm.all_gather(&[launch::memory().unwrap_or(u64::MAX)]);
    let (rank, least) = here.into_iter().enumerate().min_by_key(|rank| rank.1).expect("a rank");
    if planned > least && comm.is_root() {
        let (planned, least) = (human::bytes(planned), human::bytes(least));
        log::warn!(
            "memory planned {planned}, rank {rank} can count on {least}: it may be ended for lack \
             of memory; hint: run.memory_gib, more nodes or fewer ranks on each"
        );
    }
}

/// The GiB that a rank may take where the job names none: 0, any, as long as the plan stays within
/// what control groups and Slurm allow the rank that they allow least; else that, without what
/// isn't planned. Ranks would be ended beyond it. Where each may take `device_limit` bytes of a
/// GPU, the plan is the larger one of that and of processors alone, which may be what is left.
/// Collective.
///
/// # Errors
/// As `Setting::new`; exit 9 where nothing would be left.
pub(crate) fn memory_budget(
    comm: &Comm,
    job: &Job,
    data: &Data,
    device_limit: Option<usize>,
) -> Result<f64> {
    let named = job.run.memory_gib;
    let own = launch::memory_allowed().filter(|_| named == 0.0);
    // The least of all ranks is the largest of what is left out. Ranks may be told differently: all
    // of them plan if any names none and is limited.
    let allowed = !comm.max(!own.unwrap_or(u64::MAX));
    if allowed == u64::MAX {
        return Ok(named);
    }
    let shape = shape_of(job, data);
    let threads = !comm.max(!(job.run.threads as u64)) as usize;
    let plan = |device_limit| {
        let have = RanksHave { threads, device_limit };
        let grid = comm.agree(grid(comm, job, (data, &shape), &have.machine()))?;
        let learners = learners_of(comm, job, data, (&grid, have));
        Ok(planned(comm, job, data, (&grid, learners))?.peak as u64)
    };
    let mut planned = plan(None)?;
    if device_limit.is_some() {
        planned = planned.max(plan(device_limit)?);
    }
    let budget = allowed.saturating_sub(BESIDE_THE_PLAN);
    // Ranks that name budgets have plans of their own.
    let is_limited = named == 0.0 && planned > budget;
    let nothing_left = is_limited && budget == 0;
    comm.agree(if nothing_left { Err(too_little(planned, allowed)) } else { Ok(()) })?;
    if !is_limited {
        return Ok(named);
    }
    log::info!(
        "memory planned {}, control groups or Slurm allow a rank {}: it keeps to {}, which leaves \
         {} for MPI and HDF5 (run.memory_gib)",
        human::bytes(planned),
        human::bytes(allowed),
        human::bytes(budget),
        human::bytes(BESIDE_THE_PLAN),
    );
    Ok(budget as f64 / GIB)
}

/// Memory of which nothing is left for the plan.
fn too_little(planned: u64, allowed: u64) -> Error {
    let [planned, allowed, beside] = [planned, allowed, BESIDE_THE_PLAN].map(human::bytes);
    let text = format!(
        "memory planned {planned}, control groups or Slurm allow a rank {allowed}, which is no \
         more than the {beside} that are left to MPI and HDF5"
    );
    let hint = "more memory for the job (--mem), fewer ranks on a node, or run.memory_gib";
    Error::new(Exit::Resources, text).hint(hint)
}

/// A longer window of the expert step, and how many windows an epoch has with the job's own and
/// with this one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LongerWindow {
    pub(crate) rows: usize,
    pub(crate) count: usize,
    pub(crate) longer_count: usize,
}

/// Rows of the longest window that is worth a try: the default's.
const WINDOW: usize = 8192;

/// The longest window, of at least twice the job's, that ranks have memory for, if there is one and
/// an epoch has fewer of them.
pub(crate) fn longer_window(setting: &Setting) -> Option<LongerWindow> {
    let Setting { comm, job, data, shape, learners, grid, .. } = setting;
    let (total, shortest) = (data.train.rows(), 2 * job.experts.window_rows());
    let count_of = |job: &Job| total.div_ceil(job.experts.window_rows());
    let mut longer = (*job).clone();
    let halves = std::iter::successors(Some(WINDOW), |rows| Some(rows / 2));
    for rows in halves.take_while(|rows| *rows >= shortest) {
        longer.experts.window = rows;
        let [count, longer_count] = [job, &longer].map(count_of);
        if longer_count < count && fit(comm, &longer, (data, shape), (grid, learners.count())) {
            return Some(LongerWindow { rows, count, longer_count });
        }
    }
    None
}

/// Rows of a slice of a mini-batch below which products are inefficient.
const SLICE_ROWS: usize = 256;

/// Warns, once, where slices of mini-batches are short.
pub(crate) fn warn_of_short_slices(comm: &Comm, job: &ExpertsJob) {
    let rows = job.batch / job.row_slices;
    let cut = job.row_slices > 1 && matches!(job.solver, Solver::MiniBatch(_));
    if cut && rows < SLICE_ROWS && comm.is_root() {
        let (batch, slices) = (job.batch, job.row_slices);
        log::warn!(
            "experts.batch = {batch} in {slices} slices: {rows} rows each, below {SLICE_ROWS} is \
             slow; hint: a larger experts.batch, fewer experts.row_slices"
        );
    }
}

/// Says how many ranks have nothing to do in which steps.
pub(crate) fn tell_of_idle_ranks(learners: &Learners, job: &Job, data: &Data, shape: &Shape) {
    let comm = learners.all();
    let groups = match job.pretrain.epochs {
        0 => None,
        // Ranks that wait are told of by themselves.
        _ if learners.are_some() => None,
        _ => Some(RowGroups::new(learners, &job.pretrain, job.run.seed, &data.train).len()),
    };
    let width = shape.shared_layers().outputs();
    let classes = layouts(&data.experts, shape.dummy, width, shape.class_blocks).len();
    let parts = [
        ("rows of a mini-batch", groups, "pretrain.batch"),
        ("class blocks", Some(classes), "run.class_blocks"),
        ("row blocks", Some(data.train.blocks.len()), "run.row_blocks"),
    ];
    let idle = parts.iter().filter_map(|(name, count, key)| {
        let idle = comm.size().saturating_sub((*count)?);
        (idle > 0).then(|| format!("{idle} of {} ranks have no {name} ({key})", comm.size()))
    });
    let idle: Vec<String> = idle.collect();
    if !idle.is_empty() && comm.is_root() {
        log::info!("idle: {}", idle.join(", "));
    }
}
