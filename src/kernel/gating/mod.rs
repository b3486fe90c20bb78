//! Context gating, y = x * sigmoid(W x + b), and its way back (docs/method.md, section 2.3).

pub mod definition;

use crate::kernel::dense::{Activation, Back, Weights, activate, affine, through_weights};
use crate::kernel::matrix::Matrix;
use crate::kernel::product::Workspace;
use crate::kernel::product::rectangles::share;
use crate::team::Team;

/// y of all rows of `x`, and the gate s = sigmoid(W x + b), which the way back needs.
pub fn forward<S: AsMut<Workspace> + Send>(
    team: &mut Team<S>,
    layer: Weights,
    x: &Matrix,
) -> (Matrix, Matrix) {
    assert_eq!(layer.inputs, layer.outputs, "as wide as its input");
    layer.check(x);
    let [mut y, mut gate] = [0; 2].map(|_| Matrix::zeros(x.rows(), x.width()));
    let height = share(x.rows(), team.threads());
    let items = y.runs_mut(height).zip(gate.runs_mut(height));
    team.for_each(items, |member, ((rows, y), (_, gate))| {
        let x = x.run(rows);
        affine(member.as_mut(), layer, x, gate);
        let instructions = member.as_mut().instructions();
        activate(instructions, Activation::Sigmoid, layer.outputs, gate);
        y.iter_mut().zip(gate).zip(x).for_each(|((y, s), x)| *y = *s * x);
    });
    (y, gate)
}

/// Adds the gradient of the layer, given x, s and dL/dy, which is used up. Returns dL/dx.
pub fn backward<S: AsMut<Workspace> + Send>(
    team: &mut Team<S>,
    x: &Matrix,
    gate: &Matrix,
    mut dy: Matrix,
    Back { gradient, transposed }: Back,
) -> Matrix {
    assert_eq!([x.data.len(); 2], [gate.data.len(), dy.data.len()], "equally many numbers");
    gradient.check(x, &dy);
    let (mut dx, stride) = (Matrix::zeros(x.rows(), x.width()), x.stride());
    let height = share(x.rows(), team.threads());
    team.for_each(dy.runs_mut(height).zip(dx.runs_mut(height)), |member, ((rows, dy), (_, dx))| {
        let inputs = x.run(rows.clone()).iter().zip(gate.run(rows));
        for ((dy, dx), (x, s)) in dy.iter_mut().zip(&mut *dx).zip(inputs) {
            // dx gets the part that doesn't pass W; dy becomes dz.
            *dx = *dy * s;
            *dy = *dy * x * (s * (1.0 - s));
        }
        through_weights(member.as_mut(), transposed, (dy, stride), (dx, stride));
    });
    gradient.add(team, x, &dy);
    dx
}
