//! What a run leaves of its last validation, the page that `reelscale report` makes of runs, events
//! for TensorBoard, and what `inspect` says of a model.

mod common;
#[path = "report/inspect.rs"]
mod inspect;
#[path = "common/older_runs.rs"]
mod older_runs;
#[path = "report/page.rs"]
mod page;
#[path = "report/tensorboard.rs"]
mod tensorboard;

use std::fs;
use std::path::Path;

use common::scratch::Scratch;
use common::{json, reelscale, shards};
use serde_json::Value;

/// A short run with rows to validate on in a folder of their own.
fn scratch() -> Scratch {
    let job = "[model]\nshared = [{ dense = 6 }]\n[pretrain]\nbatch = 32\nepochs = 2\n\
               learning_rate = 0.01\n[experts]\nepochs = 2\n[shared]\niterations = 1\n\
               [rounds]\ncount = 1\n[run]\nrow_blocks = 4\n";
    let scratch = Scratch::of((600, 30, 8), job);
    let held_out = scratch.path("held-out");
    shards(&held_out, 200, 30, 8);
    let text = fs::read_to_string(scratch.path("job.toml")).unwrap();
    let glob = format!("{}/*.h5", held_out.display());
    let validation = format!("[data]\nallow_overlap = true\nvalidation = [\"{glob}\"]");
    fs::write(scratch.path("job.toml"), text.replacen("[data]", &validation, 1)).unwrap();
    scratch
}

fn validation(run: &Path) -> Value {
    serde_json::from_slice(&fs::read(run.join("validation.json")).unwrap()).unwrap()
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// The figures of classes are those of `evaluate --by-class`, and what is said of all scores
/// together agrees with them.
#[test]
fn the_last_validation_is_what_evaluate_finds() {
    let scratch = scratch();
    let only_pretraining = ["pretrain.epochs=1", "rounds.count=0", "pretrain.learning_rate=0.1"];
    let train = only_pretraining
        .iter()
        .fold(scratch.train("run"), |train, set| train.arg("--set").arg(*set));
    train.stdout();
    let (found, csv) = (validation(&scratch.path("run")), scratch.path("classes.csv"));
    let evaluate = reelscale("evaluate --format json --model").path(&scratch.path("run/model"));
    let evaluate = evaluate.arg("--data").path(&scratch.path("held-out/*.h5"));
    let metrics = evaluate.arg("--by-class").path(&csv).stdout();
    let metrics: Value = serde_json::from_str(&metrics).unwrap();
    assert_eq!(found["event"]["validation"], metrics);
    assert_eq!((&found["event"]["step"], &found["videos"]), (&"pretrain".into(), &200.into()));

    let csv = fs::read_to_string(csv).unwrap();
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let classes = found["classes"].as_array().unwrap();
    for class in classes {
        let line = lines.next().expect("a line for each class");
        let columns = found["columns"].as_array().unwrap().iter().zip(class.as_array().unwrap());
        for (column, value) in columns {
            let at = names.iter().position(|name| column == name).expect("the same columns");
            let text = value.as_str().map_or(value.to_string(), String::from);
            let text = if value.is_null() { String::new() } else { text };
            let same = match (line[at].parse::<f64>(), text.parse::<f64>()) {
                (Ok(a), Ok(b)) => a == b,
                _ => line[at] == text,
            };
            assert!(same, "{column}: {} and {text}", line[at]);
        }
    }
    assert!(lines.next().is_none());

    let [thresholds, predicted, hits] =
        ["thresholds", "predicted", "hits"].map(|key| numbers(&found["curve"][key]));
    let column = |at: usize| classes.iter().map(move |class| class[at].as_f64().unwrap_or(0.0));
    let positives: f64 = column(1).sum();
    assert_eq!((predicted.last(), hits.last()), (Some(&(200.0 * 30.0)), Some(&positives)));
    // At the threshold of the classes' recall all of these hits are theirs.
    let at = thresholds.iter().rposition(|threshold| *threshold >= 0.5).expect("some are sure");
    let of_classes: f64 = column(1).zip(column(4)).map(|(count, recall)| count * recall).sum();
    assert!((hits[at] - of_classes).abs() < 1e-6, "{} {of_classes}", hits[at]);
    let bins = found["calibration"].as_array().unwrap();
    let sum = |key: &str| bins.iter().map(|bin| bin[key].as_f64().unwrap()).sum::<f64>();
    assert_eq!((bins.len(), sum("pairs"), sum("positives")), (10, 200.0 * 30.0, positives));
}

#[test]
fn the_last_validation_has_the_same_bits_on_any_ranks_and_after_a_stop() {
    let scratch = scratch();
    scratch.train("one").stdout();
    scratch.train("three").arg("--comm").arg("threads=3").stdout();
    scratch.train("stopped").arg("--max-time").arg("0").stdout();
    scratch.train("stopped").stdout();
    let bytes = |run: &str| fs::read(scratch.path(run).join("validation.json")).unwrap();
    assert!(bytes("one") == bytes("three") && bytes("one") == bytes("stopped"));
    assert_eq!(validation(&scratch.path("one"))["event"]["step"], "shared");
    let hash = |run: &str| json(&scratch.path(run).join("run.json"), "result_hash");
    assert_eq!(hash("one"), hash("stopped"));
}

/// Nobody's file is lost where the run has its own.
#[test]
fn the_file_is_the_runs_own_place() {
    let scratch = scratch();
    scratch.train("run").arg("--max-time").arg("0").stdout();
    fs::write(scratch.path("thesis"), "years of work").unwrap();
    let link = scratch.path("run/validation.json");
    std::os::unix::fs::symlink(scratch.path("thesis"), &link).unwrap();
    let text = scratch.train("run").fails_with(6);
    assert!(text.contains("validation.json: found a link"), "{text}");
    fs::remove_file(&link).unwrap();
    scratch.train("run").stdout();
    assert_eq!(fs::read_to_string(scratch.path("thesis")).unwrap(), "years of work");
    assert_eq!(validation(&scratch.path("run"))["format"], "reelscale-validation");
}
