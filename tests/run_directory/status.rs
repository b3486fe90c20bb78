//! `reelscale status`, which model a run keeps, and what a stop says to do next.

use std::fs::{self, OpenOptions};
use std::io::Write;

use reelscale::internals::human::hex;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::common::scratch::Scratch;
use super::common::{json, needs_mpi, reelscale, signal};

/// Seconds of epochs, of which validation sees the end of each step.
const LONG: &str = "validation_fraction = 0.25\n[pretrain]\nepochs = 1\n[experts]\nepochs = 200\n\
                    [rounds]\ncount = 1\n[run]\nthreads = 1\nrow_blocks = 8\n";
const SHORT: &str = "validation_fraction = 0.25
[model]
shared = [{ dense = 8, activation = \"relu\" }]
[pretrain]
epochs = 2
[experts]
epochs = 3
patience = 2
[shared]
iterations = 2
[rounds]
count = 2
[run]
threads = 1
row_blocks = 8
";

const NULL: Value = Value::Null;

impl Scratch {
    fn status(&self, run: &str) -> Value {
        let text = reelscale("status --format json").path(&self.path(run)).stdout();
        serde_json::from_str(&text).unwrap()
    }

    fn status_text(&self, run: &str) -> String {
        reelscale("status").path(&self.path(run)).stdout()
    }
}

/// The digests of all files of a run, by name.
fn digests(scratch: &Scratch, run: &str) -> Vec<(String, String)> {
    let names = super::names(&scratch.path(run));
    let digest = |name: String| {
        let bytes = fs::read(scratch.path(run).join(&name)).unwrap_or_default();
        (name, hex(&Sha256::digest(bytes)))
    };
    names.into_iter().map(digest).collect()
}

#[test]
fn a_run_says_which_model_it_keeps_also_after_a_stop() {
    let scratch = Scratch::of((240, 12, 8), SHORT);
    let output = scratch.train("run").output();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let record = scratch.path("run").join("run.json");
    let kept = json(&record, "kept");
    let events = fs::read_to_string(scratch.path("run/metrics.jsonl")).unwrap();
    let events: Vec<Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let offered = events.iter().filter(|event| {
        event["step"] == "pretrain" || event["epoch"].is_null() && event["iteration"].is_null()
    });
    let score = |event: &Value| event["validation"]["gap_at_20"].as_f64().unwrap();
    let best = offered.clone().map(score).fold(0.0, f64::max);
    let first = offered.clone().find(|event| score(event) == best).unwrap();
    assert_eq!(kept["score"].as_f64(), Some(best), "{kept}");
    assert_eq!((&kept["step"], &kept["metric"]), (&first["step"], &"gap_at_20".into()), "{kept}");
    if kept["step"] == "experts" {
        // The step went back to the epoch that validated best.
        let epoch = events.iter().find(|event| {
            event["epoch"] == kept["epoch"]
                && event["step"] == "experts"
                && event["round"] == kept["round"]
        });
        assert_eq!(score(epoch.unwrap()), best);
    }
    let why = format!("of {} that were validated", offered.count());
    assert!(kept["why"].as_str().unwrap().contains(&why), "{kept}");
    assert!(said.contains("the model kept is that of ") && said.contains(&why), "{said}");
    // The same after stops (tests/stops.rs has more of them).
    for _ in 0..2 {
        let train = scratch.train("again").arg("--max-time").arg("0").arg("--stop-exit-code");
        let said = train.fails_with(75);
        let next = "reelscale: told to stop; hint: the same command goes on from its checkpoint";
        assert!(said.contains(next), "{said}");
        assert_eq!(scratch.status("again")["state"], "stopped");
    }
    scratch.train("again").stdout();
    assert_eq!(json(&scratch.path("again/run.json"), "kept"), kept);
    // And who takes it says so, of the directory and of the model in it.
    for model in ["run", "run/model"] {
        let model = scratch.path(model);
        let evaluate = reelscale("evaluate --format json --model").path(&model).arg("--data");
        let output = evaluate.arg(format!("{}/*.h5", scratch.path("data").display())).output();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = format!("{}: the model that this run has kept, of ", model.display());
        assert!(said.contains(&expected) && said.contains(&why), "{said}");
    }
}

#[test]
fn a_stop_says_what_to_do_next() {
    let scratch = super::Scratch::new();
    let output = scratch.train("run").arg("--max-time").arg("0").output();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let next = "told to stop; the same command goes on from its checkpoint, on any number of ranks";
    assert!(output.status.success() && said.contains(next), "{said}");
    let status = scratch.status_text("run");
    assert!(status.contains("stopped: told to stop; the same command goes on"), "{status}");
}

#[test]
fn status_of_a_run_that_is_finished_changes_nothing() {
    let scratch = super::Scratch::new();
    scratch.train("run").stdout();
    let before = digests(&scratch, "run");
    let found = scratch.status("run");
    assert_eq!((&found["state"], &found["step"]), (&"finished".into(), &"done".into()), "{found}");
    assert_eq!(found["left"]["run_seconds"], 0.0, "{found}");
    assert_eq!(found["kept"], json(&scratch.path("run/run.json"), "kept"));
    let text = scratch.status_text("run");
    assert!(text.contains("run: finished: 1 round done\n"), "{text}");
    assert!(text.contains("  time        0:0") && text.contains(" in 1 start; ended "), "{text}");
    assert_eq!((&found["done"], &found["of"], &found["round"]), (&NULL, &NULL, &1.into()));
    let seconds = json(&scratch.path("run/run.json"), "report")["seconds"].clone();
    assert_eq!(found["seconds"], seconds, "{found}");
    let events = fs::read_to_string(scratch.path("run/metrics.jsonl")).unwrap();
    let last: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    let [ended, last] = [&found["ended_unix_seconds"], &last["unix_seconds"]];
    assert!(ended.as_f64().unwrap() > last.as_f64().unwrap() - 1.0, "{ended} {last}");
    assert!(text.contains("the model kept is that of round 1, "), "{text}");
    assert_eq!(digests(&scratch, "run"), before);
    for other in ["data", "run/job.toml"] {
        let path = scratch.path(other);
        let none = reelscale("status").path(&path).fails_with(6);
        let expected = "found no job.toml, expected the directory of a run; hint: ";
        assert!(none.contains(&format!("{}: {expected}", path.display())), "{none}");
    }
}

/// What is said of the next start is what that says itself.
#[test]
fn status_promises_nothing_that_the_next_start_refuses() {
    let scratch = super::Scratch::new();
    scratch.train("run").stdout();
    let path = scratch.path("run/run.json");
    let refused = || {
        let told = scratch.train("run").fails_with(6);
        let told = told.strip_prefix("reelscale: ").unwrap().trim_end().to_string();
        let (found, text) = (scratch.status("run"), scratch.status_text("run"));
        assert_eq!((&found["state"], &found["refused"]), (&"killed".into(), &told.clone().into()));
        let line = format!("  refused     the same command would end with: {told}\n");
        assert!(text.contains(&line) && !text.contains("same command goes on"), "{text}");
        told
    };
    fs::write(&path, "{").unwrap();
    // Without the record alone it would be refused for its model.
    let told = refused();
    let hint = "; hint: without run.json and the model beside it the run begins anew";
    assert!(told.contains("run.json: ") && told.ends_with(hint), "{told}");
    fs::remove_file(&path).unwrap();
    let told = refused();
    assert!(told.contains("run/model: exists already and isn't of this run; hint: "), "{told}");
    fs::rename(scratch.path("run/model"), scratch.path("moved")).unwrap();
    assert_eq!(scratch.status("run")["refused"], Value::Null);
    let text = scratch.status_text("run");
    let next = "; the same command begins it anew, as there is no checkpoint\n";
    assert!(text.contains(next), "{text}");
    scratch.train("run").stdout();
    assert_eq!(scratch.status("run")["state"], "finished");

    // A finished run without its model, and one that was stopped without its checkpoints.
    fs::rename(scratch.path("run/model"), scratch.path("away")).unwrap();
    let told = scratch.train("run").fails_with(6);
    let refused = scratch.status("run")["refused"].as_str().unwrap().to_string();
    assert!(refused.contains("run/model: found nothing") && told.contains(&refused), "{told}");
    scratch.begin("stopped");
    fs::remove_dir_all(scratch.path("stopped/checkpoints")).unwrap();
    let text = scratch.status_text("stopped");
    assert!(text.contains(next) && !text.contains("goes on"), "{text}");

    // Of checkpoints of which none is whole no run goes on, and none begins anew.
    scratch.begin("damaged");
    let checkpoints = fs::read_dir(scratch.path("damaged/checkpoints")).unwrap();
    for checkpoint in checkpoints {
        fs::write(checkpoint.unwrap().path().join("state.json"), "{").unwrap();
    }
    let text = scratch.status_text("damaged");
    let told = scratch.train("damaged").fails_with(6);
    let hint = "hint: no checkpoint of this run is whole; use a new --output";
    assert!(told.contains(hint), "{told}");
    let line = text.lines().find_map(|line| line.split_once("would end with: "));
    assert!(told.contains(line.unwrap().1), "{text}{told}");
    assert!(text.contains("checkpoint  none that this program can go on from\n"), "{text}");
    assert!(!text.contains("begins it anew") && text.contains("damaged: stopped\n"), "{text}");
}

/// Of two starts of one second the record of the first says nothing of the second.
#[test]
fn starts_of_one_second_are_told_apart() {
    let scratch = super::Scratch::new();
    scratch.begin("run");
    assert_eq!(scratch.status("run")["state"], "stopped");
    let path = scratch.path("run/lock");
    let pid = json(&path, "pid");
    assert_eq!(json(&scratch.path("run/run.json"), "pid"), pid);
    let text = fs::read_to_string(&path).unwrap();
    // No process has that number: it is beyond the most that Linux gives.
    let other = text.replace(&format!("\"pid\":{pid}"), "\"pid\":4194399");
    assert!(other != text, "{text}");
    fs::write(&path, other).unwrap();
    let found = scratch.status("run");
    assert_eq!((&found["state"], &found["reason"]), (&"killed".into(), &NULL), "{found}");
    assert_eq!(found["starts"], 2, "{found}");
}

/// What the hint says of a record that can't be read comes true.
#[test]
fn a_record_that_cannot_be_read_says_what_goes_on_without_it() {
    let scratch = super::Scratch::new();
    scratch.train("whole").stdout();
    let whole = json(&scratch.path("whole/run.json"), "result_hash");
    scratch.begin("run");
    let path = scratch.path("run/run.json");
    let told = |text: &[u8]| {
        fs::write(&path, text).unwrap();
        let told = scratch.train("run").fails_with(6);
        told.trim_end().rsplit_once("; hint: ").unwrap_or_else(|| panic!("{told}")).1.to_string()
    };
    let goes_on = "without run.json the run goes on from its last checkpoint";
    assert_eq!([told(b"{"), told(b"{}"), told(b"\xff")], [goes_on; 3]);
    let checkpoints = scratch.path("run/checkpoints");
    fs::rename(&checkpoints, scratch.path("moved")).unwrap();
    assert_eq!(told(b"{"), "without run.json the run begins anew");
    fs::rename(scratch.path("moved"), &checkpoints).unwrap();
    fs::create_dir(scratch.path("run/model")).unwrap();
    let both = "without run.json and the model beside it the run goes on from its last checkpoint";
    assert_eq!(told(b"{"), both);
    fs::remove_dir(scratch.path("run/model")).unwrap();
    fs::remove_file(&path).unwrap();
    let output = scratch.train("run").output();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(json(&path, "result_hash"), whole);
    // Finished: its checkpoints are gone, and its model is there.
    assert_eq!(told(b"{"), "without run.json and the model beside it the run begins anew");
    fs::remove_file(&path).unwrap();
    fs::remove_dir_all(scratch.path("run/model")).unwrap();
    scratch.train("run").stdout();
    assert_eq!(json(&path, "result_hash"), whole);
}

/// While it runs, of its ranks, and after it was killed in the middle of a line.
#[test]
fn status_of_a_run_under_way_and_of_one_that_was_killed() {
    needs_mpi!();
    let scratch = Scratch::of((3000, 60, 32), LONG);
    let mut run = scratch.train("run").ranks(2).within(60).spawn();
    let events = scratch.path("run/metrics.jsonl");
    run.wait_for(&events, "\"epoch\":3");
    // Alone, also where the variables of a launcher are set.
    let asked = reelscale("status --format json").path(&scratch.path("run"));
    let text = asked.env("OMPI_COMM_WORLD_SIZE", "4").env("OMPI_COMM_WORLD_RANK", "3").stdout();
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&found["state"], &found["step"]),
        (&"running".into(), &"experts".into()),
        "{found}"
    );
    let done = found["done"].as_u64().unwrap();
    assert!((3..200).contains(&done) && found["of"] == 200 && found["round"] == 1, "{found}");
    assert_eq!((&found["ranks"]["count"], &found["ranks"]["holder"]), (&2.into(), &"alive".into()));
    let pid = found["ranks"]["pid"].as_u64().unwrap() as u32;
    assert!(run.processes().contains(&pid), "{found}");
    let shown = scratch.status_text("run");
    assert!(shown.contains("run: running; this start began 0:00:"), "{shown}");
    assert!(shown.contains("round 1 of 1, expert step: "), "{shown}");
    run.processes().iter().for_each(|process| signal("KILL", *process));
    assert!(!run.finish().status.success());
    let torn = OpenOptions::new().append(true).open(&events);
    torn.unwrap().write_all(b"{\"step\":\"experts\",\"round\":1,\"epo").unwrap();
    let found = scratch.status("run");
    assert_eq!((&found["state"], &found["ranks"]["holder"]), (&"killed".into(), &"gone".into()));
    assert!(found["done"].as_u64().unwrap() >= done, "{found}");
    let shown = scratch.status_text("run");
    assert!(shown.contains("the same command goes on from the last checkpoint"), "{shown}");
    // Another host's process can't be seen; then what is there is told.
    let lock = fs::read_to_string(scratch.path("run/lock")).unwrap();
    let host = found["ranks"]["host"].as_str().unwrap();
    fs::write(scratch.path("run/lock"), lock.replace(host, "far-away")).unwrap();
    assert_eq!(scratch.status("run")["state"], "unknown");
    let shown = scratch.status_text("run");
    assert!(shown.contains("of far-away, which is on another host"), "{shown}");
}
