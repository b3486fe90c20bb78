//! Shards that go bad while ranks compute: deleted, emptied, cut, replaced or flipped at any moment
//! of any step, on one rank or several. The run ends with exit 4 and the name of the file; it never
//! panics, hangs, or ends well with other bits.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use common::reelscale;
use common::tapped::{Tap, run_tapped};
use reelscale::internals::data::{Kind, ShardHeader, ShardWriter};
use reelscale::internals::example::Values;
use reelscale::internals::synthetic::Planted;
use reelscale::{Data, Exit, Job, Report, Result, train};

const SHARDS: usize = 20;
const ROWS: u64 = 12;

fn shard(path: &Path, rows: std::ops::Range<u64>) {
    let planted = Planted::new(1, 16, 12, 2);
    let (parts, source) = (planted.parts(), "test".to_string());
    let header = ShardHeader { parts, class_count: 12, kind: Kind::Video, source };
    let mut writer = ShardWriter::create(path, &header).unwrap();
    rows.for_each(|row| writer.push(&planted.example(row)).unwrap());
    writer.finish().unwrap();
}

/// More shards than a reader keeps open.
fn shards(folder: &Path) -> Vec<PathBuf> {
    fs::create_dir_all(folder).unwrap();
    let paths: Vec<PathBuf> =
        (0..SHARDS).map(|index| folder.join(format!("{index:02}.h5"))).collect();
    for (index, path) in paths.iter().enumerate() {
        shard(path, index as u64 * ROWS..(index as u64 + 1) * ROWS);
    }
    paths
}

/// Copies of shards in a new folder.
fn copies(paths: &[PathBuf], folder: &Path) -> Vec<PathBuf> {
    fs::create_dir(folder).unwrap();
    let copied = |path: &PathBuf| {
        let copy = folder.join(path.file_name().unwrap());
        fs::copy(path, &copy).unwrap();
        copy
    };
    paths.iter().map(copied).collect()
}

/// What happens to a shard. Files are changed where they lie, so that open ones change too.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Deleted,
    Emptied,
    Cut,
    Replaced,
    Flipped,
}

const FAULTS: [Fault; 5] =
    [Fault::Deleted, Fault::Emptied, Fault::Cut, Fault::Replaced, Fault::Flipped];

impl Fault {
    fn strike(self, path: &Path) {
        let bytes = fs::read(path).unwrap();
        match self {
            Fault::Deleted => fs::remove_file(path).unwrap(),
            Fault::Emptied => fs::write(path, "").unwrap(),
            Fault::Cut => fs::write(path, &bytes[..bytes.len() / 2]).unwrap(),
            Fault::Replaced => {
                let other = path.with_extension("new");
                shard(&other, 0..ROWS + 1);
                fs::rename(other, path).unwrap();
            }
            Fault::Flipped => {
                let index: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
                let example = Planted::new(1, 16, 12, 2).example(index * ROWS);
                let Values::Video(features) = example.values else { panic!("no video") };
                let wanted: &[u8] = bytemuck::cast_slice(&features);
                let at = bytes.windows(wanted.len()).position(|part| part == wanted).unwrap();
                let mut bytes = bytes;
                bytes[at + 5] ^= 4;
                fs::write(path, bytes).unwrap();
            }
        }
    }
}

/// What is called when the last rank makes the call that was chosen, the first being 0.
struct Moment<F> {
    calls: AtomicUsize,
    chosen: usize,
    strike: F,
}

impl<F: Fn() + Send + Sync> Tap for Moment<F> {
    fn before(&self, rank: usize, size: usize) {
        if rank + 1 == size && self.calls.fetch_add(1, SeqCst) == self.chosen {
            (self.strike)();
        }
    }
}

/// Every kind of step.
const JOBS: [&str; 2] = [
    "validation_fraction = 0.2\n[model]\nshared = [{ dense = 8, activation = \"relu\" }]\n\
     [pretrain]\nranks = 4096\nepochs = 2\nbatch = 64\n\
     [experts]\ncount = 2\nepochs = 2\nbatch = 16\nwindow = 64\npatience = 2\n\
     [shared]\niterations = 2\n",
    "normalize = \"standardise\"\n[model]\nshared = [{ dense = 8 }]\n\
     initial_biases = \"frequency\"\n\
     [pretrain]\nranks = 4096\nepochs = 1\nbatch = 100\n\
     [experts]\ncount = 1\nepochs = 2\nsolver = \"lbfgs\"\nwindow = 64\n\
     [shared]\niterations = 3\n",
];

/// Runs a job on `ranks` ranks, where `strike` comes at the call number `chosen`. Returns the
/// digest of all losses, none where the run was stopped, and the number of calls.
fn run(
    job: &Job,
    ranks: usize,
    chosen: usize,
    strike: impl Fn(&AtomicBool) + Send + Sync + 'static,
) -> (Result<Option<[u8; 32]>>, usize) {
    let stop: Arc<OnceLock<Arc<AtomicBool>>> = Arc::default();
    let flag = stop.clone();
    let strike = move || strike(flag.get().expect("set before any call"));
    let moment = Arc::new(Moment { calls: AtomicUsize::new(0), chosen, strike });
    let outcome = run_tapped(ranks, moment.clone(), |comm| {
        stop.get_or_init(|| comm.stop_flag().clone());
        let data = Data::open(comm, job)?;
        let mut report = Report::new(None);
        let trained = train(comm, job, data, &mut report, None)?;
        Ok(trained.done.then(|| report.events_hash()))
    });
    (outcome.map(|losses| losses[0]), moment.calls.load(SeqCst))
}

fn job(folder: &Path, text: &str) -> Job {
    let rest = "[run]\nthreads = 1\nrow_blocks = 12\n";
    let text = format!("[data]\ntrain = [\"{}/*.h5\"]\n{text}{rest}", folder.display());
    Job::parse(&text, "job", &[]).unwrap()
}

/// Moments all over each job, every kind of fault, 1 to 3 ranks; in every third case the run is
/// told to stop in the same moment.
#[test]
fn a_shard_that_goes_bad_at_any_moment_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (mut named, mut cases) = (0, 0);
    let paths = shards(&folder.path().join("whole"));
    for (kind, text) in JOBS.into_iter().enumerate() {
        let whole = job(&folder.path().join("whole"), text);
        for ranks in 1..4 {
            let (expected, calls) = run(&whole, ranks, usize::MAX, |_| ());
            let expected = expected.unwrap();
            for moment in 1..9 {
                let fault = FAULTS[(moment + ranks) % FAULTS.len()];
                let place = folder.path().join(format!("{kind}-{ranks}-{moment}"));
                let path = copies(&paths, &place)[(7 * moment + 3) % SHARDS].clone();
                let (struck, stopping) = (path.clone(), moment % 3 == 2);
                let strike = move |stop: &AtomicBool| {
                    fault.strike(&struck);
                    stop.store(stopping, SeqCst);
                };
                let case = format!("job {kind}, {ranks} ranks, {fault:?} at {moment}/9");
                match run(&job(&place, text), ranks, calls * moment / 9, strike).0 {
                    Ok(None) => assert!(stopping, "{case}"),
                    Ok(losses) => assert_eq!(losses, expected, "{case}"),
                    Err(error) => {
                        let name = path.file_name().unwrap().to_str().unwrap();
                        let names_it = error.exit == Exit::Input && error.text.contains(name);
                        assert!(names_it, "{case}: {:?}: {error}", error.exit);
                        named += usize::from(!stopping);
                    }
                }
                cases += usize::from(!stopping);
                fs::remove_dir_all(place).unwrap();
            }
        }
    }
    println!("{named} of {cases} faults came to be seen");
    assert!(4 * named > 3 * cases, "{named} of {cases} faults came to be seen");
}

/// The same of the program: one line, whichever ranks see it.
#[test]
fn one_line_tells_of_a_shard_that_went_bad() {
    if common::without_mpi() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let steps = [
        ("pretrain", "[pretrain]\nranks = 4096\nepochs = 100000\npatience = 0\n"),
        ("shared", "[pretrain]\nepochs = 0\n[shared]\niterations = 100000\n"),
    ];
    for (number, (step, settings)) in steps.into_iter().enumerate() {
        let data = folder.path().join(step);
        let paths = shards(&data);
        let text = format!(
            "[data]\ntrain = [\"{}/*.h5\"]\n[model]\nshared = [{{ dense = 8 }}]\n{settings}\
             [experts]\nepochs = 1\n[run]\nthreads = 1\nrow_blocks = 12\n",
            data.display()
        );
        let (job, output) = (data.join("job.toml"), data.join("run"));
        fs::write(&job, text).unwrap();
        let command = reelscale("train").path(&job).arg("--output").path(&output);
        let mut running = command.ranks(2 + number).within(60).spawn();
        running.wait_for(&output.join("metrics.jsonl"), &format!("\"step\":\"{step}\""));
        // Every rank has one of them.
        paths.iter().step_by(2).for_each(|path| fs::remove_file(path).unwrap());
        let output = running.finish();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{text}");
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("reelscale: ")).collect();
        assert_eq!(lines.len(), 1, "{text}");
        assert!(lines[0].contains(".h5: ") && !text.contains("panicked"), "{text}");
    }
}
