//! Partial sums of gradients are added, element by element, along the tree (`tree.rs`).

pub mod definition;

use crate::kernel::vector::{Instructions, vectorised};

/// Adds `right` to `left`, equally many.
pub fn add(instructions: Instructions, left: &mut [f32], right: &[f32]) {
    assert_eq!(left.len(), right.len(), "sums of the same numbers");
    vectorised!(
        instructions,
        |left: &mut [f32], right: &[f32]| elements(left, right);
        left, right
    );
}

#[inline(always)]
fn elements(left: &mut [f32], right: &[f32]) {
    left.iter_mut().zip(right).for_each(|(left, right)| *left += right);
}
