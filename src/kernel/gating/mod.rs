//! Context gating, y = x * sigmoid(W x + b), and its way back (docs/method.md, section 2.3).

pub mod definition;

use crate::kernel::dense::{Activation, Back, Weights, activate, affine, through_product};
use crate::kernel::matrix::Matrix;
use crate::kernel::product::Workspace;

/// y of all rows of `x`, and the gate s = sigmoid(W x + b), which the way back needs.
pub fn forward(gemm: &mut Workspace, layer: Weights, x: &Matrix) -> (Matrix, Matrix) {
    assert_eq!(layer.inputs, layer.outputs, "as wide as its input");
    let mut gate = affine(gemm, layer, x);
    activate(gemm.instructions(), Activation::Sigmoid, &mut gate);
    let mut y = gate.clone();
    y.data.iter_mut().zip(&x.data).for_each(|(y, x)| *y *= x);
    (y, gate)
}

/// Adds the gradient of the layer, given x, s and dL/dy, which is used up. Returns dL/dx.
pub fn backward(
    gemm: &mut Workspace,
    x: &Matrix,
    gate: &Matrix,
    mut dy: Matrix,
    back: Back,
) -> Matrix {
    assert_eq!([x.data.len(); 2], [gate.data.len(), dy.data.len()], "equally many numbers");
    let mut dx = Matrix::zeros(x.rows(), x.width());
    let inputs = x.data.iter().zip(&gate.data);
    for ((dy, dx), (x, s)) in dy.data.iter_mut().zip(&mut dx.data).zip(inputs) {
        // dx gets the part that doesn't pass W; dy becomes dz.
        *dx = *dy * s;
        *dy = *dy * x * (s * (1.0 - s));
    }
    through_product(gemm, x, &dy, back, &mut dx);
    dx
}
