//! The data that a job plans, and which rank has most of what a step does there.

use std::ops::Range;

use super::pool::{Pool, shares};
use crate::comm::Comm;
use crate::cost;
use crate::data::{Dataset, Kind, ShardHeader};
use crate::error::{Error, Result};
use crate::example::FeaturePart;
use crate::flow::own_rows::OwnRows;
use crate::job::{Job, PlanJob};
use crate::model::Layout;
use crate::model::annotator::Shape;
use crate::model::experts::layouts;
use crate::partition::Owners;
use crate::train::Data;

/// The job with so many threads a rank, as a measure of one rank takes it: nothing validates, so
/// that nothing stops by that.
///
/// # Errors
/// Exit 2: it has no plan.
pub(super) fn without_validation(mut job: Job, name: &str, threads: usize) -> Result<Job> {
    if job.plan.rows == 0 {
        let text = format!("{name}: plan.rows: found 0, expected the rows that the job is for");
        return Err(Error::usage(text).hint("--set plan.rows=4000000 and the other keys of [plan]"));
    }
    job.run.threads = threads;
    (job.experts.patience, job.experts.class_patience) = (0, 0);
    Ok(job)
}

/// The rows of all ranks. Collective.
pub(super) fn data(comm: &Comm, job: &Job) -> Data {
    let PlanJob { rows, features, classes, frames, labels_per_row, .. } = job.plan;
    let parts = vec![FeaturePart { name: "planned".into(), size: features }];
    let kind = if frames > 0 { Kind::Frames } else { Kind::Video };
    let header = ShardHeader { parts, class_count: classes, kind, source: "plan".into() };
    let labels = rows as f64 * labels_per_row;
    let positives = shares(&job.plan).into_iter().map(|share| (share * labels) as u64);
    let positives: Vec<u64> = positives.map(|count| count.min(rows as u64)).collect();
    Data::planned(comm, job, Dataset::planned(header, rows), &positives)
}

/// The class blocks of the expert step, and which of them each rank has.
pub(super) fn class_blocks(shape: &Shape, data: &Data, ranks: usize) -> (Vec<Layout>, Owners) {
    let layouts = layouts(&data.experts, shape.dummy, shape.outputs(), shape.class_blocks);
    let owners = cost::owners(layouts.len(), ranks);
    (layouts, owners)
}

/// The rank whose blocks have most weights, the first of them.
pub(super) fn fullest(layouts: &[Layout], owners: &Owners) -> usize {
    let weights = |run: Range<usize>| layouts[run].iter().map(Layout::parameters).sum::<usize>();
    let weights: Vec<usize> = owners.runs().into_iter().map(weights).collect();
    let most = weights.iter().max().expect("a rank");
    weights.iter().position(|own| own == most).expect("the most is one of them")
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
