//! Runs on thread ranks that may stop, and go on from their checkpoints.

use std::io;
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reelscale::internals::checkpoint::Store;
use reelscale::internals::device::Device;
use reelscale::internals::disk::{Disk, DiskCall, DiskHook, Go};
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

/// A disk that tells a run to stop once a checkpoint of it lasts.
pub fn stops_once_saved(comm: &Comm) -> Disk {
    Disk::hooked(Arc::new(Stops(comm.stop_flag().clone())))
}

#[derive(Debug)]
struct Stops(Arc<AtomicBool>);

impl DiskHook for Stops {
    fn around(&self, _: &DiskCall, _: &'static Location<'static>, go: Go) -> io::Result<()> {
        go()
    }

    fn lasts(&self, _: &Path) {
        self.0.store(true, Ordering::Relaxed);
    }
}
