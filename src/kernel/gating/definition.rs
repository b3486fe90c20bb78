//! What the bits of context gating are: one row after the other, held as by a dense layer
//! (docs/method.md, section 2.3).

use crate::kernel::dense::definition::{activate, add_gradient, add_input_gradient, affine};
use crate::kernel::dense::{Activation, Weights};

/// y = x * s and s = sigmoid(W x + b) of one row.
pub fn forward(layer: Weights, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let gate = activate(Activation::Sigmoid, layer.outputs, &affine(layer, x));
    let y = x.iter().zip(&gate).map(|(x, s)| x * s).collect();
    (y, gate)
}

/// Adds one row to the gradient of the layer, given its x, s and dL/dy; returns dL/dx, whose sums
/// begin with what passes by the product.
pub fn backward(
    layer: Weights,
    [x, gate, dy]: [&[f32]; 3],
    weights: &mut [f32],
    biases: &mut [f32],
) -> Vec<f32> {
    let mut dx: Vec<f32> = dy.iter().zip(gate).map(|(dy, s)| dy * s).collect();
    let slope = |s: f32| s * (1.0 - s);
    let numbers = dy.iter().zip(x).zip(gate);
    let dz: Vec<f32> = numbers.map(|((dy, x), s)| (dy * x) * slope(*s)).collect();
    add_gradient(layer, x, &dz, weights, biases);
    add_input_gradient(layer, &dz, &mut dx);
    dx
}
