//! The jobs of schedules, and what each comes to when nothing disturbs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reelscale::Comm;
use reelscale::internals::artifact;
use sha2::{Digest, Sha256};

use super::common::{pins, shards};
use super::plan::{Plan, Size};
use super::plant::Plant;
use super::schedule::run;

/// Small, with every kind of state that a checkpoint can hold.
const JOB: &str = "
[data]
train = [\"TRAIN\"]
[model]
shared = [{ dense = 5, activation = \"relu\" }, { gating = true }]
[pretrain]
ranks = 4096
batch = 16
[experts]
count = 2
epochs = 2
batch = 4
window = 16
[rounds]
count = 2
[run]
threads = 1
row_blocks = 5
class_blocks = 3
";

/// What is set beside that, the most rows of a grid that it can be on, and the SHA-256 of the
/// weights that an undisturbed run comes to.
const KINDS: &[(&[&str], usize, &str)] = &[
    (
        &[
            "data.validation_fraction=0.4",
            "pretrain.epochs=2",
            "pretrain.dropout=0.2",
            "experts.solver=\"adam\"",
            "experts.patience=1",
            "experts.averaging=0.9",
            "experts.dropout=0.2",
            "shared.iterations=2",
        ],
        1,
        "69c82a0e964a812b9b4e15773de1bf2a064a37ade0edf6bca709e168d9941cd6",
    ),
    (
        &[
            "data.validation_fraction=0.4",
            "pretrain.epochs=1",
            "experts.solver=\"adam\"",
            "experts.class_patience=1",
            "experts.negatives=0.4",
            "shared.iterations=1",
            "rounds.patience=1",
        ],
        1,
        "d61c577ff46e2027dc2ee2b6c256e30f25c6a76b5c9ea255dd1554d1a152557d",
    ),
    (
        &[
            "data.normalize=\"standardise\"",
            "pretrain.epochs=1",
            "experts.solver=\"lbfgs\"",
            "shared.solver=\"adam\"",
            "shared.iterations=2",
        ],
        1,
        "e31181c0d1f261525c82c83045a497a284d4c73de49492825efd1347a524ec62",
    ),
    (
        &[
            "pretrain.epochs=2",
            "pretrain.dropout=0.3",
            "experts.solver=\"adagrad\"",
            "experts.restart=false",
            "experts.tolerance=0.02",
            "experts.positives_per_expert=4",
            "model.initial_biases=\"frequency\"",
            "shared.iterations=1",
        ],
        1,
        "477566efdcd480b010b330eedf7b70e263cdc840d82d31f91e83f76f24401b8d",
    ),
    (
        &[
            "data.validation_fraction=0.4",
            "pretrain.epochs=2",
            "experts.row_slices=4",
            "experts.solver=\"adam\"",
            "experts.patience=1",
            "experts.averaging=0.9",
            "experts.dropout=0.2",
            "experts.negatives=0.4",
            "shared.iterations=1",
        ],
        4,
        "b887d167935f1a68b364574500b19d6d5deb77725ba34fd8dc073207063a0f88",
    ),
    (
        &[
            "data.validation_fraction=0.4",
            "pretrain.epochs=1",
            "experts.row_slices=3",
            "experts.solver=\"adagrad\"",
            "experts.class_patience=1",
            "experts.restart=false",
            "experts.tolerance=0.02",
            "shared.iterations=1",
        ],
        3,
        "6eb86520e192d135bb2cd57782d5c96865ef395c4e4b69763dc5d9040f2f45c8",
    ),
    (
        &[
            "data.validation_fraction=0.4",
            "pretrain.epochs=1",
            "experts.row_slices=4",
            "experts.solver=\"lbfgs\"",
            "experts.epochs=4",
            "experts.class_patience=1",
            "experts.l2=0.001",
            "shared.iterations=1",
        ],
        4,
        "0f4aecc4e1042a376394b1683aa1183267c54e55613070103e37f5970a0d2bc5",
    ),
];

/// What an undisturbed run comes to.
#[derive(Debug, Default)]
pub struct Expected {
    /// The events of `metrics.jsonl` without their timing.
    pub events: Vec<String>,
    /// Of events and model, as the run's record has it.
    pub result: String,
    pub weights: String,
}

/// Everything that schedules have in common, in folders that go with it.
pub struct Jobs {
    pub file: PathBuf,
    pub expected: Vec<Arc<Expected>>,
    pub sizes: Vec<Size>,
    /// Where runs have their files: in memory, where there is such a place.
    pub scratch: tempfile::TempDir,
}

impl Jobs {
    /// Makes the data and runs each job once, undisturbed.
    ///
    /// # Panics
    /// Where a run doesn't come to its literal weights.
    pub fn new() -> Jobs {
        let memory = Path::new("/dev/shm");
        let scratch =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let scratch = scratch.expect("a folder");
        shards(&scratch.path().join("data"), 48, 20, 6);
        let file = scratch.path().join("job.toml");
        let glob = scratch.path().join("data/*.h5");
        fs::write(&file, JOB.replace("TRAIN", glob.to_str().expect("UTF-8"))).expect("a file");
        let mut jobs = Jobs { file, expected: Vec::new(), sizes: Vec::new(), scratch };
        let mut wrong = Vec::new();
        for (kind, (_, rows_max, weights)) in KINDS.iter().enumerate() {
            jobs.expected.push(Arc::default());
            let plan = Plan::undisturbed(kind, 1);
            let (found, size) = match run(&jobs, 0, &plan, Plant::Nothing, false) {
                Ok(ended) => (ended.found.expect("it ran to its end"), ended.size),
                Err(failure) => panic!("job {kind}: {failure}"),
            };
            if found.weights != *weights {
                wrong.push(format!(
                    "job {kind}: found the weights {}, expected {weights}",
                    found.weights
                ));
            }
            jobs.expected[kind] = Arc::new(found);
            jobs.sizes.push(Size { rows_max: *rows_max, ..size });
        }
        assert!(
            wrong.is_empty(),
            "{}\na changed literal is an entry of CHANGELOG.md with its reason",
            wrong.join("\n")
        );
        jobs
    }

    /// Those that can be on grids of several rows.
    pub fn in_columns(&self) -> Vec<usize> {
        (0..KINDS.len()).filter(|kind| KINDS[*kind].1 > 1).collect()
    }

    /// What is set beside the job file.
    pub fn overrides(&self, kind: usize) -> Vec<String> {
        KINDS[kind].0.iter().map(|text| text.to_string()).collect()
    }
}

/// What a finished run in `path` has come to.
pub fn found(path: &Path) -> Result<Expected, String> {
    let read = |name: &str| {
        fs::read(path.join(name)).map_err(|error| format!("{}: {error}", path.join(name).display()))
    };
    let record: serde_json::Value =
        serde_json::from_slice(&read("run.json")?).map_err(|error| error.to_string())?;
    if record["finished"] != true {
        return Err("the run isn't finished".into());
    }
    let comm = Comm::serial();
    let model = artifact::load(&comm, &path.join("model")).map_err(|error| error.text)?;
    Ok(Expected {
        events: events_of(&read("metrics.jsonl")?)?,
        result: record["result_hash"].as_str().unwrap_or_default().into(),
        weights: pins::weights(&comm, &model),
    })
}

/// The events of `metrics.jsonl` without their timing.
pub fn events_of(bytes: &[u8]) -> Result<Vec<String>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("metrics.jsonl ends in the middle of a line".into());
    }
    let untimed = |line: &str| match line.split_once(",\"timing\":") {
        Some((event, _)) => Ok(format!("{event}}}")),
        None => Err(format!("metrics.jsonl: found {line:?}")),
    };
    text.lines().map(untimed).collect()
}

/// The digest of events, each joined to that of those before it.
pub fn chained(events: &[String]) -> Vec<u8> {
    let join = |hash: Vec<u8>, event: &String| {
        Sha256::new().chain_update(hash).chain_update(event).finalize().to_vec()
    };
    events.iter().fold(vec![0; 32], join)
}
