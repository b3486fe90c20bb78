//! A job on ranks that are not there: who owns what, and what that takes of memory.

use super::Question;
use crate::commands::bench::rank::among_stand_ins;
use crate::commands::bench::rank::planned::data_with;
use crate::commands::bench::rank::steps::Whole;
use crate::cost::budget::{Phase, Plan};
use crate::error::Result;
use crate::job::Job;
use crate::model::Layout;
use crate::train::Setting;

/// Bytes of a number.
const NUMBER: usize = size_of::<f32>();

/// A job on ranks that are not there.
pub(super) struct World {
    pub(super) whole: Whole,
    pub(super) plan: Plan,
    pub(super) phases: Vec<Phase>,
    pub(super) threads: usize,
}

impl World {
    /// The job on so many ranks.
    ///
    /// # Errors
    /// Exit 9: memory doesn't suffice; exit 2: a grid that these ranks don't fill.
    pub(super) fn new(
        job: &Job,
        ranks: usize,
        Question { threads, validation_rows, network, pool, .. }: &Question,
    ) -> Result<World> {
        let mut job = job.clone();
        job.run.threads = *threads;
        among_stand_ins((0, ranks), *network, pool, 0.0, |comm, _| {
            let data = data_with(comm, &job, pool, (job.plan.rows, *validation_rows));
            let setting = Setting::measured(comm, &job, data)?;
            let mut whole = Whole::new(&job, &setting.data, setting.grid.clone());
            whole.learners = setting.learners.count();
            let (plan, phases) = (setting.plan.clone(), setting.phases());
            Ok(World { whole, plan, phases, threads: *threads })
        })
    }

    /// Parameters of the large mixtures.
    pub(super) fn parameters(&self) -> usize {
        self.whole.large.iter().map(Layout::parameters).sum()
    }

    /// Parameters of the shared layers.
    pub(super) fn shared(&self) -> usize {
        self.whole.shape.shared_layers().parameters()
    }

    /// Bytes of the model: shared layers and large mixtures.
    pub(super) fn model_bytes(&self) -> usize {
        NUMBER * (self.parameters() + self.shared())
    }

    /// Bytes of the largest checkpoint: of the expert step, with what it learns with and the model
    /// before it, or of the shared step.
    pub(super) fn checkpoint_bytes(&self) -> usize {
        let (job, large) = (&self.whole.job, self.parameters());
        let small: usize = self.whole.small.iter().map(Layout::parameters).sum();
        let before = if job.rounds.count > 1 { large } else { small };
        let average = usize::from(job.experts.averaging > 0.0);
        let best = usize::from(job.experts.watched());
        let learned = (1 + average + job.experts.solver.numbers() + best) * large;
        let of_experts = learned + before + self.shared();
        NUMBER * of_experts.max(large + 5 * self.shared())
    }

    /// Ranks without a class block, or without rows of it, in the expert step.
    pub(super) fn idle_in_experts(&self) -> usize {
        let Whole { grid, columns, .. } = &self.whole;
        let idle = |rank: &usize| {
            grid.place(*rank).is_none_or(|place| columns.of_column.run(place.column).is_empty())
        };
        (0..self.whole.ranks).filter(idle).count()
    }
}
