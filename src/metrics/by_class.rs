//! Average precision of every class at once. The order of a class's pairs is their order among all
//! pairs, so one walk through all of them serves all classes, and none is sorted by itself.

use super::{ExactSum, Pair};
use crate::labels::Labels;

/// What one class has among some pairs and rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct ClassCount {
    pub(crate) pairs: u64,
    pub(crate) hits: u64,
    /// Rows that have the label.
    pub(crate) positives: u64,
}

impl ClassCount {
    pub(crate) fn add(&mut self, other: ClassCount) {
        self.pairs += other.pairs;
        self.hits += other.hits;
        self.positives += other.positives;
    }

    fn count(&mut self, pair: &Pair) {
        self.pairs += 1;
        self.hits += u64::from(pair.hit());
    }
}

/// The count of each class among `pairs` and `labels`.
pub(crate) fn class_counts(pairs: &[Pair], labels: &Labels, class_count: usize) -> Vec<ClassCount> {
    let mut counts = vec![ClassCount::default(); class_count];
    pairs.iter().for_each(|pair| counts[pair.class() as usize].count(pair));
    labels.classes().iter().for_each(|class| counts[*class as usize].positives += 1);
    counts
}

/// For each class the sum over its hits among `pairs`, which are in order, of (hits so far) /
/// (pairs so far), both counted on from what came `before`.
pub(crate) fn class_precisions(pairs: &[Pair], mut before: Vec<ClassCount>) -> Vec<ExactSum> {
    let mut sums = vec![ExactSum::default(); before.len()];
    for pair in pairs {
        let class = pair.class() as usize;
        let so_far = &mut before[class];
        so_far.count(pair);
        if pair.hit() {
            sums[class].add(so_far.hits as f64 / so_far.pairs as f64);
        }
    }
    sums
}
