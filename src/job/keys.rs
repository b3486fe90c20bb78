//! Every key of a job file: its section, what it takes, its default and its meaning. Parsing, error
//! texts and `jobs/all-keys.toml` are made from this one table.

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Takes {
    Integer(i64, i64),
    Number(f64, f64),
    Boolean,
    Choice(&'static [&'static str]),
    Text,
    /// A list of texts.
    Texts,
    /// A list of layers.
    Layers,
}

/// One key.
pub struct Key {
    /// `section.name`
    pub name: &'static str,
    pub takes: Takes,
    /// As written in TOML; empty where the key has no default.
    pub default: &'static str,
    pub meaning: &'static str,
}

const fn key(
    name: &'static str,
    takes: Takes,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { name, takes, default, meaning }
}

use crate::optim::{SharedSolver, Solver};
use Takes::{Boolean, Choice, Integer, Layers, Number, Text, Texts};

pub const ACTIVATIONS: &[&str] = &["identity", "relu", "relu6", "sigmoid", "tanh"];
const EPOCHS: Takes = Integer(0, 1_000_000);
const BATCH: Takes = Integer(1, 1 << 20);
const RATE: Takes = Number(0.0, 1e6);
const BLOCKS: Takes = Integer(1, 1 << 20);
const PATIENCE: Takes = Integer(0, 1_000_000);

/// All keys, by section.
pub const KEYS: &[Key] = &[
    key("data.train", Texts, "", "Shards to train on: paths or globs. Required."),
    key(
        "data.validation",
        Texts,
        "",
        "Shards to validate on. This or validation_fraction, or neither.",
    ),
    key(
        "data.validation_fraction",
        Number(0.0, 0.9),
        "",
        "Or this share of the training rows, by row block, drawn with the seed.",
    ),
    key(
        "data.allow_overlap",
        Boolean,
        "false",
        "Whether rows that train may validate, too, by data.validation: then that is only told.",
    ),
    key(
        "data.normalize",
        Choice(&["l2", "standardise", "none"]),
        "\"l2\"",
        "Scale each row's features (or frame's) to length 1, or each feature to mean 0 and\n\
         standard deviation 1 over the training rows, or leave them.",
    ),
    key(
        "model.shared",
        Layers,
        "[]",
        "Shared layers: { dense = 2048, activation = \"relu\" } (identity, relu6, sigmoid, tanh),\n\
         { gating = true } or { residual = true }. Empty: mixtures on the features themselves.",
    ),
    key(
        "model.frames",
        Layers,
        "[]",
        "Of frame-level shards: layers that every frame passes by itself before frames are pooled.",
    ),
    key(
        "model.pooling",
        Choice(&["swap", "average", "max", "l2"]),
        "\"swap\"",
        "Of frame-level shards: how frames become one vector, which model.shared then takes.",
    ),
    key(
        "model.dummy",
        Choice(&["learned", "zero", "none"]),
        "\"learned\"",
        "Gate state \"label absent\": with a gate vector, with the logit 0, or none.",
    ),
    key(
        "model.epsilon",
        Number(0.0, 0.1),
        "1e-5",
        "eps of the loss; 0 for the exact cross entropy.",
    ),
    key(
        "model.initial_biases",
        Choice(&["zero", "frequency"]),
        "\"zero\"",
        "Biases of new experts: 0, or the log odds of their class among the training rows, which\n\
         saves many epochs where classes are rare.",
    ),
    key("pretrain.epochs", EPOCHS, "5", "0 leaves pretraining out."),
    key("pretrain.experts", Integer(1, 5), "2", "Experts per class while pretraining."),
    key("pretrain.batch", BATCH, "1024", "Rows of a mini-batch."),
    key(
        "pretrain.frames",
        Integer(0, 300),
        "30",
        "Frames drawn of a video, with replacement, whenever it passes; 0: all that it has.",
    ),
    key("pretrain.learning_rate", RATE, "0.01", "Of Adam."),
    key("pretrain.decay", Number(0.0, 1.0), "0.95", "The learning rate is multiplied by this"),
    key("pretrain.decay_rows", Integer(1, 1 << 50), "4000000", "every so many rows."),
    key("pretrain.clip_norm", RATE, "1.0", "Longest gradient of a variable; 0 for any."),
    key("pretrain.l2", RATE, "1e-8", "Penalty on the weights of gates and experts."),
    key(
        "pretrain.dropout",
        Number(0.0, 0.95),
        "0.0",
        "Share of each row's activations that is left out at random, anew in every epoch.",
    ),
    key(
        "pretrain.patience",
        PATIENCE,
        "2",
        "Epochs without better validation before it stops; 0 never stops early.",
    ),
    key("experts.count", Integer(1, 1024), "4", "Experts per class in the expert step."),
    key(
        "experts.positives_per_expert",
        Integer(0, 1 << 40),
        "0",
        "Adaptive mixtures: a class with n positives has n / this many experts, rounded up,\n\
         from 1 to count. 0: all classes have count.",
    ),
    key(
        "experts.epochs",
        Integer(1, 1_000_000),
        "5",
        "Epochs; for lbfgs full-batch passes at most.",
    ),
    key(
        "experts.solver",
        Choice(Solver::NAMES),
        "\"adagrad\"",
        "Mini-batch AdaGrad or Adam, or full-batch L-BFGS for each class.",
    ),
    key("experts.batch", BATCH, "256", "Rows of a mini-batch."),
    key(
        "experts.learning_rate",
        RATE,
        "",
        "Default: 1.0 for adagrad, 0.01 for adam; lbfgs has none.",
    ),
    key("experts.l2", RATE, "1e-8", "Penalty on the weights of gates and experts."),
    key(
        "experts.dropout",
        Number(0.0, 0.95),
        "0.0",
        "Share of each row's activations that is left out at random, anew in every epoch, which\n\
         keeps mixtures from learning few rows by heart. Not for lbfgs.",
    ),
    key(
        "experts.negatives",
        Number(1e-3, 1.0),
        "1.0",
        "Share of the rows without labels of a class block that it learns from, drawn anew in\n\
         every epoch and weighted to make up for the rest; 1: all. Faster, less exact. Not for\n\
         lbfgs.",
    ),
    key(
        "experts.averaging",
        Number(0.0, 0.999999),
        "0.0",
        "The mixtures that the step leaves are a moving average of its weights over mini-batches:\n\
         this much of it stays at each (0.99: about the last 100); 0: none. Not for lbfgs.",
    ),
    key(
        "experts.restart",
        Boolean,
        "true",
        "New mixtures every round, or go on with the last ones.",
    ),
    key(
        "experts.tolerance",
        Number(0.0, 1.0),
        "0.0",
        "What falls by a smaller share has converged and drops out: class (lbfgs) or class block.",
    ),
    key(
        "experts.patience",
        PATIENCE,
        "0",
        "Epochs without better validation before the step stops, going back to the best; 0: none.",
    ),
    key(
        "experts.class_patience",
        PATIENCE,
        "0",
        "Epochs without a lower loss on the validation rows before a class stops by itself; all\n\
         classes end at their best. Wants validation rows; not beside experts.patience. 0: none.",
    ),
    key("experts.window", BATCH, "8192", "Rows that travel at once."),
    key(
        "shared.iterations",
        EPOCHS,
        "10",
        "Full-batch iRprop+ iterations a round; 0: no shared step.",
    ),
    key(
        "shared.solver",
        Choice(SharedSolver::NAMES),
        "\"irprop\"",
        "Of these iterations: iRprop+, as the patent has it, or Adam, to compare with.",
    ),
    key("shared.learning_rate", RATE, "1e-3", "Of Adam; iRprop+ has steps of its own:"),
    key("shared.step_initial", Number(1e-30, 1e3), "1e-4", "First step of every weight,"),
    key("shared.step_min", Number(1e-30, 1e3), "1e-9", "smallest"),
    key("shared.step_max", Number(1e-30, 1e3), "0.1", "and largest."),
    key("rounds.count", EPOCHS, "2", "Rounds of expert step and shared step; 0: only pretrain."),
    key(
        "rounds.patience",
        PATIENCE,
        "0",
        "Rounds without better validation before it stops; 0: none.",
    ),
    key(
        "checkpoint.minutes",
        Number(0.0, 1e6),
        "15.0",
        "A checkpoint after so many minutes, beside those between steps and of a run that is told\n\
         to stop; 0: none by time.",
    ),
    key(
        "checkpoint.every",
        Integer(0, 1 << 40),
        "0",
        "And after so many mini-batches of pretraining, windows or passes of the expert step, or\n\
         iterations of the shared step; 0: none by count.",
    ),
    key("run.seed", Integer(0, i64::MAX), "1", "Of everything random."),
    key("run.threads", Integer(0, 4096), "0", "Threads of a rank; 0: the cores it may run on."),
    key(
        "run.memory_gib",
        Number(0.0, 1e6),
        "0.0",
        "Memory that a rank may take, in GiB: what doesn't fit goes to a scratch file or\n\
         through in waves; a run that needs more is refused. 0: no limit.",
    ),
    key(
        "run.scratch",
        Text,
        "",
        "Folder on a disk of the node for activations that don't fit; default: the system's own.",
    ),
    key(
        "run.stall_seconds",
        Number(0.0, 1e6),
        "60.0",
        "A rank that gives no sign of life, or gets on with nothing, for so long while others\n\
         wait for it is named and the run ends with exit 8 (docs/watching.md). At least 2;\n\
         0: nobody is watched.",
    ),
    key("run.row_blocks", BLOCKS, "256", "Row blocks. Part of what is computed: sums follow them."),
    key(
        "run.class_blocks",
        Integer(0, 1 << 20),
        "0",
        "Class blocks; 0: at most 256, none narrower than 256 columns. Part of what is computed.",
    ),
    key(
        "run.kernel",
        Choice(&["auto", "plain", "avx2", "avx512", "neon"]),
        "\"auto\"",
        "Vector instructions; auto: the widest that the processor has. All give the same bits.",
    ),
];

/// The text of `jobs/all-keys.toml`: every key with its meaning and its default.
pub fn documented() -> String {
    let mut text = String::from(
        "# Every key of a job file with its default. Generated from src/job/keys.rs.\n\
         # Keys without a default are commented out; data.train is required.\n",
    );
    let mut section = "";
    for key in KEYS {
        let (of, name) = key.name.split_once('.').expect("section.name");
        if of != section {
            section = of;
            text += &format!("\n[{section}]\n");
        }
        for line in key.meaning.lines() {
            text += &format!("# {line}\n");
        }
        text += &match (key.name, key.default) {
            ("data.train", _) => "train = [\"hdf5-data/train/*.h5\"]\n".to_string(),
            (_, "") => format!("# {name} = ...\n"),
            (_, default) => format!("{name} = {default}\n"),
        };
    }
    text
}
