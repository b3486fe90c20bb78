//! An expert step out of a checkpoint: where it stood, and what its class blocks had.

use std::io::Read;

use super::super::saved::learned_blocks;
use super::super::standing::Best;
use super::early_stopping::HeldOut;
use super::full_batch::BlockSearch;
use super::mini_batch::Learner;
use super::{BlocksLearning, Learning, Position};
use crate::checkpoint::Loaded;
use crate::error::Result;
use crate::job::ExpertsJob;
use crate::kernel::mixture::layout::Layout;
use crate::model::experts::Experts;
use crate::optim::Solver;
use crate::packed::{take, unless};

impl Learning {
    /// What a checkpoint holds of a step over so many `rows`.
    ///
    /// # Errors
    /// Exit 6: it holds something else, or what no such step comes to.
    pub fn restore(
        (job, rows): (&ExpertsJob, usize),
        experts: &Experts,
        best: Best,
        loaded: &mut Loaded,
    ) -> Result<Learning> {
        let position: Position = loaded.common.take()?;
        if let Some(what) = position.fault(job, rows) {
            return Err(loaded.common.refused(what));
        }
        let layouts = experts.own_layouts();
        let held_out = |layout: &Layout, from: &mut dyn Read| match job.class_patience {
            0 => Ok(None),
            patience => {
                let held_out: HeldOut = take(from)?;
                let fault = held_out.fault(layout, patience);
                unless(Some(held_out), fault)
            }
        };
        let search = |index: usize, from: &mut dyn Read| {
            let layout: &Layout = &layouts[index];
            let search = BlockSearch::restore(layout, job.tolerance, from)?;
            Ok((search, held_out(layout, from)?))
        };
        let seen = position.rows..rows.min(position.rows.saturating_add(job.window_rows()));
        let learner = |index: usize, from: &mut dyn Read| {
            let (layout, learner): (&Layout, Learner) = (&layouts[index], take(from)?);
            let fault = learner.fault(layout, job, seen.clone());
            Ok((unless(learner, fault)?, held_out(layout, from)?))
        };
        let (blocks, held_out): (_, Vec<Option<HeldOut>>) = match job.solver {
            _ if position.done => (BlocksLearning::Done, Vec::new()),
            Solver::Lbfgs => {
                let found = learned_blocks(loaded, experts, search)?.into_iter().unzip();
                (BlocksLearning::FullBatch(found.0), found.1)
            }
            _ => {
                let found = learned_blocks(loaded, experts, learner)?.into_iter().unzip();
                (BlocksLearning::MiniBatch(found.0), found.1)
            }
        };
        Ok(Learning { position, blocks, held_out: held_out.into_iter().flatten().collect(), best })
    }
}

impl Position {
    /// What of it no step over so many rows can have come to.
    fn fault(&self, job: &ExpertsJob, rows: usize) -> Option<String> {
        let windows = match job.solver {
            Solver::Lbfgs => self.rows == 0,
            _ => self.rows < rows && self.rows.is_multiple_of(job.window_rows()),
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
