//! How a run fits the machine: warnings before anything large is made.

use super::data::Data;
use super::pretrain::{Learners, RowGroups};
use crate::comm::Comm;
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
