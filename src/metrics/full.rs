//! Average precision over all scores by counting, without ever holding all scores.
//!
//! For each class the positives are sorted as the ranking is (descending score, then row, the later
//! first). Every row that isn't a positive falls before some of them; counting where gives each
//! positive's position.

use super::{descending, later_first};

/// The rankings of a run of classes.
pub(crate) struct FullRanking {
    /// For each class its positives: (descending score, row as `later_first` has it), sorted.
    positives: Vec<Vec<(u32, u64)>>,
    /// Where each class's counters begin.
    starts: Vec<usize>,
    /// For each positive the rows that come after the one before it and before it, positives too.
    counters: Vec<u64>,
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
        FullRanking { positives, starts, counters }
    }

    /// Counts one row's scores of all the classes.
    pub(crate) fn count(&mut self, row: u64, scores: &[f32]) {
        for (class, (positives, score)) in self.positives.iter().zip(scores).enumerate() {
            if positives.is_empty() {
                continue;
            }
            let own = (descending(*score), later_first(row));
            let at = positives.partition_point(|positive| *positive < own);
            if at < positives.len() {
                self.counters[self.starts[class] + at] += 1;
            }
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
}
