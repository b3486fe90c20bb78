//! Every key of a job file, once: what it means, its type and default, what it takes, its unit and
//! what it decides. The checked `Job`, what errors say, `jobs/all-keys.toml`, `train --help`, the
//! record of a run and what of it may change follow from this table.
//!
//! A new key is an entry here and the code that uses it; what it must fit together with is for
//! `check.rs`.

use super::table::{Decides, Default, Key, Section, Takes, default_of, keys};
use super::value::{Choice, KeyType, Value};
use crate::model::spec::{Activation, Dummy, InitialBiases, Layer, Normalize, Pooling};
use crate::optim::{SharedSolver, Solver};

use Takes::{Boolean, Integer, Layers, Number, Text, Texts, ZeroOr};

/// The names of all activations.
pub const ACTIVATIONS: &[&str] = Activation::NAMES;

const EPOCHS: Takes = Integer(0, 1_000_000);
const BATCH: Takes = Integer(1, 1 << 20);
const BLOCKS: Takes = Integer(0, 1 << 20);
const RATE: Takes = Number(0.0, 1e6);
const STEP: Takes = Number(1e-30, 1e3);
const LEFT_OUT: Takes = Number(0.0, 0.95);
/// Ranks can't be told from ones that hang in less: a busy machine lets threads wait.
pub(crate) const STALL_SECONDS_MIN: f64 = 2.0;
/// What ranks may be told to compute with.
pub(crate) const DEVICE_NAMES: &[&str] = &["auto", "host", "opencl", "cuda"];
const DEVICES: Takes = Takes::Choice(DEVICE_NAMES);
const BALANCES: Takes = Takes::Choice(&["equal", MEASURED]);
/// Shares by speed.
pub(crate) const MEASURED: &str = "measured";
const KERNELS: Takes = Takes::Choice(&["auto", "plain", "avx2", "avx512", "neon"]);

/// What a key of this type takes.
const fn choice<C: Choice>() -> Takes {
    Takes::Choice(C::NAMES)
}

/// The learning rate of an expert step by this solver, as written in TOML.
fn learning_rate_of(solver: &str) -> String {
    Solver::named(solver).expect("a choice").learning_rate().value().to_toml()
}

keys! {
    /// Which rows train and which validate.
    data: DataJob {
        /// Shards to train on: paths or globs. Required.
        train: Vec<String> = required, Texts, "", Files;
        /// Shards to validate on. This or validation_fraction, or neither.
        validation: Vec<String> = [], Texts, "", Files;
        /// Or this share of the training rows, by row block, drawn with the seed.
        validation_fraction: f64 = 0.0, Number(0.0, 0.9), "", Result;
        /// Whether rows that train may validate, too, by data.validation: then that is only told.
        allow_overlap: bool = false, Boolean, "", Execution;
        /// Scale each row's features (or frame's) to length 1, or each feature to mean 0 and
        /// standard deviation 1 over the training rows, or leave them.
        normalize: Normalize = "l2", choice::<Normalize>(), "", Result;
    }

    /// What is trained.
    model: ModelJob {
        /// Shared layers: { dense = 2048, activation = "relu" } (identity, relu6, sigmoid, tanh),
        /// { gating = true } or { residual = true }. Empty: mixtures on the features themselves.
        shared: Vec<Layer> = [], Layers, "", Result;
        /// Of frame-level shards: layers that every frame passes by itself before frames are
        /// pooled.
        frames: Vec<Layer> = [], Layers, "", Result;
        /// Of frame-level shards: how frames become one vector, which model.shared then takes.
        pooling: Pooling = "swap", choice::<Pooling>(), "", Result;
        /// Gate state "label absent": with a gate vector, with the logit 0, or none.
        dummy: Dummy = "learned", choice::<Dummy>(), "", Result;
        /// eps of the loss; 0 for the exact cross entropy.
        epsilon: f32 = 1e-5, Number(0.0, 0.1), "", Result;
        /// Biases of new experts: 0, or the log odds of their class among the training rows, which
        /// saves many epochs where classes are rare.
        initial_biases: InitialBiases = "zero", choice::<InitialBiases>(), "", Result;
        /// A RUN or MODEL to begin with: its shared layers, and in the first step the mixtures of
        /// classes of the same name that have as many experts. Empty: random ones.
        initial: String = "", Text, "", Files;
    }

    /// Everything learned jointly, by mini-batch Adam with a small mixture.
    pretrain: PretrainJob {
        /// 0 leaves pretraining out.
        epochs: usize = 5, EPOCHS, "epochs", Result;
        /// Experts per class while pretraining.
        experts: usize = 2, Integer(1, 1024), "experts", Result;
        /// Rows of a mini-batch.
        batch: usize = 1024, BATCH, "rows", Result;
        /// Groups of row blocks at most that give their rows to a mini-batch, each 32 or more; as
        /// many ranks it can use. Part of what is computed: sums follow them.
        groups: usize = 64, Integer(1, 4096), "groups", Result;
        /// Ranks that pretraining runs on, or all where they are fewer, while the others wait; 0:
        /// as many as a model of its cost gives, by which more would only exchange more.
        ranks: usize = 0, Integer(0, 1 << 20), "ranks", Execution;
        /// Frames drawn of a video, with replacement, whenever it passes; 0: all that it has.
        frames: usize = 30, Integer(0, 300), "frames", Result;
        /// Of Adam.
        learning_rate: f32 = 0.01, RATE, "", Result;
        /// The learning rate is multiplied by this
        decay: f32 = 0.95, Number(0.0, 1.0), "", Result;
        /// every so many rows.
        decay_rows: usize = 4000000, Integer(1, 1 << 50), "rows", Result;
        /// Longest gradient of a variable; 0 for any.
        clip_norm: f32 = 1.0, RATE, "", Result;
        /// Penalty on the weights of gates and experts.
        l2: f32 = 1e-8, RATE, "", Result;
        /// Share of each row's activations that is left out at random, anew in every epoch.
        dropout: f32 = 0.0, LEFT_OUT, "", Result;
        /// Epochs without better validation before it stops; 0 never stops early.
        patience: usize = 2, EPOCHS, "epochs", Result;
    }

    /// Stage 1, the expert step: shared layers frozen, mixtures learned where they are.
    experts: ExpertsJob {
        /// Experts per class in the expert step.
        count: usize = 4, Integer(1, 1024), "experts", Result;
        /// Adaptive mixtures: a class with n positives has n / this many experts, rounded up,
        /// from 1 to count. 0: all classes have count.
        positives_per_expert: usize = 0, Integer(0, 1 << 40), "positives", Result;
        /// Epochs; for lbfgs full-batch passes at most.
        epochs: usize = 5, Integer(1, 1_000_000), "epochs", Result;
        /// Mini-batch AdaGrad or Adam, or full-batch L-BFGS for each class.
        solver: Solver = "adagrad", choice::<Solver>(), "", Result;
        /// Rows of a mini-batch.
        batch: usize = 256, BATCH, "rows", Result;
        /// Slices that a mini-batch's rows are cut into, for lbfgs all rows. Part of what is
        /// computed: gradients and losses are summed in each of them, and those sums along a tree.
        row_slices: usize = 1, Integer(1, 4096), "slices", Result;
        /// Of adagrad and adam; lbfgs doesn't use it.
        learning_rate: f32 = { "experts.solver" => learning_rate_of }, RATE, "", Result;
        /// Penalty on the weights of gates and experts.
        l2: f32 = 1e-8, RATE, "", Result;
        /// Share of each row's activations that is left out at random, anew in every epoch, which
        /// keeps mixtures from learning few rows by heart. Not for lbfgs.
        dropout: f32 = 0.0, LEFT_OUT, "", Result;
        /// Share of the rows without labels of a class block that it learns from, drawn anew in
        /// every epoch and weighted to make up for the rest; 1: all. Faster, less exact. Not for
        /// lbfgs.
        negatives: f32 = 1.0, Number(1e-3, 1.0), "", Result;
        /// The mixtures that the step leaves are a moving average of its weights over mini-batches:
        /// this much of it stays at each (0.99: about the last 100); 0: none. Not for lbfgs.
        averaging: f32 = 0.0, Number(0.0, 0.999999), "", Result;
        /// New mixtures every round, or go on with the last ones.
        restart: bool = true, Boolean, "", Result;
        /// What falls by a smaller share has converged and drops out: class (lbfgs) or class block.
        tolerance: f64 = 0.0, Number(0.0, 1.0), "", Result;
        /// Epochs without better validation before the step stops, going back to the best; 0: none.
        patience: usize = 0, EPOCHS, "epochs", Result;
        /// Epochs without a lower loss on the validation rows before a class stops by itself; all
        /// classes end at their best. Wants validation rows; not beside experts.patience. 0: none.
        class_patience: usize = 0, EPOCHS, "epochs", Result;
        /// Epochs after which the model is validated within the step, to report on it: nothing else
        /// depends on it, and all epochs are validated where one of both patiences is set. 0: none.
        validate_every: usize = 0, EPOCHS, "epochs", Execution;
        /// Rows that travel at once.
        window: usize = 8192, BATCH, "rows", Result;
    }

    /// Stage 2, the shared step: mixtures frozen, shared layers by full-batch steps.
    shared: SharedJob {
        /// Full-batch iterations a round; 0: no shared step.
        iterations: usize = 10, EPOCHS, "iterations", Result;
        /// Of these iterations: iRprop+, as the patent has it, or Adam, to compare with.
        solver: SharedSolver = "irprop", choice::<SharedSolver>(), "", Result;
        /// Of Adam; iRprop+ has steps of its own:
        learning_rate: f32 = 1e-3, RATE, "", Result;
        /// First step of every weight,
        step_initial: f32 = 1e-4, STEP, "", Result;
        /// smallest
        step_min: f32 = 1e-9, STEP, "", Result;
        /// and largest.
        step_max: f32 = 0.1, STEP, "", Result;
    }

    /// Rounds of both steps.
    rounds: RoundsJob {
        /// Rounds of expert step and shared step; 0: only pretrain.
        count: usize = 2, EPOCHS, "rounds", Result;
        /// Rounds without better validation before it stops; 0: none.
        patience: usize = 0, EPOCHS, "rounds", Result;
    }

    /// When a run writes what it can go on from.
    checkpoint: CheckpointJob {
        /// A checkpoint after so many minutes, beside those between steps and of a run that is told
        /// to stop; 0: none by time.
        minutes: f64 = 15.0, Number(0.0, 1e6), "minutes", Execution;
        /// And after so many mini-batches of pretraining, windows or passes of the expert step, or
        /// iterations of the shared step; 0: none by count.
        every: usize = 0, Integer(0, 1 << 40), "", Execution;
    }

    /// The seed and the division into blocks, which are part of what is computed, and where and how
    /// a run computes, which is not.
    run: RunJob {
        /// Of everything random.
        seed: u64 = 1, Integer(0, i64::MAX), "", Result;
        /// Threads of a rank; 0: the cores it may run on.
        threads: usize = 0, Integer(0, 4096), "threads", Execution;
        /// Memory that a rank may take, in GiB: what doesn't fit goes to a scratch file or
        /// through in waves; a run that needs more is refused. 0: what control groups or Slurm
        /// allow it, less what MPI and HDF5 take, or any where nothing limits it.
        memory_gib: f64 = 0.0, Number(0.0, 1e6), "GiB", Execution;
        /// Folder on a disk of the node for activations that don't fit; empty: the system's own.
        scratch: String = "", Text, "", Execution;
        /// A rank that gives no sign of life, or gets on with nothing, for so long while others
        /// wait for it is named and the run ends with exit 8 (docs/watching.md). At least 2;
        /// 0: nobody is watched.
        stall_seconds: f64 = 60.0, ZeroOr(STALL_SECONDS_MIN, 1e6), "seconds", Execution;
        /// Row blocks; 0: one for 1,024 training rows, at least 256. Part of what is computed: sums
        /// follow them.
        row_blocks: usize = 256, BLOCKS, "blocks", Result;
        /// Class blocks; 0: at most 256, none narrower than 256 columns. Part of what is computed.
        class_blocks: usize = 0, BLOCKS, "blocks", Result;
        /// Shares of rows and class blocks that ranks own, and of slices that rows of the grid
        /// take: equal, or by what each computes a second, measured before the run and between
        /// its steps.
        balance: String = "equal", BALANCES, "", Execution;
        /// Ranks as a grid for the expert step: "RxC" are R rows, at most experts.row_slices, each
        /// of which takes some slices of every mini-batch, and C columns, which share the class
        /// blocks out; ranks left over hold rows only. auto: least time by a model of the machine,
        /// anew where run.balance measures.
        grid: String = "auto", Takes::Grid, "", Execution;
        /// What ranks compute with; auto: a GPU each where a node has one for every rank, else the
        /// processor (host).
        /// REELSCALE_DEVICE says so for one rank. All give the same bits.
        device: String = "auto", DEVICES, "", Execution;
        /// Memory of its device that a rank may take, in GiB; 0: its share of what is free.
        device_memory_gib: f64 = 0.0, Number(0.0, 1e6), "GiB", Execution;
        /// Vector instructions; auto: the widest that the processor has. All give the same bits.
        kernel: String = "auto", KERNELS, "", Execution;
    }

    /// What a run tells of itself beside its log and `metrics.jsonl` (docs/run-directory.md).
    report: ReportJob {
        /// Writes events for TensorBoard, too, into the run directory.
        tensorboard: bool = false, Boolean, "", Execution;
    }

    /// How large the data are that this job is for, where they aren't here: `reelscale plan`,
    /// `scaling` and `bench rank` go by it. Training doesn't look at it.
    plan: PlanJob {
        /// Rows to train on; 0: the job has no plan.
        rows: usize = 0, Integer(0, 1 << 48), "rows", Execution;
        /// Features of a row, or of each of its frames.
        features: usize = 1024, Integer(1, 65536), "features", Execution;
        /// Classes.
        classes: usize = 1000, Integer(1, 10000000), "classes", Execution;
        /// Frames of each row; 0: video-level features.
        frames: usize = 0, Integer(0, 300), "frames", Execution;
        /// Labels of a row, on average.
        labels_per_row: f64 = 3.0, Number(0.0, 1000.0), "labels", Execution;
        /// Positives of class k go with 1 / k to the power of this; 0: all classes have as many.
        /// Adaptive mixtures follow from them.
        zipf: f64 = 0.0, Number(0.0, 10.0), "", Execution;
    }
}
