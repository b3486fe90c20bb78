//! What the bits of a residual block are: one row after the other, held as by a dense layer
//! (docs/method.md, section 2.3).

use crate::kernel::dense::definition::{
    activate, add_gradient, add_input_gradient, affine, slopes,
};
use crate::kernel::dense::{Activation, Weights};

/// y = x + r and r = relu(W x + b) of one row.
pub fn forward(layer: Weights, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let added = activate(Activation::Relu, layer.outputs, &affine(layer, x));
    let y = x.iter().zip(&added).map(|(x, r)| r + x).collect();
    (y, added)
}

/// Adds one row to the gradient of the layer, given its x, r and dL/dy; returns dL/dx, whose sums
/// begin with dL/dy.
pub fn backward(
    layer: Weights,
    [x, added, dy]: [&[f32]; 3],
    weights: &mut [f32],
    biases: &mut [f32],
) -> Vec<f32> {
    let dz = slopes(Activation::Relu, added, dy);
    add_gradient(layer, x, &dz, weights, biases);
    let mut dx = dy.to_vec();
    add_input_gradient(layer, &dz, &mut dx);
    dx
}
