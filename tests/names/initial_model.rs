//! Small runs, which may be stopped and gone on with.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use reelscale::{Checkpoints, Data, Job, Report, Result, run_threads, save, train};

const JOB: &str = "
[model]
shared = [{ dense = 12, activation = \"relu\" }]
[pretrain]
epochs = 1
batch = 128
experts = 2
[experts]
count = 3
epochs = 1
batch = 128
[shared]
iterations = 1
[rounds]
count = 1
[run]
threads = 1
row_blocks = 8
";

/// A job on this shard, with more lines `section.key = value`.
pub fn job(shard: &Path, sets: &str) -> Job {
    let train = format!("data.train = [\"{}\"]", shard.display());
    let lines = sets.lines().map(str::trim).filter(|line| !line.is_empty());
    let sets: Vec<String> = std::iter::once(train).chain(lines.map(String::from)).collect();
    Job::parse(JOB, "job", &sets).unwrap()
}

/// Trains to the end, or until the first boundary where it is told to `stop`; the model of a run
/// that is done is saved in `model`. Whether it is done.
pub fn train_until(
    job: &Job,
    ranks: usize,
    checkpoints: &Path,
    model: &Path,
    stop: bool,
) -> Result<bool> {
    let done = run_threads(ranks, |comm| {
        let data = Data::open(comm, job)?;
        let checkpoints = Checkpoints::in_folder(comm, checkpoints, job, &data);
        comm.stop_flag().store(stop, Relaxed);
        let trained = train(comm, job, data, &mut Report::silent(), Some(checkpoints))?;
        if trained.done {
            save(comm, model, &trained.annotator)?;
        }
        Ok(trained.done)
    });
    Ok(done?.swap_remove(0))
}
