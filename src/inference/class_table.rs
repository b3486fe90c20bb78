//! Figures of every class over all ranks: of a model, while its class blocks visit the rows, or of
//! lists of predictions.

use std::ops::Range;

use super::rankings::{Positive, Ranked, count_over_ranks, full_ranking};
use super::scores::Besides;
use crate::comm::Comm;
use crate::metrics::{
    Calibration, CalibrationBin, ClassFigures, ClassSums, Curve, FullRanking, ScoreCounts,
};

/// Classes whose sums ranks tell each other at once: 352 bytes each.
const CLASSES_AT_ONCE: usize = 1 << 14;

/// The figures of a model's classes, block by block.
pub(crate) struct ClassTable {
    threshold: f32,
    /// Of all ranks.
    rows: u64,
    /// Of the classes of the block that visits.
    sums: Vec<ClassSums>,
    /// Of all scores of this rank's rows.
    scores: ScoreCounts,
    calibration: Calibration,
    /// On rank 0.
    figures: Vec<ClassFigures>,
}

/// What a model's scores come to, class by class and all together.
#[derive(Clone, Debug)]
pub(crate) struct ByClass {
    /// Of each class, on rank 0.
    pub(crate) figures: Vec<ClassFigures>,
    pub(crate) curve: Curve,
    pub(crate) calibration: Vec<CalibrationBin>,
}

impl ClassTable {
    /// A table of `classes` classes over `rows` rows, with precision and recall at `threshold`.
    pub(crate) fn new(comm: &Comm, classes: usize, rows: usize, threshold: f32) -> ClassTable {
        let figures = vec![ClassFigures::default(); if comm.is_root() { classes } else { 0 }];
        ClassTable {
            threshold,
            rows: rows as u64,
            sums: Vec::new(),
            scores: ScoreCounts::default(),
            calibration: Calibration::default(),
            figures,
        }
    }

    /// What all scores come to. Collective.
    pub(crate) fn finish(mut self, comm: &Comm) -> ByClass {
        comm.sum(self.scores.counters());
        ByClass {
            figures: self.figures,
            curve: self.scores.curve(),
            calibration: self.calibration.bins(),
        }
    }
}

impl Besides for ClassTable {
    fn asks_for_ties(&self) -> bool {
        true
    }

    fn row(&mut self, first_class: usize, scores: &[f32], labels: &[u32]) {
        self.sums.resize(scores.len(), ClassSums::default());
        let mut labels = labels.iter().map(|label| *label as usize - first_class).peekable();
        for (index, (sums, score)) in self.sums.iter_mut().zip(scores).enumerate() {
            let positive = labels.next_if_eq(&index).is_some();
            sums.add(*score, positive, self.threshold);
            self.scores.add(*score, positive);
        }
    }

    fn visited(&mut self, comm: &Comm, classes: &Range<usize>, ranking: &FullRanking) {
        let mut sums = std::mem::take(&mut self.sums);
        // A rank without rows has seen no scores.
        sums.resize(classes.len(), ClassSums::default());
        sum_over_ranks(comm, &mut sums);
        sums.iter().for_each(|class| self.calibration.add(class));
        if comm.is_root() {
            let found = figures(&sums, self.rows, ranking);
            self.figures[classes.clone()].clone_from_slice(&found);
        }
    }
}

/// The figures of each class of all ranks' lists: pairs that no list has count as predicted below
/// any threshold, with the score 0. Collective.
pub fn figures_of_lists(
    comm: &Comm,
    ranked: &Ranked,
    class_count: usize,
    threshold: f32,
) -> Vec<ClassFigures> {
    let (top, labels) = (ranked.top, ranked.labels);
    let mut sums = vec![ClassSums::default(); class_count];
    let mut positives: Vec<Positive> = Vec::new();
    for row in 0..top.rows() {
        let (own, number) = (labels.row(row), ranked.first_row + row as u64);
        let mut listed = Vec::new();
        for (score, class) in top.row(row) {
            let hit = own.binary_search(class).is_ok();
            sums[*class as usize].add(*score, hit, threshold);
            if hit {
                listed.push(*class);
                positives.push([u64::from(*class), u64::from(score.to_bits()), number]);
            }
        }
        listed.sort_unstable();
        let without = own.iter().filter(|class| listed.binary_search(class).is_err());
        without.for_each(|class| sums[*class as usize].add_without_score());
    }
    let mut ranking = full_ranking(comm, class_count, &positives).with_ties();
    for row in 0..top.rows() {
        for (score, class) in top.row(row) {
            ranking.count_one(ranked.first_row + row as u64, *class as usize, *score);
        }
    }
    count_over_ranks(comm, &mut ranking);
    let mut rows = [top.rows() as u64];
    comm.sum(&mut rows);
    sum_over_ranks(comm, &mut sums);
    figures(&sums, rows[0], &ranking)
}

fn sum_over_ranks(comm: &Comm, sums: &mut [ClassSums]) {
    for some in sums.chunks_mut(CLASSES_AT_ONCE) {
        comm.sum(bytemuck::cast_slice_mut(some));
    }
}

/// What the classes of `ranking` come to, of which all ranks together have counted `sums`.
fn figures(sums: &[ClassSums], rows: u64, ranking: &FullRanking) -> Vec<ClassFigures> {
    let of_class = |(class, sums): (usize, &ClassSums)| {
        sums.figures(rows, ranking.of_class(class, sums.positives()))
    };
    sums.iter().enumerate().map(of_class).collect()
}
