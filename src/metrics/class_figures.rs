//! What is said of single classes (docs/method.md, section 5): average precision, precision and
//! recall from a threshold on, the best F1, calibration. Sums are whole numbers, which ranks may
//! add in any order.

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

use super::full::OfClass;

/// Bins of equal width that scores from 0 to 1 fall into.
const BINS: usize = 10;
/// A probability may be rounded to a little more than 1.
const PROBABILITY_MAX: f32 = 1.0 + 1e-5;
/// Units of a score's two words.
const TWO_TO_32: f64 = (1u64 << 32) as f64;

/// What one class comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassFigures {
    /// Rows that have the label.
    pub positives: u64,
    /// Of the class's ranking; `None` without positives, as recall and F1.
    pub average_precision: Option<f64>,
    /// Of the rows whose score is at least the threshold; `None` where there are none.
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    /// The best F1 of all thresholds, and the highest one that gives it: none where no positive has
    /// a score.
    pub best_f1: Option<f64>,
    pub best_f1_threshold: Option<f32>,
    /// Mean score; `None` where scores are no probabilities, as the error of calibration.
    pub mean_score: Option<f64>,
    /// Share of the rows that have the label.
    pub positive_rate: f64,
    /// Expected calibration error over ten bins of equal width.
    pub calibration_error: Option<f64>,
}

/// Rows whose scores fall into one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Bin {
    rows: u64,
    positives: u64,
    /// The sum of their scores in units of 2^-32, and of what is below that in units of 2^-64: of
    /// fewer than 2^31 rows neither is too large.
    scores: [u64; 2],
}

impl Bin {
    fn add(&mut self, score: f32, positive: bool) {
        let scaled = f64::from(score) * TWO_TO_32;
        let whole = scaled.floor();
        self.rows += 1;
        self.positives += u64::from(positive);
        self.scores[0] += whole as u64;
        self.scores[1] += ((scaled - whole) * TWO_TO_32) as u64;
    }

    /// The sum of the scores in units of 2^-64.
    fn sum(&self) -> u128 {
        (u128::from(self.scores[0]) << 32) + u128::from(self.scores[1])
    }
}

/// What is counted of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ClassSums {
    positives: u64,
    /// Rows whose score is at least the threshold, and those of them that have the label.
    predicted: u64,
    hits: u64,
    /// Scores that are no probabilities.
    outside: u64,
    bins: [Bin; BINS],
}

impl ClassSums {
    /// Adds a row's score of the class, and whether it has the label.
    #[inline]
    pub(crate) fn add(&mut self, score: f32, positive: bool, threshold: f32) {
        self.positives += u64::from(positive);
        if score >= threshold {
            self.predicted += 1;
            self.hits += u64::from(positive);
        }
        if !(0.0..=PROBABILITY_MAX).contains(&score) {
            self.outside += 1;
            return;
        }
        let score = score.min(1.0);
        // In float64, where no score of a bin is rounded into the next.
        let bin = (f64::from(score) * BINS as f64) as usize;
        self.bins[bin.min(BINS - 1)].add(score, positive);
    }

    /// Rows that have the label.
    pub(crate) fn positives(&self) -> u64 {
        self.positives
    }

    /// Adds a row that has the label and no score of the class.
    pub(crate) fn add_without_score(&mut self) {
        self.positives += 1;
    }

    /// What the class comes to among `rows` rows of all ranks. Rows without a score of the class
    /// count as 0.
    pub(crate) fn figures(&self, rows: u64, ranking: OfClass) -> ClassFigures {
        let ratio = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
        let of_positives = |value: f64| (self.positives > 0).then_some(value);
        let calibrated = rows > 0 && self.outside == 0;
        ClassFigures {
            positives: self.positives,
            average_precision: of_positives(ranking.precisions / self.positives as f64),
            precision: ratio(self.hits, self.predicted),
            recall: ratio(self.hits, self.positives),
            best_f1: of_positives(ranking.best_f1.map_or(0.0, |best| best.0)),
            best_f1_threshold: ranking.best_f1.map(|best| best.1),
            mean_score: calibrated.then(|| self.mean_score(rows)),
            positive_rate: ratio(self.positives, rows).unwrap_or(0.0),
            calibration_error: calibrated.then(|| self.calibration_error(rows)),
        }
    }

    fn mean_score(&self, rows: u64) -> f64 {
        let sum: u128 = self.bins.iter().map(Bin::sum).sum();
        sum as f64 / (TWO_TO_32 * TWO_TO_32) / rows as f64
    }

    /// The sum over bins of |sum of scores - positives|, by the number of rows.
    fn calibration_error(&self, rows: u64) -> f64 {
        let mut bins = self.bins;
        let known: u64 = bins.iter().map(|bin| bin.positives).sum();
        bins[0].positives += self.positives - known;
        let apart = |bin: &Bin| bin.sum().abs_diff(u128::from(bin.positives) << 64);
        let apart: u128 = bins.iter().map(apart).sum();
        apart as f64 / (TWO_TO_32 * TWO_TO_32) / rows as f64
    }
}

/// How scores of all classes and what is true of them go together, in bins of equal width.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calibration {
    /// Pairs of a row and a class, those that have the label, and the sum of their scores in units
    /// of 2^-64.
    bins: [(u64, u64, u128); BINS],
}

/// What one bin of scores comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CalibrationBin {
    /// Pairs of a row and a class.
    pub(crate) pairs: u64,
    /// Those whose row has the label.
    pub(crate) positives: u64,
    /// Mean score; `None` without pairs.
    pub(crate) mean_score: Option<f64>,
}

impl Calibration {
    /// Adds what is counted of one class, over all ranks.
    pub(crate) fn add(&mut self, class: &ClassSums) {
        for (total, bin) in self.bins.iter_mut().zip(&class.bins) {
            total.0 += bin.rows;
            total.1 += bin.positives;
            total.2 += bin.sum();
        }
    }

    /// The bins, of rising scores.
    pub(crate) fn bins(&self) -> Vec<CalibrationBin> {
        let bin = |(pairs, positives, sum): &(u64, u64, u128)| CalibrationBin {
            pairs: *pairs,
            positives: *positives,
            mean_score: (*pairs > 0).then(|| *sum as f64 / (TWO_TO_32 * TWO_TO_32) / *pairs as f64),
        };
        self.bins.iter().map(bin).collect()
    }
}
