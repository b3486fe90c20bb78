//! Pretraining in a checkpoint and out of one.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::mini_batches::RowGroups;
use super::{Joint, NextMiniBatch, PretrainCourse, variables_of};
use crate::checkpoint::Loaded;
use crate::device::Device;
use crate::error::Result;
use crate::job::PretrainJob;
use crate::model::annotator::Annotator;
use crate::model::experts::Experts;
use crate::optim::MiniBatch;
use crate::optim::adam::Adam;
use crate::packed::{put, take, unless};
use crate::train::checkpoint_record::{Resumable, learned_blocks};
use crate::train::held_blocks::{hide, hold, put_block, show};

/// What all ranks hold of pretraining alike. It is borrowed where it is written, owned where it is
/// read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PretrainRecord<P, S> {
    position: P,
    /// Of each variable of the shared layers.
    shared: S,
}

impl<D: Device> Resumable<D> for PretrainCourse<D> {
    fn put_common(&self, to: &mut dyn Write) -> io::Result<()> {
        put(to, &PretrainRecord { position: &self.position, shared: &self.shared })
    }

    fn has_blocks(&self) -> bool {
        true
    }

    fn is_replica(&self) -> bool {
        self.learns
    }

    fn put_block(&self, device: &D, index: usize, to: &mut dyn Write) -> io::Result<()> {
        put_block(device, &self.blocks, index, to)
    }

    fn show(&self, device: &D, experts: &mut Experts) -> Result<()> {
        show(device, &self.blocks, experts)
    }

    fn hide(&mut self, experts: &mut Experts) {
        hide(experts);
    }
}

impl<D: Device> PretrainCourse<D> {
    /// What a checkpoint holds of pretraining `annotator` on `groups`.
    ///
    /// # Errors
    /// Exit 6: it holds something else, or what no pretraining comes to; the device is lost or
    /// full.
    pub(crate) fn restore(
        device: &mut D,
        job: &PretrainJob,
        groups: &RowGroups,
        annotator: &Annotator,
        loaded: &mut Loaded,
    ) -> Result<PretrainCourse<D>> {
        let PretrainRecord { position, shared } = match loaded.version {
            1 => {
                let (position, shared): (NextMiniBatch, Vec<Adam>) = loaded.common.take()?;
                PretrainRecord { position, shared }
            }
            _ => loaded.common.take()?,
        };
        let variables: Vec<usize> =
            variables_of(annotator).map(|variable| variable.len()).collect();
        let fault = position.fault(job, groups).or_else(|| match shared.len() == variables.len() {
            true => shared
                .iter()
                .zip(variables)
                .find_map(|(adam, length)| MiniBatch::fault(adam, length)),
            false => {
                Some(format!("found {} variables, expected {}", shared.len(), variables.len()))
            }
        });
        if let Some(what) = fault {
            return Err(loaded.common.refused(format!("pretraining: {what}")));
        }
        let own = &annotator.experts.parameters;
        let states = learned_blocks(loaded, &annotator.experts, |index, from: &mut dyn Read| {
            let adam: Adam = take(from)?;
            let fault = MiniBatch::fault(&adam, own[index].len());
            unless(Joint(adam), fault)
        })?;
        let blocks = hold(device, &annotator.experts, states)?;
        Ok(PretrainCourse { position, shared, blocks, learns: true })
    }
}

impl NextMiniBatch {
    /// What in it no pretraining on `groups` can have come to, if anything.
    fn fault(&self, job: &PretrainJob, groups: &RowGroups) -> Option<String> {
        let epochs = match self.done {
            true => (1..=job.epochs).contains(&self.epoch) && self.step == 0,
            false => self.epoch < job.epochs && self.step <= groups.steps(),
        };
        // The learning rate and what dropout leaves out follow from the rows seen.
        let fine = epochs
            && self.rows_seen == self.epoch * groups.rows.rows() + groups.rows_before(self.step)
            && self.loss.is_finite()
            && self.without <= self.epoch;
        (!fine).then(|| {
            let (epoch, step, rows) = (self.epoch, self.step, self.rows_seen);
            format!("found epoch {epoch}, mini-batch {step}, {rows} rows seen, loss {}", self.loss)
        })
    }
}
