//! What the expert step asks of class blocks while they learn, whether this rank has them alone or
//! the ranks of its column have them between them.

use std::io;
use std::ops::Range;

use super::early_stopping::EarlyStopping;
use crate::device::{
    AllRows, ByEpoch, Device, FullBatches, Learn, MiniBatches, Pace, Slices, Solving,
};
use crate::error::Result;
use crate::job::ExpertsJob;
use crate::model::Layout;
use crate::model::experts::Experts;
use crate::packed::{put, put_fields};
use crate::train::held_blocks::{hide, put_block, show};
use crate::train::watch::BlockDigest;

/// Class blocks that learn, on the device. What is collective is so in the column.
pub(crate) trait Held<D: Device> {
    /// Copies the blocks that this rank owns, as the device has them, into the model.
    fn show(&self, device: &D, experts: &mut Experts) -> Result<()>;

    /// Losses by class of the blocks that this rank owns (`ByEpoch::losses`). Collective.
    ///
    /// # Errors
    /// The device is lost.
    fn class_losses(&mut self, device: &mut D) -> Result<Vec<Vec<f64>>>;

    /// Number of blocks that still learn.
    fn left(&mut self, device: &mut D) -> Result<usize>;

    /// Puts classes that have stopped by themselves, or `all` classes, back to their best weights.
    /// Takes the blocks out of the model.
    fn put_back(&mut self, device: &mut D, experts: &mut Experts, all: bool) -> Result<()>;

    /// Takes in each class's loss on the validation rows: classes that stop by it are put back to
    /// their best weights and learn no more. Takes the blocks out of the model.
    fn take_losses(&mut self, device: &mut D, experts: &mut Experts, losses: &[f64]) -> Result<()>;

    /// Has the state of each block that this rank owns here, for `put_block`. Collective.
    ///
    /// # Errors
    /// The device is lost; exit 7 where ranks of the column have counted otherwise.
    fn collect(&mut self, _device: &mut D) -> Result<()> {
        Ok(())
    }

    /// Lets go of what was collected.
    fn forget_collected(&mut self) {}

    /// Writes the state of block `index` of those that this rank owns.
    fn put_block(&self, device: &D, index: usize, to: &mut dyn io::Write) -> io::Result<()>;

    /// Of the blocks whose weights other ranks have, too, if any.
    fn copies(&self, _device: &D, _threads: usize) -> Result<Vec<BlockDigest>> {
        Ok(Vec::new())
    }
}

/// Class blocks that learn by mini-batches.
pub(crate) trait ByBatches<D: Device>: Held<D> {
    /// Takes the blocks through the mini-batches of the window at these positions of the epoch, of
    /// which `rows` are here. Collective.
    ///
    /// # Errors
    /// The device is full or lost.
    fn learn(
        &mut self,
        device: &mut D,
        rows: &D::Rows,
        positions: Range<usize>,
        how: &Learn,
        pace: &mut Pace,
    ) -> Result<()>;

    /// Exchanges weights and their averages, where there are any. Collective.
    fn swap_averages(&mut self, device: &mut D) -> Result<()>;

    /// Ends an epoch, whose losses `class_losses` has given.
    fn end_epoch(&mut self, device: &mut D, tolerance: f64) -> Result<()>;
}

/// Class blocks whose classes search by themselves, by passes over all rows.
pub(crate) trait ByPasses<D: Device>: Held<D> {
    /// Adds what a window has of so many rows in all, which are cut into so many slices.
    ///
    /// # Errors
    /// The device is full or lost.
    fn evaluate(
        &mut self,
        device: &mut D,
        rows: &D::Rows,
        all: (usize, usize),
        pace: &mut Pace,
    ) -> Result<()>;

    /// Ends a pass over so many rows: every search takes its step (`Device::advance`). Collective.
    ///
    /// # Errors
    /// The device is lost.
    fn advance(&mut self, device: &mut D, rows: usize, job: &ExpertsJob) -> Result<()>;

    /// Forgets the sums of a pass that was stopped.
    fn forget(&mut self, device: &mut D) -> Result<()>;

    /// Puts every class at its last accepted point. Collective.
    ///
    /// # Errors
    /// The device is lost.
    fn settle(&mut self, device: &mut D) -> Result<()>;
}

/// Own class blocks that learn, on the device, and what stops their classes.
pub(crate) struct LearningBlocks<D: Device, S: Solving> {
    pub(crate) blocks: D::Blocks<S>,
    /// Early stopping of each block's classes; empty where classes don't stop by themselves.
    pub(crate) stopping: Vec<EarlyStopping>,
}

impl<D: Device, S: ByEpoch> Held<D> for LearningBlocks<D, S> {
    fn show(&self, device: &D, experts: &mut Experts) -> Result<()> {
        show(device, &self.blocks, experts)
    }

    fn class_losses(&mut self, device: &mut D) -> Result<Vec<Vec<f64>>> {
        device.class_losses(&self.blocks)
    }

    fn left(&mut self, device: &mut D) -> Result<usize> {
        device.left(&self.blocks)
    }

    fn put_back(&mut self, device: &mut D, experts: &mut Experts, all: bool) -> Result<()> {
        hide(experts);
        for (index, stopping) in self.stopping.iter().enumerate() {
            let layout = &experts.own_layouts()[index];
            device.change(&mut self.blocks, index, &mut |weights| {
                stopping.put_back(layout, all, weights);
            })?;
        }
        Ok(())
    }

    fn take_losses(&mut self, device: &mut D, experts: &mut Experts, losses: &[f64]) -> Result<()> {
        take_all(device, (&self.blocks, experts.own_layouts()), &mut self.stopping, losses)?;
        self.put_back(device, experts, false)?;
        for (index, stopping) in self.stopping.iter().enumerate() {
            device.end(&mut self.blocks, index, &stopping.all())?;
        }
        Ok(())
    }

    fn put_block(&self, device: &D, index: usize, to: &mut dyn io::Write) -> io::Result<()> {
        let learning = |to: &mut dyn io::Write| put_block(device, &self.blocks, index, to);
        put_record(learning, self.stopping.get(index), to)
    }
}

impl<D: Device> ByBatches<D> for LearningBlocks<D, MiniBatches> {
    fn learn(
        &mut self,
        device: &mut D,
        rows: &D::Rows,
        _positions: Range<usize>,
        how: &Learn,
        pace: &mut Pace,
    ) -> Result<()> {
        device.learn(&mut self.blocks, rows, how, pace)
    }

    fn swap_averages(&mut self, device: &mut D) -> Result<()> {
        device.swap_averages(&mut self.blocks)
    }

    fn end_epoch(&mut self, device: &mut D, tolerance: f64) -> Result<()> {
        device.end_epoch(&mut self.blocks, tolerance)
    }
}

impl<D: Device> ByPasses<D> for LearningBlocks<D, FullBatches> {
    fn evaluate(
        &mut self,
        device: &mut D,
        rows: &D::Rows,
        (count, slices): (usize, usize),
        pace: &mut Pace,
    ) -> Result<()> {
        let all = AllRows { count, slices: Slices::all(slices) };
        device.evaluate(&mut self.blocks, rows, &all, pace)
    }

    fn advance(&mut self, device: &mut D, rows: usize, job: &ExpertsJob) -> Result<()> {
        device.advance(&mut self.blocks, rows, f64::from(job.l2), &job.offered())
    }

    fn forget(&mut self, device: &mut D) -> Result<()> {
        device.forget(&mut self.blocks)
    }

    fn settle(&mut self, device: &mut D) -> Result<()> {
        device.settle(&mut self.blocks)
    }
}

/// Has the early stopping of each of these blocks take its classes' losses, with its weights.
pub(super) fn take_all<D: Device, S: Solving>(
    device: &D,
    (blocks, layouts): (&D::Blocks<S>, &[Layout]),
    stopping: &mut [EarlyStopping],
    losses: &[f64],
) -> Result<()> {
    for (index, (stopping, layout)) in stopping.iter_mut().zip(layouts).enumerate() {
        let weights = device.weights(blocks, index)?;
        stopping.take(layout, &losses[layout.classes.clone()], &weights);
    }
    Ok(())
}

/// Writes what a checkpoint holds of a class block: the fields of a `BlockRecord`.
pub(super) fn put_record(
    learning: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
    stopping: Option<&EarlyStopping>,
    to: &mut dyn io::Write,
) -> io::Result<()> {
    put_fields(to, 1 + u8::from(stopping.is_some()))?;
    put(to, &"learning")?;
    learning(to)?;
    let Some(stopping) = stopping else { return Ok(()) };
    put(to, &"early_stopping")?;
    put(to, stopping)
}
