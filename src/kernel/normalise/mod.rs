//! Rows scaled to length 1 (docs/method.md, section 2.2).

pub mod definition;

use crate::kernel::matrix::Matrix;
use crate::kernel::vector::{Instructions, LANES, load, store, sum, vectorised};

/// Scales every row to length 1: x / sqrt(max(sum x^2, 1e-12)).
pub fn normalise_l2(instructions: Instructions, matrix: &mut Matrix) {
    let stride = matrix.stride();
    vectorised!(instructions, |numbers: &mut [f32], stride: usize| {
        numbers.chunks_exact_mut(stride.max(1)).for_each(row)
    }; &mut matrix.data, stride);
}

/// Sum of the squares of a whole number of panels.
#[inline(always)]
pub fn squares(row: &[f32]) -> f32 {
    let mut squares = [0.0; LANES];
    for at in (0..row.len()).step_by(LANES) {
        let x = load(row, at);
        for lane in 0..LANES {
            squares[lane] = x[lane].mul_add(x[lane], squares[lane]);
        }
    }
    sum(squares)
}

#[inline(always)]
fn row(row: &mut [f32]) {
    let total = squares(row);
    let scale = 1.0 / (if total > 1e-12 { total } else { 1e-12 }).sqrt();
    for at in (0..row.len()).step_by(LANES) {
        let mut x = load(row, at);
        for lane in 0..LANES {
            x[lane] *= scale;
        }
        store(row, at, x);
    }
}
