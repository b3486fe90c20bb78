//! What a mini-batch came to, and whose rows make its gradient overflow: that is looked for after
//! the fact, since it is slow.

use std::slice::from_ref;

use super::mini_batches::Batch;
use super::step::FramesOf;
use crate::device::host_arithmetic::all_finite;
use crate::device::{Device, Leaves, Piece};
use crate::error::Result;
use crate::labels::Labels;

/// What a mini-batch came to.
pub(crate) struct Stepped {
    /// The loss before it, summed over its rows.
    pub(crate) loss: f64,
    /// Whether the loss and the shared layers' gradient are finite: the same on all ranks.
    pub(crate) finite: bool,
    /// What of this rank's rows isn't finite, if anything: activations or a gradient, named with
    /// their row blocks.
    pub(crate) odd: Option<String>,
    /// Whether this rank's device has failed.
    pub(crate) outcome: Result<()>,
}

/// The first of this rank's groups, counted from its first, whose gradient of the shared layers, of
/// so many parameters, isn't finite. `dv` is dL/dv of this rank's rows, end to end.
///
/// # Errors
/// What the device gives.
pub(crate) fn odd_group<D: Device>(
    device: &mut D,
    network: &D::Network<'_>,
    batch: &Batch,
    parameters: usize,
    dv: &[f32],
) -> Result<Option<usize>> {
    let rows: usize = batch.groups.iter().map(|(features, _)| features.rows()).sum();
    let (mut rest, stride) = (dv, dv.len() / rows.max(1));
    for (index, group) in batch.groups.iter().enumerate() {
        let (here, after) = rest.split_at(group.0.rows() * stride);
        rest = after;
        let piece = Piece { features: group.0.clone(), labels: Labels::new(), last: true };
        let mut wave = device.forward(network, &mut std::iter::once(Ok(piece)))?;
        device.give_slopes(&mut wave, here)?;
        let mut leaf = OneLeaf(vec![0.0; parameters]);
        device.backward(network, wave, &FramesOf(from_ref(group)), &mut leaf)?;
        if !all_finite(&leaf.0) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// The gradient of a single group.
struct OneLeaf(Vec<f32>);

impl Leaves for OneLeaf {
    fn room(&mut self) -> Result<Vec<f32>> {
        Ok(std::mem::take(&mut self.0))
    }

    fn next(&self) -> usize {
        0
    }

    fn add_sum(&mut self, _: usize, sum: Vec<f32>) {
        self.0 = sum;
    }
}
