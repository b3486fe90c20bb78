//! Runs on thread ranks that may stop, and go on from their checkpoints.

use std::path::Path;

use reelscale::internals::checkpoint::Store;
use reelscale::internals::device::Device;
use reelscale::internals::disk::Disk;
use reelscale::internals::report::Report;
use reelscale::internals::train::{Checkpoints, Data, Run, Setting};
use reelscale::{Comm, Job, Result, run_threads};
use serde_json::json;

use super::pins::weights;

/// Trains, or goes on, with checkpoints in `folder`: whether that is done, and the weights.
pub fn train<D: Device>(
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
