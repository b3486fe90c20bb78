//! Examples drawn from a planted model: shared layers, mixtures and Zipf class sizes that are
//! known.
//!
//! A row has a latent code u of `LATENT` normal numbers. Its features are linear in u with noise;
//! its labels come from a planted shared layer f = relu(A u') (u' is u with a little noise) and,
//! per class, a hard mixture: the row has the label if w_h . f exceeds the class's threshold for
//! any of its experts h. Thresholds are set on a sample so that class k has a share of the rows
//! that falls as 1 / (k + 1)^0.8. Row i depends on (seed, i) alone, and no library function on its
//! bits.

use crate::example::{BYTE_OFFSET, BYTE_SCALE, Example, FeaturePart, Values};
use crate::kernel::functions::log;
use crate::rng::{Purpose, Stream};

const LATENT: usize = 12;
const SHARED: usize = 24;
/// Labels of a row, on average, where there are classes enough.
const LABELS: f64 = 3.0;
/// Largest share of the rows that a class has.
const SHARE_MAX: f64 = 0.3;
const SAMPLE: usize = 2000;
const LABEL_NOISE: f32 = 0.1;
const FEATURE_NOISE: f32 = 0.5;
/// Noise of each frame's features, uniform on both sides.
const FRAME_NOISE: f32 = 0.5;

/// The planted model.
pub struct Planted {
    seed: u64,
    features: usize,
    experts: usize,
    /// [features][LATENT]
    loadings: Vec<f32>,
    /// [SHARED][LATENT]
    layer: Vec<f32>,
    /// [classes][experts][SHARED]
    weights: Vec<f32>,
    thresholds: Vec<f32>,
}

fn dot(x: &[f32], y: &[f32]) -> f32 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn normals(seed: u64, index: u64, count: usize) -> Vec<f32> {
    let mut stream = Stream::new(seed, Purpose::PlantedModel, index);
    (0..count).map(|_| stream.normal()).collect()
}

impl Planted {
    /// A model of `classes` classes with `experts` experts each on `features` features.
    pub fn new(seed: u64, features: usize, classes: usize, experts: usize) -> Planted {
        let mut planted = Planted {
            seed,
            features,
            experts,
            loadings: normals(seed, 0, features * LATENT),
            layer: normals(seed, 1, SHARED * LATENT),
            weights: normals(seed, 2, classes * experts * SHARED),
            thresholds: Vec::new(),
        };
        planted.thresholds = planted.calibrated(classes);
        planted
    }

    /// The one part of the features.
    pub fn parts(&self) -> Vec<FeaturePart> {
        vec![FeaturePart { name: "synthetic".into(), size: self.features }]
    }

    /// Row `row`, whichever rank asks for it.
    pub fn example(&self, row: u64) -> Example {
        let mut stream = Stream::new(self.seed, Purpose::PlantedRows, row);
        let code: [f32; LATENT] = std::array::from_fn(|_| stream.normal());
        let noisy = code.map(|u| u + LABEL_NOISE * stream.normal());
        let shared = self.shared(&noisy);
        let labels = (0..self.thresholds.len())
            .filter(|class| self.score(*class, &shared) > self.thresholds[*class])
            .map(|class| class as u32)
            .collect();
        let values = self
            .loadings
            .chunks_exact(LATENT)
            .map(|loading| dot(loading, &code) + FEATURE_NOISE * (2.0 * stream.uniform() - 1.0))
            .collect();
        Example { id: format!("s{row:09}").into_bytes(), labels, values: Values::Video(values) }
    }

    /// As `example`, of 1 to `frames` frames whose mean is about the example's features: quantised
    /// as YouTube-8M's. 0: video-level features.
    pub fn example_of(&self, row: u64, frames: usize) -> Example {
        let mut example = self.example(row);
        if let (Values::Video(features), true) = (&example.values, frames > 0) {
            let mut stream = Stream::new(self.seed, Purpose::PlantedFrames, row);
            let count = 1 + stream.below(frames as u64) as usize;
            let byte = |feature: &f32| {
                let noisy = feature + FRAME_NOISE * (2.0 * stream.uniform() - 1.0);
                ((noisy - BYTE_OFFSET) / BYTE_SCALE).clamp(0.0, 255.0).round() as u8
            };
            let bytes = std::iter::repeat_n(features, count).flatten().map(byte).collect();
            example.values = Values::Frames(bytes);
        }
        example
    }

    fn shared(&self, code: &[f32; LATENT]) -> [f32; SHARED] {
        std::array::from_fn(|unit| {
            let z = dot(&self.layer[unit * LATENT..(unit + 1) * LATENT], code);
            if z > 0.0 { z } else { 0.0 }
        })
    }

    /// The largest of a class's experts.
    fn score(&self, class: usize, shared: &[f32; SHARED]) -> f32 {
        let size = self.experts * SHARED;
        let experts = self.weights[class * size..(class + 1) * size].chunks_exact(SHARED);
        experts
            .map(|weights| dot(weights, shared))
            .fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a })
    }

    fn calibrated(&self, classes: usize) -> Vec<f32> {
        let sample: Vec<[f32; SHARED]> = normals(self.seed, 3, SAMPLE * LATENT)
            .chunks_exact(LATENT)
            .map(|code| self.shared(code.try_into().expect("a whole code")))
            .collect();
        // (k + 1)^-0.8 = exp(-0.8 ln(k + 1)), from functions of our own.
        let zipf =
            |class: usize| f64::from(crate::kernel::functions::exp(-0.8 * log(class as f32 + 1.0)));
        let total: f64 = (0..classes).map(zipf).sum();
        let mut scores = vec![0.0; SAMPLE];
        (0..classes)
            .map(|class| {
                let share = (LABELS * zipf(class) / total).min(SHARE_MAX);
                scores
                    .iter_mut()
                    .zip(&sample)
                    .for_each(|(to, shared)| *to = self.score(class, shared));
                scores.sort_by(|a: &f32, b| b.total_cmp(a));
                let above = share * SAMPLE as f64;
                if above >= 1.0 {
                    return scores[above as usize];
                }
                // Rarer than the sample shows: the tail goes on falling exponentially.
                let decade = scores[0] - scores[9];
                scores[0] + decade * log((1.0 / above) as f32) / log(10.0)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_sizes_fall_as_zipf_and_rows_have_about_three_labels() {
        let planted = Planted::new(3, 8, 500, 2);
        let mut sizes = vec![0; 500];
        let mut labels = 0;
        for row in 0..4000 {
            let example = planted.example(row);
            labels += example.labels.len();
            example.labels.iter().for_each(|label| sizes[*label as usize] += 1);
        }
        assert!((8_000..16_000).contains(&labels), "{labels}");
        let (head, tail): (i32, i32) = (sizes[..10].iter().sum(), sizes[250..260].iter().sum());
        assert!(head > 5 * tail && tail > 0, "{head} {tail}");
        assert_eq!(planted.example(7), Planted::new(3, 8, 500, 2).example(7));
    }
}
