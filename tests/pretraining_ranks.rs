//! Pretraining on some of the ranks, while the others wait: the same bits on any number of them,
//! also where a run is stopped, killed or goes on with another one.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{TestCommand, json, reelscale, shards, signal};

/// Small, with all that pretraining has, and a step behind it.
const JOB: &str = "
[data]
train = [\"TRAIN\"]
validation_fraction = 0.2
[model]
shared = [{ dense = 24, activation = \"relu\" }, { gating = true }]
[pretrain]
experts = 2
epochs = EPOCHS
batch = 256
dropout = 0.3
patience = 0
[experts]
count = 2
epochs = 1
[shared]
iterations = 2
[rounds]
count = 1
[run]
threads = 1
row_blocks = 40
class_blocks = 7
";

/// A process that starts has for a moment the files that others have open, and HDF5's lock on a
/// shard that another test writes: so tests go one by one.
static ONE: Mutex<()> = Mutex::new(());

struct Scratch {
    _one: MutexGuard<'static, ()>,
    folder: tempfile::TempDir,
    job: PathBuf,
}

impl Scratch {
    fn new(rows: usize, epochs: usize) -> Scratch {
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        shards(&folder.path().join("data"), rows, 90, 20);
        let job = folder.path().join("job.toml");
        let glob = format!("{}/data/*.h5", folder.path().display());
        fs::write(&job, JOB.replace("TRAIN", &glob).replace("EPOCHS", &epochs.to_string()))
            .unwrap();
        Scratch { _one, folder, job }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn train(&self, name: &str, learners: usize) -> TestCommand {
        let learners = format!("pretrain.ranks={learners}");
        let command = reelscale("train").path(&self.job).arg("--output").path(&self.path(name));
        command.arg("--set").arg(&learners)
    }

    fn result(&self, name: &str) -> String {
        let record = self.path(name).join("run.json");
        assert_eq!(json(&record, "finished"), true);
        json(&record, "result_hash").as_str().expect("a hash").to_string()
    }
}

/// How many ranks pretrained in a start of a run, by its record. None: all.
fn learners(output: &Path, start: usize) -> Option<u64> {
    json(&output.join("run.json"), "sessions")[start]["pretraining_ranks"].as_u64()
}

#[test]
fn any_number_of_ranks_pretrains_to_the_same_result() {
    let scratch = Scratch::new(1500, 2);
    scratch.train("alone", 0).stdout();
    let expected = scratch.result("alone");
    for count in [1, 2, 5, 8, 100] {
        let name = format!("{count}-of-8");
        let output = scratch.train(&name, count).arg("--comm").arg("threads=8").output();
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{printed}");
        assert_eq!(scratch.result(&name), expected, "{name}");
        let line = format!("pretraining on {count} of 8 ranks");
        assert_eq!(printed.contains(&line), count < 8, "{printed}");
        let told = (count < 8).then_some(count as u64);
        assert_eq!(learners(&scratch.path(&name), 0), told);
    }
    // So small a job isn't worth a message.
    scratch.train("auto", 0).arg("--comm").arg("threads=8").stdout();
    assert_eq!((scratch.result("auto"), learners(&scratch.path("auto"), 0)), (expected, Some(1)));
}

/// What isn't finite is named alike, though ranks that wait hear of it only at the boundary.
#[test]
fn numbers_that_are_not_finite_end_all_ranks() {
    let scratch = Scratch::new(1500, 2);
    let deep = "{dense=64,activation=\"relu\"},".repeat(9);
    let error = |name: &str, learners: usize| {
        let command = scratch.train(name, learners).arg("--set").arg("pretrain.learning_rate=1e6");
        let command = command.arg("--set").arg(format!("model.shared=[{deep}{{gating=true}}]"));
        let text = command.within(60).arg("--comm").arg("threads=5").fails_with(7);
        let line = text.lines().find(|line| line.contains("found NaN or infinity"));
        line.unwrap_or_else(|| panic!("{text}")).to_string()
    };
    let [all, some, one] = [("all", 5), ("some", 3), ("one", 1)].map(|(name, of)| error(name, of));
    let what = |line: &str| line.split_once("pretrain, epoch").expect("a place").1.to_string();
    assert_eq!([what(&some), what(&one)], [what(&all), what(&all)]);
}

#[test]
fn a_run_stops_and_goes_on_with_another_number() {
    common::needs_mpi!();
    let scratch = Scratch::new(6000, 8);
    scratch.train("whole", 0).stdout();
    let expected = scratch.result("whole");
    for (name, ranks, first, then) in [("fewer", 3, 2, 1), ("more", 3, 1, 3), ("two", 2, 1, 2)] {
        let often = ["--set", "checkpoint.every=3"];
        let mut run = scratch.train(name, first).arg(often[0]).arg(often[1]);
        run = run.ranks(ranks).within(60);
        let mut run = run.spawn();
        run.wait_for(&scratch.path(name).join("metrics.jsonl"), "\"step\":\"pretrain\"");
        let processes = run.processes();
        // The last rank waits.
        signal("TERM", processes[ranks - 1]);
        let output = run.finish();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let record = scratch.path(name).join("run.json");
        assert_eq!(json(&record, "finished"), false, "{name}: it was stopped");
        scratch.train(name, then).ranks(3).stdout();
        assert_eq!(scratch.result(name), expected, "{name}");
        assert_eq!(learners(&scratch.path(name), 0), Some(first as u64));
    }
}

/// A rank that waits is killed, then one that learns: the run ends, and goes on.
#[test]
fn a_run_whose_rank_is_killed_goes_on() {
    common::needs_mpi!();
    let scratch = Scratch::new(6000, 8);
    scratch.train("whole", 0).stdout();
    for (name, rank) in [("waits", 2), ("learns", 1)] {
        let often = scratch.train(name, 2).arg("--set").arg("checkpoint.every=3");
        let mut run = often.ranks(3).within(60).spawn();
        run.wait_for(&scratch.path(name).join("metrics.jsonl"), "\"step\":\"pretrain\"");
        signal("KILL", run.processes()[rank]);
        assert!(!run.finish().status.success());
        scratch.train(name, 2).ranks(3).stdout();
        assert_eq!(scratch.result(name), scratch.result("whole"), "{name}");
    }
}
