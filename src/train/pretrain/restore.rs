//! Pretraining out of a checkpoint.

use std::io::Read;

use super::mini_batches::Groups;
use super::{Joint, NextMiniBatch, PretrainCourse, variables_of};
use crate::checkpoint::Loaded;
use crate::device::Device;
use crate::error::Result;
use crate::job::PretrainJob;
use crate::model::annotator::Annotator;
use crate::optim::MiniBatch;
use crate::optim::adam::Adam;
use crate::packed::{take, unless};
use crate::train::held::hold;
use crate::train::saved::learned_blocks;

impl<D: Device> PretrainCourse<D> {
    /// What a checkpoint holds of pretraining `annotator` on `groups`.
    ///
    /// # Errors
    /// Exit 6: it holds something else, or what no pretraining comes to; the device is lost or
    /// full.
    pub fn restore(
        device: &mut D,
        job: &PretrainJob,
        groups: &Groups,
        annotator: &Annotator,
        loaded: &mut Loaded,
    ) -> Result<PretrainCourse<D>> {
        let (position, shared): (NextMiniBatch, Vec<Adam>) = loaded.common.take()?;
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
        Ok(PretrainCourse { position, shared, blocks })
    }
}

impl NextMiniBatch {
    /// What of it no pretraining on `groups` can have come to.
    fn fault(&self, job: &PretrainJob, groups: &Groups) -> Option<String> {
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
