//! What the bits of a dense layer are: one row after the other (docs/method.md, section 2.3).
//!
//! A row of n numbers is held as n rounded up to whole sixteens, the filling +0; outputs are
//! counted to there, too. Weights and biases of the filling are +0. `Weights::place` says where a
//! weight stands.

use super::{Activation, Weights};
use crate::kernel::functions::definition::{sigmoid, tanh};

/// z = W x + b of one row: each a chain of fused multiply-adds over the inputs in order (not their
/// filling), beginning with the bias.
pub fn affine(layer: Weights, x: &[f32]) -> Vec<f32> {
    let mut z = layer.biases.to_vec();
    for (output, z) in z.iter_mut().enumerate() {
        for input in 0..layer.inputs {
            *z = x[input].mul_add(layer.weights[layer.place(input, output)], *z);
        }
    }
    z
}

/// y = f(z) of one row whose first `outputs` numbers aren't filling.
pub fn activate(activation: Activation, outputs: usize, z: &[f32]) -> Vec<f32> {
    let f = |z: f32| match activation {
        Activation::Identity => z,
        Activation::Relu if z > 0.0 => z,
        Activation::Relu => 0.0,
        Activation::Relu6 if z > 6.0 => 6.0,
        Activation::Relu6 if z > 0.0 => z,
        Activation::Relu6 => 0.0,
        Activation::Sigmoid => sigmoid(z),
        Activation::Tanh => tanh(z),
    };
    let mut y: Vec<f32> = z.iter().map(|z| f(*z)).collect();
    if activation == Activation::Sigmoid {
        y[outputs..].fill(0.0);
    }
    y
}

/// dL/dz = dL/dy f'(z), f'(z) from y = f(z).
pub fn slopes(activation: Activation, y: &[f32], dy: &[f32]) -> Vec<f32> {
    let slope = |y: f32| match activation {
        Activation::Identity => 1.0,
        Activation::Relu => f32::from(y > 0.0),
        Activation::Relu6 => f32::from(y > 0.0 && y < 6.0),
        Activation::Sigmoid => y * (1.0 - y),
        Activation::Tanh => 1.0 - y * y,
    };
    y.iter().zip(dy).map(|(y, dy)| dy * slope(*y)).collect()
}

/// Adds one row to the gradient of the layer: a fused multiply-add for each weight, a plain sum for
/// each bias. Gradients begin with +0.
pub fn add_gradient(
    layer: Weights,
    x: &[f32],
    dz: &[f32],
    weights: &mut [f32],
    biases: &mut [f32],
) {
    for (output, dz) in dz.iter().enumerate() {
        for input in 0..layer.inputs {
            let sum = &mut weights[layer.place(input, output)];
            *sum = x[input].mul_add(*dz, *sum);
        }
        biases[output] += dz;
    }
}

/// Adds W' dL/dz of one row to `dx`: a chain of fused multiply-adds over the outputs in order,
/// filling included, beginning with what `dx` holds.
pub fn add_input_gradient(layer: Weights, dz: &[f32], dx: &mut [f32]) {
    for (input, sum) in dx.iter_mut().take(layer.inputs).enumerate() {
        for (output, dz) in dz.iter().enumerate() {
            *sum = dz.mul_add(layer.weights[layer.place(input, output)], *sum);
        }
    }
}

/// y of one row.
pub fn forward(layer: Weights, activation: Activation, x: &[f32]) -> Vec<f32> {
    activate(activation, layer.outputs, &affine(layer, x))
}

/// Adds one row to the gradient of the layer, given its x, y and dL/dy; returns dL/dx, whose sums
/// begin with +0.
pub fn backward(
    layer: Weights,
    activation: Activation,
    [x, y, dy]: [&[f32]; 3],
    weights: &mut [f32],
    biases: &mut [f32],
) -> Vec<f32> {
    let dz = slopes(activation, y, dy);
    add_gradient(layer, x, &dz, weights, biases);
    let mut dx = vec![0.0; x.len()];
    add_input_gradient(layer, &dz, &mut dx);
    dx
}
