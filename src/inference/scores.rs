//! Scores rows with a model: class blocks travel, rows stay home, each row keeps its best classes.

use std::ops::Range;

use super::class_losses::ClassLosses;
use crate::comm::Comm;
use crate::error::{Error, Exit, Result};
use crate::flow::experts_travel::visit_blocks;
use crate::flow::home_rows::HomeRows;
use crate::flow::own_rows::OwnRows;
use crate::inference::rankings::{
    Positive, Ranked, Visited, exact_total, finish_full, full_ranking, metrics, positives_of,
};
use crate::kernel::mixture::{Block, Kernel};
use crate::metrics::{ExactSum, Metrics, TopLists};
use crate::model::annotator::Annotator;
use crate::team::Team;

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

impl Scored {
    fn metrics(self, comm: &Comm, annotator: &Annotator) -> Metrics {
        let first_row = self.own.rows.start as u64;
        let ranked = Ranked { first_row, top: &self.top, labels: &self.own.labels };
        metrics(comm, &ranked, annotator.shape.class_count, TOP, self.visited)
    }
}

/// The metrics of `annotator` on all `rows`.
///
/// # Errors
/// What reading rows gives; exit 75 when told to stop; common to all ranks.
pub fn evaluate(
    comm: &Comm,
    annotator: &Annotator,
    rows: &HomeRows,
    kernels: &mut [Kernel],
) -> Result<Metrics> {
    let scored = score(comm, annotator, rows, kernels, TOP)?;
    Ok(scored.metrics(comm, annotator))
}

/// As `evaluate`, and the loss of each class summed over all rows.
///
/// # Errors
/// As `evaluate`.
pub fn evaluate_by_class(
    comm: &Comm,
    annotator: &Annotator,
    rows: &HomeRows,
    kernels: &mut [Kernel],
) -> Result<(Metrics, Vec<f64>)> {
    let shape = &annotator.shape;
    let mut losses = ClassLosses::new(shape.class_count, shape.epsilon);
    let scored = score_with(comm, annotator, rows, kernels, TOP, |first_class, scores, labels| {
        losses.add(first_class, scores, labels);
    })?;
    let losses = losses.totals(comm);
    Ok((scored.metrics(comm, annotator), losses))
}

/// The `top` best classes of every row (more where a row has more labels, for PERR), full MAP,
/// loss.
///
/// # Errors
/// What reading rows gives; exit 75 when told to stop; common to all ranks.
pub fn score(
    comm: &Comm,
    annotator: &Annotator,
    rows: &HomeRows,
    kernels: &mut [Kernel],
    top: usize,
) -> Result<Scored> {
    score_with(comm, annotator, rows, kernels, top, |_, _, _| ())
}

/// As `score`; `also` is given every row's scores of the classes from one on, and its labels among
/// them.
fn score_with(
    comm: &Comm,
    annotator: &Annotator,
    rows: &HomeRows,
    kernels: &mut [Kernel],
    top: usize,
    mut also: impl FnMut(usize, &[f32], &[u32]),
) -> Result<Scored> {
    let own = comm.agree(rows.activations(annotator, kernels))?;
    let most = own.labels.counts().into_iter().max().unwrap_or(0) as usize;
    let mut lists =
        TopLists::new(own.labels.rows(), top.max(most).min(annotator.shape.class_count));
    let scores_max = rows.room.borrow().scores_max;
    let (mut loss, mut precision, mut classes) = (ExactSum::default(), ExactSum::default(), 0);
    let mut outcome = Ok(());
    visit_blocks(comm, &annotator.experts, |block, poll| {
        let first_class = block.layout.classes.start;
        let mut visit = Visit { block, own: &own, kernels, poll, outcome: &mut outcome };
        let precisions = visit.pass(comm, scores_max, |row, scores, row_loss| {
            loss.add(row_loss.max(0.0));
            lists.offer(row, first_class, scores);
            also(first_class, scores, own.labels.row_within(row, &block.layout.classes));
        });
        for found in precisions.iter().flatten() {
            precision.add(*found);
            classes += 1;
        }
    });
    comm.agree(outcome)?;
    let mean = |sum: ExactSum, count: usize| sum.value() / count.max(1) as f64;
    let visited = Visited {
        map_full: Some(mean(precision, classes)),
        loss: Some(mean(exact_total(comm, loss), rows.rows())),
    };
    Ok(Scored { own, top: lists, visited })
}

/// Rows whose scores of a block of `classes` classes are held at once.
pub fn wave_rows(scores_max: usize, classes: usize, threads: usize) -> usize {
    (scores_max / classes.max(1)).max(ROWS * threads)
}

/// Scores of consecutive rows of this rank and a block's classes.
#[derive(Default)]
struct Scores {
    rows: Range<usize>,
    /// [rows][classes]
    scores: Vec<f32>,
    /// Loss of each row over the block's classes.
    losses: Vec<f64>,
}

/// The positives among `rows`, counted from this rank's first, of which `block` has `scores`
/// [rows][classes].
fn positives(
    own: &OwnRows,
    block: Block,
    rows: impl Iterator<Item = usize>,
    scores: &[f32],
) -> Vec<Positive> {
    let classes = &block.layout.classes;
    let of_rows = rows.zip(scores.chunks_exact(classes.len()));
    let positives = of_rows.flat_map(|(row, scores)| {
        let global = (own.rows.start + row) as u64;
        positives_of(global, own.labels.row(row), classes, scores)
    });
    positives.collect()
}

/// Sees that scores [rows][classes] and losses of rows are numbers: finite weights and features
/// can still be so large that what they make is none.
fn are_numbers(block: Block, scores: &[f32], losses: &[f64]) -> Result<()> {
    let classes = &block.layout.classes;
    let class = scores.iter().position(|score| score.is_nan()).map(|at| at % classes.len());
    if class.is_none() && losses.iter().all(|loss| loss.is_finite()) {
        return Ok(());
    }
    let class = classes.start + class.unwrap_or(0);
    let text = format!("scores from class {class} on: found NaN or infinity");
    let hint = "the weights of the model or features are too large";
    Err(Error::new(Exit::Numeric, text).hint(hint))
}

/// One class block on its visit to this rank's rows.
struct Visit<'a> {
    block: Block<'a>,
    own: &'a OwnRows,
    kernels: &'a mut [Kernel],
    poll: &'a mut dyn FnMut(),
    /// The first error. A rank that can't read goes on with nothing, since others wait for it.
    outcome: &'a mut Result<()>,
}

impl Visit<'_> {
    /// Calls `take` with each row, its scores and its loss, and returns the average precision of
    /// each class over the rows of all ranks.
    ///
    /// Full MAP asks for the scores of all positives before it counts the rest. Where the rows
    /// don't go through in one wave, rows with labels of the block are scored by themselves first:
    /// a few percent more work.
    fn pass(
        &mut self,
        comm: &Comm,
        scores_max: usize,
        mut take: impl FnMut(usize, &[f32], f64),
    ) -> Vec<Option<f64>> {
        let width = self.block.layout.classes.len();
        if let Err(stopped) = comm.unless_stopped() {
            *self.outcome = Err(stopped);
        }
        // A rank without a way on takes part with no rows.
        let rows = if self.outcome.is_ok() { self.own.labels.rows() } else { 0 };
        let wave = wave_rows(scores_max, width, self.kernels.len());
        let mut whole = (rows <= wave).then(|| self.wave(0..rows));
        let positives = match &whole {
            Some(scores) => self.positives_in(scores),
            None => self.positives_alone(),
        };
        let mut ranking = full_ranking(comm, width, &positives);
        for from in (0..rows).step_by(wave) {
            let next = whole.take();
            let scores = next.unwrap_or_else(|| self.wave(from..(from + wave).min(rows)));
            let of_rows = scores.scores.chunks_exact(width).zip(&scores.losses);
            for (row, (scores, loss)) in scores.rows.clone().zip(of_rows) {
                take(row, scores, *loss);
                ranking.count((self.own.rows.start + row) as u64, scores);
            }
        }
        finish_full(comm, ranking)
    }

    /// The positives among rows that have been scored.
    fn positives_in(&self, scores: &Scores) -> Vec<Positive> {
        positives(self.own, self.block, scores.rows.clone(), &scores.scores)
    }

    /// The positives of all rows: only rows that have any are scored.
    fn positives_alone(&mut self) -> Vec<Positive> {
        let (own, block) = (self.own, self.block);
        let classes = &block.layout.classes;
        let some = |row: &usize| !own.labels.row_within(*row, classes).is_empty();
        let rows: Vec<usize> = (0..own.labels.rows()).filter(some).collect();
        let work = |kernel: &mut Kernel, rows: &[usize]| {
            let mut scores = vec![0.0; rows.len() * classes.len()];
            let mut losses = vec![0.0; rows.len()];
            own.gathered(rows).and_then(|piece| {
                let all = piece.rows.clone();
                kernel.scores(block, piece.passing(), all, &mut scores, &mut losses);
                are_numbers(block, &scores, &losses)?;
                Ok(positives(own, block, rows.iter().copied(), &scores))
            })
        };
        let found = Team::new(self.kernels).polling(self.poll).map(rows.chunks(ROWS), work);
        let found = found.into_iter().collect::<Result<Vec<_>>>();
        self.held(found).concat()
    }

    /// Scores and losses of `rows`, counted from this rank's first.
    fn wave(&mut self, rows: Range<usize>) -> Scores {
        let (own, block, classes) = (self.own, self.block, self.block.layout.classes.len());
        let (mut scores, mut losses) = (vec![0.0; rows.len() * classes], vec![0.0; rows.len()]);
        let items = scores.chunks_mut(ROWS * classes).zip(losses.chunks_mut(ROWS)).enumerate();
        let work =
            |kernel: &mut Kernel, (index, (scores, losses)): (usize, (&mut [f32], &mut [f64]))| {
                let from = rows.start + index * ROWS;
                let piece = own.piece(from..from + losses.len())?;
                kernel.scores(block, piece.passing(), piece.rows.clone(), scores, losses);
                are_numbers(block, scores, losses)
            };
        let outcomes = Team::new(self.kernels).polling(self.poll).map(items, work);
        let outcome: Result<()> = outcomes.into_iter().collect();
        self.held(outcome.map(|()| Scores { rows, scores, losses }))
    }

    /// What was found, or nothing where it couldn't be.
    fn held<T: Default>(&mut self, found: Result<T>) -> T {
        found.unwrap_or_else(|error| {
            *self.outcome = Err(error);
            T::default()
        })
    }
}
