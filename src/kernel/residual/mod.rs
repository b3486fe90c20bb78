//! A residual block, y = x + relu(W x + b), and its way back (docs/method.md, section 2.3).

pub mod definition;

use crate::kernel::dense::{
    Activation, Back, Weights, activate, affine, through_activation, through_weights,
};
use crate::kernel::matrix::Matrix;
use crate::kernel::product::Workspace;
use crate::kernel::product::rectangles::share;
use crate::team::Team;

/// y of all rows of `x`, and what was added, relu(W x + b), which the way back needs.
pub fn forward<S: AsMut<Workspace> + Send>(
    team: &mut Team<S>,
    layer: Weights,
    x: &Matrix,
) -> (Matrix, Matrix) {
    assert_eq!(layer.inputs, layer.outputs, "as wide as its input");
    layer.check(x);
    let [mut y, mut added] = [0; 2].map(|_| Matrix::zeros(x.rows(), x.width()));
    let height = share(x.rows(), team.threads());
    let items = y.runs_mut(height).zip(added.runs_mut(height));
    team.for_each(items, |member, ((rows, y), (_, added))| {
        let x = x.run(rows);
        affine(member.as_mut(), layer, x, added);
        let instructions = member.as_mut().instructions();
        activate(instructions, Activation::Relu, layer.outputs, added);
        y.iter_mut().zip(added).zip(x).for_each(|((y, added), x)| *y = *added + x);
    });
    (y, added)
}

/// Adds the gradient of the layer, given x, what was added and dL/dy, which is used up. Returns
/// dL/dx.
pub fn backward<S: AsMut<Workspace> + Send>(
    team: &mut Team<S>,
    x: &Matrix,
    added: &Matrix,
    mut dy: Matrix,
    Back { gradient, transposed }: Back,
) -> Matrix {
    assert_eq!([x.data.len(); 2], [added.data.len(), dy.data.len()], "equally many numbers");
    gradient.check(x, &dy);
    let (mut dx, stride) = (Matrix::zeros(x.rows(), x.width()), x.stride());
    let height = share(x.rows(), team.threads());
    team.for_each(dy.runs_mut(height).zip(dx.runs_mut(height)), |member, ((rows, dy), (_, dx))| {
        dx.copy_from_slice(dy);
        through_activation(Activation::Relu, added.run(rows), dy);
        through_weights(member.as_mut(), transposed, (dy, stride), (dx, stride));
    });
    gradient.add(team, x, &dy);
    dx
}
