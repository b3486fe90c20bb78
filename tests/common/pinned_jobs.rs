//! The jobs whose weights and losses are pinned, over all that a job can ask for.

use std::path::Path;

use reelscale::Job;
use reelscale::internals::data::{Kind, ShardHeader, ShardWriter};
use reelscale::internals::synthetic::Planted;

/// What all jobs have, unless they say otherwise. DATA is the folder of the shards.
pub const BASE: &str = "
data.train = [\"DATA/train-*.h5\"]
pretrain.batch = 64
pretrain.epochs = 2
pretrain.ranks = 4096
experts.batch = 32
experts.count = 3
experts.epochs = 2
experts.window = 100
shared.iterations = 3
shared.step_initial = 0.001
checkpoint.minutes = 0
run.class_blocks = 3
run.row_blocks = 13
";

/// Jobs on videos.
pub const VIDEOS: &[(&str, &str)] = &[
    (
        "identity-l2-adagrad",
        "data.validation_fraction = 0.25
         model.shared = [{ dense = 19, activation = \"identity\" }]",
    ),
    (
        "relu-gating-zero-dummy-exact-adam",
        "data.validation_fraction = 0.25
         model.shared = [{ dense = 16, activation = \"relu\" }, { gating = true }]
         model.dummy = \"zero\"
         model.epsilon = 0
         experts.solver = \"adam\"
         experts.learning_rate = 0.05",
    ),
    (
        "relu6-residual-no-dummy-lbfgs-unscaled",
        "data.validation = [\"DATA/validation.h5\"]
         data.normalize = \"none\"
         model.shared = [{ dense = 18, activation = \"relu6\" }, { residual = true }]
         model.dummy = \"none\"
         experts.epochs = 4
         experts.solver = \"lbfgs\"
         experts.tolerance = 0.01
         shared.solver = \"adam\"
         pretrain.learning_rate = 0.002",
    ),
    (
        "sigmoid-adaptive-standardise-continued",
        "data.validation_fraction = 0.25
         data.normalize = \"standardise\"
         model.shared = [{ dense = 17, activation = \"sigmoid\" }]
         model.initial_biases = \"frequency\"
         experts.positives_per_expert = 20
         experts.restart = false
         experts.count = 5
         experts.learning_rate = 0.2",
    ),
    (
        "tanh-negatives-dropout-averaging-adam",
        "data.validation_fraction = 0.25
         model.shared = [{ dense = 21, activation = \"tanh\" }]
         pretrain.dropout = 0.2
         experts.averaging = 0.9
         experts.dropout = 0.3
         experts.learning_rate = 0.1
         experts.negatives = 0.4
         experts.solver = \"adam\"
         shared.learning_rate = 0.01
         shared.solver = \"adam\"",
    ),
    (
        "features-class-patience-lbfgs-exact",
        "data.validation_fraction = 0.25
         data.normalize = \"standardise\"
         model.epsilon = 0
         pretrain.epochs = 0
         experts.class_patience = 1
         experts.epochs = 5
         experts.l2 = 0.001
         experts.solver = \"lbfgs\"
         run.row_blocks = 7",
    ),
    (
        "class-patience-averaging-adam-no-dummy",
        "data.validation_fraction = 0.25
         model.dummy = \"none\"
         model.epsilon = 0
         model.shared = [{ residual = true }]
         experts.averaging = 0.8
         experts.class_patience = 1
         experts.epochs = 4
         experts.learning_rate = 0.1
         experts.negatives = 0.5
         experts.solver = \"adam\"",
    ),
    (
        "patience-adagrad-adaptive-no-dummy",
        "data.validation = [\"DATA/validation.h5\"]
         model.dummy = \"none\"
         model.initial_biases = \"frequency\"
         model.shared = [{ gating = true }]
         pretrain.experts = 1
         experts.epochs = 4
         experts.patience = 1
         experts.positives_per_expert = 40
         experts.restart = false
         experts.tolerance = 0.02
         rounds.count = 3
         rounds.patience = 1
         run.seed = 5
         shared.iterations = 2",
    ),
    (
        "no-validation-lbfgs-zero-dummy-continued",
        "model.dummy = \"zero\"
         model.shared = [{ dense = 15, activation = \"relu\" }]
         experts.epochs = 3
         experts.positives_per_expert = 30
         experts.restart = false
         experts.solver = \"lbfgs\"
         shared.step_initial = 0.01
         shared.step_max = 0.02
         shared.step_min = 0.0001",
    ),
    (
        "pretrained-only",
        "data.validation_fraction = 0.25
         model.shared = [{ dense = 24, activation = \"relu\" }, { gating = true }]
         pretrain.batch = 32
         pretrain.clip_norm = 0.05
         pretrain.decay = 0.5
         pretrain.decay_rows = 100
         pretrain.epochs = 9
         pretrain.experts = 4
         pretrain.l2 = 0.001
         pretrain.learning_rate = 0.03
         pretrain.patience = 1
         rounds.count = 0",
    ),
    (
        "adagrad-dropout-averaging-negatives-exact",
        "model.epsilon = 0
         model.shared = [{ dense = 16, activation = \"relu\" }]
         pretrain.clip_norm = 0
         experts.averaging = 0.7
         experts.batch = 48
         experts.dropout = 0.2
         experts.negatives = 0.6
         experts.window = 200
         run.class_blocks = 0",
    ),
    (
        "adam-averaging-tolerance-three-slices",
        "data.validation_fraction = 0.25
         model.shared = [{ dense = 16, activation = \"relu\" }]
         experts.averaging = 0.6
         experts.epochs = 4
         experts.row_slices = 3
         experts.solver = \"adam\"
         experts.tolerance = 0.05",
    ),
    (
        "groups-of-a-large-mini-batch",
        "data.validation_fraction = 0.25
         model.shared = [{ dense = 20, activation = \"relu\" }]
         pretrain.batch = 256
         pretrain.epochs = 3
         pretrain.groups = 7",
    ),
    (
        "row-blocks-that-follow-from-rows",
        "data.validation_fraction = 0.25
         model.shared = [{ gating = true }]
         run.row_blocks = 0",
    ),
];

/// Jobs on videos that are pinned once more with mini-batches, or all rows, cut into several
/// slices: both solvers of mini-batches and L-BFGS, whatever stands beside them.
pub const SLICED: [&str; 4] = [
    "class-patience-averaging-adam-no-dummy",
    "tanh-negatives-dropout-averaging-adam",
    "patience-adagrad-adaptive-no-dummy",
    "features-class-patience-lbfgs-exact",
];

/// So many slices; of the last mini-batch some have no row.
pub const SLICES: [usize; 3] = [2, 4, 12];

/// Jobs on videos of 1 to 6 frames.
pub const FRAMES: &[(&str, &str)] = &[
    (
        "swap-dense-adagrad",
        "data.validation_fraction = 0.25
         model.frames = [{ dense = 19, activation = \"relu\" }]
         model.shared = [{ gating = true }]
         pretrain.frames = 4",
    ),
    (
        "average-gating-lbfgs-standardise",
        "data.validation_fraction = 0.25
         data.normalize = \"standardise\"
         model.frames = [{ gating = true }]
         model.pooling = \"average\"
         model.shared = [{ dense = 16, activation = \"tanh\" }]
         experts.solver = \"lbfgs\"
         shared.solver = \"adam\"
         pretrain.frames = 0
         experts.epochs = 4
         pretrain.learning_rate = 0.002",
    ),
    (
        "max-residual-adam-exact",
        "data.validation = [\"DATA/validation.h5\"]
         model.epsilon = 0
         model.frames = [{ dense = 17, activation = \"sigmoid\" }, { residual = true }]
         model.pooling = \"max\"
         experts.negatives = 0.5
         experts.solver = \"adam\"
         experts.learning_rate = 0.02
         experts.restart = false
         pretrain.learning_rate = 0.005",
    ),
    (
        "l2-alone-zero-dummy-unscaled",
        "data.normalize = \"none\"
         model.dummy = \"zero\"
         model.pooling = \"l2\"
         model.shared = [{ residual = true }, { dense = 14, activation = \"identity\" }]
         pretrain.dropout = 0.3
         experts.solver = \"adam\"",
    ),
];

/// Names and assignments of jobs with so many slices, and how many those are.
pub fn sliced() -> impl Iterator<Item = (String, String, usize)> {
    let jobs = VIDEOS.iter().filter(|job| SLICED.contains(&job.0));
    jobs.flat_map(|(name, own)| {
        SLICES.map(|count| {
            let own = format!("{own}\nexperts.row_slices = {count}");
            (format!("{name}-{count}-slices"), own, count)
        })
    })
}

/// Shards of planted rows: two of 130 to train on, one of 90 to validate on.
pub fn shards(folder: &Path, frames: usize) {
    let (classes, features) = (37, 13);
    let planted = Planted::new(3, features, classes, 2);
    let kind = if frames > 0 { Kind::Frames } else { Kind::Video };
    let names = [("train-0.h5", 0..130), ("train-1.h5", 130..260), ("validation.h5", 260..350)];
    for (name, rows) in names {
        let (parts, source) = (planted.parts(), "test".to_string());
        let header = ShardHeader { parts, class_count: classes, kind, source };
        let mut writer = ShardWriter::create(&folder.join(name), &header).unwrap();
        rows.for_each(|row| writer.push(&planted.example_of(row, frames)).unwrap());
        writer.finish().unwrap();
    }
}

/// Assignments, later ones winning.
pub fn sets(own: &str) -> impl Iterator<Item = &str> {
    BASE.lines().chain(own.lines()).map(str::trim).filter(|line| !line.is_empty())
}

/// The job of this name, on the shards in `folder`.
pub fn job(folder: &Path, name: &str, own: &str) -> Job {
    let path = folder.to_str().unwrap();
    let sets: Vec<String> = sets(own).map(|line| line.replace("DATA", path)).collect();
    Job::parse("", name, &sets).unwrap()
}
