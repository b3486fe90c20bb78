//! When a run writes checkpoints, and what it says of itself in them.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::data::Data;
use super::rounds::Standing;
use super::setting::Setting;
use crate::checkpoint::{Loaded, Store};
use crate::clock::Clock;
use crate::comm::Comm;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::job::{CheckpointJob, Job};
use crate::report::HeldDirectory;
use crate::signals::Deadline;

/// A run starts to stop so long before its deadline, and earlier by the time that its checkpoints
/// have taken.
pub(crate) const MARGIN: Duration = Duration::from_secs(15);
/// Tries to write the last checkpoint of a run that stops.
const TRIES: usize = 3;
const BETWEEN_TRIES: Duration = Duration::from_secs(2);
/// A checkpoint in the middle of a run that couldn't be written is tried again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// Between two steps a checkpoint is written once so many times the duration of the last one have
/// passed since then. So short steps of large models spend at most the inverse of this, 2 %, on
/// checkpoints.
const COSTS_BETWEEN: u32 = 50;

/// The checkpoints of a run.
pub struct Checkpoints {
    #[doc(hidden)]
    pub(crate) store: Store,
    job: CheckpointJob,
    /// Which run they belong to: its `job`, its `data` and the `contents` of its shards.
    #[doc(hidden)]
    pub(crate) identity: Value,
    /// The starts of the run: on how many ranks, where. The last is this one.
    #[doc(hidden)]
    pub(crate) sessions: Vec<Value>,
    /// The end of the time that the run has, on rank 0.
    deadline: Option<Deadline>,
    #[doc(hidden)]
    pub(crate) clock: Clock,
    /// Whether the run directory is still where it was. Rank 0 alone has it.
    held: Option<HeldDirectory>,
    last: Instant,
    /// How long the last one took.
    cost: Duration,
    /// Whether the last one couldn't be written.
    failed: bool,
    /// Boundaries since the last checkpoint.
    boundaries: usize,
    /// Those of this start, and seconds spent in writing them.
    #[doc(hidden)]
    pub(crate) count: usize,
    #[doc(hidden)]
    pub(crate) seconds: f64,
}

impl Checkpoints {
    /// Those of the run of this job on these data, in `folder`, by rank 0's clock as the job says
    /// (`checkpoint.minutes`, `checkpoint.every`). A run is told from others by job and data:
    /// what another has left there is refused when training begins.
    pub fn in_folder(comm: &Comm, folder: &Path, job: &Job, data: &Data) -> Checkpoints {
        let (rows, contents) = (data.identity(), data.contents());
        let identity = json!({ "job": job.to_toml(), "data": rows, "contents": contents });
        let session = json!({
            "ranks": comm.size(),
            "ranks_are": comm.kind(),
            "threads_per_rank": job.run.threads,
        });
        let store = Store::new(folder.to_path_buf(), Disk::default());
        Checkpoints::new(store, job.checkpoint.clone(), identity, session, None)
    }
}

#[doc(hidden)]
impl Checkpoints {
    pub fn new(
        store: Store,
        job: CheckpointJob,
        identity: Value,
        session: Value,
        deadline: Option<Deadline>,
    ) -> Checkpoints {
        let clock = Clock::default();
        let (last, cost, sessions) = (clock.now(), Duration::ZERO, vec![session]);
        let (failed, boundaries, seconds, held) = (false, 0, 0.0, None);
        Checkpoints {
            store,
            job,
            identity,
            sessions,
            deadline,
            clock,
            held,
            last,
            cost,
            failed,
            boundaries,
            count: 0,
            seconds,
        }
    }

    /// The same, by another clock from now on.
    pub(crate) fn with_clock(mut self, clock: Clock) -> Checkpoints {
        (self.last, self.clock) = (clock.now(), clock);
        self
    }

    /// The same, in the run directory that `held` watches, on rank 0.
    pub(crate) fn with_held(self, held: Option<HeldDirectory>) -> Checkpoints {
        Checkpoints { held, ..self }
    }

    /// Whether it is time for the next one, by rank 0's clock and count.
    pub(crate) fn due(&mut self) -> bool {
        self.boundaries += 1;
        let (passed, minutes) = (self.clock.since(self.last), self.job.minutes);
        let by_count = self.job.every > 0 && self.boundaries >= self.job.every;
        let by_time = minutes > 0.0 && passed >= Duration::from_secs_f64(60.0 * minutes);
        by_count || by_time || self.failed && passed >= AGAIN
    }

    /// The same between two steps.
    pub(crate) fn due_between_steps(&self) -> bool {
        self.clock.since(self.last) >= COSTS_BETWEEN * self.cost
    }

    /// What `state.json` says.
    pub(crate) fn about(&self, standing: &Standing, setting: &Setting) -> Value {
        let mut about = self.identity.clone();
        // For who exports the model and has no rows.
        about["shape"] = json!(setting.shape);
        if let Some(names) = setting.data.names() {
            about["class_names"] = json!(names.all());
        }
        about["sessions"] = json!(self.sessions);
        about["standing"] = json!(standing);
        about
    }

    /// Makes `loaded` the past of this run.
    ///
    /// # Errors
    /// Exit 6: it is of other data, or of another job.
    pub(crate) fn follow(&mut self, job: &Job, loaded: &Loaded) -> Result<()> {
        let about = &loaded.about;
        if let (Some(before), Some(_)) = (about["job"].as_str(), self.identity["job"].as_str()) {
            let changes = job.changes_since(before)?;
            if let Some((key, before, now)) = changes.forbidden.first() {
                let text = format!("the checkpoint is of another job: {key}: {before}, not {now}");
                return Err(Error::run_directory(text).hint("a new --output"));
            }
        }
        let (found, expected) = (&about["data"], &self.identity["data"]);
        let then = &about["contents"];
        if then.is_null() {
            log::warn!(
                "the checkpoint doesn't hold what its shards contained: whether they are the same \
                 is seen by their sizes alone"
            );
        } else {
            let now = &self.identity["contents"];
            same_contents(then, now)?;
            if then["initial"] != now["initial"] {
                let (now, then) = (&now["initial"], &then["initial"]);
                let text =
                    format!("model.initial: found the model {now}, the run began with {then}");
                return Err(Error::run_directory(text).hint("the same model, or a new --output"));
            }
        }
        // A shard that was sealed or written again holds the same rows in other chunks.
        let rows =
            |data: &Value| [&data["train"]["rows"], &data["validation"]["rows"]].map(Value::clone);
        if then.is_null() && found != expected || rows(found) != rows(expected) {
            let text = format!("the checkpoint is of the data {found}, the job names {expected}");
            return Err(Error::run_directory(text).hint("the same shards, or a new --output"));
        }
        let before = about["sessions"].as_array().cloned().unwrap_or_default();
        if let Some(Value::Object(this)) = self.sessions.last_mut() {
            this.insert("checkpoint".into(), json!(loaded.number));
        }
        self.sessions.splice(0..0, before);
        Ok(())
    }

    /// Writes one; what can't be written is tried again if it is the last. Collective.
    ///
    /// # Errors
    /// Exit 5; exit 6 where the run directory was moved away; common to all ranks.
    pub(crate) fn write(
        &mut self,
        comm: &Comm,
        last: bool,
        write: impl Fn(&Store) -> Result<()>,
    ) -> Result<()> {
        let started = self.clock.now();
        comm.agree(self.held.as_ref().map_or(Ok(()), HeldDirectory::check))?;
        let mut outcome = write(&self.store);
        for _ in 1..TRIES {
            if outcome.is_ok() || !last {
                break;
            }
            self.clock.sleep(BETWEEN_TRIES);
            outcome = write(&self.store);
        }
        let now = self.clock.now();
        (self.last, self.cost, self.boundaries) = (now, now - started, 0);
        self.failed = outcome.is_err();
        self.seconds += self.cost.as_secs_f64();
        self.count += usize::from(outcome.is_ok());
        if self.cost.as_secs() > 0 {
            log::info!("checkpoint  {:.1} s", self.cost.as_secs_f64());
        }
        if let Some(deadline) = &self.deadline {
            deadline.lengthen(MARGIN + 3 * self.cost);
        }
        match outcome {
            Err(error) if !last => {
                if comm.is_root() {
                    log::warn!("{}; going on, the checkpoint before it stays", error.text);
                }
                Ok(())
            }
            outcome => outcome,
        }
    }
}

/// Whether the shards that the job names now hold what they held `then`.
///
/// # Errors
/// Exit 6: the first that doesn't.
fn same_contents(then: &Value, now: &Value) -> Result<()> {
    for list in ["train", "validation"] {
        let shards = |contents: &Value| contents[list].as_array().cloned().unwrap_or_default();
        let (then, now) = (shards(then), shards(now));
        let refused = |text: String| {
            let error = Error::run_directory(format!("data.{list}: {text}"));
            Err(error.hint("the same shards, or a new --output"))
        };
        for (index, (then, now)) in then.iter().zip(&now).enumerate() {
            // Shards may have been moved or renamed, as long as they hold the same rows.
            if then[1] != now[1] {
                let name = |shard: &Value| shard[0].as_str().unwrap_or_default().to_string();
                return refused(format!(
                    "{}: found other rows than the checkpoint was made of: content {}, expected \
                     {} of {} (shard {index})",
                    name(now),
                    now[1].as_str().unwrap_or("unknown"),
                    then[1].as_str().unwrap_or("unknown"),
                    name(then),
                ));
            }
        }
        if then.len() != now.len() {
            let (now, then) = (now.len(), then.len());
            return refused(format!("found {now} shards, the checkpoint was made of {then}"));
        }
    }
    Ok(())
}
