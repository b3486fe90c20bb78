//! What somebody hands to the program as a job, and what they call things: it ends at once with a
//! sentence that a terminal can show.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use common::{TestCommand, reelscale, shards};

const JOB: &str = "[data]\ntrain = [\"data/*.h5\"]\n[pretrain]\nepochs = 1\n[rounds]\ncount = 0\n";

fn train(folder: &Path, job: &str) -> TestCommand {
    reelscale("train").arg(job).arg("--output").arg("run").in_folder(folder).within(20)
}

/// One line, without anything that a terminal would obey.
fn assert_plain(text: &str) {
    let obeyed = |letter: char| letter.is_control() && letter != '\n' || letter == '\u{202e}';
    assert!(!text.contains(obeyed), "{text:?}");
}

#[test]
fn what_is_no_job_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("folder")).unwrap();
    assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
    fs::write(path("long"), "#".repeat((1 << 20) + 1)).unwrap();
    fs::write(path("bytes"), b"[data]\ntrain = [\"\xff\"]\n").unwrap();
    symlink("loop", path("loop")).unwrap();
    let no_file = "found a pipe, device or socket, expected a file";
    for (job, expected) in [
        ("pipe", no_file),
        ("/dev/zero", no_file),
        ("/dev/null", no_file),
        ("folder", "found a folder, expected a file"),
        ("long", "found 1048577 bytes, expected at most 1048576"),
        ("bytes", "line 2: found what isn't text in UTF-8"),
        ("loop", "Too many levels of symbolic links (os error 40)"),
        ("nothing", "No such file or directory (os error 2)"),
    ] {
        let printed = train(folder.path(), job).fails_with(2);
        assert_eq!(printed, format!("reelscale: {job}: {expected}"));
    }
    assert!(!path("run").exists());
}

/// Paths, keys and values of a job that would write elsewhere on the screen.
#[test]
fn names_that_a_terminal_would_obey_are_shown_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("odd\u{1b}[2J\n.toml", "[data]\ntrain = []\n");
    let printed = train(folder.path(), "odd\u{1b}[2J\n.toml").fails_with(2);
    assert!(printed.starts_with("reelscale: odd\\u{1b}[2J\\n.toml:2:1: data.train: "), "{printed}");
    write("keys.toml", "[data]\n\"\\u001b[31m\\u202e\" = 1\ntrain = [\"a\\rb\\u0007\"]\n");
    let printed = train(folder.path(), "keys.toml").fails_with(2);
    assert!(printed.contains("data.\\u{1b}[31m\\u{202e}: unknown key"), "{printed}");
    write("list.toml", "[data]\ntrain = [\"a\\rb\\u0007\"]\n");
    let printed = train(folder.path(), "list.toml").fails_with(4);
    assert_eq!(printed, "reelscale: a\\rb\\u{7}: no such file");
    let printed = train(folder.path(), "list.toml").arg("--set").arg("a\u{1b}[31m").fails_with(2);
    assert_plain(&printed);
    let output = reelscale("train").arg("--no\u{1b}[31m\nreelscale: forged").output();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && printed.contains("--no\\u{1b}[31m"), "{printed}");
    assert_plain(&printed);
}

/// Names of shards in what is looked at, and in log lines.
#[test]
fn names_of_shards_are_shown_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("data\u{1b}[2J\nWARN");
    shards(&odd, 20, 4, 3);
    let shown = reelscale("inspect").path(&odd).stdout();
    assert_plain(&shown);
    fs::write(folder.path().join("job.toml"), JOB.replace("data/", "data*/")).unwrap();
    let output = train(folder.path(), "job.toml").output();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{printed}");
    assert_plain(&printed);
}

#[test]
fn names_that_are_not_utf8_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let odd = OsStr::from_bytes(b"job\xff.toml");
    fs::write(folder.path().join(odd), JOB).unwrap();
    shards(&folder.path().join("data"), 20, 4, 3);
    let run = |job: &OsStr, output: &OsStr| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reelscale"));
        command.arg("train").arg(job).arg("--output").arg(output).current_dir(folder.path());
        command.output().unwrap()
    };
    assert!(run(odd, OsStr::new("run")).status.success());
    let refused = run(odd, OsStr::from_bytes(b"run\xff"));
    let printed = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && printed.contains("--output: found"), "{printed}");
}

#[test]
fn one_problem_is_one_problem() {
    let printed = reelscale("doctor --scratch /nowhere/at/all").fails_with(3);
    assert_eq!(printed, "reelscale: doctor: 1 problem");
}

/// The default of one key goes by another. In the record of a run it is written out.
#[test]
fn a_default_that_stays_behind_is_told() {
    let folder = tempfile::tempdir().unwrap();
    shards(&folder.path().join("data"), 20, 4, 3);
    fs::write(folder.path().join("job.toml"), JOB).unwrap();
    train(folder.path(), "job.toml").stdout();
    let printed = |sets: &[&str]| {
        let again = reelscale("train run/job.toml --output").arg(format!("run{}", sets.len()));
        let set = |command: TestCommand, set: &&str| command.arg("--set").arg(*set);
        let command = sets.iter().fold(again, set).in_folder(folder.path());
        String::from_utf8_lossy(&command.output().stderr).into_owned()
    };
    let line = "experts.learning_rate: 1.0 stays, the default of experts.solver = \"adagrad\"; \
                that of \"adam\" is 0.01; hint: --set experts.learning_rate=0.01";
    let solver = "experts.solver=adam";
    assert!(printed(&[solver]).contains(line), "{}", printed(&[solver]));
    assert!(!printed(&[solver, "experts.learning_rate=0.5"]).contains("stays"));
    assert!(!printed(&["run.threads=1", "rounds.count=0", "checkpoint.every=0"]).contains("stays"));
}

/// What nobody can be meant by isn't passed over in silence.
#[test]
fn variables_that_say_nothing_are_refused() {
    let doctor = |name: &str, value: &str| reelscale("doctor --comm threads=3").env(name, value);
    for (name, value, expected) in [
        ("REELSCALE_WATCH_PORTS", "40000", "first-last, such as 40000-40100"),
        ("REELSCALE_WATCH_PORTS", "9-3", "first-last, such as 40000-40100"),
        ("REELSCALE_WATCH_PORTS", "1-99999", "first-last, such as 40000-40100"),
        ("REELSCALE_MPI_INIT_SECONDS", "5m", "whole seconds"),
        ("REELSCALE_KEEP_SECONDS", "-1", "whole seconds"),
        ("REELSCALE_DEVICE_SECONDS", "soon", "whole seconds"),
        ("REELSCALE_PROGRESS_THREAD", "no", "0 or 1"),
        ("REELSCALE_MANY_RANKS", "many", "a number of ranks"),
    ] {
        let told = doctor(name, value).fails_with(3);
        assert_eq!(told, format!("reelscale: {name}: found {value:?}, expected {expected}"));
    }
    for (name, value) in [("REELSCALE_WATCH_PORTS", "40000-40100"), ("REELSCALE_KEEP_SECONDS", "")]
    {
        // By itself: three ranks are a problem where there are fewer cores.
        reelscale("doctor").env(name, value).stdout();
    }
}

/// Slurm that doesn't answer sets no limit: `date` makes midnight, which is past, of nothing.
#[test]
fn a_squeue_that_fails_ends_no_run() {
    let folder = tempfile::tempdir().unwrap();
    shards(&folder.path().join("data"), 20, 4, 3);
    fs::write(folder.path().join("job.toml"), JOB).unwrap();
    let squeue = folder.path().join("squeue");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    for (index, (answer, told)) in [
        ("exit 1", "WARN  squeue: it fails (exit status: 1); no time limit is kept"),
        ("exit 0", "1 round done"),
        ("echo NONE", "1 round done"),
        ("echo N/A", "1 round done"),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(&squeue, format!("#!/bin/sh\n{answer}\n")).unwrap();
        fs::set_permissions(&squeue, fs::Permissions::from_mode(0o755)).unwrap();
        let train = reelscale("train job.toml --output").arg(format!("run{index}"));
        let train = train.arg("--set").arg("rounds.count=1").in_folder(folder.path());
        let output = train.env("SLURM_JOB_ID", "7").env("PATH", &path).output();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(told) && text.contains("1 round done"), "{answer}: {text}");
    }
}
