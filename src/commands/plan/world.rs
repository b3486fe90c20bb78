//! A job on ranks that are not there: who owns what, and what that takes of memory.

use serde_json::{Value, json};

use super::Question;
use super::device::Gpu;
use crate::commands::bench::rank::among_stand_ins;
use crate::commands::bench::rank::planned::data_with;
use crate::commands::bench::rank::steps::{Step, Whole};
use crate::cost::budget::{Phase, Plan};
use crate::cost::device_memory::DevicePlan;
use crate::error::Result;
use crate::job::Job;
use crate::model::Layout;
use crate::train::Setting;

/// Bytes of a number.
const NUMBER: usize = size_of::<f32>();

/// Bytes of what a checkpoint holds.
pub(super) struct Checkpoint {
    step: &'static str,
    weights: usize,
    learning: usize,
    best: usize,
}

impl Checkpoint {
    pub(super) fn bytes(&self) -> usize {
        self.weights + self.learning + self.best
    }

    /// Seconds in which it is written, so many bytes in each.
    pub(super) fn seconds(&self, bytes_per_second: f64) -> f64 {
        self.bytes() as f64 / bytes_per_second
    }

    pub(super) fn json(&self, bytes_per_second: f64) -> Value {
        json!({
            "step": self.step,
            "bytes": self.bytes(),
            "weights": self.weights,
            "optimizer_state": self.learning,
            "best_models": self.best,
            "seconds": self.seconds(bytes_per_second),
        })
    }
}

/// A job on ranks that are not there.
pub(super) struct World {
    pub(super) whole: Whole,
    pub(super) plan: Plan,
    pub(super) phases: Vec<Phase>,
    pub(super) threads: usize,
    /// What the device of the rank that has most takes of its memory.
    pub(super) device: Option<DevicePlan>,
}

/// What the device of the rank that has most in some step takes of its memory.
fn of_device(setting: &Setting, whole: &Whole, gpu: &Gpu) -> Result<DevicePlan> {
    let limit = gpu.limit(&whole.job);
    let fullest = [Step::Pretrain, Step::Experts, Step::Shared].map(|step| whole.fullest(step));
    let plans = fullest.map(|rank| setting.device_plan_of(rank, limit));
    let plans = plans.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(plans.into_iter().max_by_key(DevicePlan::peak).expect("three of them"))
}

impl World {
    /// The job on so many ranks.
    ///
    /// # Errors
    /// Exit 9: memory doesn't suffice, or that of a device; exit 2: a grid that these ranks don't
    /// fill.
    pub(super) fn new(
        job: &Job,
        ranks: usize,
        Question { threads, validation_rows, network, pool, device, .. }: &Question,
    ) -> Result<World> {
        let mut job = job.clone();
        job.run.threads = *threads;
        among_stand_ins((0, ranks), *network, pool, 0.0, |comm, _| {
            let data = data_with(comm, &job, pool, (job.plan.rows, *validation_rows));
            let limit = device.as_ref().map(|gpu| gpu.limit(&job));
            let setting = Setting::measured(comm, &job, data, limit)?;
            let mut whole = Whole::new(&job, &setting.data, setting.grid.clone());
            whole.learners = setting.learners.count();
            let (mut plan, phases) = (setting.plan.clone(), setting.phases());
            let device = device.as_ref().map(|gpu| of_device(&setting, &whole, gpu));
            let device = device.transpose()?;
            let wave = device.as_ref().map_or(usize::MAX, |device| device.wave);
            plan.wave = plan.wave.min(wave);
            Ok(World { whole, plan, phases, threads: *threads, device })
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

    /// The largest checkpoint of each step that the job has: what the model is, what the step
    /// learns with, and the best models before it and within it, where those are others; without
    /// the events, the job and the digests that lie beside them.
    pub(super) fn checkpoints(&self) -> Vec<Checkpoint> {
        let (job, large, shared) = (&self.whole.job, self.parameters(), self.shared());
        let small: usize = self.whole.small.iter().map(Layout::parameters).sum();
        let numbers = |step, [weights, learning, best]: [usize; 3]| Checkpoint {
            step,
            weights: NUMBER * weights,
            learning: NUMBER * learning,
            best: NUMBER * best,
        };
        let mut all = Vec::new();
        if job.pretrain.epochs > 0 {
            let model = small + shared;
            // The best one is another once there are two.
            let best = if job.pretrain.epochs > 1 { model } else { 0 };
            all.push(numbers("pretrain", [model, 2 * model, best]));
        }
        if job.rounds.count > 0 {
            let (experts, model) = (&job.experts, large + shared);
            let before = if job.rounds.count > 1 { large } else { small } + shared;
            let within = match (experts.class_patience > 0, experts.patience > 0) {
                // That of each class is with what it learns with.
                (true, _) => large,
                (false, true) => model,
                (false, false) => 0,
            };
            // After the last epoch nothing is learned with any more.
            let epochs = experts.epochs.saturating_sub(1);
            let average = usize::from(experts.averaging > 0.0);
            let learning = (average + experts.solver.saved(epochs)) * large;
            all.push(numbers("experts", [model, learning, before + within]));
            if job.shared.iterations > 0 && shared > 0 {
                let learning = job.shared.solver.numbers() * shared;
                all.push(numbers("shared", [model, learning, model]));
            }
        }
        all
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
