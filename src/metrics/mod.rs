//! Metrics, exact (docs/method.md, section 5): accumulate per row or class, merge, finish. Nothing
//! here knows of ranks; sums are exact, so that merging in any order gives the same bits.

mod by_class;
mod class_figures;
mod curve;
mod exact_sum;
mod full;
mod top;

use serde::Serialize;

pub(crate) use by_class::{ClassCount, class_counts, class_precisions};
pub use class_figures::ClassFigures;
pub(crate) use class_figures::{Calibration, CalibrationBin, ClassSums};
pub(crate) use curve::{Curve, ScoreCounts};
pub(crate) use exact_sum::ExactSum;
pub(crate) use full::FullRanking;
pub use top::{TopList, TopLists};

use crate::labels::Labels;

/// What an evaluation says of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    pub gap_at_20: f64,
    pub map_at_20: f64,
    /// Mean average precision over all scores; not known from lists of the best alone.
    pub map_full: Option<f64>,
    /// Classes with at least one positive.
    pub map_classes: u64,
    pub hit_at_1: f64,
    pub hit_at_5: f64,
    pub perr: f64,
    /// PERR without the videos that have no labels.
    pub perr_labelled: f64,
    /// Mean cross entropy; not known from lists of the best alone.
    pub loss: Option<f64>,
    pub videos: u64,
    pub positives: u64,
}

/// Sums over rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RowSums {
    pub(crate) videos: u64,
    pub(crate) labelled: u64,
    pub(crate) positives: u64,
    pub(crate) hits_at_1: u64,
    pub(crate) hits_at_5: u64,
    pub(crate) perr: ExactSum,
}

impl RowSums {
    /// Adds the rows of `top`, whose labels are `labels`. PERR looks at a row's n_i best, n_i its
    /// number of labels: lists must be that long to make it exact.
    pub(crate) fn of(top: &TopLists, labels: &Labels) -> RowSums {
        let mut sums = RowSums::default();
        for row in 0..labels.rows() {
            let (own, best) = (labels.row(row), top.row(row));
            let hit = |entry: &(f32, u32)| own.binary_search(&entry.1).is_ok();
            sums.videos += 1;
            sums.positives += own.len() as u64;
            sums.hits_at_1 += u64::from(best.iter().take(1).any(hit));
            sums.hits_at_5 += u64::from(best.iter().take(5).any(hit));
            if !own.is_empty() {
                sums.labelled += 1;
                let counts = |entry: &&(f32, u32)| hit(entry) && entry.0 > 0.0;
                let hits = best.iter().take(own.len()).filter(counts).count();
                sums.perr.add(hits as f64 / own.len() as f64);
            }
        }
        sums
    }

    /// The sums as numbers to be added over ranks.
    pub(crate) fn parts(&self) -> [u64; 5] {
        [self.videos, self.labelled, self.positives, self.hits_at_1, self.hits_at_5]
    }

    pub(crate) fn from_parts(parts: [u64; 5], perr: ExactSum) -> RowSums {
        let [videos, labelled, positives, hits_at_1, hits_at_5] = parts;
        RowSums { videos, labelled, positives, hits_at_1, hits_at_5, perr }
    }
}

/// A share of a number that may be 0.
pub(crate) fn share(part: f64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part / of as f64 }
}

/// A scored pair in the order of the metrics: descending score, then class, then video, the later
/// one first (which gives YouTube-8M's own evaluator's MAP on real predictions to the last digit;
/// the other way round it differs in the eighth). Compares as (score, class), (row, hit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Pair {
    score_class: u64,
    row_hit: u64,
}

impl Pair {
    pub(crate) fn new(score: f32, class: u32, row: u64, hit: bool) -> Pair {
        let score_class = u64::from(descending(score)) << 32 | u64::from(class);
        Pair { score_class, row_hit: later_first(row) << 1 | u64::from(hit) }
    }

    pub(crate) fn class(&self) -> u32 {
        self.score_class as u32
    }

    pub(crate) fn hit(&self) -> bool {
        self.row_hit & 1 == 1
    }
}

/// A number that falls as the row's rises. Rows are below 2^62.
fn later_first(row: u64) -> u64 {
    (1 << 62) - row
}

/// Bits that sort ascending where scores descend. -0 is 0.
fn descending(score: f32) -> u32 {
    assert!(!score.is_nan(), "a score is a number");
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !ascending
}

/// The score that `descending` has made these bits of.
fn score_of(descending: u32) -> f32 {
    let ascending = !descending;
    f32::from_bits(if ascending >> 31 == 1 { ascending & !(1 << 31) } else { !ascending })
}

/// Average precision without interpolation: the sum over hits of (hits so far) / (position), for
/// the positions of hits among all pairs, both counted on from what came before.
pub(crate) fn precision_terms(pairs: &[Pair], positions: u64, hits: u64) -> ExactSum {
    let (mut sum, mut hits) = (ExactSum::default(), hits);
    for (index, pair) in pairs.iter().enumerate() {
        if pair.hit() {
            hits += 1;
            sum.add(hits as f64 / (positions + index as u64 + 1) as f64);
        }
    }
    sum
}
