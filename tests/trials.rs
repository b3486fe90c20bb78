//! What a stranger adds stays small: each patch of `tests/trials/` adds a toy of its kind to a copy
//! of the sources, in two files at most, and the program that is built of it trains by it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{json, reelscale};

/// Files that a patch may touch.
const FILES_MAX: usize = 2;

/// Copies a file, or a folder with all that it holds.
fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

/// Runs a command that has to succeed.
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {printed}");
}

/// The program that is built of the sources with the patch `tests/trials/NAME.patch`, under a name
/// of its own beside the tests' one, whose dependencies it has. It computes little, so it isn't
/// optimised.
fn built_with(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The same folder every time, so that what is built of it stays one.
    let copied = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if copied.exists() {
        fs::remove_dir_all(&copied).unwrap();
    }
    fs::create_dir_all(&copied).unwrap();
    // What Cargo.toml names has to be there.
    for name in ["Cargo.toml", "Cargo.lock", "build.rs", "src", "benches", "examples"] {
        copy(&root.join(name), &copied.join(name));
    }
    let patch = root.join(format!("tests/trials/{name}.patch"));
    let text = fs::read_to_string(&patch).unwrap();
    let touched = text.lines().filter(|line| line.starts_with("+++ ")).count();
    assert!((1..=FILES_MAX).contains(&touched), "{touched} files");
    // No repository above it, in which `git apply` would skip what isn't below its root.
    run(Command::new("git")
        .arg("apply")
        .arg(&patch)
        .env("GIT_CEILING_DIRECTORIES", copied.parent().unwrap())
        .current_dir(&copied));
    let manifest = fs::read_to_string(copied.join("Cargo.toml")).unwrap();
    let program = format!("trial-{name}");
    let manifest = manifest.replacen("name = \"reelscale\"", &format!("name = \"{program}\""), 1);
    let default = |name: &str| format!("default-run = \"{name}\"");
    let manifest = manifest.replace(&default("reelscale"), &default(&program));
    let targets = format!(
        "[lib]\nname = \"reelscale\"\n[[bin]]\nname = \"{program}\"\npath = \"src/main.rs\"\n\
         [workspace]\n"
    );
    fs::write(copied.join("Cargo.toml"), manifest + &targets).unwrap();
    // `target/debug/reelscale`.
    let target = Path::new(env!("CARGO_BIN_EXE_reelscale")).ancestors().nth(2).unwrap();
    run(Command::new(env!("CARGO"))
        .args(["build", "--offline", "--bin", &program, "--config"])
        .arg(format!("profile.dev.package.{program}.opt-level=0"))
        .env("CARGO_TARGET_DIR", target)
        .current_dir(&copied));
    target.join("debug").join(program)
}

/// The losses of a run's events of a step that have `key`, in order.
fn losses(run: &Path, step: &str, key: &str) -> Vec<f64> {
    let events = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    events
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| event["step"] == step && event[key].is_u64())
        .filter_map(|event| event["loss"].as_f64())
        .collect()
}

#[test]
fn a_solver_is_a_file_and_a_line_in_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let (data, run_to) = (folder.path().join("data"), folder.path().join("run"));
    reelscale("synthesize --rows 400 --classes 40 --features 20 --output").path(&data).stdout();
    let job = folder.path().join("job.toml");
    let text = format!(
        "[data]\ntrain = [\"{}/*.h5\"]\n[pretrain]\nepochs = 1\n\
         [experts]\nsolver = \"gradient-descent\"\nepochs = 3\n[rounds]\ncount = 1\n",
        data.display()
    );
    fs::write(&job, text).unwrap();
    let refused = reelscale("train").path(&job).arg("--output").path(&run_to).fails_with(2);
    assert!(refused.contains("expected one of adagrad, adam, lbfgs"), "{refused}");

    let program = built_with("gradient-descent");
    run(Command::new(program).arg("train").arg(&job).arg("--output").arg(&run_to));
    assert!(json(&run_to.join("run.json"), "result_hash").is_string());
    let losses = losses(&run_to, "experts", "epoch");
    assert!(losses.len() == 3 && losses.is_sorted_by(|one, next| one > next), "{losses:?}");
}

#[test]
fn a_pooling_is_a_file_and_a_line_in_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let (data, run_to) = (folder.path().join("data"), folder.path().join("run"));
    reelscale("synthesize --rows 300 --classes 30 --features 12 --frames 9 --output")
        .path(&data)
        .stdout();
    let job = folder.path().join("job.toml");
    let shards = format!("{}/*.h5", data.display());
    let text = format!(
        "[data]\ntrain = [\"{shards}\"]\n[model]\nframes = [{{ dense = 16 }}]\n\
         pooling = \"minimum\"\n[pretrain]\nepochs = 1\n[experts]\nepochs = 2\n\
         [shared]\niterations = 4\n[rounds]\ncount = 1\n"
    );
    fs::write(&job, text).unwrap();
    let refused = reelscale("train").path(&job).arg("--output").path(&run_to).fails_with(2);
    assert!(refused.contains("expected one of swap, average, max, l2"), "{refused}");

    let program = built_with("minimum-pooling");
    run(Command::new(&program).arg("train").arg(&job).arg("--output").arg(&run_to));
    assert!(json(&run_to.join("run.json"), "result_hash").is_string());
    for (step, key, count) in [("experts", "epoch", 2), ("shared", "iteration", 4)] {
        let losses = losses(&run_to, step, key);
        let fall = losses.is_sorted_by(|one, next| one > next);
        assert!(losses.len() == count && fall, "{step}: {losses:?}");
    }
    let model = run_to.join("model");
    let evaluate = ["evaluate", "--format", "json", "--data", &shards, "--model"];
    let found = Command::new(&program).args(evaluate).arg(&model).output().unwrap();
    let metrics: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert!(metrics["gap_at_20"].as_f64().is_some_and(|gap| gap > 0.0), "{metrics}");
    // Who doesn't know it doesn't take it for another one.
    let refused = reelscale("evaluate --data").arg(&shards).arg("--model").path(&model);
    let refused = refused.fails_with(6);
    assert!(refused.contains("unknown variant `minimum`, expected one of `swap`"), "{refused}");
}
