//! One step of a run by itself, for a measure of one rank: without what comes before it and after.
//! Each ends when it is through, or told to stop.

use super::data::Data;
use super::experts::{ExpertStep, ExpertsCourse};
use super::grid::{RanksHave, grid};
use super::pretrain::{Learners, Pretrain, PretrainCourse, RowGroups, learners_of};
use super::setting::{Setting, planned, shape_of};
use super::shared::{self, SharedCourse};
use super::state::State;
use super::stints::EXPERT_STEP;
use crate::comm::Comm;
use crate::device::Device;
use crate::error::Result;
use crate::flow::grid::Lanes;
use crate::flow::own_rows::OwnRows;
use crate::job::Job;
use crate::model::annotator::Annotator;
use crate::report::Report;
use crate::stint::Stint;

impl<'a> Setting<'a> {
    /// As `new` on ranks that each may take `device_limit` bytes of a GPU, or compute with their
    /// processors, for a measure: nothing is compared, and no machine is looked at. Collective.
    ///
    /// # Errors
    /// Exit 9, common to all ranks: the byte budget of the job can't be kept.
    pub(crate) fn measured(
        comm: &'a Comm,
        job: &'a Job,
        data: Data,
        device_limit: Option<usize>,
    ) -> Result<Setting<'a>> {
        let shape = shape_of(job, &data);
        let have = RanksHave { threads: job.run.threads, device_limit };
        let grid = grid(comm, job, (&data, &shape), &have.machine())?;
        let learners = Learners::new(comm, learners_of(comm, job, &data, (&grid, have)));
        let plan = planned(comm, job, &data, (&grid, learners.count()))?;
        comm.use_threads(job.run.threads);
        let lanes = Lanes::new(comm, &grid);
        let speeds = None;
        Ok(Setting { comm, job, data, plan, shape, learners, grid, lanes, speeds, have })
    }
}

/// The expert step of the first round on these rows of this rank. Collective.
///
/// # Errors
/// What the step gives; exit 75 when told to stop.
pub(crate) fn expert_step<D: Device>(setting: Setting, device: D, own: &OwnRows) -> Result<()> {
    let (comm, job, data) = (setting.comm, setting.job, setting.data.clone());
    let (report, grid) = (&mut Report::silent(), setting.grid.clone());
    let mut state = State::new(setting, device, report, None);
    let mut model = state.large_mixtures()?;
    let column = state.setting.in_column(&model.experts);
    let new = ExpertsCourse::new(&mut state.device, &job.experts, &model.experts, column);
    let mut course = comm.agree(new)?;
    let runs = data.train.row_runs();
    let (seed, runs, grid) = (job.run.seed, &runs[..], &grid);
    let length = course.length(&job.experts, data.train.rows());
    let stint = Stint::begin(EXPERT_STEP, EXPERT_STEP, length);
    let step = ExpertStep { comm, job: &job.experts, seed, round: 1, own, runs, grid, stint };
    step.run(&mut state, &mut model, &mut course)
}

/// The shared step of the first round. Collective.
///
/// # Errors
/// As `expert_step`.
pub(crate) fn shared_step<D: Device>(setting: Setting, device: D) -> Result<()> {
    let report = &mut Report::silent();
    let mut state = State::new(setting, device, report, None);
    let mut model = state.large_mixtures()?;
    let mut course = SharedCourse::new(&state.setting.job.shared, &model.shared);
    shared::run(&mut state, &mut model, &mut course)
}

/// Pretraining. Collective.
///
/// # Errors
/// As `expert_step`.
pub(crate) fn pretraining<D: Device>(setting: Setting, device: D) -> Result<()> {
    let (comm, job, rows) = (setting.comm, setting.job, setting.data.train.clone());
    let report = &mut Report::silent();
    let mut state = State::new(setting, device, report, None);
    let mut model = state.setting.initial()?;
    let new = PretrainCourse::new(&mut state.device, &model);
    let mut course = comm.agree(new)?;
    let (seed, job) = (job.run.seed, &job.pretrain);
    let learners = state.setting.learners.clone();
    let groups = RowGroups::new(&learners, job, seed, &rows);
    Pretrain { comm, learners, job, seed, groups }.run(&mut state, &mut model, &mut course)
}

impl<D> State<'_, D> {
    /// The model with its large mixtures, new; what pretraining has left is kept beside them, as in
    /// a run.
    fn large_mixtures(&mut self) -> Result<Annotator> {
        let mut model = self.setting.initial()?;
        self.best.keep(&model, f64::NEG_INFINITY);
        self.standing.round = 1;
        model.experts = self.setting.new_experts(&self.setting.data.experts, 1);
        Ok(model)
    }
}
