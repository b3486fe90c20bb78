//! What a mini-batch came to, and whose rows make its gradient overflow: that is looked for after
//! the fact, since it is slow.

use super::mini_batches::Batch;
use crate::kernel::finite::all_finite;
use crate::kernel::matrix::Matrix;
use crate::kernel::mixture::Kernel;
use crate::model::annotator::Annotator;
use crate::model::features::Features;

/// What a mini-batch came to.
pub struct Stepped {
    /// The loss before it, summed over its rows.
    pub loss: f64,
    /// Whether that and the shared layers' gradient are finite: the same on all ranks.
    pub finite: bool,
    /// What of this rank's rows isn't, if anything.
    pub odd: Option<String>,
}

/// The first of this rank's groups, counted from its first, whose gradient of the shared layers
/// isn't finite. `dv` is dL/dv of this rank's rows, end to end.
pub fn odd_group(
    annotator: &Annotator,
    kernel: &mut Kernel,
    batch: &Batch,
    dv: &[f32],
) -> Option<usize> {
    let layers = &annotator.layers;
    let transposed = layers.transpose(&annotator.shared);
    let (mut rest, mut gradient) = (dv, vec![0.0; layers.parameters()]);
    batch.groups.iter().position(|(features, _)| {
        let mut part = Matrix::zeros(features.rows(), layers.outputs());
        let (here, after) = rest.split_at(part.data.len());
        part.data.copy_from_slice(here);
        rest = after;
        let gemm = kernel.gemm();
        let tape = annotator.forward(gemm, features.clone());
        let dx = layers.backward(gemm, &transposed, tape, part, &mut gradient);
        if let (Features::Frames(frames), false) = (features, layers.frame_network().is_empty()) {
            annotator.frame_gradient(gemm, &transposed, frames, &dx, 0, &mut gradient);
        }
        !all_finite(gemm.instructions(), &gradient)
    })
}
