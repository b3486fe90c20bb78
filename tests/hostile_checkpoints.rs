//! Checkpoints that say what no run comes to, with all digests made right again: exit 6, or a run
//! that goes on; never a panic, nor more memory than files explain.
//!
//! `REELSCALE_MUTATIONS=all` tries every change, not a share of them.

mod common;

#[path = "common/allocations.rs"]
mod allocations;
#[path = "common/mutations.rs"]
mod mutations;
#[path = "common/older_runs.rs"]
mod older_runs;
#[path = "common/records.rs"]
mod records;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use common::stopped::stops_once_saved;
use common::{copy, refit_sums};
use older_runs::{Copy, STOPPED};
use reelscale::internals::checkpoint::Store;
use reelscale::internals::comm::{Comm, run_threads};
use reelscale::internals::disk::Disk;
use reelscale::internals::error::{Error, Exit, Result};
use reelscale::internals::job::Job;
use reelscale::internals::report::Report;
use reelscale::internals::rng::{Purpose, Stream};
use reelscale::internals::train::{Checkpoints, Data, Run, Setting, host_of};
use serde_json::{Value, json};

/// No file here has more than 20 KB, and buffers are of 1 MiB; rows and kernels take the rest.
const ALLOCATION_MAX: usize = 8 << 20;

/// A run that can be gone on with from one checkpoint.
struct Stopped<'a> {
    comm: &'a Comm,
    /// Thread ranks that go on with it; one alone is `comm`.
    ranks: usize,
    job: Job,
    data: Data,
    folder: PathBuf,
}

/// Starts a run of `job`, or goes on with it from a checkpoint in `folder`, to its end if `whole`.
fn go_on(
    comm: &Comm,
    job: &Job,
    data: Data,
    (folder, disk): (&Path, Disk),
    whole: bool,
) -> Result<()> {
    let store = Store::new(folder.to_path_buf(), disk);
    let identity = (data.identity(), data.contents(), job.to_toml());
    let identity = json!({ "data": identity.0, "contents": identity.1, "job": identity.2 });
    let checkpoints = Checkpoints::new(store, job.checkpoint.clone(), identity, json!(1), None);
    let mut report = Report::new(None);
    let setting = Setting::new(comm, job, data)?;
    let run = Run::begin(setting, host_of(job)?, &mut report, Some(checkpoints))?;
    if whole {
        run.finish()?;
    }
    Ok(())
}

impl Stopped<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.join("00000001").join(name)
    }

    /// Goes on from the checkpoint, to the end if `whole`; and the largest piece of memory that
    /// was asked for at once. Ranks end alike.
    fn go_on(&self, whole: bool) -> (std::thread::Result<Result<()>>, usize) {
        // What writes checkpoints removes old ones.
        let scratch = tempfile::tempdir().unwrap();
        if whole {
            copy(&self.folder.join("00000001"), &scratch.path().join("00000001"));
        }
        let folder = if whole { scratch.path() } else { &self.folder };
        let (at, job) = ((folder, Disk::default()), &self.job);
        if self.ranks == 1 {
            let alone = || go_on(self.comm, job, self.data.clone(), at, whole);
            return allocations::largest(|| catch_unwind(AssertUnwindSafe(alone)));
        }
        let ends = run_threads(self.ranks, |comm| {
            let (data, at) = (Data::open(comm, job)?, (folder, Disk::default()));
            Ok(allocations::largest(|| go_on(comm, job, data, at, whole)))
        });
        let ends = match ends {
            Ok(ends) => ends,
            Err(error) => return (Err(Box::new(error)), 0),
        };
        let largest = ends.iter().map(|end| end.1).max().unwrap();
        let mut ends = ends.into_iter().map(|end| end.0);
        let first = ends.next().unwrap();
        let exit = |end: &Result<()>| end.as_ref().err().map(|error| error.exit);
        assert!(ends.all(|end| exit(&end) == exit(&first)), "ranks end alike: {first:?}");
        (Ok(first), largest)
    }

    /// Whether it can be gone on with.
    fn begins(&self) -> Result<()> {
        self.go_on(false).0.expect("no panic")
    }

    /// What it comes to with other files.
    fn outcome(&self, files: &[(String, Vec<u8>)], whole: bool, what: &str) -> Option<Error> {
        let before = files.iter().map(|(name, _)| fs::read(self.file(name)).unwrap());
        let before: Vec<Vec<u8>> = before.collect();
        files.iter().for_each(|(name, bytes)| fs::write(self.file(name), bytes).unwrap());
        refit_sums(&self.folder.join("00000001"));
        let (outcome, largest) = self.go_on(whole);
        let what = || format!("{}: {what}", files[0].0);
        let outcome = outcome.unwrap_or_else(|panic| panic!("{}: {panic:?}", what()));
        assert!(largest < ALLOCATION_MAX, "{}: {largest} bytes at once", what());
        for ((name, _), bytes) in files.iter().zip(before) {
            fs::write(self.file(name), bytes).unwrap();
        }
        outcome.err()
    }
}

/// What became of the changes to a file.
#[derive(Default, Debug)]
struct Count {
    changes: usize,
    refused: usize,
    /// Runs that went on to their end, and to exit 7.
    ended: usize,
    numeric: usize,
}

/// Tries one of `share` changes, and goes on to the end with one of `ENDS` that aren't refused.
struct Trial<'a, 'b> {
    stopped: &'a Stopped<'b>,
    share: usize,
    seen: usize,
    count: Count,
}

/// Runs of which one goes on to its end.
const ENDS: usize = 30;

impl Trial<'_, '_> {
    fn take(&mut self, what: &str, files: &[(String, Vec<u8>)]) {
        self.seen += 1;
        if !self.seen.is_multiple_of(self.share) {
            return;
        }
        self.count.changes += 1;
        let described = |error: &Error| format!("{}: {what}: {}", files[0].0, error.text);
        match self.stopped.outcome(files, false, what) {
            Some(error) => {
                assert_eq!(error.exit, Exit::RunDirectory, "{}", described(&error));
                self.count.refused += 1;
            }
            None if (self.count.changes - self.count.refused).is_multiple_of(ENDS) => {
                match self.stopped.outcome(files, true, what) {
                    None => self.count.ended += 1,
                    Some(error) if error.exit == Exit::Numeric => self.count.numeric += 1,
                    Some(error) => panic!("{}", described(&error)),
                }
            }
            None => {}
        }
    }
}

/// Only the newest checkpoint of a run that is whole, as the first one.
fn only_newest(folder: &Path) {
    let comm = Comm::serial();
    let newest = Store::new(folder.to_path_buf(), Disk::default()).load(&comm).unwrap().unwrap();
    let kept = folder.join("kept");
    fs::rename(folder.join(format!("{:08}", newest.number)), &kept).unwrap();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry != kept {
            fs::remove_dir_all(entry).unwrap();
        }
    }
    fs::rename(kept, folder.join("00000001")).unwrap();
}

/// A run that was stopped, of which only the newest checkpoint is left.
fn stopped<'a>(comm: &'a Comm, copy: &Copy, run: &str, name: &str) -> Stopped<'a> {
    let shards = if name == "frames" { "frames" } else { "videos" };
    // In this process nobody reads shards without proof first.
    common::reelscale("inspect --seal").path(&copy.path(shards)).stdout();
    let glob = format!("data.train = [\"{}/*.h5\"]", copy.path(shards).display());
    let mut job = Job::read(&copy.path(&format!("{name}.toml")), &[glob]).unwrap();
    job.run.threads = 1;
    let data = Data::open(comm, &job).unwrap();
    let folder = copy.path("runs").join(run).join("checkpoints");
    only_newest(&folder);
    Stopped { comm, ranks: 1, job, data, folder }
}

/// One that was put there from another run, whole as it is.
#[test]
fn a_checkpoint_of_another_job_is_refused() {
    let (copy, comm) = (Copy::new(), Comm::serial());
    let mut stopped = stopped(&comm, &copy, "adam", "adam");
    stopped.begins().unwrap();
    // That may change.
    stopped.job.checkpoint.every = 7;
    stopped.begins().unwrap();
    stopped.job.experts.learning_rate *= 2.0;
    let error = stopped.begins().unwrap_err();
    assert_eq!(error.exit, Exit::RunDirectory);
    assert!(error.text.contains("another job: experts.learning_rate"), "{}", error.text);
}

#[test]
fn whatever_a_checkpoint_says_is_refused_or_gone_on_with() {
    whatever_it_says(1);
}

/// The same of records that have names: of the same runs, which this program has gone on with and
/// was told to stop at once.
#[test]
fn whatever_a_checkpoint_of_this_version_says_is_refused_or_gone_on_with() {
    whatever_it_says(2);
}

fn whatever_it_says(version: u64) {
    let (copy, comm) = (Copy::new(), Comm::serial());
    for (number, (run, name)) in STOPPED.into_iter().enumerate() {
        if version > 1 {
            copy.reelscale(&format!("train {name}.toml --output runs/{run} --max-time 0")).stdout();
        }
        let stopped = stopped(&comm, &copy, run, name);
        stopped.begins().unwrap();
        let state: Value = serde_json::from_slice(&fs::read(stopped.file(STATE)).unwrap()).unwrap();
        assert_eq!(state["version"], version);
        let items = records::items(&fs::read(stopped.file("common.bin")).unwrap());
        let named = items.iter().all(|item| item.is_map());
        assert_eq!(named, version > 1, "{run}: records of named fields");
        try_changes(&stopped, run, number as u64, 97);
    }
}

/// Tries one of `share` changes of all files of a checkpoint, or all.
fn try_changes(stopped: &Stopped, run: &str, seed: u64, share: usize) {
    let all = std::env::var("REELSCALE_MUTATIONS").is_ok_and(|which| which == "all");
    let mut counts = BTreeMap::new();
    for entry in fs::read_dir(stopped.folder.join("00000001")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "SHA256SUMS" || name == "metrics.jsonl" {
            continue;
        }
        let share = if all { 1 } else { share };
        let count = Count::default();
        let mut trial = Trial { stopped, share, seen: 0, count };
        changes(&mut trial, &name, seed);
        counts.insert(name, trial.count);
    }
    println!("{run}: {counts:?}");
    let sum = |of: fn(&Count) -> usize| counts.values().map(of).sum::<usize>();
    assert!(sum(|count| count.refused) > 10, "{run}: {counts:?}");
}

/// The same of a run in the middle of an expert step of several slices, whose states ranks of a
/// grid have put together, where one rank goes on with it, and where other ranks take them apart.
#[test]
fn whatever_a_checkpoint_of_a_grid_says_is_refused_or_gone_on_with() {
    let (copy, comm) = (Copy::new(), Comm::serial());
    common::reelscale("inspect --seal").path(&copy.path("videos")).stdout();
    let sets = [
        &format!("data.train = [\"{}/*.h5\"]", copy.path("videos").display()),
        "pretrain.epochs = 0",
        "experts.row_slices = 4",
        "checkpoint.every = 1",
        "run.grid = \"2x1\"",
        "run.threads = 1",
    ];
    let mut job = Job::read(&copy.path("adam.toml"), &sets.map(str::to_string)).unwrap();
    let folder = copy.path("runs").join("grid").join("checkpoints");
    fs::create_dir_all(&folder).unwrap();
    let stops = |comm: &Comm| {
        let disk = stops_once_saved(comm);
        go_on(comm, &job, Data::open(comm, &job)?, (&folder, disk), true)
    };
    run_threads(2, stops).unwrap();
    only_newest(&folder);
    for (ranks, grid) in [(1, "auto"), (3, "3x1"), (4, "2x2")] {
        job.run.grid = grid.into();
        let data = Data::open(&comm, &job).unwrap();
        let stopped =
            Stopped { comm: &comm, ranks, job: job.clone(), data, folder: folder.clone() };
        // Trials put back all but the sums.
        refit_sums(&folder.join("00000001"));
        stopped.begins().unwrap();
        try_changes(&stopped, grid, ranks as u64, if ranks == 1 { 23 } else { 61 });
    }
}

/// All changes of one file: of what it says, and of single bits.
fn changes(trial: &mut Trial, name: &str, seed: u64) {
    let read = |name: &str| fs::read(trial.stopped.file(name)).unwrap();
    let (whole, state) = (read(name), read(STATE));
    let state: Value = serde_json::from_slice(&state).unwrap();
    let file = |bytes: Vec<u8>| (name.to_string(), bytes);
    let part = state["parts"].as_array().unwrap().iter().position(|part| part["file"] == name);
    match part {
        None if name == STATE => {
            for (what, changed) in mutations::mutations(&state) {
                trial.take(&what, &[file(serde_json::to_vec(&changed).unwrap())]);
            }
        }
        None => {
            let items = records::items(&whole);
            records::mutations(&items, &mut |what, bytes| trial.take(&what, &[file(bytes)]));
        }
        // Of the first class block, whose length is made right, too.
        Some(part) => {
            let length = state["parts"][part]["lengths"][0].as_u64().unwrap() as usize;
            let (first, others) = whole.split_at(length);
            records::mutations(&records::items(first), &mut |what, bytes| {
                let mut state = state.clone();
                state["parts"][part]["lengths"][0] = bytes.len().into();
                let state = (STATE.to_string(), serde_json::to_vec(&state).unwrap());
                trial.take(&what, &[file([&bytes, others].concat()), state]);
            });
        }
    }
    let mut draw = Stream::new(seed, Purpose::PlantedRows, 1 << 41);
    for _ in 0..whole.len().min(2000) {
        let (at, bit) = (draw.below(whole.len() as u64) as usize, draw.below(8));
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << bit;
        trial.take(&format!("byte {at}, bit {bit}"), &[file(bytes)]);
    }
}

const STATE: &str = "state.json";
