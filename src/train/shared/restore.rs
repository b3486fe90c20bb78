//! A shared step in a checkpoint and out of one.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::SharedCourse;
use crate::checkpoint::Loaded;
use crate::device::Device;
use crate::error::Result;
use crate::job::SharedJob;
use crate::optim::SharedState;
use crate::packed::put;
use crate::train::checkpoint_record::Resumable;

/// What all ranks hold of a shared step alike. It is borrowed where it is written, owned where it
/// is read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SharedRecord<S> {
    iteration: usize,
    solver: S,
}

impl<D: Device> Resumable<D> for SharedCourse<D> {
    fn put_common(&self, to: &mut dyn Write) -> io::Result<()> {
        put(to, &SharedRecord { iteration: self.iteration, solver: &self.solver })
    }

    fn collect(&mut self, device: &mut D) -> Result<()> {
        device.settle_shared(&mut self.solver, &self.steps)
    }
}

impl<D: Device> SharedCourse<D> {
    /// What a checkpoint holds.
    ///
    /// # Errors
    /// Exit 6: it holds something else.
    pub(crate) fn restore(
        job: &SharedJob,
        parameters: usize,
        loaded: &mut Loaded,
    ) -> Result<SharedCourse<D>> {
        let SharedRecord { iteration, solver } = match loaded.version {
            1 => {
                let (iteration, solver): (usize, SharedState) = loaded.common.take()?;
                SharedRecord { iteration, solver }
            }
            _ => loaded.common.take()?,
        };
        let fault = match iteration > job.iterations {
            true => Some(format!("found iteration {iteration}")),
            false => solver.fault(job.solver, parameters, &job.offered()),
        };
        match fault {
            None => Ok(SharedCourse::at(iteration, solver)),
            Some(what) => Err(loaded.common.refused(format!("shared step: {what}"))),
        }
    }
}
