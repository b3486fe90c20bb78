//! Checkpoints: a run goes on from one with the same bits, wherever it was stopped and on whatever
//! ranks, and where one can't be written.

mod common;
#[path = "checkpoints/store.rs"]
mod store;

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::shards;
use reelscale::internals::checkpoint::Store;
use reelscale::internals::disk::{Disk, FaultKind};
use reelscale::internals::rng::{Purpose, Stream};
use reelscale::internals::train::Checkpoints;
use reelscale::{Comm, Data, Job, Report, run_threads, train};
use serde_json::json;

/// Everything that a checkpoint can hold: Adam with averages, patience within steps and of classes,
/// two rounds.
const JOB: &str = "
[data]
train = [\"TRAIN\"]
validation_fraction = 0.25
[model]
shared = [{ dense = 24, activation = \"relu\" }, { gating = true }]
[pretrain]
ranks = 4096
epochs = 2
batch = 128
[experts]
count = 3
epochs = 3
batch = 32
window = 200
MORE
[shared]
solver = \"SHARED\"
iterations = 4
[rounds]
count = 2
[checkpoint]
minutes = 0
EVERY
[run]
threads = 1
row_blocks = 19
class_blocks = 5
";

const SOLVERS: [&str; 6] = [
    "solver = \"adam\"\npatience = 2\naveraging = 0.9\ndropout = 0.2",
    "solver = \"adam\"\nclass_patience = 1\naveraging = 0.9\nnegatives = 0.4",
    "solver = \"lbfgs\"\nclass_patience = 1",
    "solver = \"adagrad\"\npatience = 2\nrestart = false\ntolerance = 0.02",
    "solver = \"adam\"\nclass_patience = 1\naveraging = 0.9\nnegatives = 0.4\nrow_slices = 4",
    "solver = \"adagrad\"\npatience = 2\ntolerance = 0.02\ndropout = 0.2\nrow_slices = 3",
];

fn job(folder: &Path, more: &str, every: &str) -> Job {
    let shared = if more.contains("lbfgs") { "adam" } else { "irprop" };
    let text = JOB.replace("TRAIN", &format!("{}/*.h5", folder.display()));
    let text = text.replace("SHARED", shared);
    Job::parse(&text.replace("MORE", more).replace("EVERY", every), "job", &[]).unwrap()
}

/// What a start of a run came to: whether it is done, its events' digest, its model's.
type Outcome = (bool, [u8; 32], String);

/// One start on `ranks` ranks, told to stop after `stop` if it is given.
fn start(job: &Job, checkpoints: &Path, ranks: usize, stop: Option<Duration>) -> Outcome {
    let outcomes = run_threads(ranks, |comm| {
        if let (Some(delay), true) = (stop, comm.is_root()) {
            let flag = comm.stop_flag().clone();
            std::thread::spawn(move || {
                std::thread::sleep(delay);
                flag.store(true, Relaxed);
            });
        }
        let data = match Data::open(comm, job) {
            // Nothing was begun: the next start begins anew.
            Err(error) if error.is_stop() => return Ok((false, [0; 32], String::new())),
            data => data?,
        };
        let store = Store::new(checkpoints.to_path_buf(), Disk::default());
        let identity = json!({ "data": data.identity() });
        let own = Checkpoints::new(store, job.checkpoint.clone(), identity, json!(ranks), None);
        let mut report = Report::new(None);
        let trained = train(comm, job, data, &mut report, Some(own))?;
        let hash = reelscale::internals::artifact::content_hash(comm, &trained.annotator);
        Ok((trained.done, report.events_hash(), hash))
    });
    let outcomes = outcomes.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "ranks differ");
    outcomes[0].clone()
}

/// Stops at random moments of every phase, each start on another number of ranks, and where there
/// are several slices on another grid of them.
#[test]
fn a_run_goes_on_with_the_same_bits_wherever_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    shards(&folder.path().join("data"), 900, 40, 16);
    for (number, more) in SOLVERS.into_iter().enumerate() {
        let mut job = job(&folder.path().join("data"), more, "");
        let path = |name: &str| folder.path().join(format!("{number}-{name}"));
        // The shorter of two, so that nothing else here makes stops come late.
        let timed = ["whole", "again"].map(|name| {
            let began = std::time::Instant::now();
            (start(&job, &path(name), 1, None), began.elapsed())
        });
        let whole = timed[0].1.min(timed[1].1);
        let [expected, again] = timed.map(|one| one.0);
        assert!(expected.0 && again == expected);
        let (mut starts, mut stops) = (0, 0);
        for seed in 0..6 {
            let mut draw = Stream::new(seed, Purpose::PlantedRows, 1 << 40 | number as u64);
            let name = path(&format!("seed{seed}"));
            loop {
                starts += 1;
                let ranks = 1 + draw.below(4) as usize;
                let rows = 1 + draw.below(ranks.min(job.experts.row_slices) as u64) as usize;
                job.run.grid = format!("{rows}x{}", ranks / rows);
                let delay = whole.mul_f64(draw.below(1000) as f64 / 1500.0);
                let (done, events, model) = start(&job, &name, ranks, Some(delay));
                if done {
                    assert_eq!((events, &model), (expected.1, &expected.2), "seed {seed} {more}");
                    break;
                }
                stops += 1;
            }
        }
        println!("{starts} starts, {stops} stops, a whole run takes {whole:?}");
        assert!(stops >= 6, "{stops} stops in {starts} starts");
    }
}

/// A checkpoint at every boundary changes nothing, and each of the last two can be gone on from.
#[test]
fn checkpoints_at_every_boundary_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    shards(&folder.path().join("data"), 400, 20, 16);
    let data = folder.path().join("data");
    let expected = start(&job(&data, SOLVERS[0], ""), &folder.path().join("a"), 2, None);
    let often = job(&data, SOLVERS[0], "every = 1");
    let path = folder.path().join("b");
    assert_eq!(start(&often, &path, 3, None), expected);
    let mut names: Vec<_> = fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names.len(), 2, "the newest and the one before it: {names:?}");
    // The newest is the finished run; the one before it ends as that did.
    assert_eq!(start(&often, &path, 1, None), expected);
    let newest = path.join(&names[1]);
    fs::remove_dir_all(newest).unwrap();
    assert_eq!(start(&often, &path, 2, None), expected);
}

/// A full disk while a run goes on is told, tried again, and does no harm.
#[test]
fn a_run_goes_on_where_a_checkpoint_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    shards(&folder.path().join("data"), 400, 20, 16);
    let job = job(&folder.path().join("data"), SOLVERS[2], "every = 2");
    let expected = start(&job, &folder.path().join("whole"), 1, None);
    for calls in [0, 3, 7, 40] {
        let path = folder.path().join(format!("faulty{calls}"));
        let disk = Disk::failing_after(calls, FaultKind::Once);
        let comm = Comm::serial();
        let data = Data::open(&comm, &job).unwrap();
        let identity = json!({ "data": data.identity() });
        let store = Store::new(path.clone(), disk.clone());
        let own = Checkpoints::new(store, job.checkpoint.clone(), identity, json!(1), None);
        let mut report = Report::new(None);
        let trained = train(&comm, &job, data, &mut report, Some(own)).unwrap();
        assert!(disk.has_failed() && trained.done);
        assert_eq!(report.events_hash(), expected.1);
        assert_eq!(start(&job, &path, 2, None), expected, "from its last checkpoint");
    }
}
