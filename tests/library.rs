//! The library as others use it: its examples train and score.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;

use common::{reelscale, shards};
use reelscale::{Checkpoints, Comm, Data, Job, Report, Result, save, train};

/// What an example prints.
fn example(name: &str, arguments: &[&str]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_reelscale")).with_file_name("examples").join(name);
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_examples_train_and_score_as_the_program_does() {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 400, 30, 16);
    let (data, model) = (folder.path().join("*.h5"), folder.path().join("model"));
    let (data, model) = (data.to_str().unwrap(), model.to_str().unwrap());
    let hash = example("train", &[data, model]);
    let printed = reelscale("inspect --hash").arg(model).stdout();
    assert!(printed.contains(hash.trim()), "{printed} {hash}");

    let scores = example("evaluate", &[model, data]);
    let gap = scores.trim().strip_prefix("GAP@20 ").unwrap().split(',').next().unwrap().to_string();
    let printed = reelscale("evaluate --format json").arg("--model").arg(model);
    let printed = printed.arg("--data").arg(data).stdout();
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(gap, format!("{:.5}", printed["gap_at_20"].as_f64().unwrap()));
}

/// Whether it came to its end, and the content hash of the model.
fn run(folder: &Path, output: &str, stop: bool) -> Result<(bool, String)> {
    let job = format!(
        "data.train = ['{}/*.h5']
        model.shared = [{{ dense = 16, activation = 'relu' }}]
        pretrain = {{ epochs = 2, batch = 64 }}
        experts.epochs = 2
        shared.iterations = 2
        rounds.count = 1
        run.threads = 1",
        folder.display()
    );
    let (comm, job) = (Comm::serial(), Job::parse(&job, "job", &[])?);
    let data = Data::open(&comm, &job)?;
    let output = folder.join(output);
    fs::create_dir_all(&output).unwrap();
    let checkpoints = Checkpoints::in_folder(&comm, &output.join("checkpoints"), &job, &data);
    comm.stop_flag().store(stop, Relaxed);
    let mut report = Report::to_file(&output.join("events.jsonl"));
    let trained = train(&comm, &job, data, &mut report, Some(checkpoints))?;
    let model = if trained.done { "model" } else { "unfinished" };
    Ok((trained.done, save(&comm, &output.join(model), &trained.annotator)?))
}

#[test]
fn a_run_that_is_stopped_goes_on_from_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 400, 30, 16);
    let (done, expected) = run(folder.path(), "whole", false).unwrap();
    assert!(done);
    let (done, unfinished) = run(folder.path(), "stopped", true).unwrap();
    assert!(!done && unfinished != expected);
    assert!(folder.path().join("stopped/checkpoints").read_dir().unwrap().next().is_some());
    assert_eq!(run(folder.path(), "stopped", false).unwrap(), (true, expected));
    let lines = |run: &str| {
        let text = fs::read_to_string(folder.path().join(run).join("events.jsonl")).unwrap();
        text.lines().count()
    };
    assert!(lines("whole") > 0 && lines("stopped") == lines("whole"));
}
