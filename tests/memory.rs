//! No rank holds all experts or N x K scores: an allocator counts each rank's bytes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use reelscale::comm::{Comm, run_threads};
use reelscale::data::{Dataset, Kind, ShardHeader, ShardInfo, ShardWriter};
use reelscale::flow::home_rows::HomeRows;
use reelscale::flow::scoring::evaluate;
use reelscale::job::Job;
use reelscale::model::vector::Instructions;
use reelscale::report::Report;
use reelscale::synthetic::Planted;
use reelscale::train::{Data, kernels, train};

thread_local! {
    /// Bytes that this thread has now, and had at most. Ranks are threads here, with one thread
    /// each.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn count(bytes: isize) {
    // Threads that end free without their counters.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const ROWS: usize = 6000;
const CLASSES: usize = 2048;
const FEATURES: usize = 32;

fn shards(folder: &std::path::Path) -> Vec<ShardInfo> {
    let planted = Planted::new(1, FEATURES, CLASSES, 2);
    let path = folder.join("a.h5");
    let (parts, source) = (planted.parts(), "test".to_string());
    let header = ShardHeader { parts, class_count: CLASSES, kind: Kind::Video, source };
    let mut writer = ShardWriter::create(&path, &header).unwrap();
    (0..ROWS as u64).for_each(|row| writer.push(&planted.example(row)).unwrap());
    writer.finish().unwrap();
    vec![ShardInfo::read(&path).unwrap()]
}

/// Peak bytes of each rank while `work` runs.
fn peaks(ranks: usize, work: impl Fn(&Comm) + Sync) -> Vec<isize> {
    let peak = |comm: &Comm| {
        HELD.with(|held| held.set((0, 0)));
        work(comm);
        Ok(HELD.with(|held| held.get().1))
    };
    run_threads(ranks, peak).unwrap()
}

#[test]
fn no_rank_holds_all_experts_or_all_scores() {
    let folder = tempfile::tempdir().unwrap();
    let infos = shards(folder.path());
    let text = format!(
        "[data]\ntrain = [\"{}/*.h5\"]\n[pretrain]\nepochs = 1\nexperts = 1\n[experts]\n\
         count = 16\nepochs = 1\n\
         solver = \"adam\"\nwindow = 512\n[rounds]\ncount = 1\n[run]\nthreads = 1\n",
        folder.path().display()
    );
    let job = Job::parse(&text, "job", &[]).unwrap();
    let run = |comm: &Comm| {
        let data = Data::open(comm, &job).unwrap();
        let trained = train(comm, &job, data, &mut Report::new(None)).unwrap();
        let rows = HomeRows::new(comm, Dataset::new(infos.clone()).unwrap(), 64);
        evaluate(comm, &trained.annotator, &rows, &mut kernels(Instructions::detect(), 1, 1e-5))
            .unwrap();
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
