//! Columns shifted and scaled to mean 0 and deviation 1 (docs/method.md, section 2.2).

pub mod definition;

use crate::kernel::matrix::Matrix;

/// Takes each column's mean from its numbers and scales them; `means` and `scales` are as many as
/// the matrix is wide.
pub fn standardise(matrix: &mut Matrix, means: &[f32], scales: &[f32]) {
    let width = matrix.width();
    assert_eq!([means.len(), scales.len()], [width; 2], "a mean and a scale for each column");
    for row in 0..matrix.rows() {
        for ((x, mean), scale) in matrix.row_mut(row).iter_mut().zip(means).zip(scales) {
            *x = (*x - mean) * scale;
        }
    }
}
