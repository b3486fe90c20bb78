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

/// The program that is built of the sources with a patch, under a name of its own beside the
/// tests' one, whose dependencies it has. It computes little, so it isn't optimised.
fn built_with(patch: &str, folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copied = folder.join("sources");
    fs::create_dir(&copied).unwrap();
    // What Cargo.toml names has to be there.
    for name in ["Cargo.toml", "Cargo.lock", "build.rs", "src", "benches", "examples"] {
        copy(&root.join(name), &copied.join(name));
    }
    let patch = root.join("tests/trials").join(patch);
    let text = fs::read_to_string(&patch).unwrap();
    let touched = text.lines().filter(|line| line.starts_with("+++ ")).count();
    assert!((1..=FILES_MAX).contains(&touched), "{touched} files");
    run(Command::new("git").arg("apply").arg(&patch).current_dir(&copied));
    let manifest = fs::read_to_string(copied.join("Cargo.toml")).unwrap();
    let manifest = manifest.replacen("name = \"reelscale\"", "name = \"trial\"", 1);
    let manifest = manifest.replace("default-run = \"reelscale\"", "default-run = \"trial\"");
    let targets =
        "[lib]\nname = \"reelscale\"\n[[bin]]\nname = \"trial\"\npath = \"src/main.rs\"\n";
    fs::write(copied.join("Cargo.toml"), manifest + targets).unwrap();
    // `target/debug/reelscale`.
    let target = Path::new(env!("CARGO_BIN_EXE_reelscale")).ancestors().nth(2).unwrap();
    run(Command::new(env!("CARGO"))
        .args(["build", "--offline", "--bin", "trial"])
        .args(["--config", "profile.dev.package.trial.opt-level=0"])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(&copied));
    target.join("debug/trial")
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

    let program = built_with("gradient-descent.patch", folder.path());
    run(Command::new(program).arg("train").arg(&job).arg("--output").arg(&run_to));
    assert!(json(&run_to.join("run.json"), "result_hash").is_string());
    let events = fs::read_to_string(run_to.join("metrics.jsonl")).unwrap();
    let losses: Vec<f64> = events
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| event["step"] == "experts")
        .filter_map(|event| event["loss"].as_f64())
        .collect();
    assert!(losses.len() == 3 && losses.is_sorted_by(|one, next| one > next), "{losses:?}");
}
