//! Average precision over all scores by counting, without ever holding all scores.
//!
//! For each class the positives are sorted as the ranking is (descending score, then row, the later
//! first). Every row that isn't a positive falls before some of them; counting where gives each
//! positive's position.

use super::{descending, later_first, score_of};

/// What the ranking of one class says of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OfClass {
    /// The sum over its positives of (positives so far) / (rows so far).
    pub(crate) precisions: f64,
    /// The best F1, and the score from which on rows must count as predicted for it.
    pub(crate) best_f1: Option<(f64, f32)>,
}

/// The rankings of a run of classes.
pub(crate) struct FullRanking {
    /// For each class its positives: (descending score, row as `later_first` has it), sorted.
    positives: Vec<Vec<(u32, u64)>>,
    /// Where each class's counters begin.
    starts: Vec<usize>,
    /// For each positive the rows that come after the one before it and before it, positives too.
    /// With ties, behind all of these, for each positive the rows of the same score that come after
    /// it and before the next.
    counters: Vec<u64>,
    ties: bool,
}

impl FullRanking {
    /// Rankings of `classes` classes, given all their positives as (class, score, row), in any
    /// order.
    pub(crate) fn new(classes: usize, all: impl Iterator<Item = (usize, f32, u64)>) -> FullRanking {
        let mut positives = vec![Vec::new(); classes];
        all.for_each(|(class, score, row)| {
            positives[class].push((descending(score), later_first(row)))
        });
        let mut starts = vec![0];
        for class in &mut positives {
            class.sort_unstable();
            starts.push(starts[starts.len() - 1] + class.len());
        }
        let counters = vec![0; starts[classes]];
        FullRanking { positives, starts, counters, ties: false }
    }

    /// The same, to count what thresholds ask for, too: before any row is counted.
    pub(crate) fn with_ties(mut self) -> FullRanking {
        self.counters = vec![0; 2 * self.counters.len()];
        self.ties = true;
        self
    }

    /// Counts one row's scores of all the classes.
    pub(crate) fn count(&mut self, row: u64, scores: &[f32]) {
        for (class, score) in scores.iter().enumerate().take(self.positives.len()) {
            self.count_one(row, class, *score);
        }
    }

    /// Counts one row's score of one class.
    #[inline]
    pub(crate) fn count_one(&mut self, row: u64, class: usize, score: f32) {
        let positives = &self.positives[class];
        if positives.is_empty() {
            return;
        }
        let own = (descending(score), later_first(row));
        let at = positives.partition_point(|positive| *positive < own);
        let counter = self.starts[class] + at;
        if at < positives.len() {
            self.counters[counter] += 1;
        }
        if self.ties && at > 0 && positives[at - 1].0 == own.0 {
            let all = self.counters.len() / 2;
            self.counters[all + counter - 1] += 1;
        }
    }

    /// The counters, to be added over all that count.
    pub(crate) fn counters(&mut self) -> &mut [u64] {
        &mut self.counters
    }

    /// The average precision of each class, `None` where it has no positive.
    pub(crate) fn average_precisions(&self) -> Vec<Option<f64>> {
        let class = |class: usize| {
            let counters = &self.counters[self.starts[class]..self.starts[class + 1]];
            let (mut position, mut sum) = (0, 0.0);
            for (index, count) in counters.iter().enumerate() {
                position += count;
                sum += (index + 1) as f64 / position as f64;
            }
            (!counters.is_empty()).then(|| sum / counters.len() as f64)
        };
        (0..self.positives.len()).map(class).collect()
    }

    /// What a ranking with ties says of `class`, which has so many positives in all: some may have
    /// no score.
    pub(crate) fn of_class(&self, class: usize, positives: u64) -> OfClass {
        assert!(self.ties, "a ranking with ties");
        let (run, all) = (self.starts[class]..self.starts[class + 1], self.counters.len() / 2);
        let own = &self.positives[class];
        // Hits, rows predicted and, for F1 = 2 hits / (rows predicted + positives), the score.
        let mut best: Option<(u64, u64, u32)> = None;
        let (mut position, mut precisions) = (0, 0.0);
        for (index, counter) in run.enumerate() {
            let hits = index as u64 + 1;
            position += self.counters[counter];
            precisions += hits as f64 / position as f64;
            let score = own[index].0;
            if own.get(index + 1).is_some_and(|next| next.0 == score) {
                continue;
            }
            // Rows of other scores than a positive's only take from F1.
            let predicted = position + self.counters[all + counter];
            let ratio = |hits: u64, others: u64| u128::from(hits) * u128::from(others + positives);
            if best.is_none_or(|best| ratio(hits, best.1) > ratio(best.0, predicted)) {
                best = Some((hits, predicted, score));
            }
        }
        let best_f1 = best.map(|(hits, predicted, score)| {
            (2.0 * hits as f64 / (predicted + positives) as f64, score_of(score))
        });
        OfClass { precisions, best_f1 }
    }
}
