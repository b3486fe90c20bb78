//! The rows of a mini-batch that a class block learns from, gathered.

use std::ops::Range;

use crate::device::Negatives;
use crate::kernel::mixture::Passing;
use crate::labels::Labels;
use crate::model::{Layout, Matrix};

/// Rows of a mini-batch that a class block learns from.
pub(crate) struct Drawn {
    /// As high as the largest mini-batch so far.
    activations: Matrix,
    labels: Labels,
    weights: Vec<f32>,
}

impl Drawn {
    /// Room for activations `width` wide.
    pub(crate) fn new(width: usize) -> Drawn {
        Drawn { activations: Matrix::zeros(0, width), labels: Labels::new(), weights: Vec::new() }
    }

    pub(crate) fn rows(&self) -> usize {
        self.weights.len()
    }

    pub(crate) fn passing(&self) -> Passing<'_> {
        Passing { activations: &self.activations, labels: &self.labels, weights: &self.weights }
    }

    /// Gathers those rows of `slices` of the rows passing by from which the block learns; gives
    /// their places here, slice by slice. The first of the rows passing by is at `position` of the
    /// epoch.
    pub(crate) fn draw(
        &mut self,
        negatives: Negatives,
        layout: &Layout,
        passing: Passing,
        slices: &[Range<usize>],
        position: usize,
    ) -> Vec<Range<usize>> {
        let rows = slices.iter().map(Range::len).sum();
        self.activations.resize(self.activations.rows().max(rows));
        self.labels.clear();
        self.weights.clear();
        let mut places = Vec::with_capacity(slices.len());
        for slice in slices {
            let from = self.rows();
            for row in slice.clone() {
                let labels = passing.labels.row_within(row, &layout.classes);
                let Some(weight) = negatives.weight(layout, labels, position + row) else {
                    continue;
                };
                let place = self.rows();
                self.activations.row_mut(place).copy_from_slice(passing.activations.row(row));
                self.labels.push(labels);
                self.weights.push(weight);
            }
            places.push(from..self.rows());
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec::Dummy;

    #[test]
    fn positives_are_kept_and_negatives_weigh_what_was_left_out() {
        let layout = Layout::new(16..32, vec![1; 16], Dummy::Learned, 2);
        let mut labels = Labels::new();
        (0..4000).for_each(|row| labels.push(if row % 10 == 0 { &[3, 17] } else { &[40] }));
        let activations = Matrix::zeros(4000, 2);
        let passing = Passing { activations: &activations, labels: &labels, weights: &[] };
        let negatives = Negatives { share: 0.25, seed: 5, first: 100, class_count: 48 };
        let mut drawn = Drawn::new(2);
        let one = |rows: Range<usize>| vec![rows];
        let places = drawn.draw(negatives, &layout, passing, &one(0..4000), 0);
        assert_eq!(places, one(0..drawn.rows()));
        let positives = drawn.weights.iter().filter(|weight| **weight == 1.0).count();
        assert_eq!((positives, drawn.labels.positives()), (400, 400));
        let weight: f32 = drawn.weights.iter().sum();
        assert!((weight - 4000.0).abs() < 200.0, "{weight}");
        let whole = drawn.weights.clone();
        drawn.draw(negatives, &layout, passing, &one(2000..4000), 0);
        assert_eq!(drawn.weights, whole[whole.len() - drawn.rows()..], "whatever the mini-batches");
        let later = drawn.rows();
        let slices = drawn.draw(negatives, &layout, passing, &[0..2000, 2000..2000, 2000..4000], 0);
        let [first, all] = [whole.len() - later, whole.len()];
        assert_eq!(slices, [0..first, first..first, first..all]);
        assert_eq!(drawn.weights, whole, "whatever the slices");
    }
}
