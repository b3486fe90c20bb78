//! What a run says at its end: time over all starts, phases, rates, advice; and validations within
//! the expert step that only report.

use std::path::PathBuf;

use serde_json::Value;

use super::common::scratch::Scratch;
use super::common::{TestCommand, json, needs_mpi, reelscale};

/// A job of one step; `more` goes on in the section `[run]`.
fn job(experts: &str, more: &str) -> String {
    format!(
        "[pretrain]\nepochs = 0\n[experts]\n{experts}[rounds]\ncount = 1\n[run]\n{more}\n\
         [checkpoint]\nminutes = 0.0\n"
    )
}

/// What a run's advice is about, however short it is.
fn advice(scratch: &Scratch, run: &str, command: &TestCommand) -> Vec<String> {
    let output = command.clone().env("REELSCALE_ADVICE_SECONDS", "0").output();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let report = json(&scratch.path(run).join("run.json"), "report");
    let advice = report["advice"].as_array().unwrap();
    assert!(advice.len() <= 3);
    for one in advice {
        let text = one["text"].as_str().unwrap();
        assert!(said.contains(&format!("advice: {text}")) && text.contains('%'), "{said}");
        assert!((0.05..1.0).contains(&one["gain"].as_f64().unwrap()), "{one}");
    }
    advice.iter().map(|one| one["about"].as_str().unwrap().to_string()).collect()
}

/// A run of a second may wait for its rows for a good part of that.
fn beside_input(mut told: Vec<String>) -> Vec<String> {
    told.retain(|about| about != "input");
    told
}

fn threads(command: TestCommand, ranks: usize) -> TestCommand {
    command.arg("--comm").arg(format!("threads={ranks}"))
}

#[test]
fn a_report_sums_all_starts() {
    let scratch = Scratch::of((400, 12, 8), &job("epochs = 3\n", "threads = 1\nrow_blocks = 4"));
    scratch.train("run").arg("--max-time").arg("0").stdout();
    let said = scratch.train("run").env("REELSCALE_ADVICE_SECONDS", "0").output();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let record = scratch.path("run/run.json");
    let (report, sessions) = (json(&record, "report"), json(&record, "sessions"));
    let sessions = sessions.as_array().unwrap();
    let seconds = |value: &Value| value["seconds"].as_f64().unwrap();
    assert_eq!((sessions.len(), &report["starts"]), (2, &2.into()), "{report}");
    let sum: f64 = sessions.iter().map(seconds).sum();
    assert!((seconds(&report) - sum).abs() < 1e-3, "{report}");
    assert!((report["node_hours"].as_f64().unwrap() - sum / 3600.0).abs() < 1e-6, "{report}");
    let phases = report["phases"].as_object().unwrap();
    let all: f64 = phases.values().map(seconds).sum();
    assert!((all - sum).abs() < 0.01, "{report}");
    assert_eq!(report["starts_without_phases"], 0);
    assert!(seconds(&phases["experts"]) > 0.0 && seconds(&phases["opening"]) > 0.0, "{report}");
    assert!(report["checkpoints"].as_u64().unwrap() >= 1, "{report}");
    assert!(report["rates"]["experts"]["gflops"].as_f64().is_some(), "{report}");
    // Of what the kernel does by itself, which so small a run is far from.
    let share = report["rates"]["experts"]["share_of_kernel"].as_f64().unwrap();
    assert!(share > 0.0 && share < 0.9, "{report}");
    assert!(said.contains("of what the kernel does here by itself"), "{said}");
    for line in
        ["in 2 starts, 0.0", "phases: opening data ", "within them: ", "rates: expert step "]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
}

/// Of a start that was killed its last checkpoint says how many it has written.
#[test]
fn checkpoints_of_a_killed_start_are_counted() {
    let scratch = Scratch::of((400, 12, 8), &job("epochs = 3\n", "threads = 1\nrow_blocks = 4"));
    let reports = ["stopped", "killed"].map(|run| {
        scratch.train(run).arg("--max-time").arg("0").stdout();
        let record = scratch.path(run).join("run.json");
        if run == "killed" {
            std::fs::remove_file(&record).unwrap();
        }
        scratch.train(run).stdout();
        json(&record, "report")
    });
    let of = |key: &str| reports.each_ref().map(|report| report[key].as_u64().unwrap());
    assert_eq!(of("starts_without_phases"), [0, 1]);
    let [stopped, killed] = of("checkpoints");
    assert!(killed == stopped && killed >= 2, "{reports:?}");
}

/// The rate of the expert step is that of its own mixtures, also where the model at hand is still
/// that of pretraining, of fewer experts.
#[test]
fn a_rate_is_that_of_the_steps_own_mixtures() {
    let text = job("epochs = 2\ncount = 64\nlearning_rate = 1e-9\n", "threads = 1\n");
    let text = text.replacen("[pre", "validation_fraction = 0.2\n[pre", 1);
    let text = text.replacen("epochs = 0", "epochs = 3\nexperts = 1", 1);
    let scratch = Scratch::of((2000, 48, 16), &text);
    scratch.train("run").stdout();
    let record = scratch.path("run/run.json");
    assert_eq!(json(&record, "kept")["step"], "pretrain", "experts that learn nothing are best");
    let rate = &json(&record, "report")["rates"]["experts"];
    let [gflops, rows] = ["gflops", "rows_per_second"].map(|key| rate[key].as_f64().unwrap());
    // 4 d for each column, of 48 classes of 64 experts, 65 gates.
    let expected = rows * 4.0 * 16.0 * 48.0 * 129.0 / 1e9;
    assert!((gflops - expected).abs() <= 0.051, "{gflops} {expected}");
    // One expert would have three columns of the 129: of 150 rows a second that can be told.
    assert!(expected > 0.06, "{expected}");
}

/// The kernel is measured on a class block of its own, which is small whatever the mixtures are.
#[test]
fn the_kernel_is_measured_of_wide_and_large_mixtures() {
    let text = "[model]\nshared = [{ dense = 2048 }]\n[pretrain]\nepochs = 1\n[experts]\n\
                epochs = 1\ncount = 64\n[shared]\niterations = 1\n[rounds]\ncount = 1\n[run]\n\
                threads = 2\n";
    let scratch = Scratch::of((120, 12, 3), text);
    threads(scratch.train("run"), 2).env("REELSCALE_ADVICE_SECONDS", "0").stdout();
    let report = json(&scratch.path("run/run.json"), "report");
    for step in ["pretrain", "experts", "shared"] {
        let share = report["rates"][step]["share_of_kernel"].as_f64().unwrap();
        assert!(share > 0.0 && share < 1.5, "{step}: {report}");
    }
}

#[test]
fn validations_that_only_report_change_nothing() {
    let text =
        job("epochs = 5\naveraging = 0.5\nsolver = \"adam\"\n", "threads = 1\nrow_blocks = 4");
    let scratch =
        Scratch::of((400, 12, 8), &text.replacen("[pre", "validation_fraction = 0.2\n[pre", 1));
    let every = |run: &str, epochs: usize| {
        scratch.train(run).arg("--set").arg(format!("experts.validate_every={epochs}"))
    };
    every("silent", 0).stdout();
    let said = threads(every("told", 2), 2).output();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("experts.validate_every: "), "{said}");
    let of = |run: &str, key: &str| json(&scratch.path(run).join("run.json"), key);
    for key in ["model_hash", "result_hash", "kept"] {
        assert_eq!(of("silent", key), of("told", key), "{key}");
    }
    assert!(of("told", "report")["within"]["validation, to report"]["seconds"].is_number());
    let validated = |run: &str| -> Vec<u64> {
        let text = std::fs::read_to_string(scratch.path(run).join("metrics.jsonl")).unwrap();
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let those = events.filter(|event| event["validation"]["gap_at_20"].is_number());
        those.filter_map(|event| event["epoch"].as_u64()).collect()
    };
    assert_eq!((validated("silent"), validated("told")), (vec![], vec![2, 4]));
    let none = Scratch::of((100, 12, 8), &job("epochs = 1\nvalidate_every = 1\n", "threads = 1"));
    let refused = none.train("run").fails_with(2);
    assert!(refused.contains("experts.validate_every: found without validation rows"), "{refused}");
}

/// Several ranks' advice, and its silence on one rank that has nobody to wait for.
#[test]
fn advice_on_blocks_and_ranks() {
    let experts = "epochs = 10\nbatch = 64\ncount = 1\n";
    let scratch = Scratch::of((3000, 48, 64), &job(experts, "threads = 1\nclass_blocks = 1"));
    let told = advice(&scratch, "uneven", &threads(scratch.train("uneven"), 2));
    assert!(told.contains(&"blocks".into()), "{told:?}");
    assert_eq!(beside_input(advice(&scratch, "alone", &scratch.train("alone"))), [""; 0]);
    // Two threads at one class block, and each at one of its own.
    let two = |run: &str| scratch.train(run).arg("--set").arg("run.threads=2");
    let told = advice(&scratch, "shared", &two("shared"));
    assert!(told.contains(&"threads".into()), "{told:?}");
    let own = two("own").arg("--set").arg("run.class_blocks=2");
    assert!(!advice(&scratch, "own", &own).contains(&"threads".into()));
    // Mini-batches of next to nothing, each an exchange.
    let experts = "epochs = 16\nbatch = 16\ncount = 1\nwindow = 16\n";
    let small = Scratch::of((1500, 96, 8), &job(experts, "threads = 1\nclass_blocks = 6"));
    let told = advice(&small, "many", &threads(small.train("many"), 6));
    assert!(told.contains(&"ranks".into()), "{told:?}");
    advice_on_windows(&small);
    // A run this short gives none by itself.
    let short = scratch.train("short").env("REELSCALE_ADVICE_SECONDS", "3600").output();
    assert!(!String::from_utf8_lossy(&short.stderr).contains("advice: "));
}

/// Exchanges of a few rows; the window that is advised has the same bits and is silent, and with
/// little memory it is the longest that there is room for.
fn advice_on_windows(small: &Scratch) {
    let two = |run: &str, set: &[&str]| {
        let command = threads(small.train(run), 2);
        set.iter().fold(command, |command, set| command.arg("--set").arg(*set))
    };
    let window = |run: &str, command: &TestCommand| {
        let told = advice(small, run, command);
        let report = json(&small.path(run).join("run.json"), "report");
        let rows = |one: &Value| {
            let (_, from) = one["text"].as_str()?.split_once("experts.window = ")?;
            from.split_once(' ').map(|(rows, _)| rows.to_string())
        };
        let advised = report["advice"].as_array().unwrap().iter().find_map(rows);
        assert_eq!(advised.is_some(), told.contains(&"window".into()), "{told:?}");
        advised
    };
    assert_eq!(window("short windows", &two("short windows", &[])).as_deref(), Some("8192"));
    assert_eq!(window("one window", &two("one window", &["experts.window=8192"])), None);
    let hash = |run: &str| json(&small.path(run).join("run.json"), "result_hash");
    assert_eq!(hash("short windows"), hash("one window"));
    let refused = two("least", &["experts.window=1024", "run.memory_gib=1e-9"]).fails_with(9);
    let least = refused.split_once("needs ").unwrap().1.split_once(" at least").unwrap().0;
    let budget = format!("run.memory_gib={least}");
    assert_eq!(window("little", &two("little", &[&budget])).as_deref(), Some("1024"));
}

/// A rank that computes slower than the others, and ranks bound to a core.
#[test]
fn advice_on_slow_ranks_and_bound_ones() {
    needs_mpi!();
    let experts = "epochs = 3\nbatch = 64\ncount = 2\n";
    let scratch = Scratch::of((3000, 96, 128), &job(experts, "threads = 1\nclass_blocks = 2"));
    let program = env!("CARGO_BIN_EXE_reelscale");
    let train = |command: TestCommand, run: &str| {
        let command = command.arg(program).arg("train").path(&scratch.path("job.toml"));
        command.arg("--output").path(&scratch.path(run))
    };
    let mpirun = |first: &str| reelscale(first).program(PathBuf::from("mpirun"));
    let fast = train(mpirun("-n 1 --bind-to none --oversubscribe"), "slow");
    let slow = train(fast.arg(":").arg("-n").arg("1"), "slow");
    let told = advice(&scratch, "slow", &slow.arg("--set").arg("run.kernel=\"plain\""));
    assert!(told.contains(&"imbalance".into()), "{told:?}");
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1) {
        return;
    }
    for (bind, expected) in [("core", true), ("none", false)] {
        let bound = train(mpirun("-n 1 --bind-to").arg(bind), bind);
        let told = advice(&scratch, bind, &bound.arg("--set").arg("run.threads=0"));
        assert_eq!(beside_input(told), if expected { vec!["binding"] } else { vec![] }, "{bind}");
    }
}
