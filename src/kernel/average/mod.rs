//! The update of a moving average of weights, element by element (docs/method.md, section 4.2).

pub mod definition;

use crate::kernel::vector::{Instructions, vectorised};

/// Moves `average` towards `weights`, equally many, by `share` of what lies between.
pub fn update(instructions: Instructions, average: &mut [f32], weights: &[f32], share: f32) {
    assert_eq!(average.len(), weights.len(), "an average for each weight");
    vectorised!(
        instructions,
        |average: &mut [f32], weights: &[f32], share: f32| elements(average, weights, share);
        average, weights, share
    );
}

#[inline(always)]
fn elements(average: &mut [f32], weights: &[f32], share: f32) {
    for (average, weight) in average.iter_mut().zip(weights) {
        *average = share.mul_add(*weight - *average, *average);
    }
}
