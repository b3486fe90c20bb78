//! What the bits of pooling are: one element of all frames of one video, frames in order
//! (docs/method.md, section 2.4). Nothing is fused; sums begin with +0.

use super::Pooling;

/// What the element's numbers `x`, one a frame, are pooled to.
pub fn pool(pooling: Pooling, x: &[f32]) -> f32 {
    if x.is_empty() {
        return 0.0;
    }
    let (mut sum, mut weights) = (0.0, 0.0);
    let count = x.len() as f32;
    match pooling {
        Pooling::Swap => {
            for x in x {
                sum += x * x.abs();
                weights += x.abs();
            }
            if weights > 0.0 { sum / weights } else { 0.0 }
        }
        Pooling::Average => {
            for x in x {
                sum += x;
            }
            sum / count
        }
        Pooling::Max => largest(x).0,
        Pooling::L2 => {
            for x in x {
                sum += x * x;
            }
            (sum / count).sqrt()
        }
    }
}

/// The largest number and the first frame that has it; -0 isn't below 0.
fn largest(x: &[f32]) -> (f32, usize) {
    let (mut largest, mut first) = (f32::NEG_INFINITY, 0);
    for (frame, x) in x.iter().enumerate() {
        if *x > largest {
            (largest, first) = (*x, frame);
        }
    }
    (largest, first)
}

/// dL/dx of each frame's number, given dL/dv of what they are pooled to.
pub fn unpool(pooling: Pooling, x: &[f32], slope: f32) -> Vec<f32> {
    let (v, count) = (pool(pooling, x), x.len() as f32);
    match pooling {
        Pooling::Swap => {
            let mut weights = 0.0;
            for x in x {
                weights += x.abs();
            }
            let factor = if weights > 0.0 { slope / weights } else { 0.0 };
            let sign = |x: f32| f32::from(x > 0.0) - f32::from(x < 0.0);
            x.iter().map(|x| factor * (2.0 * x.abs() - v * sign(*x))).collect()
        }
        Pooling::Average => {
            let factor = slope / count;
            x.iter().map(|_| factor * 1.0).collect()
        }
        Pooling::Max => {
            let first = largest(x).1;
            (0..x.len()).map(|frame| slope * f32::from(frame == first)).collect()
        }
        Pooling::L2 => {
            let factor = if v > 0.0 { slope / (count * v) } else { 0.0 };
            x.iter().map(|x| factor * x).collect()
        }
    }
}
