//! An expert step out of a checkpoint: where it stood, and what its class blocks had.

use std::io::Read;
use std::ops::Range;

use super::course::{ExpertsCourse, Held, NextWindow, OwnBlocks};
use super::early_stopping::EarlyStopping;
use crate::checkpoint::Loaded;
use crate::device::{Device, FullBatches, MiniBatches};
use crate::error::Result;
use crate::job::ExpertsJob;
use crate::model::Layout;
use crate::model::experts::Experts;
use crate::optim::{MiniBatchSolver, Solver};
use crate::packed::{take, unless};
use crate::train::held::hold;
use crate::train::saved::learned_blocks;
use crate::train::validation::Best;

impl<D: Device> ExpertsCourse<D> {
    /// What a checkpoint holds of a step over so many `rows`.
    ///
    /// # Errors
    /// Exit 6: it holds something else, or what no such step comes to; the device is lost or full.
    pub fn restore(
        device: &mut D,
        (job, rows): (&ExpertsJob, usize),
        experts: &Experts,
        best: Best,
        loaded: &mut Loaded,
    ) -> Result<ExpertsCourse<D>> {
        let position: NextWindow = loaded.common.take()?;
        if let Some(what) = position.fault(job, rows) {
            return Err(loaded.common.refused(what));
        }
        let layouts = experts.own_layouts();
        let blocks = match job.solver {
            _ if position.done => OwnBlocks::Done,
            Solver::FullBatch(solver) => {
                let offered = job.offered();
                let found = learned_blocks(loaded, experts, |index, from: &mut dyn Read| {
                    let search = FullBatches::take(&layouts[index], solver, &offered, from)?;
                    Ok((search, stopping(&layouts[index], job, from)?))
                })?;
                let (searches, stopping): (Vec<_>, Vec<_>) = found.into_iter().unzip();
                let stopping = stopping.into_iter().flatten().collect();
                OwnBlocks::FullBatch(Held { blocks: hold(device, experts, searches)?, stopping })
            }
            Solver::MiniBatch(solver) => {
                let seen = position.rows..rows.min(position.rows.saturating_add(job.window_rows()));
                let found = learned_blocks(loaded, experts, |index, from: &mut dyn Read| {
                    let block = mini_batches(&layouts[index], (job, solver), &seen, from)?;
                    Ok((block, stopping(&layouts[index], job, from)?))
                })?;
                let (states, stopping): (Vec<_>, Vec<_>) = found.into_iter().unzip();
                let stopping = stopping.into_iter().flatten().collect();
                OwnBlocks::MiniBatch(Held { blocks: hold(device, experts, states)?, stopping })
            }
        };
        Ok(ExpertsCourse { position, blocks, best })
    }
}

/// A block that has learned from `seen` rows of the epoch, or some of them.
fn mini_batches(
    layout: &Layout,
    (job, solver): (&ExpertsJob, MiniBatchSolver),
    seen: &Range<usize>,
    from: &mut dyn Read,
) -> std::io::Result<MiniBatches> {
    let block: MiniBatches = take(from)?;
    let (how, rows) = ((solver, job.averaging), (seen.clone(), job.batch));
    let fault = block.fault(layout, how, rows);
    unless(block, fault)
}

/// When a block's classes stop, where they stop by themselves.
fn stopping(
    layout: &Layout,
    job: &ExpertsJob,
    from: &mut dyn Read,
) -> std::io::Result<Option<EarlyStopping>> {
    if job.class_patience == 0 {
        return Ok(None);
    }
    let stopping: EarlyStopping = take(from)?;
    let fault = stopping.fault(layout, job.class_patience);
    unless(Some(stopping), fault)
}

impl NextWindow {
    /// What of it no step over so many rows can have come to.
    fn fault(&self, job: &ExpertsJob, rows: usize) -> Option<String> {
        let windows = match job.solver {
            Solver::FullBatch(_) => self.rows == 0,
            Solver::MiniBatch(_) => self.rows < rows && self.rows.is_multiple_of(job.window_rows()),
        };
        let epochs = match self.done {
            true => (1..=job.epochs).contains(&self.epoch) && self.rows == 0,
            false => self.epoch < job.epochs && (windows || self.rows == rows),
        };
        let fine = epochs && self.without <= self.epoch + 1;
        (!fine).then(|| {
            let (epoch, done) = (self.epoch, if self.done { ", done" } else { "" });
            format!("expert step: found epoch {epoch}, row {} of {rows}{done}", self.rows)
        })
    }
}
