//! A residual block, y = x + relu(W x + b), and its way back (docs/method.md, section 2.3).

pub mod definition;

use crate::kernel::dense::{
    Activation, Back, Weights, activate, affine, through_activation, through_product,
};
use crate::kernel::matrix::Matrix;
use crate::kernel::product::Workspace;

/// y of all rows of `x`, and what was added, relu(W x + b), which the way back needs.
pub fn forward(gemm: &mut Workspace, layer: Weights, x: &Matrix) -> (Matrix, Matrix) {
    assert_eq!(layer.inputs, layer.outputs, "as wide as its input");
    let mut added = affine(gemm, layer, x);
    activate(gemm.instructions(), Activation::Relu, &mut added);
    let mut y = added.clone();
    y.data.iter_mut().zip(&x.data).for_each(|(y, x)| *y += x);
    (y, added)
}

/// Adds the gradient of the layer, given x, what was added and dL/dy, which is used up. Returns
/// dL/dx.
pub fn backward(
    gemm: &mut Workspace,
    x: &Matrix,
    added: &Matrix,
    mut dy: Matrix,
    back: Back,
) -> Matrix {
    assert_eq!(x.data.len(), dy.data.len(), "equally many numbers");
    let mut dx = dy.clone();
    through_activation(Activation::Relu, added, &mut dy);
    through_product(gemm, x, &dy, back, &mut dx);
    dx
}
