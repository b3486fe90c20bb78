//! What the bits of pooling are: one element of all frames of one video, frames in order
//! (docs/method.md, section 2.4). Nothing is fused; sums begin with +0. The definition of each
//! pooling stands in its file, `Pool::defined` and `Pool::defined_back`.

use super::Pooling;

/// What the element's numbers `x`, one a frame, are pooled to.
pub fn pool(pooling: Pooling, x: &[f32]) -> f32 {
    pooling.defined(x)
}

/// dL/dx of each frame's number, given dL/dv of what they are pooled to.
pub fn unpool(pooling: Pooling, x: &[f32], slope: f32) -> Vec<f32> {
    pooling.defined_back(x, slope)
}
