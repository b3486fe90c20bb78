//! The directory of a run: links inside it are refused, what others have put there stays, and only
//! one process has it.

mod common;
#[path = "run_directory/endings.rs"]
mod endings;
#[cfg(target_os = "linux")]
#[path = "run_directory/progress.rs"]
mod progress;
#[path = "run_directory/reports.rs"]
mod reports;
#[path = "run_directory/status.rs"]
mod status;

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use common::scratch::Scratch;
use common::{json, shards};
use reelscale::Job;
use reelscale::internals::disk::{CallSite, Disk, DiskCall, DiskHook, Go};
use reelscale::internals::report::{EarlierRun, RunDirectory};
use serde_json::Value;

impl Scratch {
    /// A short run's.
    fn new() -> Scratch {
        let job = "[pretrain]\nepochs = 1\n[experts]\nepochs = 2\n[shared]\niterations = 1\n\
                   [rounds]\ncount = 1\n[run]\nthreads = 1\nrow_blocks = 4\n";
        Scratch::of((200, 12, 8), job)
    }

    /// Leaves a run with a checkpoint at its beginning.
    fn begin(&self, run: &str) {
        self.train(run).arg("--max-time").arg("0").stdout();
        assert_eq!(json(&self.path(run).join("run.json"), "finished"), false);
    }

    fn job(&self) -> Job {
        Job::read(&self.path("job.toml"), &[]).unwrap()
    }
}

/// The names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

#[test]
fn links_inside_a_run_directory_are_refused() {
    let scratch = Scratch::new();
    let thesis = scratch.path("thesis.tex");
    let elsewhere = scratch.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    scratch.begin("begun");
    let files = ["lock", "job.toml.tmp", "job.toml", "run.json", "run.json.tmp", "metrics.jsonl"];
    let folders = ["checkpoints", "ranks", "model", "model.tmp"];
    let folder = |name: &&str| folders.contains(name);
    for name in files.iter().chain(&folders).copied() {
        let run = scratch.path("run");
        let _ = fs::remove_dir_all(&run);
        fs::create_dir(&run).unwrap();
        if !["lock", "job.toml.tmp"].contains(&name) {
            for file in ["job.toml", "run.json", "metrics.jsonl"] {
                if file != name {
                    fs::copy(scratch.path("begun").join(file), run.join(file)).unwrap();
                }
            }
        }
        fs::write(&thesis, "years of work").unwrap();
        fs::write(elsewhere.join("notes"), "years of work").unwrap();
        let target = if folder(&name) { &elsewhere } else { &thesis };
        let refused = |what: &str| {
            let error = RunDirectory::look(&run, &scratch.job()).unwrap_err();
            assert_eq!(error.exit as i32, 6, "{name}: {}", error.text);
            let expected = format!("{}: found {what}, expected", run.join(name).display());
            assert!(error.text.contains(&expected), "{}", error.text);
        };
        symlink(target, run.join(name)).unwrap();
        refused("a link");
        if ["lock", "metrics.jsonl", "checkpoints"].contains(&name) {
            let text = scratch.train("run").fails_with(6);
            assert!(text.contains("found a link"), "{text}");
        }
        fs::remove_file(run.join(name)).unwrap();
        // To nothing, and the wrong kind of thing.
        symlink(scratch.path("nowhere"), run.join(name)).unwrap();
        refused("a link");
        fs::remove_file(run.join(name)).unwrap();
        match folder(&name) {
            true => fs::write(run.join(name), "mine").unwrap(),
            false => fs::create_dir(run.join(name)).unwrap(),
        }
        refused(if folder(&name) { "a file" } else { "a folder" });
        assert_eq!(fs::read_to_string(&thesis).unwrap(), "years of work");
        assert_eq!(names(&elsewhere), ["notes"]);
    }
}

/// The directory itself, and those above it, may be links.
#[test]
fn a_run_directory_may_be_reached_by_a_link() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path("disk/far")).unwrap();
    symlink(scratch.path("disk"), scratch.path("short")).unwrap();
    symlink(scratch.path("disk/far"), scratch.path("run")).unwrap();
    scratch.begin("run");
    scratch.train("short/far").stdout();
    assert!(scratch.path("disk/far/model/manifest.json").exists());
    symlink(scratch.path("nowhere"), scratch.path("broken")).unwrap();
    scratch.train("broken").fails_with(5);
}

#[test]
fn what_the_program_has_not_written_stays() {
    let scratch = Scratch::new();
    scratch.begin("run");
    let run = scratch.path("run");
    let copy = run.join("checkpoints/backup-by-hand");
    fs::create_dir(&copy).unwrap();
    let whole = run.join("checkpoints/00000001");
    for name in names(&whole) {
        fs::copy(whole.join(&name), copy.join(&name)).unwrap();
    }
    let names_before = names(&copy);
    let kept = ["ranks/notes", "model.tmp/notes", "checkpoints/next.tmp/notes", "notes"];
    for name in kept {
        fs::create_dir_all(run.join(name).parent().unwrap()).unwrap();
        fs::write(run.join(name), "years of work").unwrap();
    }
    // What belongs to the program goes, beside it.
    fs::write(run.join("ranks/00000"), "{}").unwrap();
    let output = scratch.train("run").output();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    for name in kept {
        assert_eq!(fs::read_to_string(run.join(name)).unwrap(), "years of work", "{text}");
    }
    assert_eq!(names(&copy), names_before, "{text}");
    assert_eq!(names(&run.join("checkpoints")), ["backup-by-hand", "next.tmp"], "{text}");
    assert!(run.join("model/manifest.json").exists());
    for folder in ["ranks", "model.tmp", "checkpoints"] {
        let count = text.matches(&format!("{folder}: ")).count();
        assert_eq!(count, 1, "{folder}: one warning, not {count}:\n{text}");
    }
}

/// Says that the file system has no locks.
#[derive(Debug)]
struct NoLocks(i32);

impl DiskHook for NoLocks {
    fn around(&self, call: &DiskCall, _place: CallSite, go: Go) -> io::Result<()> {
        match call {
            DiskCall::Lock(_) => Err(io::Error::from_raw_os_error(self.0)),
            _ => go(),
        }
    }
}

#[test]
fn a_file_system_without_locks_is_told() {
    let scratch = Scratch::new();
    for (number, words) in [
        (37, "No locks available"),
        (38, "Function not implemented"),
        (95, "Operation not supported"),
        (5, "Input/output error"),
    ] {
        let disk = Disk::hooked(Arc::new(NoLocks(number)));
        let path = scratch.path(&format!("run{number}"));
        let error =
            RunDirectory::open(&disk, &path, &scratch.job(), false, &Value::Null).err().unwrap();
        assert_eq!(error.exit as i32, 5, "{}", error.text);
        let expected = format!("{}: the file system gives no locks ({words})", path.display());
        assert!(error.text.starts_with(&expected), "{}", error.text);
        let without = RunDirectory::open(&disk, &path, &scratch.job(), true, &Value::Null);
        assert!(matches!(without, Ok((_, EarlierRun::Nothing))));
    }
}

#[test]
fn one_process_has_a_run_directory_and_looks_again() {
    let scratch = Scratch::new();
    let (path, job) = (scratch.path("run"), scratch.job());
    let open = |without| RunDirectory::open(&Disk::default(), &path, &job, without, &Value::Null);
    let first = open(false).unwrap();
    for without in [false, true] {
        let error = open(without).err().unwrap();
        assert_eq!(error.exit as i32, 6, "{}", error.text);
        let pid = format!("\"pid\":{}", std::process::id());
        assert!(error.text.contains("another process runs in it") && error.text.contains(&pid));
    }
    assert!(matches!(RunDirectory::look(&path, &job), Ok(EarlierRun::Nothing)));
    first.0.begin(&job).unwrap();
    drop(first);
    // Nothing was there when somebody looked; what counts is what is there under the lock.
    assert!(matches!(open(false), Ok((_, EarlierRun::Unfinished(_)))));
    scratch.train("run").stdout();
    assert!(matches!(open(false), Ok((_, EarlierRun::Finished(_)))));
    // Somebody else's file of that name isn't overwritten.
    fs::create_dir(scratch.path("other")).unwrap();
    fs::write(scratch.path("other/lock"), "of the door").unwrap();
    scratch.train("other").fails_with(6);
    assert_eq!(fs::read_to_string(scratch.path("other/lock")).unwrap(), "of the door");
}

/// The end of the job as Slurm tells it, beyond what a clock can tell, and what is no time at all.
#[test]
fn an_end_of_the_job_that_is_no_time_is_told() {
    let scratch = Scratch::new();
    for (number, end) in
        ["18446744073709551615", "9223372036854775808", "tomorrow", ""].into_iter().enumerate()
    {
        let train = scratch.train(&format!("run{number}")).env("SLURM_JOB_END_TIME", end);
        let output = train.output();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{end}: {text}");
        assert!(text.contains("SLURM_JOB_END_TIME: found"), "{end}: {text}");
    }
}

/// Ranks that are threads tell what all would say alike once, as processes do.
#[test]
fn ranks_that_are_threads_tell_things_once() {
    let scratch = Scratch::new();
    let output = scratch.train("run").arg("--comm").arg("threads=3").output();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    let count = text.lines().filter(|line| line.contains(" rows of 8 features")).count();
    assert_eq!(count, 1, "{text}");
}

/// A run that is done says so of its own data only.
#[test]
fn a_finished_run_is_none_of_other_data() {
    let scratch = Scratch::new();
    scratch.train("run").stdout();
    let again = || {
        let output = scratch.train("run").arg("--comm").arg("threads=2").output();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = again();
    assert!(code == Some(0) && text.contains("this run is finished"), "{text}");
    assert!(!text.contains("WARN"), "{text}");
    let data = scratch.path("data");
    // Under another name they are the same data.
    fs::rename(data.join("a.h5"), data.join("b.h5")).unwrap();
    assert_eq!(again().0, Some(0));
    for (rows, features, expected) in [
        (199, 8, "data.train: found 199 rows, the run has 200"),
        (200, 9, "data.train: found 200 rows of other contents than the run's 200"),
    ] {
        fs::remove_dir_all(&data).unwrap();
        shards(&data, rows, 12, features);
        let text = scratch.train("run").fails_with(6);
        assert!(text.contains("run: holds a finished run of other data: "), "{text}");
        assert!(text.contains(expected), "{text}");
    }
    assert!(scratch.path("run/model/manifest.json").exists());
    // Data that are gone are no other ones.
    fs::remove_dir_all(&data).unwrap();
    let (code, text) = again();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the data of this finished run can't be read"), "{text}");
}
