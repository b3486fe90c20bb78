//! A dense layer, y = f(W x + b), and its way back (docs/method.md, section 2.3); its product and
//! what follows it serve gating and residual blocks too.

pub mod definition;

use serde::{Deserialize, Serialize};

use crate::kernel::functions::{sigmoid_all, tanh_all};
use crate::kernel::matrix::Matrix;
use crate::kernel::product::{Left, Output, Panels, Size, Workspace};
use crate::kernel::vector::{Instructions, LANES};

/// What follows a dense layer's product and bias, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    Identity,
    Relu,
    Relu6,
    Sigmoid,
    Tanh,
}

/// A layer's sizes and its weights, in panels of sixteen outputs; filling of the last panel is 0.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    pub inputs: usize,
    pub outputs: usize,
    /// `[panel][inputs][16]`
    pub weights: &'a [f32],
    /// `[panel][16]`
    pub biases: &'a [f32],
}

impl Weights<'_> {
    /// Panels of sixteen outputs.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(LANES)
    }

    /// That there are as many weights and biases as inputs and outputs say.
    fn check(&self) {
        assert!(self.outputs > 0, "a layer of no outputs");
        assert_eq!(self.panels().checked_mul(LANES), Some(self.biases.len()), "biases");
        let weights = self.biases.len().checked_mul(self.inputs);
        assert_eq!(weights, Some(self.weights.len()), "weights");
    }

    /// Where the weight from `input` to `output` stands among the layer's.
    pub fn place(&self, input: usize, output: usize) -> usize {
        place(self.inputs, input, output)
    }
}

/// Where the weight from `input`, of so many `inputs`, to `output` stands among its layer's.
pub fn place(inputs: usize, input: usize, output: usize) -> usize {
    (output / LANES * inputs + input) * LANES + output % LANES
}

/// Where a layer's gradient is added to, laid out as its weights.
pub struct Gradient<'a> {
    pub weights: &'a mut [f32],
    pub biases: &'a mut [f32],
}

/// The way back through a layer's product.
pub struct Back<'a> {
    pub gradient: Gradient<'a>,
    /// The weights turned, `[inputs / 16][outputs in whole panels][16]`, where dL/dx is wanted
    /// whole; else only what passes by the product is in it.
    pub transposed: Option<&'a [f32]>,
}

/// y of all rows of `x`.
pub fn forward(gemm: &mut Workspace, layer: Weights, activation: Activation, x: &Matrix) -> Matrix {
    let mut y = affine(gemm, layer, x);
    activate(gemm.instructions(), activation, &mut y);
    y
}

/// Adds the gradient of the layer, given x, y and dL/dy, which is used up. Returns dL/dx.
pub fn backward(
    gemm: &mut Workspace,
    activation: Activation,
    x: &Matrix,
    y: &Matrix,
    mut dy: Matrix,
    back: Back,
) -> Matrix {
    let mut dx = Matrix::zeros(x.rows(), x.width());
    through_activation(activation, y, &mut dy);
    through_product(gemm, x, &dy, back, &mut dx);
    dx
}

/// z = W x + b.
pub(super) fn affine(gemm: &mut Workspace, layer: Weights, x: &Matrix) -> Matrix {
    layer.check();
    assert_eq!(x.width(), layer.inputs, "rows as wide as the layer takes them");
    let mut z = Matrix::zeros(x.rows(), layer.outputs);
    let stride = z.stride();
    z.data.chunks_exact_mut(stride).for_each(|row| row.copy_from_slice(layer.biases));
    gemm.accumulate(
        Size { rows: x.rows(), depth: layer.inputs, panels: layer.panels() },
        Left { data: &x.data, row: x.stride(), column: 1 },
        Panels { data: layer.weights, row: LANES, panel: layer.inputs * LANES },
        &mut Output { data: &mut z.data, row: stride, panel: LANES },
    );
    z
}

/// Adds the gradient of weights and biases, given x and dL/dz, and, where it is wanted, W' dL/dz to
/// `dx`.
pub(super) fn through_product(
    gemm: &mut Workspace,
    x: &Matrix,
    dz: &Matrix,
    back: Back,
    dx: &mut Matrix,
) {
    assert_eq!(x.rows(), dz.rows(), "a slope for each row");
    let (inputs, panels) = (x.width(), dz.stride() / LANES);
    let Back { gradient: Gradient { weights, biases }, transposed } = back;
    assert_eq!(biases.len(), dz.stride(), "a gradient for each bias");
    assert_eq!(weights.len(), inputs * dz.stride(), "a gradient for each weight");
    gemm.accumulate(
        Size { rows: inputs, depth: x.rows(), panels },
        Left { data: &x.data, row: 1, column: x.stride() },
        Panels { data: &dz.data, row: dz.stride(), panel: LANES },
        &mut Output { data: weights, row: LANES, panel: inputs * LANES },
    );
    for row in 0..dz.rows() {
        biases.iter_mut().zip(dz.row(row)).for_each(|(sum, dz)| *sum += dz);
    }
    let Some(transposed) = transposed else { return };
    let (columns, row) = (panels * LANES, dx.stride());
    gemm.accumulate(
        Size { rows: x.rows(), depth: columns, panels: inputs.div_ceil(LANES) },
        Left { data: &dz.data, row: dz.stride(), column: 1 },
        Panels { data: transposed, row: LANES, panel: columns * LANES },
        &mut Output { data: &mut dx.data, row, panel: LANES },
    );
}

/// y = f(z), in place. Filling beyond the width is set to zero.
pub(super) fn activate(instructions: Instructions, activation: Activation, y: &mut Matrix) {
    match activation {
        Activation::Identity => {}
        Activation::Relu => y.data.iter_mut().for_each(|y| *y = if *y > 0.0 { *y } else { 0.0 }),
        Activation::Relu6 => y.data.iter_mut().for_each(|y| {
            *y = if *y > 6.0 {
                6.0
            } else if *y > 0.0 {
                *y
            } else {
                0.0
            }
        }),
        Activation::Sigmoid => sigmoid_all(instructions, &mut y.data),
        Activation::Tanh => tanh_all(instructions, &mut y.data),
    }
    let width = y.width();
    if activation == Activation::Sigmoid && width < y.stride() {
        (0..y.rows()).for_each(|row| y.row_mut(row)[width..].fill(0.0));
    }
}

/// dz = dy f'(z), f' from y = f(z).
pub(super) fn through_activation(activation: Activation, y: &Matrix, dy: &mut Matrix) {
    let slope = |y: f32| match activation {
        Activation::Identity => 1.0,
        Activation::Relu => f32::from(y > 0.0),
        Activation::Relu6 => f32::from(y > 0.0 && y < 6.0),
        Activation::Sigmoid => y * (1.0 - y),
        Activation::Tanh => 1.0 - y * y,
    };
    assert_eq!(y.data.len(), dy.data.len(), "a slope for each output");
    dy.data.iter_mut().zip(&y.data).for_each(|(dy, y)| *dy *= slope(*y));
}
