//! An expert step out of a checkpoint: where it stood, and what its class blocks had.

use std::io::{self, Read};

use serde::Deserialize;

use super::column::{ColumnBlocks, InColumn};
use super::column_passes::ColumnSearches;
use super::course::{ExpertsCourse, NextWindow, OwnBlocks};
use super::early_stopping::EarlyStopping;
use super::held::LearningBlocks;
use crate::checkpoint::Loaded;
use crate::comm::Comm;
use crate::device::{Device, FullBatches, MiniBatches};
use crate::error::Result;
use crate::job::ExpertsJob;
use crate::model::Layout;
use crate::model::experts::Experts;
use crate::optim::{ClassState, Solver};
use crate::packed::{take, unless};
use crate::train::checkpoint_record::learned_blocks;
use crate::train::held_blocks::hold;
use crate::train::validation::Best;

/// What a class block has in a checkpoint, as `Held::put_block` writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockRecord<S> {
    /// The solver's state.
    learning: S,
    early_stopping: Option<EarlyStopping>,
}

impl<D: Device> ExpertsCourse<D> {
    /// What a checkpoint holds of a step over so many `rows`; `column` is as for `new`. Collective
    /// where there is one.
    ///
    /// # Errors
    /// Exit 6: it holds something else, or what no such step comes to; the device is lost or full.
    pub(crate) fn restore(
        device: &mut D,
        (job, rows): (&ExpertsJob, usize),
        experts: &Experts,
        (comm, column): (&Comm, Option<InColumn>),
        best: Best,
        loaded: &mut Loaded,
    ) -> Result<ExpertsCourse<D>> {
        let position: NextWindow = loaded.common.take()?;
        if let Some(what) = position.fault(job, rows) {
            return Err(loaded.common.refused(what));
        }
        let layouts = experts.own_layouts();
        let version = loaded.version;
        // In version 1 both fields came one after the other, without names.
        let last = |from: &mut dyn Read| match job.class_patience {
            0 => Ok(None),
            _ => take(from).map(Some),
        };
        let blocks = match job.solver {
            _ if position.done => OwnBlocks::Done,
            Solver::FullBatch(solver) => {
                let offered = job.offered();
                let found = learned_blocks(loaded, experts, |index, from: &mut dyn Read| {
                    let layout = &layouts[index];
                    let record: BlockRecord<Vec<ClassState>> = match version {
                        1 => {
                            let each =
                                layout.classes.clone().map(|_| ClassState::take(solver, from));
                            let learning = each.collect::<io::Result<_>>()?;
                            BlockRecord { learning, early_stopping: last(from)? }
                        }
                        _ => take(from)?,
                    };
                    let search = FullBatches::of(layout, solver, &offered, record.learning)?;
                    Ok((search, stopping(layout, job, record.early_stopping)?))
                });
                if let Some(column) = column {
                    let found = comm.agree(found)?;
                    let held = ColumnSearches::restore(device, job, experts, column, found)?;
                    let blocks = OwnBlocks::ColumnPasses(Box::new(held));
                    return Ok(ExpertsCourse { position, blocks, best });
                }
                let (searches, stopping): (Vec<_>, Vec<_>) = found?.into_iter().unzip();
                let stopping = stopping.into_iter().flatten().collect();
                OwnBlocks::FullBatch(LearningBlocks {
                    blocks: hold(device, experts, searches)?,
                    stopping,
                })
            }
            Solver::MiniBatch(solver) => {
                let seen = position.rows..rows.min(position.rows.saturating_add(job.window_rows()));
                let found = learned_blocks(loaded, experts, |index, from: &mut dyn Read| {
                    let layout = &layouts[index];
                    let record: BlockRecord<MiniBatches> = match version {
                        1 => BlockRecord { learning: take(from)?, early_stopping: last(from)? },
                        _ => take(from)?,
                    };
                    let how = (solver, job.averaging, job.row_slices);
                    let rows = (seen.clone(), job.batch);
                    let fault = record.learning.fault(layout, how, rows);
                    let block = unless(record.learning, fault)?;
                    Ok((block, stopping(layout, job, record.early_stopping)?))
                });
                if let Some(column) = column {
                    // Whether all have read theirs is known before they deal it out.
                    let (how, found) = ((job, solver), comm.agree(found)?);
                    let held = ColumnBlocks::restore(device, how, experts, column, found)?;
                    let blocks = OwnBlocks::Column(Box::new(held));
                    return Ok(ExpertsCourse { position, blocks, best });
                }
                let (states, stopping): (Vec<_>, Vec<_>) = found?.into_iter().unzip();
                let stopping = stopping.into_iter().flatten().collect();
                OwnBlocks::MiniBatch(LearningBlocks {
                    blocks: hold(device, experts, states)?,
                    stopping,
                })
            }
        };
        Ok(ExpertsCourse { position, blocks, best })
    }
}

/// The early stopping of a block's classes, where the job wants it; refuses one that doesn't fit
/// the job.
fn stopping(
    layout: &Layout,
    job: &ExpertsJob,
    found: Option<EarlyStopping>,
) -> io::Result<Option<EarlyStopping>> {
    let fault = match (&found, job.class_patience) {
        (None, 0) => None,
        (Some(found), patience) if patience > 0 => found.fault(layout, patience),
        _ => Some("found early stopping by class, or none, against the job".into()),
    };
    unless(found, fault)
}

impl NextWindow {
    /// What in it no step over so many rows can have come to, if anything.
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
