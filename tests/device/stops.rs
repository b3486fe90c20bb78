//! Runs that are stopped on one device and go on on the other.

use std::path::Path;

use reelscale::internals::checkpoint::Store;
use reelscale::internals::comm::{Comm, run_threads};
use reelscale::internals::device::Device;
use reelscale::internals::disk::Disk;
use reelscale::internals::error::Result;
use reelscale::internals::job::Job;
use reelscale::internals::report::Report;
use reelscale::internals::train::{Checkpoints, Data, Run, Setting, host_of};
use serde_json::json;

use super::common::pinned_jobs::{VIDEOS, job, shards};
use super::common::pins::{Pin, weights};
use super::textbook::Textbook;

/// Averages, classes that stop by themselves, both kinds of solvers, negatives, dropout.
const JOBS: [&str; 3] = [
    "class-patience-averaging-adam-no-dummy",
    "features-class-patience-lbfgs-exact",
    "tanh-negatives-dropout-averaging-adam",
];

/// Trains, or goes on, with checkpoints in `folder`: whether that is done, and the weights.
fn train<D: Device>(
    job: &Job,
    ranks: usize,
    folder: &Path,
    device: impl Fn(&Comm) -> Result<D> + Sync,
) -> (bool, String) {
    let outcomes = run_threads(ranks, |comm| {
        let data = Data::open(comm, job)?;
        let store = Store::new(folder.to_path_buf(), Disk::default());
        let identity = json!({ "data": data.identity(), "job": job.to_toml() });
        let checkpoints = Checkpoints::new(store, job.checkpoint.clone(), identity, json!(1), None);
        let mut report = Report::new(None);
        let setting = Setting::new(comm, job, data)?;
        let run = Run::begin(setting, device(comm)?, &mut report, Some(checkpoints))?;
        let trained = run.finish()?;
        Ok((trained.done, weights(comm, &trained.annotator)))
    });
    outcomes.unwrap().swap_remove(0)
}

/// Stopped at any call of the one device, it goes on on the other, on other ranks, to the same.
#[test]
fn a_stopped_run_goes_on_on_the_other_device() {
    let data = tempfile::tempdir().unwrap();
    shards(data.path(), 0);
    for (name, own) in VIDEOS.iter().filter(|job| JOBS.contains(&job.0)) {
        let job = job(data.path(), name, own);
        let expected = Pin::of_run(&job, 1).weights;
        let (mut call, mut stopped) = (1, 0);
        loop {
            let folder = tempfile::tempdir().unwrap();
            let textbook = |comm: &Comm| {
                let device = Textbook::new(job.model.epsilon);
                // One rank is told, and tells the other.
                Ok(match comm.rank() {
                    1 => device.stopping_at(call, comm),
                    _ => device,
                })
            };
            if train(&job, 2, folder.path(), textbook).0 {
                break;
            }
            let ended = train(&job, 3, folder.path(), |_| host_of(&job));
            assert_eq!(ended, (true, expected.clone()), "{name}, stopped at call {call}");
            (call, stopped) = (call + 1 + call / 4, stopped + 1);
        }
        assert!(stopped > 10, "{name}: {stopped} stops");
    }
}
