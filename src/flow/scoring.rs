//! Scores rows with a model: class blocks travel, rows stay home, each row keeps its best classes.

use std::sync::Mutex;

use crate::comm::Comm;
use crate::error::Result;
use crate::flow::experts_travel::visit_blocks;
use crate::flow::home_rows::HomeRows;
use crate::flow::own_rows::OwnRows;
use crate::flow::rankings::{Ranked, Visited, exact_total, full_precisions, metrics};
use crate::metrics::{ExactSum, Metrics, TopLists};
use crate::model::annotator::Annotator;
use crate::model::mixture::{Block, Kernel};
use crate::parallel::work_off;

/// Pairs a row gives to GAP and MAP.
pub const TOP: usize = 20;
/// Rows that a thread takes at once.
const ROWS: usize = 128;

/// What scoring leaves on each rank.
pub struct Scored {
    /// This rank's rows, with their labels.
    pub own: OwnRows,
    /// The best classes of each of them.
    pub top: TopLists,
    visited: Visited,
}

/// The metrics of `annotator` on all `rows`.
///
/// # Errors
/// What reading rows gives.
pub fn evaluate(
    comm: &Comm,
    annotator: &Annotator,
    rows: &HomeRows,
    kernels: &mut [Kernel],
) -> Result<Metrics> {
    let scored = score(comm, annotator, rows, kernels, TOP)?;
    let first_row = scored.own.rows.start as u64;
    let ranked = Ranked { first_row, top: &scored.top, labels: &scored.own.labels };
    Ok(metrics(comm, &ranked, annotator.shape.class_count, TOP, scored.visited))
}

/// The `top` best classes of every row (more where a row has more labels, for PERR), full MAP,
/// loss.
///
/// # Errors
/// What reading rows gives.
pub fn score(
    comm: &Comm,
    annotator: &Annotator,
    rows: &HomeRows,
    kernels: &mut [Kernel],
    top: usize,
) -> Result<Scored> {
    let own = rows.activations(annotator, kernels)?;
    let most = own.labels.counts().into_iter().max().unwrap_or(0) as usize;
    let mut lists =
        TopLists::new(own.labels.rows(), top.max(most).min(annotator.shape.class_count));
    let (mut loss, mut precision, mut classes) = (ExactSum::default(), ExactSum::default(), 0);
    let mut outcome = Ok(());
    visit_blocks(comm, &annotator.experts, |block, poll| {
        let range = block.layout.classes.clone();
        let (scores, losses) = match block_scores(block, &own, kernels, poll) {
            Ok(found) => found,
            Err(error) => {
                outcome = Err(error);
                (vec![0.0; own.labels.rows() * range.len()], vec![0.0; own.labels.rows()])
            }
        };
        losses.iter().for_each(|row| loss.add(row.max(0.0)));
        for (row, scores) in scores.chunks_exact(range.len()).enumerate() {
            lists.offer(row, range.start, scores);
        }
        let first = own.rows.start as u64;
        for found in full_precisions(comm, first, &own.labels, range, &scores).iter().flatten() {
            precision.add(*found);
            classes += 1;
        }
    });
    outcome?;
    let mean = |sum: ExactSum, count: usize| sum.value() / count.max(1) as f64;
    let visited = Visited {
        map_full: Some(mean(precision, classes)),
        loss: Some(mean(exact_total(comm, loss), rows.rows())),
    };
    Ok(Scored { own, top: lists, visited })
}

/// Scores [rows][classes of the block] of this rank's rows and the loss of each of them.
fn block_scores(
    block: Block,
    own: &OwnRows,
    kernels: &mut [Kernel],
    poll: &mut dyn FnMut(),
) -> Result<(Vec<f32>, Vec<f64>)> {
    let (rows, classes) = (own.labels.rows(), block.layout.classes.len());
    let (mut scores, mut losses) = (vec![0.0; rows * classes], vec![0.0; rows]);
    let items = scores
        .chunks_mut(ROWS * classes)
        .zip(losses.chunks_mut(ROWS))
        .enumerate()
        .map(|(index, (scores, losses))| (index * ROWS, scores, losses))
        .collect();
    let failure = Mutex::new(Ok(()));
    let work =
        |kernel: &mut Kernel, (from, scores, losses): (usize, &mut [f32], &mut [f64])| match own
            .piece(from..from + losses.len())
        {
            Ok(piece) => kernel.scores(block, piece.passing(), piece.rows.clone(), scores, losses),
            Err(error) => *failure.lock().expect("nobody panics with it") = Err(error),
        };
    work_off(kernels, items, work, poll);
    failure.into_inner().expect("nobody panics with it").map(|()| (scores, losses))
}
