//! `run.balance`: whatever ranks are said to compute a second, and however often that changes, runs
//! come to the literals of equal shares.

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use common::pinned_jobs::{FRAMES, VIDEOS, job, shards, sliced};
use common::pins::{Pin, weights};
use reelscale::Comm;
use reelscale::internals::comm::run_threads;
use reelscale::internals::disk::Disk;
use reelscale::internals::error::Result;
use reelscale::internals::job::Job;
use reelscale::internals::partition::Grid;
use reelscale::internals::report::{Events, Report};
use reelscale::internals::train::{Checkpoints, Data, Run, Setting, host_of};
use serde_json::Value;

/// Speeds that change with every question, for each rank in another way; a fifth rank is as fast as
/// the first.
const HOSTILE: [[u64; 4]; 5] = [
    [1, 1, 4, 16],
    [u64::MAX, 1, 0, 3],
    [7, 7, 7, 7],
    [0, u64::MAX / 3, u64::MAX / 2, 1],
    [1000, 100, 10, 1],
];

/// What is left of a run: its pin where it is done, and the class blocks that each rank owned in
/// the end.
struct Ran {
    pin: Option<Pin>,
    class_blocks: Vec<usize>,
    /// What its record says of shares.
    told: Vec<Value>,
    /// How often each rank was asked.
    asked: usize,
}

/// Runs `job` on four ranks whose speeds `HOSTILE` says from `first` on, in `folder`; the run is
/// told to stop with the question of this number.
fn run(job: &Job, folder: &Path, first: usize, stop_at: Option<usize>) -> Ran {
    run_on(4, job, folder, (first, stop_at))
}

/// The same on so many ranks.
fn run_on(ranks: usize, job: &Job, folder: &Path, (first, stop_at): (usize, Option<usize>)) -> Ran {
    let path = folder.join("metrics.jsonl");
    let asked = AtomicUsize::new(0);
    let outcomes = run_threads(ranks, |comm: &Comm| -> Result<_> {
        let data = Data::open(comm, job)?;
        let checkpoints = Checkpoints::in_folder(comm, &folder.join("checkpoints"), job, &data);
        let events = comm.is_root().then(|| Events::new(Disk::default(), &path));
        let (mut report, mut question) = (Report::new(events), 0);
        let (rank, flag) = (comm.rank(), comm.stop_flag().clone());
        let setting = Setting::new(comm, job, data)?.with_speeds(Box::new(|| {
            if stop_at == Some(question) {
                flag.store(true, Relaxed);
            }
            question += 1;
            asked.fetch_max(question, Relaxed);
            HOSTILE[(first + question - 1) % HOSTILE.len()][rank % 4]
        }));
        let run = Run::begin(setting, host_of(job)?, &mut report, Some(checkpoints))?;
        let trained = run.finish()?;
        let own = trained.annotator.experts.own().len();
        let told = trained.sessions.last().and_then(|last| last["balance"].as_array().cloned());
        Ok((trained.done, weights(comm, &trained.annotator), own, told))
    });
    let outcomes = outcomes.unwrap();
    let (done, hash, _, told) = outcomes[0].clone();
    let pin = done.then(|| Pin::new(hash, &fs::read_to_string(&path).unwrap()));
    let class_blocks = outcomes.iter().map(|rank| rank.2).collect();
    Ran { pin, class_blocks, asked: asked.into_inner(), told: told.unwrap_or_default() }
}

fn measured(folder: &Path, name: &str, own: &str) -> Job {
    let own = format!("{own}\nrun.balance = \"measured\"\nrun.class_blocks = 7");
    job(folder, name, &own)
}

/// What `job` comes to on one rank.
fn alone(job: &Job) -> Pin {
    Pin::of_run(job, 1)
}

/// Every job, with shares that change between all of its steps, in one go and stopped in between.
fn check(jobs: &[(&str, &str)], frames: usize) {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), frames);
    for (index, (name, own)) in jobs.iter().enumerate() {
        let job = measured(folder.path(), name, own);
        let expected = alone(&job);
        let whole = tempfile::tempdir().unwrap();
        let Ran { pin, asked, .. } = run(&job, whole.path(), index, None);
        assert_eq!(pin.as_ref(), Some(&expected), "{name}");
        // Before the first step and between all others.
        assert!(asked > 2 * usize::from(job.rounds.count > 0), "{name}: asked {asked} times");
        let parts = tempfile::tempdir().unwrap();
        let stopped = run(&job, parts.path(), index, Some(asked.min(3) - 1));
        assert!(stopped.pin.is_none(), "{name}: told to stop");
        let Ran { pin, .. } = run(&job, parts.path(), index + 1, None);
        assert_eq!(pin, Some(expected), "{name}, stopped and gone on with other shares");
    }
}

#[test]
fn shares_that_change_between_steps_leave_videos_results_alone() {
    check(VIDEOS, 0);
}

#[test]
fn shares_that_change_between_steps_leave_frames_results_alone() {
    check(FRAMES, 4);
}

/// Grids, ranks, and the fewest slices that they can be dealt.
const GRIDS: [(&str, usize, usize); 7] = [
    ("2x1", 2, 2),
    ("2x1", 3, 4),
    ("2x2", 4, 2),
    ("2x2", 5, 4),
    ("3x2", 6, 12),
    ("4x1", 4, 12),
    ("auto", 4, 12),
];

/// So do slices that go to rows of a grid by speed, and grids that change their shape.
#[test]
fn slices_that_change_between_steps_leave_results_alone() {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 0);
    let jobs: Vec<_> = sliced().collect();
    let (mut shapes, mut uneven) = (Vec::new(), 0);
    for (index, (grid, ranks, least)) in GRIDS.into_iter().enumerate() {
        let fits = jobs.iter().filter(|job| job.2 >= least).cycle().skip(index);
        for (name, own, slices) in fits.step_by(3).take(2) {
            let mut job = measured(folder.path(), name, own);
            if grid == "auto" {
                // So few that one row of ranks isn't the best grid at all speeds.
                job.run.class_blocks = 2;
            }
            let expected = alone(&job);
            job.run.grid = grid.into();
            let parts = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
            let Ran { pin, asked, told, .. } = run_on(ranks, &job, parts[0].path(), (index, None));
            assert_eq!(pin.as_ref(), Some(&expected), "{name} on {grid} of {ranks}");
            let at = Some(asked.min(3) - 1);
            let stopped = run_on(ranks, &job, parts[1].path(), (index, at));
            assert!(stopped.pin.is_none(), "{name} on {grid}: told to stop");
            let again = run_on(ranks, &job, parts[1].path(), (index + 1, None));
            assert_eq!(again.pin, Some(expected), "{name} on {grid} of {ranks}, gone on with");
            for told in told.iter().chain(&again.told) {
                let own = told["slices"].as_array().unwrap().iter();
                let own: Vec<u64> = own.map(|count| count.as_u64().unwrap()).collect();
                assert_eq!(own.iter().sum::<u64>(), *slices as u64, "{told}");
                assert!(own.iter().all(|count| *count > 0), "{told}");
                uneven += usize::from(own.iter().any(|count| count.abs_diff(own[0]) > 1));
                if grid == "auto" {
                    shapes.push(told["grid"].clone());
                }
            }
        }
    }
    println!("{uneven} times slices by speed; shapes chosen: {shapes:?}");
    assert!(uneven > 10, "{uneven} times slices by speed");
    assert!(shapes.iter().any(|shape| *shape != shapes[0]), "{shapes:?}");
}

/// Of equal shares and of those that are said, who owns how many of the class blocks.
#[test]
fn class_blocks_go_to_whoever_is_fast() {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 0);
    let (name, own) = VIDEOS[0];
    let rounds = "pretrain.epochs = 0\nexperts.epochs = 5\nshared.iterations = 5\nrounds.count = 1";
    let mut job = measured(folder.path(), name, &format!("{own}\n{rounds}"));
    let blocks = |job: &Job, first: usize| {
        let parts = tempfile::tempdir().unwrap();
        run(job, parts.path(), first, None).class_blocks
    };
    // The last speeds that were asked for: before the shared step.
    let fast_first = blocks(&job, 2);
    assert_eq!(fast_first, [7, 0, 0, 0]);
    let equal_speeds = blocks(&job, 0);
    assert_eq!(equal_speeds.iter().max(), Some(&2), "{equal_speeds:?}");
    job.run.balance = "equal".into();
    let equal = blocks(&job, 2);
    assert_eq!((equal.iter().min(), equal.iter().max()), (Some(&1), Some(&2)), "{equal:?}");
}

/// The fastest rank takes no more than it has memory for, where its share by speed would be
/// refused.
#[test]
fn shares_stay_within_the_memory_of_ranks() {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 0);
    let (name, own) = VIDEOS[0];
    let wide = "model.shared = [{ dense = 512 }]\nexperts.count = 40\npretrain.epochs = 0\n\
                experts.epochs = 5\nshared.iterations = 5\nrounds.count = 1";
    let job = measured(folder.path(), name, &format!("{own}\n{wide}"));
    let peak = |shares: [usize; 4]| {
        let peaks = run_threads(4, |comm| {
            comm.deal_in(shares.to_vec());
            let data = Data::open(comm, &job)?;
            let grid = Grid::new((1, 4), 1, 4, comm.rank());
            reelscale::internals::train::plan(comm, &job, &data, &grid)
        });
        peaks.unwrap()[0].peak as f64 / (1u64 << 30) as f64
    };
    let (equal, skew) = (peak([1, 1, 1, 1]), peak([1, 1, 4, 16]));
    assert!(skew > 1.2 * equal, "{equal} {skew} GiB");
    let mut tight = job.clone();
    tight.run.memory_gib = 1.05 * equal;
    let refused = run_threads(4, |comm| {
        comm.deal_in(vec![1, 1, 4, 16]);
        Setting::new(comm, &tight, Data::open(comm, &tight)?).map(drop)
    });
    assert_eq!(refused.unwrap_err().exit as u8, 9);
    let parts = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let free = run(&job, parts[0].path(), 3, None);
    let cut = run(&tight, parts[1].path(), 3, None);
    assert_eq!(cut.pin, free.pin);
    assert!(cut.pin.is_some() && cut.class_blocks.iter().max() < free.class_blocks.iter().max());
    let (free, cut) = (free.class_blocks, cut.class_blocks);
    println!("class blocks of ranks: {free:?}, within {:.4} GiB {cut:?}", tight.run.memory_gib);
}
