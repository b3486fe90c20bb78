//! The loss of every class, from the scores of rows.

use crate::metrics::ExactSum;
use crate::model::vector::log;

/// Loss of each class summed over rows, in any order.
#[derive(Clone, Debug, Default)]
pub struct ClassLosses {
    sums: Vec<ExactSum>,
    /// eps of the loss.
    epsilon: f32,
}

impl ClassLosses {
    pub fn new(classes: usize, epsilon: f32) -> ClassLosses {
        ClassLosses { sums: vec![ExactSum::default(); classes], epsilon }
    }

    /// Adds a row with `scores` of the classes from `first_class` on, of which it has `labels`.
    pub fn add(&mut self, first_class: usize, scores: &[f32], labels: &[u32]) {
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

    /// The sums in four words of 32 bits each, lowest first, whose sums over ranks `from_words`
    /// takes.
    pub fn words(&self) -> Vec<u64> {
        let halves = |word: u64| [word & 0xffff_ffff, word >> 32];
        self.sums.iter().flat_map(|sum| sum.words()).flat_map(halves).collect()
    }

    /// The sum of each class, given sums of `words`.
    pub fn values(words: &[u64]) -> Vec<f64> {
        let value = |words: &[u64]| {
            let place = |total: u128, word: &u64| (total << 32) + u128::from(*word);
            let total = words.iter().rev().fold(0, place);
            ExactSum::from_words([total as u64, (total >> 64) as u64]).value()
        };
        words.chunks_exact(4).map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_the_loss_of_its_rows_over_ranks() {
        let mut ranks = [ClassLosses::new(4, 0.0), ClassLosses::new(4, 0.0)];
        for row in 0..40 {
            let labels: &[u32] = if row % 4 == 0 { &[2, 3] } else { &[] };
            ranks[row % 2].add(1, &[0.25, 0.5, 0.9], labels);
        }
        let words: Vec<u64> =
            ranks[0].words().iter().zip(ranks[1].words()).map(|(a, b)| a + b).collect();
        let found = ClassLosses::values(&words);
        let expected =
            [0.0, -40.0 * 0.75f64.ln(), 40.0 * 2f64.ln(), -10.0 * 0.9f64.ln() - 30.0 * 0.1f64.ln()];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5 * expected.max(1.0), "{found} {expected}");
        }
    }
}
