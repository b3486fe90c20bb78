//! A dense layer, y = f(W x + b), and its way back (docs/method.md, section 2.3); its product and
//! what follows it serve gating and residual blocks too.
//!
//! A team divides the rows of y and dL/dx, and the gradient of the weights by inputs and outputs:
//! chains over rows stay one thread's, so the bits don't depend on how many threads the team has.

pub mod definition;

use serde::{Deserialize, Serialize};

use crate::kernel::functions::{sigmoid_all, tanh_all};
use crate::kernel::matrix::{Matrix, stride_of};
use crate::kernel::product::rectangles::{Part, cut, parts, share};
use crate::kernel::product::{Apart, Left, Output, Panels, Size, Workspace};
use crate::kernel::vector::{Instructions, LANES};
use crate::team::Team;

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

    /// That there are as many weights and biases as inputs and outputs say, and rows as wide.
    pub(super) fn check(&self, x: &Matrix) {
        assert!(self.outputs > 0, "a layer of no outputs");
        assert_eq!(x.width(), self.inputs, "rows as wide as the layer takes them");
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
pub fn forward<S: AsMut<Workspace> + Send>(
    team: &mut Team<S>,
    layer: Weights,
    activation: Activation,
    x: &Matrix,
) -> Matrix {
    layer.check(x);
    let mut y = Matrix::zeros(x.rows(), layer.outputs);
    team.for_each(y.runs_mut(share(x.rows(), team.threads())), |member, (rows, y)| {
        affine(member.as_mut(), layer, x.run(rows), y);
        activate(member.as_mut().instructions(), activation, layer.outputs, y);
    });
    y
}

/// Adds the gradient of the layer, given x, y and dL/dy, which is used up. Returns dL/dx.
pub fn backward<S: AsMut<Workspace> + Send>(
    team: &mut Team<S>,
    activation: Activation,
    x: &Matrix,
    y: &Matrix,
    mut dy: Matrix,
    Back { gradient, transposed }: Back,
) -> Matrix {
    assert_eq!(y.data.len(), dy.data.len(), "a slope for each output");
    gradient.check(x, &dy);
    let mut dx = Matrix::zeros(x.rows(), x.width());
    let height = share(x.rows(), team.threads());
    team.for_each(dy.runs_mut(height).zip(dx.runs_mut(height)), |member, ((rows, dy), (_, dx))| {
        through_activation(activation, y.run(rows), dy);
        through_weights(member.as_mut(), transposed, (dy, y.stride()), (dx, x.stride()));
    });
    gradient.add(team, x, &dy);
    dx
}

/// z = W x + b of some rows of x.
pub(super) fn affine(gemm: &mut Workspace, layer: Weights, x: &[f32], z: &mut [f32]) {
    let stride = layer.biases.len();
    z.chunks_exact_mut(stride).for_each(|row| row.copy_from_slice(layer.biases));
    gemm.accumulate(
        Size { rows: z.len() / stride, depth: layer.inputs, panels: layer.panels() },
        Left { data: x, row: stride_of(layer.inputs), column: 1 },
        Panels { data: layer.weights, row: LANES, panel: layer.inputs * LANES },
        &mut Output { data: z, row: stride, panel: LANES },
    );
}

/// Adds W' dL/dz of some rows to their `dx`, both with their strides, where it is wanted.
pub(super) fn through_weights(
    gemm: &mut Workspace,
    transposed: Option<&[f32]>,
    (dz, columns): (&[f32], usize),
    (dx, stride): (&mut [f32], usize),
) {
    let Some(transposed) = transposed else { return };
    gemm.accumulate(
        Size { rows: dx.len() / stride, depth: columns, panels: stride / LANES },
        Left { data: dz, row: columns, column: 1 },
        Panels { data: transposed, row: LANES, panel: columns * LANES },
        &mut Output { data: dx, row: stride, panel: LANES },
    );
}

impl Gradient<'_> {
    /// That there is a place for what x and dL/dz give.
    pub(super) fn check(&self, x: &Matrix, dz: &Matrix) {
        assert_eq!(x.rows(), dz.rows(), "a slope for each row");
        assert_eq!(self.biases.len(), dz.stride(), "a gradient for each bias");
        let weights = x.width().checked_mul(dz.stride());
        assert_eq!(Some(self.weights.len()), weights, "a gradient for each weight");
    }

    /// Adds the gradient of weights and biases, given x and dL/dz, which `check` has seen.
    pub(super) fn add<S: AsMut<Workspace> + Send>(
        self,
        team: &mut Team<S>,
        x: &Matrix,
        dz: &Matrix,
    ) {
        if x.rows() == 0 {
            return;
        }
        let cut = cut(x.width(), dz.stride() / LANES, team.threads());
        team.for_each(parts((self.weights, self.biases), x.width(), cut), |member, mut part| {
            let from = part.first * LANES;
            add_part(member.as_mut(), (&x.data[part.from..], x.stride()), (dz, from), &mut part);
        });
    }
}

/// A rectangle of the same: inputs from the first number of `x` on, outputs from `from` on.
fn add_part(
    gemm: &mut Workspace,
    (x, stride): (&[f32], usize),
    (dz, from): (&Matrix, usize),
    part: &mut Part,
) {
    let panels = part.weights.len();
    gemm.accumulate(
        Size { rows: part.weights[0].len() / LANES, depth: dz.rows(), panels },
        Left { data: x, row: 1, column: stride },
        Panels { data: &dz.data[from..], row: dz.stride(), panel: LANES },
        &mut Apart { panels: &mut part.weights },
    );
    let Some(biases) = &mut part.biases else { return };
    for row in 0..dz.rows() {
        biases.iter_mut().zip(&dz.row(row)[from..]).for_each(|(sum, dz)| *sum += dz);
    }
}

/// y = f(z) of rows of `width` outputs, in place. Filling beyond the width is set to zero.
pub(super) fn activate(
    instructions: Instructions,
    activation: Activation,
    width: usize,
    y: &mut [f32],
) {
    match activation {
        Activation::Identity => {}
        Activation::Relu => y.iter_mut().for_each(|y| *y = if *y > 0.0 { *y } else { 0.0 }),
        Activation::Relu6 => y.iter_mut().for_each(|y| {
            *y = if *y > 6.0 {
                6.0
            } else if *y > 0.0 {
                *y
            } else {
                0.0
            }
        }),
        Activation::Sigmoid => sigmoid_all(instructions, y),
        Activation::Tanh => tanh_all(instructions, y),
    }
    let stride = stride_of(width);
    if activation == Activation::Sigmoid && width < stride {
        y.chunks_exact_mut(stride).for_each(|row| row[width..].fill(0.0));
    }
}

/// dz = dy f'(z), f' from y = f(z).
pub(super) fn through_activation(activation: Activation, y: &[f32], dy: &mut [f32]) {
    let slope = |y: f32| match activation {
        Activation::Identity => 1.0,
        Activation::Relu => f32::from(y > 0.0),
        Activation::Relu6 => f32::from(y > 0.0 && y < 6.0),
        Activation::Sigmoid => y * (1.0 - y),
        Activation::Tanh => 1.0 - y * y,
    };
    dy.iter_mut().zip(y).for_each(|(dy, y)| *dy *= slope(*y));
}
