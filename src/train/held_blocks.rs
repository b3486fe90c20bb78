//! This rank's class blocks while the device holds them. Meanwhile the model has none, so that
//! nobody can take outdated weights for theirs; they are copied into it (`show`) only for as long
//! as somebody looks at them.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::device::{ClassBlock, Device, Solving};
use crate::error::Result;
use crate::model::Layout;
use crate::model::experts::Experts;

/// Gives the own class blocks to the device, each with what it learns with. They stay in the model,
/// too, until they are hidden.
///
/// # Errors
/// The device is lost or full.
pub(crate) fn hold<D: Device, S: Solving>(
    device: &mut D,
    experts: &Experts,
    states: Vec<S>,
) -> Result<D::Blocks<S>> {
    let blocks = experts.own_layouts().iter().zip(&experts.parameters).zip(states);
    let block = |((layout, weights), state): ((&Layout, &Arc<Vec<f32>>), S)| ClassBlock {
        layout: layout.clone(),
        weights: weights.clone(),
        state,
    };
    device.hold(blocks.map(block).collect())
}

/// Copies this rank's class blocks, as the device has them, into the model.
///
/// # Errors
/// The device is lost.
pub(crate) fn show<D: Device, S: Solving>(
    device: &D,
    blocks: &D::Blocks<S>,
    experts: &mut Experts,
) -> Result<()> {
    show_run(device, blocks, 0..experts.own().len(), experts)
}

/// The same where the own ones are a run of those that the device has.
///
/// # Errors
/// The device is lost.
pub(crate) fn show_run<D: Device, S: Solving>(
    device: &D,
    blocks: &D::Blocks<S>,
    own: Range<usize>,
    experts: &mut Experts,
) -> Result<()> {
    hide(experts);
    let weights = own.map(|index| device.weights(blocks, index));
    experts.parameters = weights.collect::<Result<_>>()?;
    Ok(())
}

/// Takes this rank's class blocks out of the model again.
pub(crate) fn hide(experts: &mut Experts) {
    experts.parameters = Vec::new();
}

/// Writes the solver's state of a class block that the device holds.
///
/// # Errors
/// What writing gives; the device is lost.
pub(crate) fn put_block<D: Device, S: Solving>(
    device: &D,
    blocks: &D::Blocks<S>,
    index: usize,
    to: &mut dyn io::Write,
) -> io::Result<()> {
    let mut outcome = Ok(());
    let read = device.read(blocks, index, &mut |block| outcome = block.state.put(to));
    read.map_err(|error| io::Error::other(error.text)).and(outcome)
}
