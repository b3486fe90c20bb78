//! What a model is made of, as values.

use serde::{Deserialize, Serialize};

pub use crate::kernel::dense::Activation;
pub use crate::kernel::mixture::layout::Dummy;
pub use crate::kernel::pooling::Pooling;

/// One of the shared layers (docs/method.md, section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Layer {
    /// y = activation(W x + b), of `units` outputs.
    Dense { units: usize, activation: Activation },
    /// Context gating: y = x * sigmoid(W x + b), as wide as its input.
    Gating,
    /// Residual block: y = x + relu(W x + b), as wide as its input.
    Residual,
}

impl Layer {
    /// The outputs that a layer names; none where it is as wide as its input.
    pub fn units(&self) -> Option<usize> {
        match self {
            Layer::Dense { units, .. } => Some(*units),
            Layer::Gating | Layer::Residual => None,
        }
    }
}

/// How a row's features are scaled before the first layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalize {
    /// x / sqrt(max(sum x^2, 1e-12)).
    L2,
    /// (x - mean) / standard deviation of each feature, over the training rows (of frames, over all
    /// of them).
    Standardise,
    None,
}

/// What the biases of new experts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialBiases {
    Zero,
    /// The log odds of their class among the training rows.
    Frequency,
}

/// Mean of each feature and what its distance from that is multiplied by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standard {
    pub means: Vec<f32>,
    /// 1 / standard deviation, 0 for a feature that never varies, or by so little (less than
    /// 3e-39) that f32 can't hold that.
    pub scales: Vec<f32>,
}

#[doc(hidden)]
impl Standard {
    /// From the sums of the features and of their squares over `count` rows.
    pub fn from_sums(count: f64, sums: &[f64], squares: &[f64]) -> Standard {
        let count = count.max(1.0);
        let scale = |(sum, square): (&f64, &f64)| {
            let mean = sum / count;
            let variance = square / count - mean * mean;
            // Below that the difference is rounding.
            let varies = variance > 1e-12 * (square / count).max(f64::MIN_POSITIVE);
            let scale = (1.0 / variance.sqrt()) as f32;
            if varies && scale.is_finite() { scale } else { 0.0 }
        };
        Standard {
            means: sums.iter().map(|sum| (sum / count) as f32).collect(),
            scales: sums.iter().zip(squares).map(scale).collect(),
        }
    }

    /// What of it can't be, if anything, for so many features.
    pub fn fault(&self, features: usize) -> Option<String> {
        let found = [self.means.len(), self.scales.len()];
        if found != [features; 2] {
            let found = format!("found {} means and {} scales", found[0], found[1]);
            return Some(format!("standard: {found}, expected {features} of each"));
        }
        let odd = |(mean, scale): (&f32, &f32)| {
            !mean.is_finite() || !scale.is_finite() || scale.is_sign_negative()
        };
        let column = self.means.iter().zip(&self.scales).position(odd)?;
        let (mean, scale) = (self.means[column], self.scales[column]);
        Some(format!("standard: column {column}: found mean {mean} and scale {scale}"))
    }
}
