//! Precision against recall over all pairs of rows and classes, by counting: scores fall into bins
//! that are narrow near 0 and near 1, where those of models are. Counts are whole numbers, which
//! ranks may add in any order.

use serde::{Deserialize, Serialize};

/// Bits of a number's fraction that bins don't tell apart: 16 bins for each power of two.
const CUT: u32 = 19;
/// The bin of 2^-24, below which scores are one bin, among all numbers.
const FIRST: u32 = ((127 - 24) << 23) >> CUT;
/// Bins below one half; as many are above.
const HALF: u32 = ((126 << 23) >> CUT) - FIRST;

/// Counts of scores, (all, those of rows that have the label), in bins of rising scores.
#[derive(Clone, Debug)]
pub(crate) struct ScoreCounts(Vec<[u64; 2]>);

/// Precision and recall at falling thresholds, as the numbers that they are made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curve {
    /// The least score that counts as predicted.
    pub(crate) thresholds: Vec<f64>,
    /// Pairs with such a score, and those of them that are hits.
    pub(crate) predicted: Vec<u64>,
    pub(crate) hits: Vec<u64>,
}

fn bin(score: f32) -> usize {
    let score = score.clamp(0.0, 1.0);
    let smallest = FIRST << CUT;
    let bin = match score < 0.5 {
        true => (score.to_bits().max(smallest) >> CUT) - FIRST,
        // Exact from one half on, and mirrored: a bin has its upper end.
        false => {
            let rest = (1.0 - score).to_bits().max(smallest + 1);
            2 * HALF - 1 - (((rest - 1) >> CUT) - FIRST)
        }
    };
    bin as usize
}

/// The least score of a bin.
fn least(bin: usize) -> f64 {
    let number = |place: u32| f64::from(f32::from_bits((FIRST + place) << CUT));
    match bin as u32 {
        0 => 0.0,
        bin if bin < HALF => number(bin),
        bin => 1.0 - number(2 * HALF - bin),
    }
}

impl Default for ScoreCounts {
    fn default() -> ScoreCounts {
        ScoreCounts(vec![[0; 2]; 2 * HALF as usize])
    }
}

impl ScoreCounts {
    /// Adds a row's score of a class, and whether it has the label.
    #[inline]
    pub(crate) fn add(&mut self, score: f32, positive: bool) {
        let counts = &mut self.0[bin(score)];
        counts[0] += 1;
        counts[1] += u64::from(positive);
    }

    /// The counters, to be added over all that count.
    pub(crate) fn counters(&mut self) -> &mut [u64] {
        self.0.as_flattened_mut()
    }

    /// A point for each bin that has a score.
    pub(crate) fn curve(&self) -> Curve {
        let mut curve = Curve::default();
        let [mut predicted, mut hits] = [0, 0];
        for (bin, [all, positive]) in self.0.iter().enumerate().rev() {
            if *all == 0 {
                continue;
            }
            (predicted, hits) = (predicted + all, hits + positive);
            curve.thresholds.push(least(bin));
            curve.predicted.push(predicted);
            curve.hits.push(hits);
        }
        curve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores of all sizes, and each bin's ends: what counts as predicted at a threshold is what
    /// has at least that score.
    #[test]
    fn points_are_what_their_thresholds_say() {
        let mut scores: Vec<f32> = vec![0.0, 1.0, 0.5, 1.0 + 1e-6, f32::MIN_POSITIVE];
        for bin in 0..2 * HALF as usize {
            let end = least(bin) as f32;
            scores.extend([end.next_down().max(0.0), end, end.next_up()]);
        }
        let mut counts = ScoreCounts::default();
        let positive = |index: usize| index.is_multiple_of(3);
        for (index, score) in scores.iter().enumerate() {
            counts.add(*score, positive(index));
        }
        let curve = counts.curve();
        // Close to 1 there are fewer numbers than bins.
        assert!(curve.thresholds.len() > HALF as usize + 300);
        for (at, threshold) in curve.thresholds.iter().enumerate() {
            let reached = |score: &f32| f64::from(score.min(1.0)) >= *threshold;
            let found = scores.iter().filter(|score| reached(score)).count() as u64;
            assert_eq!(curve.predicted[at], found, "{threshold}");
            let hits =
                scores.iter().enumerate().filter(|(at, score)| positive(*at) && reached(score));
            assert_eq!(curve.hits[at], hits.count() as u64, "{threshold}");
        }
        assert!(curve.thresholds.is_sorted_by(|a, b| a > b));
    }
}
