//! The data that a job plans.

use super::pool::Pool;
use crate::comm::Comm;
use crate::data::{Dataset, Kind, PlannedRows, ShardHeader};
use crate::error::{Error, Result};
use crate::example::FeaturePart;
use crate::flow::own_rows::OwnRows;
use crate::job::{Job, PlanJob};
use crate::model::spec::Layer;
use crate::rng::{Purpose, Stream};
use crate::train::Data;

/// Rows whose features are made; they stand for all.
const ROWS: usize = 64;

/// The job with so many threads a rank, as a measure of one rank takes it: nothing validates, so
/// that nothing stops by that.
///
/// # Errors
/// Exit 2: it has no plan.
pub(crate) fn without_validation(mut job: Job, name: &str, threads: usize) -> Result<Job> {
    if job.plan.rows == 0 {
        let text = format!("{name}: plan.rows: found 0, expected the rows that the job is for");
        return Err(Error::usage(text).hint("--set plan.rows=4000000 and the other keys of [plan]"));
    }
    if job.plan.frames == 0 && !job.model.frames.is_empty() {
        let text = format!("{name}: model.frames: found layers, but plan.frames is 0");
        return Err(Error::usage(text).hint("--set model.frames=[]"));
    }
    job.run.threads = threads;
    (job.experts.patience, job.experts.class_patience, job.pretrain.patience) = (0, 0, 0);
    Ok(job)
}

/// `rows` rows of all ranks, the positives of whose classes are those of the rows that are planned.
/// Collective.
pub(super) fn data(comm: &Comm, job: &Job, pool: &Pool, rows: usize) -> Data {
    data_with(comm, job, pool, (rows, 0))
}

/// The same with so many rows that validate.
pub(crate) fn data_with(
    comm: &Comm,
    job: &Job,
    pool: &Pool,
    (rows, validation): (usize, usize),
) -> Data {
    let PlanJob { features, classes, frames, .. } = job.plan;
    let parts = vec![FeaturePart { name: "planned".into(), size: features }];
    let kind = if frames > 0 { Kind::Frames } else { Kind::Video };
    let header = ShardHeader { parts, class_count: classes, kind, source: "plan".into() };
    let planned = PlannedRows {
        videos: if frames == 0 { videos(features) } else { Vec::new() },
        frames: (0..ROWS).filter(|_| frames > 0).map(|row| bytes(row, frames * features)).collect(),
        labels: pool.labels.clone(),
    };
    let of = |rows| Dataset::planned(header.clone(), rows, planned.clone());
    let validation = (validation > 0).then(|| of(validation));
    Data::planned(comm, job, (of(rows), validation), &pool.positives)
}

/// Width of the activations.
pub(crate) fn width(job: &Job) -> usize {
    let layers = job.model.frames.iter().chain(&job.model.shared);
    layers.fold(job.plan.features, |width, layer| match layer {
        Layer::Dense { units, .. } => *units,
        Layer::Gating | Layer::Residual => width,
    })
}

fn videos(features: usize) -> Vec<f32> {
    let mut stream = Stream::new(7, Purpose::PlantedRows, 0);
    (0..ROWS * features).map(|_| 2.0 * stream.uniform() - 1.0).collect()
}

fn bytes(row: usize, count: usize) -> Vec<u8> {
    let mut stream = Stream::new(7, Purpose::PlantedFrames, row as u64);
    let words = (0..count.div_ceil(4)).flat_map(|_| stream.next_u32().to_le_bytes());
    words.take(count).collect()
}

/// This rank's rows with activations, and bytes of them that aren't here since they take more than
/// `bytes_max`.
pub(super) fn rows_at_rest(data: &Data, pool: &Pool, bytes_max: usize) -> (OwnRows, usize) {
    let own = data.train.own_rows();
    let bytes = |rows: usize| rows * pool.activations.stride() * size_of::<f32>();
    let held = bytes(own.len()) <= bytes_max;
    let missing = if held { 0 } else { bytes(own.len().saturating_sub(pool.activations.rows())) };
    (OwnRows::repeated(own, (&pool.activations, &pool.labels), held), missing)
}
