//! What ranks take of their devices' memory is what was planned: the queue counts every byte.

use std::collections::BTreeMap;
use std::fs;

use reelscale::internals::cost::device_memory::DevicePlan;
use reelscale::internals::report::Report;
use reelscale::internals::train::{Data, Run, Setting};
use reelscale::{Exit, Job, Result, run_threads};

use super::common::pinned_jobs::{FRAMES, VIDEOS, job, shards};
use super::common::pins::weights;
use super::common::{self, reelscale};
use super::gpu::{device_of, missing};

/// Jobs whose devices hold most while rows are scored, in the shared step and in the expert step.
const OTHERS: &[(&str, &str)] = &[
    (
        "scoring",
        "data.validation_fraction = 0.5
         pretrain.epochs = 0
         experts.batch = 4
         experts.count = 1
         experts.window = 4
         shared.iterations = 0",
    ),
    (
        "shared step",
        "pretrain.epochs = 0
         experts.batch = 4
         experts.count = 1
         experts.window = 4
         model.shared = [{ dense = 70, activation = \"relu\" }, { gating = true }]",
    ),
    (
        "expert step",
        "pretrain.epochs = 0
         experts.averaging = 0.9
         experts.window = 64
         shared.iterations = 0",
    ),
];

/// What a rank had planned, the most bytes that its device has held, and the model's hash.
pub struct Measured {
    pub plan: DevicePlan,
    most: usize,
    pub model: String,
}

/// Trains on ranks whose devices take at most `share` of what the job takes where it is free to.
fn measured(job: &Job, ranks: usize, share: f64) -> Result<Vec<Measured>> {
    measured_within(job, ranks, |_, free| (free as f64 * share) as usize)
}

/// Trains on ranks whose devices take at most what `limit` makes of what the job takes where it is
/// free to. Their queues are bounded by that.
pub fn measured_within(
    job: &Job,
    ranks: usize,
    limit: impl Fn(&mut Setting, usize) -> usize + Sync,
) -> Result<Vec<Measured>> {
    run_threads(ranks, |comm| {
        let mut setting = Setting::new(comm, job, Data::open(comm, job)?)?;
        let free = setting.plan_device(Some(usize::MAX))?.expect("a device").peak();
        let limit = limit(&mut setting, free);
        let plan = setting.plan_device(Some(limit))?.expect("a device");
        assert!(plan.peak() <= limit, "{} bytes planned of {limit}", plan.peak());
        let mut device = device_of(job, limit);
        device.keep_to(plan.room);
        let queue = device.queue().clone();
        let mut report = Report::new(None);
        let trained = Run::begin(setting, device, &mut report, None)?.finish()?;
        let (held, most) = queue.held();
        assert_eq!(held, 0, "all memory was given back");
        Ok(Measured { plan, most, model: weights(comm, &trained.annotator) })
    })
}

/// The plan without a part of it.
fn without(plan: &DevicePlan, name: &str) -> usize {
    let mut plan = plan.clone();
    plan.phases.iter_mut().for_each(|phase| phase.parts.retain(|part| part.0 != name));
    plan.peak()
}

/// No device ever holds more than was planned, which it may not; and where any part of the plan
/// were missing, some rank of some job would.
#[test]
fn no_device_holds_more_than_was_planned() {
    if missing() {
        return;
    }
    // Whether a rank has held more than the plan without this part.
    let mut needed: BTreeMap<&str, bool> = BTreeMap::new();
    for (jobs, frames) in [(VIDEOS, 0), (OTHERS, 0), (FRAMES, 6)] {
        let folder = tempfile::tempdir().unwrap();
        shards(folder.path(), frames);
        for (name, own) in jobs {
            let job = job(folder.path(), name, own);
            for ranks in [1, 3] {
                for Measured { plan, most, .. } in measured(&job, ranks, 1.0).unwrap() {
                    let planned = plan.peak();
                    println!("{name}, {ranks} ranks: planned {planned}, held {most}");
                    for (part, _) in plan.phases.iter().flat_map(|phase| &phase.parts) {
                        *needed.entry(part).or_default() |= without(&plan, part) < most;
                    }
                }
            }
        }
    }
    // Frames are counted as many as a video may have, of which these have few.
    let idle: Vec<_> = needed.iter().filter(|part| !part.1 && *part.0 != "frames").collect();
    assert!(idle.is_empty(), "nothing needs {idle:?}");
}

/// With less memory logits and waves are smaller, down to what is told not to suffice.
#[test]
fn less_memory_gives_the_same_model() {
    if missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    shards(folder.path(), 0);
    let (name, own) = VIDEOS.iter().find(|job| job.0.contains("averaging-adam")).unwrap();
    let job = job(folder.path(), name, own);
    let free = measured(&job, 2, 1.0).unwrap();
    let (mut share, mut smaller) = (0.97, 0);
    let error = loop {
        match measured(&job, 2, share) {
            Ok(all) => assert!(all.iter().all(|rank| rank.model == free[0].model), "{share}"),
            Err(error) => break error,
        }
        (share, smaller) = (share - 0.03, smaller + 1);
    };
    assert!(smaller > 1, "it takes less than {share} of {} bytes", free[0].plan.peak());
    assert_eq!(error.exit, Exit::Resources);
    assert!(error.text.contains("run.device_memory_gib: "), "{error}");
}

#[test]
fn a_job_that_does_not_fit_is_told_before_it_begins() {
    if missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    common::shards(&folder.path().join("data"), 300, 60, 20);
    let text = format!("[data]\ntrain = [\"{}/data/*.h5\"]\n", folder.path().display());
    fs::write(folder.path().join("job.toml"), text).unwrap();
    let output = folder.path().join("run");
    let train = reelscale("train --set run.device=opencl --set run.device_memory_gib=0.0001");
    let train = train.path(&folder.path().join("job.toml")).arg("--output").path(&output);
    let told = train.fails_with(9);
    for part in ["found 0.0001, this needs 0.00", "(pretraining: ", "weights ", "; hint: more"] {
        assert!(told.contains(part), "{part:?}: {told}");
    }
    assert!(!output.exists());
}
