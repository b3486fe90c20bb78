//! Class blocks that don't fit on a device come and go: the same bits, within the plan.

use std::path::Path;

use reelscale::internals::report::Report;
use reelscale::internals::train::{Data, Run, Setting, host_of};
use reelscale::{Exit, Job, Result, run_threads};

use super::common::pinned_jobs::{FRAMES, VIDEOS, job, shards};
use super::common::pins::Pin;
use super::common::stopped::train;
use super::gpu::{Watched, device_that_is_lost, device_that_stops, missing};
use super::memory::measured_within;

/// About the least memory that a job can do with, of the most that it takes: the same share of it
/// on all ranks, which plan together.
fn least(setting: &mut Setting, free: usize) -> usize {
    let of = |share: f64| (free as f64 * share) as usize;
    let (mut fails, mut works) = (0.0, 1.0);
    for _ in 0..16 {
        let middle = (fails + works) / 2.0;
        match setting.plan_device(Some(of(middle))) {
            Ok(_) => works = middle,
            Err(_) => fails = middle,
        }
    }
    of(works)
}

/// So much of what lies between that and the most.
pub fn share_of(setting: &mut Setting, free: usize, share: f64) -> usize {
    let least = least(setting, free);
    least + ((free - least) as f64 * share) as usize
}

/// A job that learns by mini-batches and one by full batches, and their shards in the folder.
fn with_both_solvers(folder: &Path) -> Vec<(&'static str, Job)> {
    shards(folder, 0);
    let names = ["class-patience-averaging-adam-no-dummy", "features-class-patience-lbfgs-exact"];
    let jobs = VIDEOS.iter().filter(|(name, _)| names.contains(name));
    let jobs: Vec<_> = jobs.map(|(name, own)| (*name, job(folder, name, own))).collect();
    assert_eq!(jobs.len(), names.len());
    jobs
}

/// Whole jobs, with one class block there at a time, and with some that stay, on one rank and on
/// three.
#[test]
fn class_blocks_that_come_and_go_learn_the_same() {
    if missing() {
        return;
    }
    for (jobs, frames) in [(VIDEOS, 0), (FRAMES, 6)] {
        let folder = tempfile::tempdir().unwrap();
        shards(folder.path(), frames);
        let mut streamed = 0;
        for (name, own) in jobs {
            let job = job(folder.path(), name, own);
            let expected = Pin::of_run(&job, 1).weights;
            for (ranks, share) in [(1, 0.0), (1, 0.3), (1, 0.5), (3, 0.0)] {
                let within = |setting: &mut Setting, free| share_of(setting, free, share);
                for rank in measured_within(&job, ranks, within).unwrap() {
                    assert_eq!(rank.model, expected, "{name}, {ranks} ranks, {share}");
                    streamed += usize::from(rank.plan.streams);
                }
            }
        }
        println!("{streamed} ranks streamed, of 6 each of {} jobs", jobs.len());
        assert!(streamed >= jobs.len(), "{streamed} of {} jobs", jobs.len());
    }
}

/// A run that is stopped while blocks come and go goes on on the processor.
#[test]
fn a_run_stops_while_class_blocks_come_and_go() {
    if missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, job) in with_both_solvers(folder.path()) {
        let found = measured_within(&job, 1, least).unwrap().swap_remove(0);
        assert!(found.plan.streams, "{name}");
        let (mut launch, mut stopped) = (1, 0);
        loop {
            let run = tempfile::tempdir().unwrap();
            let device = |comm: &_| {
                let mut device = device_that_stops(Watched::new(), &job, (comm, launch));
                device.keep_to(found.plan.room);
                Ok(device)
            };
            if train(&job, 1, run.path(), device).0 {
                break;
            }
            let ended = train(&job, 2, run.path(), |_| host_of(&job));
            assert_eq!(ended, (true, found.model.clone()), "{name}, stopped at launch {launch}");
            (launch, stopped) = (launch + 7 + launch / 2, stopped + 1);
        }
        assert!(stopped > 4, "{name}: {stopped} stops");
    }
}

/// Wherever the device is lost the run ends with that, also with blocks on their way.
#[test]
fn a_device_may_be_lost_while_class_blocks_come_and_go() {
    if missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, job) in with_both_solvers(folder.path()) {
        let room = measured_within(&job, 1, least).unwrap().swap_remove(0).plan.room;
        let run = |lost_at: usize| -> (Result<()>, usize) {
            let outcomes = run_threads(1, |comm| {
                let (mut device, launches) = device_that_is_lost(&job, lost_at);
                device.keep_to(room);
                let setting = Setting::new(comm, &job, Data::open(comm, &job)?)?;
                let mut report = Report::new(None);
                let run = Run::begin(setting, device, &mut report, None);
                Ok((run.and_then(|run| run.finish().map(drop)), launches.get()))
            });
            outcomes.unwrap().swap_remove(0)
        };
        let (whole, launches) = run(usize::MAX);
        whole.unwrap();
        for lost_at in (0..launches).step_by(launches / 15 + 1) {
            let error = run(lost_at).0.unwrap_err();
            assert_eq!(error.exit, Exit::Resources, "{name}, launch {lost_at}: {error}");
        }
    }
}
