//! Scores rows with a model: class blocks travel, rows stay home, each row keeps its best classes.

use std::ops::Range;

use super::class_losses::ClassLosses;
use super::class_table::{ByClass, ClassTable};
use crate::comm::Comm;
use crate::device::{Device, Pace, Scores, Which, no_numbers};
use crate::error::Result;
use crate::flow::experts_travel::{AHEAD, visit_blocks};
use crate::flow::home_rows::HomeRows;
use crate::flow::own_rows::OwnRows;
use crate::inference::rankings::{
    Positive, Ranked, Visited, count_over_ranks, exact_total, full_ranking, metrics, positives_of,
};
use crate::metrics::{ExactSum, FullRanking, Metrics, TopLists};
use crate::model::Layout;
use crate::model::annotator::Annotator;
use crate::stint::{Length, Stint};

/// Pairs a row gives to GAP and MAP.
pub(crate) const TOP: usize = 20;
/// A wave has at least so many rows for each piece of work that the device does at once.
const ROWS: usize = 128;

/// What is made of the scores of all rows besides.
pub(crate) trait Besides {
    /// Whether it asks `visited` for rankings with ties.
    fn asks_for_ties(&self) -> bool {
        false
    }

    /// One row's scores of the classes from `first_class` on, a block's, and its labels among them.
    fn row(&mut self, first_class: usize, scores: &[f32], labels: &[u32]);

    /// The block of `classes` has visited the rows of all ranks, which make up `ranking`. Every
    /// rank calls it, also where it has failed and given no rows.
    fn visited(&mut self, _comm: &Comm, _classes: &Range<usize>, _ranking: &FullRanking) {}
}

impl Besides for () {
    fn row(&mut self, _first_class: usize, _scores: &[f32], _labels: &[u32]) {}
}

/// What scoring leaves on each rank.
pub(crate) struct Scored {
    /// This rank's rows, with their labels.
    pub(crate) own: OwnRows,
    /// The best classes of each of them.
    pub(crate) top: TopLists,
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
pub fn evaluate<D: Device>(
    comm: &Comm,
    annotator: &Annotator,
    rows: &HomeRows,
    device: &mut D,
) -> Result<Metrics> {
    let scored = score(comm, annotator, rows, device, TOP)?;
    Ok(scored.metrics(comm, annotator))
}

/// As `evaluate`, and the loss of each class summed over all rows.
///
/// # Errors
/// As `evaluate`.
pub(crate) fn evaluate_by_class<D: Device>(
    comm: &Comm,
    annotator: &Annotator,
    rows: &HomeRows,
    device: &mut D,
) -> Result<(Metrics, Vec<f64>)> {
    let shape = &annotator.shape;
    let mut losses = ClassLosses::new(shape.class_count, shape.epsilon);
    let scored = score_with(comm, annotator, rows, device, TOP, &mut losses)?;
    let losses = losses.totals(comm);
    Ok((scored.metrics(comm, annotator), losses))
}

/// As `evaluate`, and what stands behind it class by class, with precision and recall at
/// `threshold`.
///
/// # Errors
/// As `evaluate`.
pub(crate) fn evaluate_with_classes<D: Device>(
    comm: &Comm,
    annotator: &Annotator,
    rows: &HomeRows,
    device: &mut D,
    threshold: f32,
) -> Result<(Metrics, ByClass)> {
    let mut table = ClassTable::new(comm, annotator.shape.class_count, rows.rows(), threshold);
    let scored = score_with(comm, annotator, rows, device, TOP, &mut table)?;
    let found = table.finish(comm);
    Ok((scored.metrics(comm, annotator), found))
}

/// The `top` best classes of every row (more where a row has more labels, for PERR), full MAP,
/// loss.
///
/// # Errors
/// What reading rows gives; exit 75 when told to stop; common to all ranks.
pub(crate) fn score<D: Device>(
    comm: &Comm,
    annotator: &Annotator,
    rows: &HomeRows,
    device: &mut D,
    top: usize,
) -> Result<Scored> {
    score_with(comm, annotator, rows, device, top, &mut ())
}

/// As `score`; `besides` sees all scores, too.
fn score_with<D: Device>(
    comm: &Comm,
    annotator: &Annotator,
    rows: &HomeRows,
    device: &mut D,
    top: usize,
    besides: &mut impl Besides,
) -> Result<Scored> {
    let own = comm.agree(rows.activations(annotator, device))?;
    let most = own.labels.counts().into_iter().max().unwrap_or(0) as usize;
    let mut lists =
        TopLists::new(own.labels.rows(), top.max(most).min(annotator.shape.class_count));
    let scores_max = rows.room.borrow().scores_max;
    let (mut loss, mut precision, mut classes) = (ExactSum::default(), ExactSum::default(), 0);
    let (rest, mut outcome) = (device.rest(&own), Ok(()));
    let stint = stint(annotator, rows.rows(), own.labels.rows());
    visit_blocks(comm, &annotator.experts, AHEAD, |layout, weights, pace| {
        let visitor = device.visitor(layout, weights.clone());
        let (own, rest, outcome, stint) = (&own, &rest, &mut outcome, &stint);
        let mut visit = Visit { layout, visitor, own, rest, device, pace, outcome, stint };
        let ties = besides.asks_for_ties();
        let ranking = visit.pass(comm, (scores_max, ties), |row, scores, row_loss| {
            loss.add(row_loss.max(0.0));
            lists.offer(row, layout.classes.start, scores);
            let labels = own.labels.row_within(row, &layout.classes);
            besides.row(layout.classes.start, scores, labels);
        });
        for found in ranking.average_precisions().iter().flatten() {
            precision.add(*found);
            classes += 1;
        }
        besides.visited(comm, &layout.classes, &ranking);
    });
    drop((rest, stint));
    comm.agree(outcome)?;
    let mean = |sum: ExactSum, count: usize| sum.value() / count.max(1) as f64;
    let visited = Visited {
        map_full: Some(mean(precision, classes)),
        loss: Some(mean(exact_total(comm, loss), rows.rows())),
    };
    Ok(Scored { own, top: lists, visited })
}

/// Scoring as a user sees it: a rank's rows pass one class block after the other.
fn stint(annotator: &Annotator, rows: usize, own: usize) -> Stint {
    let whole = own * annotator.experts.layouts.len();
    let length = Length { amount: (rows as u64, "rows"), ..Length::of(whole as u64, "rows") };
    Stint::begin("scoring", "scoring", length)
}

/// Rows whose scores of a block of `classes` classes are held at once.
pub(crate) fn wave_rows(scores_max: usize, classes: usize, threads: usize) -> usize {
    (scores_max / classes.max(1)).max(ROWS * threads)
}

/// The positives among `rows`, counted from this rank's first, of which there are `scores`
/// [rows][classes].
fn positives(
    own: &OwnRows,
    classes: &Range<usize>,
    rows: impl Iterator<Item = usize>,
    scores: &[f32],
) -> Vec<Positive> {
    let of_rows = rows.zip(scores.chunks_exact(classes.len()));
    let positives = of_rows.flat_map(|(row, scores)| {
        let global = (own.rows.start + row) as u64;
        positives_of(global, own.labels.row(row), classes, scores)
    });
    positives.collect()
}

/// Sees that scores [rows][classes] and losses of rows are numbers.
fn are_numbers(classes: &Range<usize>, found: Scores) -> Result<Scores> {
    // The loop has no early exit, which makes it as fast as memory.
    let none = found.scores.iter().fold(false, |none, score| none | score.is_nan());
    if !none && found.losses.iter().all(|loss| loss.is_finite()) {
        return Ok(found);
    }
    let at = found.scores.iter().position(|score| score.is_nan()).unwrap_or(0);
    Err(no_numbers(classes.start + at % classes.len()))
}

/// One class block on its visit to this rank's rows.
struct Visit<'a, 'rest, 'pace, D: Device> {
    layout: &'a Layout,
    visitor: D::Visitor,
    own: &'a OwnRows,
    rest: &'a D::Rest<'rest>,
    device: &'a mut D,
    pace: &'a mut Pace<'pace>,
    /// The first error. A rank that has failed goes on without rows, since others wait for it.
    outcome: &'a mut Result<()>,
    stint: &'a Stint,
}

impl<D: Device> Visit<'_, '_, '_, D> {
    /// Calls `take` with each row, its scores and its loss, and returns the rankings of the block's
    /// classes over the rows of all ranks, with ties where that is asked for.
    ///
    /// Full MAP asks for the scores of all positives before it counts the rest. Where the rows
    /// don't go through in one wave, rows with labels of the block are scored by themselves first:
    /// a few percent more work.
    fn pass(
        &mut self,
        comm: &Comm,
        (scores_max, ties): (usize, bool),
        mut take: impl FnMut(usize, &[f32], f64),
    ) -> FullRanking {
        let classes = &self.layout.classes;
        if let Err(stopped) = comm.unless_stopped() {
            *self.outcome = Err(stopped);
        }
        // A rank that has failed takes part without rows.
        let rows = if self.outcome.is_ok() { self.own.labels.rows() } else { 0 };
        let wave = wave_rows(scores_max, classes.len(), self.device.at_once());
        let mut whole = (rows <= wave).then(|| self.scores(Which::Run(0, rows)));
        let positives = match &whole {
            Some(found) => positives(self.own, classes, 0..rows, &found.scores),
            None => self.positives_alone(wave),
        };
        let mut ranking = full_ranking(comm, classes.len(), &positives);
        if ties {
            ranking = ranking.with_ties();
        }
        for from in (0..rows).step_by(wave) {
            let next = whole.take();
            let to = (from + wave).min(rows);
            let found = next.unwrap_or_else(|| self.scores(Which::Run(from, to)));
            let of_rows = found.scores.chunks_exact(classes.len()).zip(&found.losses);
            for (row, (scores, loss)) in (from..to).zip(of_rows) {
                take(row, scores, *loss);
                ranking.count((self.own.rows.start + row) as u64, scores);
            }
            self.stint.add((to - from) as u64);
        }
        count_over_ranks(comm, &mut ranking);
        ranking
    }

    /// The positives of all rows: only rows that have any are scored, so many at once.
    fn positives_alone(&mut self, wave: usize) -> Vec<Positive> {
        let (own, classes) = (self.own, &self.layout.classes);
        let some = |row: &usize| !own.labels.row_within(*row, classes).is_empty();
        let rows: Vec<usize> = (0..own.labels.rows()).filter(some).collect();
        let mut found = Vec::new();
        for rows in rows.chunks(wave) {
            let scores = self.scores(Which::Single(rows)).scores;
            found.extend(positives(own, classes, rows.iter().copied(), &scores));
        }
        found
    }

    /// Scores and losses of some rows, or nothing where they couldn't be had.
    fn scores(&mut self, which: Which) -> Scores {
        if self.outcome.is_err() {
            return Scores::default();
        }
        let found = self.device.scores(&self.visitor, self.rest, which, self.pace);
        found.and_then(|found| are_numbers(&self.layout.classes, found)).unwrap_or_else(|error| {
            *self.outcome = Err(error);
            Scores::default()
        })
    }
}
