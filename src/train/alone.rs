//! One step of a run by itself, for a measure of one rank: without what comes before it and after.

use super::data::Data;
use super::experts::{ExpertStep, ExpertsCourse};
use super::setting::{Setting, plan, shape_of};
use super::state::State;
use crate::comm::Comm;
use crate::device::Device;
use crate::error::Result;
use crate::flow::own_rows::OwnRows;
use crate::job::Job;
use crate::report::Report;

impl<'a> Setting<'a> {
    /// As `new`, for a measure: nothing is compared, and no machine is looked at. Collective.
    ///
    /// # Errors
    /// Exit 9, common to all ranks: the byte budget of the job can't be kept.
    pub(crate) fn measured(comm: &'a Comm, job: &'a Job, data: Data) -> Result<Setting<'a>> {
        let (shape, plan) = (shape_of(job, &data), plan(comm, job, &data)?);
        comm.use_threads(job.run.threads);
        Ok(Setting { comm, job, data, plan, shape })
    }
}

/// The expert step of the first round on these rows of this rank, until it ends or is told to stop.
/// Collective.
///
/// # Errors
/// What the step gives; exit 75 when told to stop.
pub(crate) fn expert_step<D: Device>(setting: Setting, device: D, own: &OwnRows) -> Result<()> {
    let (comm, job, data) = (setting.comm, setting.job, setting.data.clone());
    let report = &mut Report::silent();
    let mut state = State::new(setting, device, report, None);
    let mut model = state.setting.initial();
    // What pretraining has left is kept beside the new mixtures, as in a run.
    state.best.keep(&model, f64::NEG_INFINITY);
    state.standing.round = 1;
    model.experts = state.setting.new_experts(&data.experts, 1);
    let new = ExpertsCourse::new(&mut state.device, &job.experts, &model.experts);
    let mut course = comm.agree(new)?;
    let runs = data.train.row_runs();
    let step =
        ExpertStep { comm, job: &job.experts, seed: job.run.seed, round: 1, own, runs: &runs };
    step.run(&mut state, &mut model, &mut course)
}
