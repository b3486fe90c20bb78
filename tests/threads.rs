//! Ranks as threads of one process, `--comm threads=N`: the files and tables that one rank, or
//! `mpirun -n N`, makes. With MPI and in a build without.

mod common;

use std::path::Path;

use common::{TestCommand, json, reelscale, sha256, shards};

const JOB: &str = "
[data]
train = [\"DATA/*.h5\"]
validation_fraction = 0.2
[model]
shared = [{ dense = 16, activation = \"relu\" }]
[pretrain]
ranks = 4096
epochs = 1
batch = 32
[experts]
count = 3
epochs = 2
batch = 32
window = 100
[shared]
iterations = 2
[rounds]
count = 1
[run]
row_blocks = 13
class_blocks = 5
";

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Scratch {
        let scratch = Scratch(tempfile::tempdir().unwrap());
        shards(&scratch.path("data"), 400, 70, 12);
        let job = JOB.replace("DATA", scratch.path("data").to_str().unwrap());
        std::fs::write(scratch.path("job.toml"), job).unwrap();
        scratch
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn train(&self, comm: &str, output: &str) -> TestCommand {
        let train = reelscale(&format!("train {comm} --output")).path(&self.path(output));
        train.path(&self.path("job.toml"))
    }
}

/// The hash of the trained model, and how the ranks that trained it were made.
fn trained(run: &Path) -> (String, String) {
    let text = |value: serde_json::Value| value.as_str().expect("a text").to_string();
    let sessions = json(&run.join("run.json"), "sessions");
    let hash = json(&run.join("model/manifest.json"), "content_hash");
    (text(hash), text(sessions[0]["ranks_are"].clone()))
}

#[test]
fn threads_train_and_score_as_processes_do() {
    let scratch = Scratch::new();
    scratch.train("--comm serial", "one").stdout();
    let (expected, kind) = trained(&scratch.path("one"));
    assert_eq!(kind, "one process");
    for ranks in [2, 3] {
        let output = format!("threads-{ranks}");
        scratch.train(&format!("--comm threads={ranks}"), &output).stdout();
        let found = trained(&scratch.path(&output));
        assert_eq!(found, (expected.clone(), "threads of one process".into()), "{ranks}");
    }
    if !common::without_mpi() {
        scratch.train("", "processes").ranks(3).stdout();
        assert_eq!(trained(&scratch.path("processes")), (expected, "MPI processes".into()));
    }
    let score = |command: &str, comm: &str| {
        let command = reelscale(&format!("{command} --comm {comm} --model"));
        command.path(&scratch.path("one/model")).arg("--data").path(&scratch.path("data/a.h5"))
    };
    let tables = ["serial", "threads=3"].map(|comm| score("evaluate", comm).stdout());
    assert_eq!(tables[0], tables[1]);
    let files = ["serial", "threads=2"].map(|comm| {
        let path = scratch.path(&format!("{comm}.csv"));
        score("annotate", comm).arg("--output").path(&path).stdout();
        sha256(&path)
    });
    assert_eq!(files[0], files[1]);
}

#[test]
fn an_error_of_thread_ranks_is_told_once() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("data/b.h5"), "no shard").unwrap();
    let printed = scratch.train("--comm threads=3", "run").fails_with(4);
    assert!(printed.contains("b.h5"), "{printed}");
    assert!(!scratch.path("run").exists());
}

#[test]
fn without_mpi_there_are_no_processes() {
    if cfg!(feature = "mpi") {
        println!("skipped: this build has MPI");
        return;
    }
    let scratch = Scratch::new();
    for command in [
        scratch.train("--comm mpi", "run"),
        // A launcher would start as many runs, each alone.
        scratch.train("", "run").env("OMPI_COMM_WORLD_SIZE", "2").env("OMPI_COMM_WORLD_RANK", "0"),
    ] {
        let printed = command.fails_with(3);
        assert!(
            printed.contains("built without") && printed.contains("--comm threads=N"),
            "{printed}"
        );
        assert!(!scratch.path("run").exists());
    }
}
