//! The state of an expert step besides the model: where it stands, this rank's class blocks while
//! the device holds them, and when their classes stop.

use std::io;

use serde::{Deserialize, Serialize};

use super::column::{ColumnBlocks, InColumn};
use super::column_passes::ColumnSearches;
use super::early_stopping::EarlyStopping;
use super::held::{Held, LearningBlocks};
use crate::device::{Device, FullBatches, MiniBatches};
use crate::error::Result;
use crate::job::ExpertsJob;
use crate::model::experts::Experts;
use crate::optim::Solver;
use crate::packed::put;
use crate::stint::Length;
use crate::train::checkpoint_record::Resumable;
use crate::train::held_blocks::{hide, hold};
use crate::train::validation::Best;
use crate::train::watch::BlockDigest;

/// The state of an expert step besides the model.
pub(crate) struct ExpertsCourse<D: Device> {
    pub(super) position: NextWindow,
    pub(super) blocks: OwnBlocks<D>,
    /// The model after the best epoch so far, where the job keeps the best one.
    pub(crate) best: Best,
}

/// The window that comes next.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct NextWindow {
    pub(crate) epoch: usize,
    /// Rows of the epoch, or of the pass, that have passed all class blocks. A block may be
    /// further.
    pub(crate) rows: usize,
    /// Epochs without a better validation.
    pub(crate) without: usize,
    pub(crate) done: bool,
}

/// This rank's class blocks, by the way in which they learn.
pub(crate) enum OwnBlocks<D: Device> {
    MiniBatch(LearningBlocks<D, MiniBatches>),
    /// Those of this rank's column, by mini-batches.
    Column(Box<ColumnBlocks<D>>),
    FullBatch(LearningBlocks<D, FullBatches>),
    /// Those of this rank's column, by passes over all rows.
    ColumnPasses(Box<ColumnSearches<D>>),
    /// The step is at its end: solvers' states are of no more use.
    Done,
}

/// A step that goes on, with class blocks of one way to learn.
pub(crate) struct StepUnderWay<'a, H> {
    pub(crate) position: &'a mut NextWindow,
    pub(crate) held: &'a mut H,
    pub(crate) best: &'a mut Best,
}

impl NextWindow {
    /// Rows that have passed in all epochs, of so many each.
    pub(super) fn passed(&self, rows: usize) -> u64 {
        (self.epoch * rows + self.rows) as u64
    }
}

impl<D: Device> ExpertsCourse<D> {
    /// How long the step is at most, of so many rows an epoch or pass, and where it stands.
    pub(crate) fn length(&self, job: &ExpertsJob, rows: usize) -> Length {
        let epochs = job.epochs as u64;
        let length = Length::of(epochs * rows as u64, "rows");
        Length { before: self.position.passed(rows), parts: (epochs, "epoch"), ..length }
    }

    /// Before the first window; `column` is that of this rank, where several ranks have the same
    /// class blocks. Collective in it.
    ///
    /// # Errors
    /// The device is lost or full.
    pub(crate) fn new(
        device: &mut D,
        job: &ExpertsJob,
        experts: &Experts,
        column: Option<InColumn>,
    ) -> Result<ExpertsCourse<D>> {
        let layouts = || experts.own_layouts().iter();
        let stopping = || EarlyStopping::of_all(experts.own_layouts(), job.class_patience);
        let blocks = match (job.solver, column) {
            (Solver::MiniBatch(solver), Some(column)) => {
                let held = ColumnBlocks::new(device, (job, solver), experts, column)?;
                OwnBlocks::Column(Box::new(held))
            }
            (Solver::MiniBatch(solver), None) => {
                let new = |layout| MiniBatches::new(layout, solver, job.averaging, job.row_slices);
                let blocks = hold(device, experts, layouts().map(new).collect())?;
                OwnBlocks::MiniBatch(LearningBlocks { blocks, stopping: stopping() })
            }
            (Solver::FullBatch(solver), Some(column)) => {
                let held = ColumnSearches::new(device, (job, solver), experts, column)?;
                OwnBlocks::ColumnPasses(Box::new(held))
            }
            (Solver::FullBatch(solver), None) => {
                let offered = job.offered();
                let new = |(layout, weights): (&_, &std::sync::Arc<Vec<f32>>)| {
                    FullBatches::new(layout, weights, solver, &offered)
                };
                let searches = layouts().zip(&experts.parameters).map(new).collect();
                let blocks = hold(device, experts, searches)?;
                OwnBlocks::FullBatch(LearningBlocks { blocks, stopping: stopping() })
            }
        };
        Ok(ExpertsCourse { position: NextWindow::default(), blocks, best: Best::default() })
    }
}

impl<D: Device, H: Held<D>> Resumable<D> for StepUnderWay<'_, H> {
    fn put_common(&self, to: &mut dyn io::Write) -> io::Result<()> {
        put(to, &*self.position)
    }

    fn has_blocks(&self) -> bool {
        !self.position.done
    }

    fn collect(&mut self, device: &mut D) -> Result<()> {
        self.held.collect(device)
    }

    fn put_block(&self, device: &D, index: usize, to: &mut dyn io::Write) -> io::Result<()> {
        self.held.put_block(device, index, to)
    }

    fn show(&self, device: &D, experts: &mut Experts) -> Result<()> {
        self.held.show(device, experts)
    }

    fn hide(&mut self, experts: &mut Experts) {
        self.held.forget_collected();
        hide(experts);
    }

    fn copies(&self, device: &D, threads: usize) -> Result<Vec<BlockDigest>> {
        self.held.copies(device, threads)
    }

    fn best(&self) -> Option<&Best> {
        Some(self.best)
    }
}

impl<D: Device> OwnBlocks<D> {
    fn held(&self) -> Option<&dyn Held<D>> {
        match self {
            OwnBlocks::MiniBatch(held) => Some(held),
            OwnBlocks::Column(held) => Some(&**held),
            OwnBlocks::FullBatch(held) => Some(held),
            OwnBlocks::ColumnPasses(held) => Some(&**held),
            OwnBlocks::Done => None,
        }
    }
}

impl<D: Device> Resumable<D> for ExpertsCourse<D> {
    fn put_common(&self, to: &mut dyn io::Write) -> io::Result<()> {
        put(to, &self.position)
    }

    fn has_blocks(&self) -> bool {
        !self.position.done
    }

    fn collect(&mut self, device: &mut D) -> Result<()> {
        match &mut self.blocks {
            OwnBlocks::Column(held) => held.collect(device),
            OwnBlocks::ColumnPasses(held) => held.collect(device),
            _ => Ok(()),
        }
    }

    fn put_block(&self, device: &D, index: usize, to: &mut dyn io::Write) -> io::Result<()> {
        self.blocks.held().map_or(Ok(()), |held| held.put_block(device, index, to))
    }

    fn best(&self) -> Option<&Best> {
        Some(&self.best)
    }
}
