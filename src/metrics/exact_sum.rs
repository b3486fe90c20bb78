//! A sum whose bits don't depend on the order of its terms.

/// A sum of terms from 0 to 2^47 in fixed point: multiples of 2^-80 in 128 bits. Terms of at least
/// 2^-27 enter exactly, smaller ones are cut at 2^-80; adding them is exact, and so in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExactSum(u128);

const SCALE: f64 = (1u128 << 80) as f64;

impl ExactSum {
    /// Adds a term, which must be a number from 0 to 2^47 (panics otherwise).
    pub(crate) fn add(&mut self, term: f64) {
        assert!((0.0..140_737_488_355_328.0).contains(&term), "term {term}");
        self.0 = self.0.checked_add((term * SCALE) as u128).expect("the sum is below 2^48");
    }

    pub(crate) fn merge(&mut self, other: ExactSum) {
        self.0 = self.0.checked_add(other.0).expect("the sum is below 2^48");
    }

    /// The sum, rounded once.
    pub(crate) fn value(self) -> f64 {
        self.0 as f64 / SCALE
    }

    /// The sum as two words, the lower first, to be sent.
    pub(crate) fn words(self) -> [u64; 2] {
        [self.0 as u64, (self.0 >> 64) as u64]
    }

    pub(crate) fn from_words([low, high]: [u64; 2]) -> ExactSum {
        ExactSum(u128::from(high) << 64 | u128::from(low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_little_is_lost() {
        let terms: Vec<f64> = (1..10_000).map(|n| 1.0 / f64::from(n)).collect();
        let sum = |terms: &mut dyn Iterator<Item = &f64>| {
            let mut sum = ExactSum::default();
            terms.for_each(|term| sum.add(*term));
            ExactSum::from_words(sum.words())
        };
        let forward = sum(&mut terms.iter());
        assert_eq!(forward, sum(&mut terms.iter().rev()));
        assert!((forward.value() - terms.iter().rev().sum::<f64>()).abs() < 1e-12);
    }
}
