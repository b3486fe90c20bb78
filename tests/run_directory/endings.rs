//! What a run can't write or keep: it ends with an error that says so, and nothing is lost.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use super::common::{self, json, reelscale};
use super::{Scratch, names};

#[test]
fn what_cannot_be_written_in_the_end_is_found_before_computing() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::new();
    scratch.begin("run");
    fs::create_dir(scratch.path("run/model")).unwrap();
    let events = fs::read(scratch.path("run/metrics.jsonl")).unwrap();
    let text = scratch.train("run").ranks(2).fails_with(6);
    assert!(text.contains("run/model: exists already and isn't of this run"), "{text}");
    assert_eq!(fs::read(scratch.path("run/metrics.jsonl")).unwrap(), events);
    fs::remove_dir(scratch.path("run/model")).unwrap();
    scratch.train("run").stdout();
    // A finished run without its model, or with another one.
    fs::rename(scratch.path("run/model"), scratch.path("away")).unwrap();
    let text = scratch.train("run").ranks(2).fails_with(6);
    assert!(text.contains("run/model: found nothing, expected the model"), "{text}");
    assert!(text.contains("hint: put that back; without run.json the run begins anew"), "{text}");
    fs::rename(scratch.path("away"), scratch.path("run/model")).unwrap();
    scratch.train("run").stdout();
    // A path that HDF5 can't take.
    let mut command = reelscale("train").path(&scratch.path("job.toml")).arg("--output").command();
    let odd = OsStr::from_bytes(b"\xff");
    let output = command.arg(odd).current_dir(scratch.path("")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(!scratch.path("").join(odd).exists() && text.contains("expected UTF-8"), "{text}");
    let other = scratch.train("other").arg("--set").arg("run.seed=9");
    other.stdout();
    fs::rename(scratch.path("run/model"), scratch.path("away")).unwrap();
    fs::rename(scratch.path("other/model"), scratch.path("run/model")).unwrap();
    let text = scratch.train("run").fails_with(6);
    let hint = "put that back; without run.json and the model beside it the run begins anew";
    assert!(text.contains(hint), "{text}");
}

/// A full disk when the model is to be put in place: here something that is in the way of all its
/// temporary names.
#[test]
fn a_model_that_cannot_be_put_in_place_is_tried_again_and_its_state_is_kept() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::new();
    scratch.train("whole").stdout();
    let hash = |run: &str| json(&scratch.path(run).join("run.json"), "result_hash");
    let temporary = |number: usize| match number {
        0 => scratch.path("run/model.tmp"),
        number => scratch.path(&format!("run/model.{number}.tmp")),
    };
    scratch.begin("run");
    for number in 0..10 {
        fs::create_dir(temporary(number)).unwrap();
        fs::write(temporary(number).join("notes"), "years of work").unwrap();
    }
    let train = scratch.train("run").ranks(2).env("REELSCALE_KEEP_SECONDS", "1");
    let text = train.fails_with(5);
    assert!(text.contains("the same command then only saves the model"), "{text}");
    assert!(!scratch.path("run/model").exists());
    assert_eq!(json(&scratch.path("run/run.json"), "finished"), false);
    let events = fs::read_to_string(scratch.path("run/metrics.jsonl")).unwrap();
    // Still in the way, until it is tried again.
    let mut again = scratch.train("run").spawn();
    let log = scratch.path("run/run.json");
    again.wait_for(&log, "\"finished\": false");
    std::thread::sleep(std::time::Duration::from_millis(500));
    fs::rename(temporary(3), scratch.path("away")).unwrap();
    let output = again.finish();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("expert step  epoch"), "nothing is computed again: {text}");
    assert_eq!(hash("run"), hash("whole"));
    assert_eq!(fs::read_to_string(scratch.path("run/metrics.jsonl")).unwrap(), events);
    assert_eq!(names(&scratch.path("away")), ["notes"]);
}

/// Stops are looked for between two tries, and a stop whose checkpoint can't be written is told.
#[test]
fn a_stop_that_cannot_be_kept_is_exit_5_on_all_ranks() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::new();
    scratch.begin("run");
    for name in std::iter::once("next.tmp".to_string())
        .chain((1..10).map(|number| format!("next.{number}.tmp")))
    {
        let folder = scratch.path("run/checkpoints").join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("notes"), "years of work").unwrap();
    }
    let train = scratch.train("run").ranks(2).arg("--max-time").arg("0").within(60);
    let text = train.fails_with(5);
    assert!(text.contains("run/checkpoints/00000002"), "{text}");
}

/// The record of a run that fails, on all ranks or on one alone; a later start goes on as before.
#[test]
fn a_failing_run_says_so_in_its_record() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::new();
    scratch.train("whole").stdout();
    scratch.begin("run");
    let (shard, record) = (scratch.path("data/a.h5"), scratch.path("run/run.json"));
    let whole = fs::read(&shard).unwrap();
    for ranks in [1, 3] {
        fs::write(&shard, "no shard").unwrap();
        let train = scratch.train("run");
        let text = if ranks == 1 { train.fails_with(4) } else { train.ranks(ranks).fails_with(4) };
        let found = |key: &str| json(&record, key);
        assert_eq!((found("finished"), found("exit")), (false.into(), 4.into()), "{text}");
        let error = found("error").as_str().unwrap().to_string();
        assert!(text.contains(&error) && error.contains("a.h5"), "{error}");
        assert!(found("rank").as_u64().unwrap() < ranks as u64);
        assert!(found("sessions").as_array().unwrap().len() > ranks / 3);
        fs::write(&shard, &whole).unwrap();
    }
    scratch.train("run").ranks(2).stdout();
    assert_eq!(json(&record, "finished"), true);
    assert!(json(&record, "error").is_null());
    let hash = |run: &str| json(&scratch.path(run).join("run.json"), "result_hash");
    assert_eq!(hash("run"), hash("whole"));
}

/// A run whose directory is moved away or removed ends when it would save, and leaves alone what
/// has come into its place.
#[test]
fn a_directory_that_is_moved_away_ends_its_run() {
    let scratch = Scratch::new();
    let endless = ["pretrain.epochs=1000000", "pretrain.patience=0", "checkpoint.minutes=0.01"];
    let train = || {
        let train = scratch.train("run").within(60);
        endless.iter().fold(train, |train, key| train.arg("--set").arg(*key))
    };
    for other in [false, true] {
        let mut run = train().spawn();
        run.wait_for(&scratch.path("run/metrics.jsonl"), "\"step\":\"pretrain\"");
        fs::rename(scratch.path("run"), scratch.path("moved")).unwrap();
        if other {
            scratch.begin("run");
        }
        let there = || names(&scratch.path(if other { "run" } else { "" }));
        let before = there();
        let output = run.finish();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(6), "{text}");
        assert!(text.contains("run: was moved or removed while the run went on"), "{text}");
        assert_eq!(there(), before);
        fs::remove_dir_all(scratch.path("moved")).unwrap();
    }
    assert_eq!(json(&scratch.path("run/run.json"), "exit"), 0, "the other's");
}

/// A file that grows beyond `ulimit -f` is an error, not a signal without a word.
#[test]
fn a_limit_on_files_is_told() {
    let scratch = Scratch::new();
    let limited = scratch.path("limited");
    let program = env!("CARGO_BIN_EXE_reelscale");
    fs::write(&limited, format!("#!/bin/sh\nulimit -f 8\nexec {program} \"$@\"\n")).unwrap();
    fs::set_permissions(&limited, fs::Permissions::from_mode(0o755)).unwrap();
    let command = reelscale("synthesize --rows 9000 --classes 20 --features 8 --output");
    let text = command.path(&scratch.path("new")).program(limited).fails_with(5);
    assert_eq!(text.lines().filter(|line| line.starts_with("reelscale: ")).count(), 1, "{text}");
    assert!(!scratch.path("new").exists());
}

/// What a run says that it took of memory and of the disk: the checkpoint is what lies there, and
/// every rank is counted for itself.
#[test]
fn a_run_says_what_it_took() {
    if common::without_mpi() {
        return;
    }
    let scratch = Scratch::new();
    scratch.begin("run");
    let took = json(&scratch.path("run/run.json"), "report");
    let bytes: u64 = fs::read_dir(scratch.path("run/checkpoints/00000001"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert_eq!(took["checkpoint_bytes"], bytes);
    let output = scratch.train("run").ranks(2).output();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("memory of the fullest rank: planned "), "{text}");
    let took = json(&scratch.path("run/run.json"), "report");
    let memory = |key: &str| took["memory"][key].as_u64().unwrap();
    let (held, resident) = (memory("held_bytes"), memory("resident_bytes"));
    assert!(memory("planned_bytes") > 0 && 0 < held && held < resident, "{took}");
    // Threads that are ranks have one memory, of which no rank's part is known.
    scratch.train("threads").arg("--comm").arg("threads=2").stdout();
    assert!(json(&scratch.path("threads/run.json"), "report")["memory"].is_null());
}
