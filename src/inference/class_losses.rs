//! The loss of every class, from the scores of rows.

use super::rankings::exact_totals;
use super::scores::Besides;
use crate::comm::Comm;
use crate::device::host_arithmetic::log;
use crate::metrics::ExactSum;

/// Loss of each class summed over rows, in any order.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClassLosses {
    sums: Vec<ExactSum>,
    /// eps of the loss.
    epsilon: f32,
}

impl ClassLosses {
    pub(crate) fn new(classes: usize, epsilon: f32) -> ClassLosses {
        ClassLosses { sums: vec![ExactSum::default(); classes], epsilon }
    }

    /// Adds a row with `scores` of the classes from `first_class` on, of which it has `labels`.
    pub(crate) fn add(&mut self, first_class: usize, scores: &[f32], labels: &[u32]) {
        let mut labels = labels.iter().map(|label| *label as usize - first_class).peekable();
        for (index, score) in scores.iter().enumerate() {
            let truth = match labels.next_if_eq(&index) {
                Some(_) => *score,
                None => 1.0 - score,
            };
            let loss = -log((truth + self.epsilon).max(f32::MIN_POSITIVE));
            self.sums[first_class + index].add(f64::from(loss.max(0.0)));
        }
    }

    /// The loss of each class over the rows of all ranks.
    pub(crate) fn totals(&self, comm: &Comm) -> Vec<f64> {
        exact_totals(comm, &self.sums).into_iter().map(ExactSum::value).collect()
    }
}

impl Besides for ClassLosses {
    fn row(&mut self, first_class: usize, scores: &[f32], labels: &[u32]) {
        self.add(first_class, scores, labels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comm::run_threads;

    #[test]
    fn each_class_has_the_loss_of_its_rows_over_ranks() {
        let found = run_threads(2, |comm| {
            let mut losses = ClassLosses::new(4, 0.0);
            for row in (comm.rank()..40).step_by(2) {
                let labels: &[u32] = if row % 4 == 0 { &[2, 3] } else { &[] };
                losses.add(1, &[0.25, 0.5, 0.9], labels);
            }
            Ok(losses.totals(comm))
        });
        let found = found.unwrap();
        assert_eq!(found[0], found[1]);
        let expected =
            [0.0, -40.0 * 0.75f64.ln(), 40.0 * 2f64.ln(), -10.0 * 0.9f64.ln() - 30.0 * 0.1f64.ln()];
        for (found, expected) in found[0].iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5 * expected.max(1.0), "{found} {expected}");
        }
    }
}
