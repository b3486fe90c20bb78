//! What stand-ins send, made once: rows of activations with their labels, and weights.

use std::collections::BTreeSet;

use super::stand_ins::seal;
use crate::comm::AnyRow;
use crate::job::PlanJob;
use crate::labels::Labels;
use crate::model::Matrix;
use crate::rng::{Purpose, Stream};

/// Rows that are made; they stand for all.
const ROWS: usize = 4096;
/// Numbers of weights that are made.
const WEIGHTS: usize = 1 << 16;
/// Draws of a label, at most.
const DRAWS: usize = 16;
/// What all is drawn with.
const SEED: u64 = 7;

/// Rows that stand for those of all ranks.
pub struct Pool {
    /// `[rows][d]`, none below 0 and each of length 1.
    pub(super) activations: Matrix,
    pub(super) labels: Labels,
    /// Of each class, among all rows that are planned.
    pub(super) positives: Vec<u64>,
    weights: Vec<f32>,
}

impl Pool {
    /// Rows of activations `width` wide with labels as planned.
    pub fn new(plan: &PlanJob, width: usize) -> Pool {
        let mut activations = Matrix::zeros(ROWS, width);
        for row in 0..ROWS {
            let mut stream = Stream::new(SEED, Purpose::PlantedRows, row as u64);
            let numbers = &mut activations.row_mut(row)[..width];
            numbers.iter_mut().for_each(|number| *number = stream.normal().max(0.0));
            let length = numbers.iter().map(|number| number * number).sum::<f32>().sqrt();
            numbers.iter_mut().for_each(|number| *number /= length.max(f32::MIN_POSITIVE));
        }
        let mut stream = Stream::new(SEED, Purpose::Experts, 0);
        let weights = (0..WEIGHTS).map(|_| 0.02 * stream.normal()).collect();
        Pool { activations, labels: labels(plan), positives: positives(plan), weights }
    }

    /// The same where it is known how many positives each class has.
    pub(crate) fn counted(self, positives: Vec<u64>) -> Pool {
        Pool { positives, ..self }
    }

    /// Fills `bytes` with weights and their seal.
    pub(super) fn weights(&self, bytes: &mut [u8], seal_bytes: usize) {
        fill(bytes, bytemuck::cast_slice(&self.weights));
        seal(bytes, seal_bytes);
    }

    /// The labels of so many rows as they travel: for each row their number, and those.
    pub(super) fn label_words(&self, rows: usize) -> Vec<u32> {
        let rows = (0..rows).map(|row| self.labels.row(row % ROWS));
        rows.flat_map(|own| std::iter::once(own.len() as u32).chain(own.iter().copied())).collect()
    }
}

impl AnyRow for Pool {
    fn row(&self, row: usize) -> (&[f32], &[u32]) {
        (self.activations.row(row % ROWS), self.labels.row(row % ROWS))
    }
}

fn fill(bytes: &mut [u8], with: &[u8]) {
    bytes.chunks_mut(with.len()).for_each(|part| part.copy_from_slice(&with[..part.len()]));
}

/// Positives of each class among the rows that are planned, where only `plan.zipf` says them.
fn positives(plan: &PlanJob) -> Vec<u64> {
    let labels = plan.rows as f64 * plan.labels_per_row;
    let positives = shares(plan).into_iter().map(|share| (share * labels) as u64);
    positives.map(|count| count.min(plan.rows as u64)).collect()
}

/// How many positives of all each class has: 1 / k^zipf of its share.
fn shares(plan: &PlanJob) -> Vec<f64> {
    let shares: Vec<f64> =
        (1..=plan.classes).map(|class| (class as f64).powf(-plan.zipf)).collect();
    let sum: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

/// Labels of the pool's rows: as many in all as planned, drawn by class.
fn labels(plan: &PlanJob) -> Labels {
    let mut sum = 0.0;
    let ends: Vec<f64> = shares(plan)
        .into_iter()
        .map(|share| {
            sum += share;
            sum
        })
        .collect();
    let most = plan.classes;
    let mut labels = Labels::new();
    for row in 0..ROWS {
        let mut stream = Stream::new(SEED, Purpose::PlantedModel, row as u64);
        let until = |rows: usize| (rows as f64 * plan.labels_per_row).round() as usize;
        let count = (until(row + 1) - until(row)).min(most);
        let mut own = BTreeSet::new();
        for _ in 0..DRAWS * count {
            if own.len() < count {
                let at = f64::from(stream.uniform()) * sum;
                own.insert(ends.partition_point(|end| *end <= at).min(most - 1) as u32);
            }
        }
        // Few classes have nearly all positives.
        let others = (0..most as u32).filter(|class| !own.contains(class));
        let others: Vec<u32> = others.take(count - own.len()).collect();
        own.extend(others);
        labels.push(&own.into_iter().collect::<Vec<_>>());
    }
    labels
}
