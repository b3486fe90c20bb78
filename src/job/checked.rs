//! The checked job. What each key means to a user stands in `keys.rs`.

use serde::Serialize;

use crate::model::spec::{Dummy, Layer, Normalize, Pooling};
use crate::optim::irprop::Steps;
use crate::optim::{Offered, SharedSolver, Solver};

/// A checked job. Every field is in range and all fields fit together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Job {
    pub data: DataJob,
    pub model: ModelJob,
    pub pretrain: PretrainJob,
    pub experts: ExpertsJob,
    pub shared: SharedJob,
    pub rounds: RoundsJob,
    pub checkpoint: CheckpointJob,
    pub run: RunJob,
}

/// `[data]`: which rows train and which validate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataJob {
    /// Paths or globs of shards.
    pub train: Vec<String>,
    pub validation: Validation,
    /// Whether rows may stand in both; default false. Changes nothing that is computed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_overlap: bool,
    /// Default: l2.
    pub normalize: Normalize,
}

/// Where validation rows come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Validation {
    /// `validation = ["glob", ...]`
    Globs(Vec<String>),
    /// `validation_fraction = 0.1`: this share of the training rows, by row block, seeded.
    Fraction(f64),
    /// Neither key: no validation; stopping rules then look at the training loss.
    None,
}

/// `[model]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelJob {
    /// `shared = [{ dense = 2048, activation = "relu" }, { gating = true }]`; may be empty
    /// (default).
    pub shared: Vec<Layer>,
    /// The frame network of frame-level shards; may be empty (default).
    pub frames: Vec<Layer>,
    /// How frames are pooled; default swap.
    pub pooling: Pooling,
    /// Default: learned.
    pub dummy: Dummy,
    /// eps of the loss; default 1e-5, 0 for the exact log-space form.
    pub epsilon: f32,
    /// Whether new experts' biases are the log odds of their class; default false: 0.
    pub frequency_biases: bool,
}

/// `[pretrain]`: joint mini-batch Adam with a small mixture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PretrainJob {
    /// Default 5; 0 leaves pretraining out.
    pub epochs: usize,
    /// Experts per class, 1..=5, default 2.
    pub experts: usize,
    /// Rows of a mini-batch, default 1024.
    pub batch: usize,
    /// Frames drawn of a row, default 30; 0: all.
    pub frames: usize,
    /// Default 0.01.
    pub learning_rate: f32,
    /// The learning rate is multiplied by this ... (default 0.95)
    pub decay: f32,
    /// ... every so many rows (default 4,000,000).
    pub decay_rows: usize,
    /// Each variable's gradient is scaled down to this norm; 0 leaves it. Default 1.0.
    pub clip_norm: f32,
    /// Default 1e-8.
    pub l2: f32,
    /// Share of a row's activations that is left out. Default 0.
    pub dropout: f32,
    /// Epochs without a better validation before it stops; 0 never stops early. Default 2.
    pub patience: usize,
}

/// `[experts]`: stage 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExpertsJob {
    /// Experts per class, of adaptive mixtures at most. Default 4.
    pub count: usize,
    /// Positives that an expert of an adaptive mixture stands for; 0 (default): all have `count`.
    pub positives_per_expert: usize,
    /// Epochs (for lbfgs: full-batch passes at most). Default 5.
    pub epochs: usize,
    /// Default: adagrad.
    pub solver: Solver,
    /// Default 256.
    pub batch: usize,
    /// Default 1.0 for adagrad, 0.01 for adam; unused by lbfgs.
    pub learning_rate: f32,
    /// Default 1e-8.
    pub l2: f32,
    /// Share of activations that is left out at random; default 0.
    pub dropout: f32,
    /// Share of the rows without labels of a class block that it learns from; default 1: all.
    pub negatives: f32,
    /// Share of the moving average of weights that stays at a mini-batch; 0 (default): no average.
    pub averaging: f32,
    /// True (default): every round starts from new mixtures. False: it continues the last ones.
    pub restart: bool,
    /// A class whose loss falls by less than this share in an epoch drops out; 0 never. Default 0.
    pub tolerance: f64,
    /// Epochs without a better validation before the step stops and goes back to the best; 0: none.
    pub patience: usize,
    /// Epochs without a lower loss of a class on the validation rows before it stops; 0: none.
    pub class_patience: usize,
    /// Rows of a window that travels at once. Default 8192.
    pub window: usize,
}

impl ExpertsJob {
    /// Rows of a window: whole mini-batches.
    pub fn window_rows(&self) -> usize {
        (self.window / self.batch).max(1) * self.batch
    }

    /// What its full-batch solvers go by.
    pub fn offered(&self) -> Offered {
        let (tolerance, learning_rate) = (self.tolerance, self.learning_rate);
        Offered { tolerance, learning_rate, steps: Steps::default() }
    }

    /// Whether validation decides when the step or its classes stop, so that a best is kept.
    pub fn watched(&self) -> bool {
        self.patience > 0 || self.class_patience > 0
    }
}

/// `[shared]`: stage 2, iRprop+.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SharedJob {
    /// Full-batch iterations a round. Default 10; 0 leaves the step out.
    pub iterations: usize,
    /// Default: irprop.
    pub solver: SharedSolver,
    /// Of Adam; default 1e-3.
    pub learning_rate: f32,
    /// Defaults 1e-4, 1e-9, 0.1.
    pub step_initial: f32,
    pub step_min: f32,
    pub step_max: f32,
}

impl SharedJob {
    /// What its solvers go by.
    pub fn offered(&self) -> Offered {
        let steps = Steps { initial: self.step_initial, min: self.step_min, max: self.step_max };
        Offered { tolerance: 0.0, learning_rate: self.learning_rate, steps }
    }
}

/// `[rounds]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoundsJob {
    /// Default 2; 0 leaves the pretrained model as it is.
    pub count: usize,
    /// Rounds without a better validation before it stops; 0 never stops early. Default 0.
    pub patience: usize,
}

/// `[checkpoint]`: when a run writes what it can go on from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointJob {
    /// Default 15; 0: none by time.
    pub minutes: f64,
    /// Mini-batches, windows, passes or iterations; default 0: none by count.
    pub every: usize,
}

/// `[run]`: where and how, never what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunJob {
    /// Default 1.
    pub seed: u64,
    /// Threads per rank; 0 (default) takes what the affinity mask gives.
    pub threads: usize,
    /// Byte budget of a rank in GiB; 0 (default) means no limit.
    pub memory_gib: f64,
    /// Folder for scratch files; empty (default): the system's.
    pub scratch: String,
    /// Default 60; 0: never.
    pub stall_seconds: f64,
    /// Default 256. Part of what is computed: sums follow these blocks.
    pub row_blocks: usize,
    /// 0 (default) chooses from the model. Part of what is computed, as `row_blocks`.
    pub class_blocks: usize,
    /// Name of the vector instructions, default auto. Whether this processor has them is seen when
    /// the run starts.
    pub kernel: String,
}
