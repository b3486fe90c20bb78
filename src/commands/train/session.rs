//! What a start says of itself, to other ranks and in records, and the time that it has.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::result::unix_seconds;
use super::{Args, Start, Surroundings};
use crate::checkpoint::Store;
use crate::comm::Comm;
use crate::job::Job;
use crate::report::{CHECKPOINTS, EarlierRun, host};
use crate::signals::{self, Deadline};
use crate::train::{Checkpoints, Data, MARGIN, Tries};

impl Start<'_> {
    /// The checkpoints of the run, and its deadline.
    pub(crate) fn checkpoints(&self, job: &Job, whole_job: &Job, data: &Data) -> Checkpoints {
        let Surroundings { disk, clock, simulated } = self.surroundings;
        let (comm, args) = (self.comm, self.args);
        let mut session = session(&self.found, self.started, comm, job.run.threads);
        session["nodes"] = json!(self.nodes);
        let (identity, contents) = (data.identity(), data.contents());
        let identity =
            json!({ "job": whole_job.to_toml(), "data": identity, "contents": contents });
        let store = Store::new(args.output.join(CHECKPOINTS), disk.clone());
        let timed = comm.is_root() && !simulated;
        let deadline = timed.then(|| end(self.started, args.max_time)).flatten();
        let deadline = deadline.map(|end| Deadline::watch(end, MARGIN, comm.stop_flag()));
        let held = self.directory.as_ref().map(|directory| directory.held().clone());
        Checkpoints::new(store, job.checkpoint.clone(), identity, session, deadline)
            .with_clock(clock.clone())
            .with_held(held)
    }
}

/// For how long the model is tried to be put in place; REELSCALE_KEEP_SECONDS is for tests.
pub(crate) fn tries() -> Tries {
    let seconds = std::env::var("REELSCALE_KEEP_SECONDS").ok();
    let whole = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let default = Tries::default();
    Tries { whole: whole.unwrap_or(default.whole), ..default }
}

/// What must be the same on all ranks: the job, where the run is kept and how it ends.
pub(crate) fn shared_by_ranks(args: &Args, job: &Job) -> String {
    let Args {
        job: _,
        overrides: _,
        max_time: _,
        no_lock: _,
        progress: _,
        output,
        stop_exit_code,
        verify,
    } = args;
    let (balance, every) = (&job.run.balance, job.experts.validate_every);
    let job = job.computed();
    format!(
        "{job}run.balance = {balance}\nexperts.validate_every = {every}\n--output = {output:?}\n\
         --stop-exit-code = {stop_exit_code}\n--verify = {verify}\n"
    )
}

/// What the run's record keeps of this start. Changes of the job are logged, too.
fn session(found: &EarlierRun, started: SystemTime, comm: &Comm, threads: usize) -> Value {
    let mut changes = Vec::new();
    if let EarlierRun::Unfinished(run) = found {
        for (key, before, now) in &run.changes.harmless {
            changes.push(format!("{key}: {before} -> {now}"));
        }
    }
    changes.iter().for_each(|change| log::info!("changed since the run began: {change}"));
    json!({
        "started_unix_seconds": unix_seconds(started),
        "host": host(),
        "ranks": comm.size(),
        "ranks_are": comm.kind(),
        "threads_per_rank": threads,
        "slurm_job": std::env::var("SLURM_JOB_ID").ok(),
        "changes": changes,
    })
}

/// The end of the time that this start has, if there is one.
fn end(started: SystemTime, max_time: Option<Duration>) -> Option<SystemTime> {
    let own = max_time.map(|time| started + time);
    own.into_iter().chain(signals::slurm_end()).min()
}
