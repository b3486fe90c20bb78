//! The plain twin of pooling: float64, one element of all frames of one video.

use super::Pooling;

/// What the element's numbers `x`, one a frame, are pooled to.
pub fn pool(pooling: Pooling, x: &[f64]) -> f64 {
    pooling.exact(x)
}
