//! The state of an expert step besides the model: where it stands, this rank's class blocks while
//! the device holds them, and when their classes stop.

use std::io;

use serde::{Deserialize, Serialize};

use super::early_stopping::EarlyStopping;
use crate::device::{ByEpoch, Device, FullBatches, MiniBatches, Solving};
use crate::error::Result;
use crate::job::ExpertsJob;
use crate::model::experts::Experts;
use crate::optim::Solver;
use crate::packed::{put, put_fields};
use crate::train::checkpoint_record::Resumable;
use crate::train::held_blocks::{hide, hold, put_block, show};
use crate::train::validation::Best;

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
    FullBatch(LearningBlocks<D, FullBatches>),
    /// The step is at its end: solvers' states are of no more use.
    Done,
}

/// Own class blocks that learn, on the device, and what stops their classes.
pub(crate) struct LearningBlocks<D: Device, S: Solving> {
    pub(crate) blocks: D::Blocks<S>,
    /// Early stopping of each block's classes; empty where classes don't stop by themselves.
    pub(crate) stopping: Vec<EarlyStopping>,
}

/// A step that goes on, with class blocks of one way to learn.
pub(crate) struct StepUnderWay<'a, D: Device, S: Solving> {
    pub(crate) position: &'a mut NextWindow,
    pub(crate) held: &'a mut LearningBlocks<D, S>,
    pub(crate) best: &'a mut Best,
}

impl<D: Device> ExpertsCourse<D> {
    /// Before the first window.
    ///
    /// # Errors
    /// The device is lost or full.
    pub(crate) fn new(
        device: &mut D,
        job: &ExpertsJob,
        experts: &Experts,
    ) -> Result<ExpertsCourse<D>> {
        let layouts = || experts.own_layouts().iter();
        let wanted = layouts().filter(|_| job.class_patience > 0);
        let stopping =
            wanted.map(|layout| EarlyStopping::new(layout, job.class_patience)).collect();
        let blocks = match job.solver {
            Solver::MiniBatch(solver) => {
                let new = |layout| MiniBatches::new(layout, solver, job.averaging, job.row_slices);
                let blocks = hold(device, experts, layouts().map(new).collect())?;
                OwnBlocks::MiniBatch(LearningBlocks { blocks, stopping })
            }
            Solver::FullBatch(solver) => {
                let offered = job.offered();
                let new = |(layout, weights): (&_, &std::sync::Arc<Vec<f32>>)| {
                    FullBatches::new(layout, weights, solver, &offered)
                };
                let searches = layouts().zip(&experts.parameters).map(new).collect();
                let blocks = hold(device, experts, searches)?;
                OwnBlocks::FullBatch(LearningBlocks { blocks, stopping })
            }
        };
        Ok(ExpertsCourse { position: NextWindow::default(), blocks, best: Best::default() })
    }
}

impl<D: Device, S: ByEpoch> LearningBlocks<D, S> {
    /// Copies this rank's class blocks, as the device has them, into the model.
    pub(crate) fn show(&self, device: &D, experts: &mut Experts) -> Result<()> {
        show(device, &self.blocks, experts)
    }

    /// Puts classes that have stopped by themselves, or `all` classes, back to their best weights.
    /// Takes the blocks out of the model.
    pub(crate) fn put_back(
        &mut self,
        device: &mut D,
        experts: &mut Experts,
        all: bool,
    ) -> Result<()> {
        hide(experts);
        for (index, stopping) in self.stopping.iter().enumerate() {
            let layout = &experts.own_layouts()[index];
            device.change(&mut self.blocks, index, &mut |weights| {
                stopping.put_back(layout, all, weights);
            })?;
        }
        Ok(())
    }

    /// Takes in each class's loss on the validation rows: classes that stop by it are put back to
    /// their best weights and learn no more. Takes the blocks out of the model.
    pub(crate) fn take_losses(
        &mut self,
        device: &mut D,
        experts: &mut Experts,
        losses: &[f64],
    ) -> Result<()> {
        for (index, stopping) in self.stopping.iter_mut().enumerate() {
            let layout = &experts.own_layouts()[index];
            let weights = device.weights(&self.blocks, index)?;
            stopping.take(layout, &losses[layout.classes.clone()], &weights);
        }
        self.put_back(device, experts, false)?;
        for (index, stopping) in self.stopping.iter().enumerate() {
            device.end(&mut self.blocks, index, &stopping.all())?;
        }
        Ok(())
    }
}

impl<D: Device, S: ByEpoch> LearningBlocks<D, S> {
    fn put_block(&self, device: &D, index: usize, to: &mut dyn io::Write) -> io::Result<()> {
        // These are the fields of a `BlockRecord`.
        let stopping = self.stopping.get(index);
        put_fields(to, 1 + u8::from(stopping.is_some()))?;
        put(to, &"learning")?;
        put_block(device, &self.blocks, index, to)?;
        stopping
            .map_or(Ok(()), |stopping| put(to, &"early_stopping").and_then(|()| put(to, stopping)))
    }
}

impl<D: Device, S: ByEpoch> Resumable<D> for StepUnderWay<'_, D, S> {
    fn put_common(&self, to: &mut dyn io::Write) -> io::Result<()> {
        put(to, &*self.position)
    }

    fn has_blocks(&self) -> bool {
        !self.position.done
    }

    fn put_block(&self, device: &D, index: usize, to: &mut dyn io::Write) -> io::Result<()> {
        self.held.put_block(device, index, to)
    }

    fn show(&self, device: &D, experts: &mut Experts) -> Result<()> {
        self.held.show(device, experts)
    }

    fn hide(&self, experts: &mut Experts) {
        hide(experts);
    }

    fn best(&self) -> Option<&Best> {
        Some(self.best)
    }
}

impl<D: Device> Resumable<D> for ExpertsCourse<D> {
    fn put_common(&self, to: &mut dyn io::Write) -> io::Result<()> {
        put(to, &self.position)
    }

    fn has_blocks(&self) -> bool {
        !self.position.done
    }

    fn put_block(&self, device: &D, index: usize, to: &mut dyn io::Write) -> io::Result<()> {
        match &self.blocks {
            OwnBlocks::MiniBatch(held) => held.put_block(device, index, to),
            OwnBlocks::FullBatch(held) => held.put_block(device, index, to),
            OwnBlocks::Done => Ok(()),
        }
    }

    fn best(&self) -> Option<&Best> {
        Some(&self.best)
    }
}
