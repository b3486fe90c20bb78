//! Two devices give the same bits: the pinned jobs on one that has nothing of the host's.

mod auto;
mod balance;
mod best;
mod between;
mod blocks;
mod calls;
mod column;
#[path = "../common/mod.rs"]
mod common;
mod cuda;
mod declared;
mod deferred;
mod doctor;
mod gpu;
mod grids;
mod lanes;
mod memory;
mod network;
mod program;
mod resting;
mod rows;
mod scores;
mod shuttle;
mod signs;
mod stand_in;
mod stops;
mod storage;
mod stream;
mod textbook;
mod turns;
mod visits;
mod windows;

use std::rc::Rc;

use common::pinned_jobs::{FRAMES, VIDEOS, job, shards, sliced};
use common::pins::{Literals, Pin};
use reelscale::internals::comm::run_threads;
use reelscale::internals::error::{Exit, Result};
use reelscale::internals::job::Job;
use reelscale::internals::report::Report;
use reelscale::internals::train::{Data, Run, Setting};
use textbook::Textbook;

/// Every job, on one rank and on three.
fn check(literals: &str, jobs: &[(&str, &str)], frames: usize) {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), frames);
    let mut literals = Literals::read(literals);
    for (name, own) in jobs {
        let job = job(folder.path(), name, own);
        for ranks in [1, 3] {
            let device = |_: &_| Ok(Textbook::new(job.model.epsilon));
            let pin = Pin::of_run_on(&job, &vec![1; ranks], device);
            literals.check(name, &format!("the tests' device, {ranks} ranks"), pin);
        }
    }
    literals.finish();
}

#[test]
fn jobs_on_videos_come_to_their_literals() {
    check("videos.txt", VIDEOS, 0);
}

#[test]
fn jobs_on_frames_come_to_their_literals() {
    check("frames.txt", FRAMES, 6);
}

#[test]
fn jobs_of_several_slices_come_to_their_literals() {
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 0);
    let mut literals = Literals::read("slices.txt");
    for (name, own, _) in sliced() {
        let job = job(folder.path(), &name, &own);
        let device = |_: &_| Ok(Textbook::new(job.model.epsilon));
        literals.check(&name, "the tests' device", Pin::of_run_on(&job, &[1, 1], device));
    }
    literals.finish();
}

/// How three ranks end of which the second has a device that is lost at a call, and how many calls
/// it was asked.
fn outcomes(job: &Job, lost_at: usize) -> Vec<(Result<()>, usize)> {
    let outcomes = run_threads(3, |comm| {
        let lost_at = if comm.rank() == 1 { lost_at } else { usize::MAX };
        let device = Textbook::new(job.model.epsilon).lost_at(lost_at);
        let (meter, data) = (Rc::clone(&device.meter), Data::open(comm, job)?);
        let mut report = Report::new(None);
        let run = Run::begin(Setting::new(comm, job, data)?, device, &mut report, None);
        let outcome = run.and_then(|run| run.finish().map(drop));
        assert_eq!(meter.held.get(), 0, "all memory was given back");
        let (peak, up, down) = (meter.peak.get(), meter.up.get(), meter.down.get());
        println!("rank {}: peak {peak} bytes, {up} up, {down} down", comm.rank());
        Ok((outcome, meter.calls.get()))
    });
    outcomes.unwrap()
}

/// Other ranks neither hang nor go on: all tell the same.
#[test]
fn a_device_that_is_lost_ends_the_run_on_all_ranks() {
    let wanted = ["patience-adagrad-adaptive-no-dummy", "average-gating-lbfgs-standardise"];
    for (jobs, frames) in [(VIDEOS, 0), (FRAMES, 6)] {
        let folder = tempfile::tempdir().unwrap();
        shards(folder.path(), frames);
        for (name, own) in jobs.iter().filter(|job| wanted.contains(&job.0)) {
            let job = job(folder.path(), name, own);
            let whole = outcomes(&job, usize::MAX);
            assert!(whole.iter().all(|rank| rank.0.is_ok()), "{name}");
            let calls = whole[1].1;
            for lost_at in (0..calls).step_by(calls / 40 + 1) {
                for (outcome, _) in outcomes(&job, lost_at) {
                    let error = outcome.unwrap_err();
                    assert_eq!(error.exit, Exit::Resources, "{name}, call {lost_at}: {error}");
                    assert!(error.text.contains("is lost"), "{name}, call {lost_at}: {error}");
                }
            }
        }
    }
}
