//! No rank holds all experts or N x K scores: an allocator counts each rank's bytes.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};

use common::shards;
use common::stopped::stops_once_saved;
use reelscale::internals::checkpoint::Store;
use reelscale::internals::comm::{Comm, run_threads};
use reelscale::internals::data::Dataset;
use reelscale::internals::device::Host;
use reelscale::internals::disk::Disk;
use reelscale::internals::flow::home_rows::HomeRows;
use reelscale::internals::flow::own_rows::Room;
use reelscale::internals::inference::scores::evaluate;
use reelscale::internals::job::Job;
use reelscale::internals::model::experts::Experts;
use reelscale::internals::partition::Grid;
use reelscale::internals::report::Report;
use reelscale::internals::train::{Checkpoints, Data, plan, train};
use serde_json::json;

thread_local! {
    /// The number of this thread: what it allocates counts for it, whoever frees it.
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// Bytes held now and at most, by threads; thread 0 counts for all of them.
static HELD: [[AtomicIsize; 2]; 4096] = [const { [const { AtomicIsize::new(0) }; 2] }; 4096];
static THREADS: AtomicUsize = AtomicUsize::new(1);

struct Counting;

fn number() -> usize {
    // Threads that end free without their number.
    let own = NUMBER.try_with(|number| {
        if number.get() == 0 {
            number.set(THREADS.fetch_add(1, Relaxed));
        }
        number.get()
    });
    own.unwrap_or(1) % HELD.len()
}

fn count(thread: usize, bytes: isize) {
    for [held, most] in [&HELD[thread], &HELD[0]] {
        let now = held.fetch_add(bytes, Relaxed) + bytes;
        most.fetch_max(now, Relaxed);
    }
}

/// Bytes before what the program gets, where the allocating thread's number lies.
fn with_number(layout: Layout) -> (Layout, usize) {
    let align = layout.align().max(size_of::<usize>());
    (Layout::from_size_align(layout.size() + align, align).unwrap(), align)
}

// SAFETY: everything is passed on to the system's allocator, with room for a number before it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let thread = number();
        count(thread, layout.size() as isize);
        let (whole, before) = with_number(layout);
        // SAFETY: `whole` has room for a number before what was asked for, aligned for both.
        unsafe {
            let place = System.alloc(whole);
            if place.is_null() {
                return place;
            }
            place.cast::<usize>().write(thread);
            place.add(before)
        }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        let (whole, before) = with_number(layout);
        // SAFETY: `alloc` has returned it, that far behind the beginning of `whole`.
        unsafe {
            let place = place.sub(before);
            count(place.cast::<usize>().read(), -(layout.size() as isize));
            System.dealloc(place, whole)
        }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const ROWS: usize = 6000;
const CLASSES: usize = 2048;
const FEATURES: usize = 32;

/// Peak bytes of each rank while `work` runs.
fn peaks(ranks: usize, work: impl Fn(&Comm) + Sync) -> Vec<isize> {
    let peak = |comm: &Comm| {
        let [held, most] = &HELD[number()];
        let before = held.load(Relaxed);
        most.store(before, Relaxed);
        work(comm);
        Ok(most.load(Relaxed) - before)
    };
    run_threads(ranks, peak).unwrap()
}

/// Tests that count bytes one after the other.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn no_rank_holds_all_experts_or_all_scores() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let folder = tempfile::tempdir().unwrap();
    let infos = shards(folder.path(), ROWS, CLASSES, FEATURES);
    let text = format!(
        "[data]\ntrain = [\"{}/*.h5\"]\n[pretrain]\nepochs = 1\nexperts = 1\n[experts]\n\
         count = 16\nepochs = 1\n\
         solver = \"adam\"\nwindow = 512\n[rounds]\ncount = 1\n[run]\nthreads = 1\n",
        folder.path().display()
    );
    let job = Job::parse(&text, "job", &[]).unwrap();
    let run = |comm: &Comm| {
        let data = Data::open(comm, &job).unwrap();
        let trained = train(comm, &job, data, &mut Report::new(None), None).unwrap();
        let rows = HomeRows::new(comm, Dataset::new(infos.clone()).unwrap(), 64);
        evaluate(comm, &trained.annotator, &rows, &mut Host::detected(1, 1e-5)).unwrap();
    };
    let experts = (CLASSES * (16 + 17) * FEATURES * 4) as isize;
    let scores = (ROWS * CLASSES * 4) as isize;
    let one = peaks(1, run)[0];
    let many = peaks(16, run).into_iter().max().unwrap();
    println!("peak bytes: one rank {one}, of 16 ranks {many}; experts {experts}, N x K {scores}");
    assert!(one < scores, "one rank: {one} bytes, N x K scores are {scores}");
    assert!(many < experts, "of 16 ranks one held {many} bytes, all experts are {experts}");
    // Weights, Adam's two moments and the best model so far are divided: most of what one rank
    // holds.
    assert!(many * 6 < one, "{many} of 16 ranks, {one} alone");
}

fn alone() -> Grid {
    Grid::new((1, 1), 1, 1, 0)
}

/// Trains alone and returns the run's hash of events, the experts, the plan's peak and the bytes
/// of all threads at most.
fn run_alone(job: &Job) -> ([u8; 32], Experts, usize, usize) {
    let comm = Comm::serial();
    let data = Data::open(&comm, job).unwrap();
    let mut report = Report::new(None);
    let [held, most] = &HELD[0];
    let before = held.load(Relaxed);
    most.store(before, Relaxed);
    let plan = plan(&comm, job, &data, &alone()).unwrap();
    let trained = train(&comm, job, data, &mut report, None).unwrap();
    let most = (most.load(Relaxed) - before) as usize;
    (report.events_hash(), trained.annotator.experts, plan.peak, most)
}

fn limited_job(folder: &Path, kib: f64, more: &str) -> Job {
    let text = format!(
        "[data]\ntrain = [\"{}/*.h5\"]\nvalidation_fraction = 0.02\n[model]\n\
         shared = [{{ gating = true }}]\n[pretrain]\nepochs = 1\nexperts = 1\nbatch = 256\n\
         [experts]\ncount = 2\nepochs = 2\nwindow = 512\n{more}[shared]\niterations = 2\n\
         [run]\nthreads = 1\nmemory_gib = {}\n",
        folder.display(),
        kib / 1024.0 / 1024.0
    );
    Job::parse(&text, "job", &[]).unwrap()
}

/// Activations four times the budget go through a scratch file and waves: the same bits, and the
/// budget is kept.
#[test]
fn a_budget_is_kept_and_changes_no_bit() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let folder = tempfile::tempdir().unwrap();
    let (rows, features) = (60_000, 256);
    shards(folder.path(), rows, 64, features);
    let budget = rows * features * 4 / 4;
    let free = run_alone(&limited_job(folder.path(), 0.0, ""));
    let kept = run_alone(&limited_job(folder.path(), budget as f64 / 1024.0, ""));
    println!("budget {budget}: free {} bytes, kept {}, planned {}", free.3, kept.3, kept.2);
    assert!(free.3 > 3 * budget, "without a budget {} bytes", free.3);
    assert!(kept.3 <= budget, "{} bytes of {budget}", kept.3);
    assert!(kept.0 == free.0 && kept.1 == free.1, "the same losses, metrics and experts");
    let less = limited_job(folder.path(), 100.0, "");
    let data = Data::open(&Comm::serial(), &less).unwrap();
    let error = plan(&Comm::serial(), &less, &data, &alone()).unwrap_err();
    assert_eq!(error.exit as i32, 9);
    assert!(error.text.contains("run.memory_gib: found"), "{}", error.text);
}

/// Scores go through in waves, of activations in memory or in a file: the same metrics.
#[test]
fn scores_in_waves_give_the_same_metrics() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let folder = tempfile::tempdir().unwrap();
    let infos = shards(folder.path(), 1500, 200, 32);
    let job = limited_job(folder.path(), 0.0, "");
    let comm = Comm::serial();
    let data = Data::open(&comm, &job).unwrap();
    let annotator = train(&comm, &job, data, &mut Report::new(None), None).unwrap().annotator;
    let rooms = [(usize::MAX, 1 << 24), (usize::MAX, 1), (0, 1), (0, 1 << 24)];
    let mut found = Vec::new();
    for (bytes_max, scores_max) in rooms {
        let rows = HomeRows::new(&comm, Dataset::new(infos.clone()).unwrap(), 64);
        let scratch = folder.path().to_path_buf();
        *rows.room.borrow_mut() = Room { bytes_max, scores_max, scratch };
        found.push(evaluate(&comm, &annotator, &rows, &mut Host::detected(2, 1e-5)).unwrap());
    }
    assert!(found[0].map_full.unwrap() > 0.0);
    assert!(found.iter().all(|metrics| metrics == &found[0]), "{found:?}");
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "nothing but the shard");
}

/// The plan's formula is within 10 % of what is measured, where model or rows dominate.
#[test]
fn memory_is_what_was_planned() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for (rows, classes, features, more) in [
        (3000, 2048, 128, "solver = \"adam\"\n"),
        (3000, 2048, 128, "patience = 1\n"),
        (60_000, 64, 128, ""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        shards(folder.path(), rows, classes, features);
        let (_, _, planned, measured) = run_alone(&limited_job(folder.path(), 0.0, more));
        println!("{rows} x {classes} x {features}: planned {planned}, measured {measured}");
        let share = planned as f64 / measured as f64;
        assert!((0.9..1.1).contains(&share), "planned {planned}, measured {measured} bytes");
    }
}

/// So it is on ranks that share class blocks, which write checkpoints and go on from one: of the
/// rank that holds most, what its own thread takes.
#[test]
fn memory_in_a_column_is_what_was_planned() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 1000, 2048, 128);
    let equal: &[usize] = &[1; 5];
    for (shares, grid, slices, more, resumed) in [
        (&equal[..2], (2, 1), 4, "solver = \"adam\"\n", false),
        (&equal[..4], (4, 1), 4, "solver = \"adam\"\naveraging = 0.9\n", false),
        (&equal[..4], (2, 2), 4, "class_patience = 1\n", false),
        (equal, (2, 2), 4, "solver = \"adam\"\npatience = 1\n", false),
        (&equal[..4], (2, 2), 4, "solver = \"adam\"\naveraging = 0.9\n", true),
        (&equal[..4], (2, 2), 4, "solver = \"lbfgs\"\n", false),
        // One rank has most slices, which come to several nodes of the tree.
        (&[1, 1, 1, 9], (4, 1), 13, "solver = \"adam\"\n", false),
    ] {
        let ranks = shares.len();
        let more = format!("{more}row_slices = {slices}\n");
        let mut job = limited_job(folder.path(), 0.0, &more);
        job.run.grid = format!("{}x{}", grid.0, grid.1);
        job.checkpoint.every = 2;
        if more.contains("lbfgs") {
            // As many as searches keep pairs of, so that they take what is planned.
            job.experts.epochs = 14;
        }
        if resumed {
            job.pretrain.epochs = 0;
        }
        let (planned, runs) = (AtomicUsize::new(0), tempfile::tempdir().unwrap());
        let start = |comm: &Comm, disk: Disk| {
            comm.deal_in(shares.to_vec());
            let data = Data::open(comm, &job).unwrap();
            let grid = Grid::by_speed(grid, slices, (&[1], shares), comm.rank());
            planned.fetch_max(plan(comm, &job, &data, &grid).unwrap().peak, Relaxed);
            let store = Store::new(runs.path().to_path_buf(), disk);
            let often = job.checkpoint.clone();
            let kept = Checkpoints::new(store, often, json!({}), json!(1), None);
            train(comm, &job, data, &mut Report::new(None), Some(kept)).unwrap().done
        };
        if resumed {
            let stops = |comm: &Comm| Ok(start(comm, stops_once_saved(comm)));
            assert_eq!(run_threads(ranks, stops).unwrap(), vec![false; ranks]);
        }
        let measured = peaks(ranks, |comm| assert!(start(comm, Disk::default())));
        let (most, planned) = (measured.iter().copied().max().unwrap(), planned.into_inner());
        println!("{grid:?} of {ranks}, {more:?}: planned {planned}, measured {measured:?}");
        let share = planned as f64 / most as f64;
        assert!((0.9..1.1).contains(&share), "planned {planned}, measured {most} bytes");
    }
}
