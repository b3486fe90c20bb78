//! The update of AdaGrad, element by element (docs/method.md, section 4.2).

pub mod definition;

use crate::kernel::coefficients::Coefficients;
use crate::kernel::vector::{Instructions, vectorised};

/// Moves `weights` by their `gradient` and adds its squares to `squares`; all are equally long.
pub fn update(
    instructions: Instructions,
    weights: &mut [f32],
    gradient: &[f32],
    squares: &mut [f32],
    coefficients: Coefficients,
) {
    assert_eq!(weights.len(), gradient.len(), "a gradient for each weight");
    assert_eq!(weights.len(), squares.len(), "a sum of squares for each weight");
    vectorised!(
        instructions,
        |weights: &mut [f32], gradient: &[f32], squares: &mut [f32], c: Coefficients| {
            elements(weights, gradient, squares, c)
        };
        weights, gradient, squares, coefficients
    );
}

#[inline(always)]
fn elements(w: &mut [f32], g: &[f32], squares: &mut [f32], c: Coefficients) {
    for ((w, g), squares) in w.iter_mut().zip(g).zip(squares) {
        let g = c.l2.mul_add(*w, g * c.scale);
        *squares = g.mul_add(g, *squares);
        *w -= c.rate * g / squares.sqrt();
    }
}
