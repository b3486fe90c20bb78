//! The library as others use it: its examples train and score.

mod common;

use std::path::Path;
use std::process::Command;

use common::{reelscale, shards};

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
