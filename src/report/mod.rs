//! What a run tells of itself: log lines, how far it has come, `metrics.jsonl`, timers, and the run
//! record. Only rank 0 speaks; numbers over ranks are gathered by others.

mod events;
pub(crate) mod failure;
mod kept;
mod last_validation;
mod lock;
mod log_lines;
mod narrator;
mod pieces;
mod run_directory;
mod run_record;
mod tensorboard;
mod timeline;
mod timers;
mod told;

use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::progress::set_phase;
use timeline::Timeline;

pub use events::Events;
pub(crate) use kept::{EVENTS_BYTES_MAX, Kept, events_of, is_offered};
pub(crate) use last_validation::{LastValidation, ValidatedClass, ValidationFile};
pub(crate) use lock::{HeldDirectory, LOCK, Lock};
pub(crate) use log_lines::{install, thread_is};
pub(crate) use narrator::{Narrator, Pace, Tells};
pub(crate) use pieces::{Pieces, median};
pub(crate) use run_directory::{
    CHECKPOINTS, Finished, JOB, MODEL, SHARDS_READ, Unfinished, read_job, without_record,
};
pub use run_directory::{EarlierRun, RunDirectory};
pub(crate) use run_record::{Machine, RunRecord, host};
pub(crate) use timers::{REPORTED_TIMER, Timer, Timers, WINDOW_WAITS, table};

/// The report of one run on one rank.
pub struct Report {
    clock: Clock,
    started: Instant,
    phase: String,
    events: Option<Events>,
    /// The same for TensorBoard, where that is wanted.
    tensorboard: Option<Events>,
    timeline: Timeline,
    /// On rank 0 of a run that has a directory.
    validation: Option<ValidationFile>,
    /// Of all events without their timing, each joined to that of those before it: the same for
    /// equal runs, wherever they were taken up.
    hash: [u8; 32],
    #[doc(hidden)]
    pub(crate) timers: Timers,
    /// Bytes of the largest checkpoint, on rank 0.
    pub(crate) checkpoint_bytes: u64,
    last: Instant,
}

impl Report {
    /// A report that says nothing and keeps nothing.
    pub fn silent() -> Report {
        Report::new(None)
    }

    /// A report that logs what happens and keeps it in the file `path`, a line of JSON for each
    /// event (`metrics.jsonl`). For rank 0; others are silent.
    pub fn to_file(path: &Path) -> Report {
        Report::new(Some(Events::new(Disk::default(), path)))
    }

    /// A report that keeps events in `events`, on rank 0.
    #[doc(hidden)]
    pub fn new(events: Option<Events>) -> Report {
        Report::with_clock(events, Clock::default())
    }

    /// As `new`, with the times of this clock.
    #[doc(hidden)]
    pub(crate) fn with_clock(events: Option<Events>, clock: Clock) -> Report {
        let now = clock.now();
        let (phase, hash, timers) = ("pretrain".into(), [0; 32], Timers::default());
        Report {
            clock,
            started: now,
            phase,
            events,
            tensorboard: None,
            timeline: Timeline::default(),
            validation: None,
            hash,
            timers,
            checkpoint_bytes: 0,
            last: now,
        }
    }

    /// The same of a run on so many rows, which leaves its events for TensorBoard and what its last
    /// validation has found in these files.
    pub(crate) fn keeping(
        self,
        rows: u64,
        tensorboard: Option<Events>,
        validation: Option<ValidationFile>,
    ) -> Report {
        Report { timeline: Timeline::of_rows(rows), tensorboard, validation, ..self }
    }

    /// Leaves what a validation has found, where there is a place for it.
    pub(crate) fn validated(&mut self, found: impl FnOnce() -> LastValidation) {
        if let Some(file) = &mut self.validation {
            file.put(&found());
        }
    }

    /// Names what the following events belong to.
    #[doc(hidden)]
    pub(crate) fn phase(&mut self, name: &str) {
        self.phase = name.to_string();
        set_phase(name);
    }

    /// Adds an event: to `metrics.jsonl` with the time it came at, and as a log line. What it holds
    /// must have the same bits on any number of ranks.
    #[doc(hidden)]
    pub(crate) fn event(&mut self, event: &Value) {
        self.event_beside(event, json!({}));
    }

    /// The same; the fields of `beside` are kept and shown with it, and aren't part of the hash of
    /// all events.
    #[doc(hidden)]
    pub(crate) fn event_beside(&mut self, event: &Value, beside: Value) {
        let text = event.to_string();
        let joined = Sha256::new().chain_update(self.hash).chain_update(text.as_bytes());
        self.hash = joined.finalize().into();
        let now = self.clock.now();
        let (elapsed, since) = (now - self.started, now - self.last);
        self.last = now;
        set_phase(&format!("after {text}"));
        self.timers.add(event["step"].as_str().unwrap_or("other"), since.as_secs_f64());
        let Some(events) = &mut self.events else { return };
        let mut whole = event.clone();
        for (key, value) in beside.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        let seconds = |time: Duration| (time.as_secs_f64() * 1e3).round() / 1e3;
        whole["timing"] = json!({ "at_seconds": seconds(elapsed), "seconds": seconds(since) });
        let today = self.clock.today().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.timeline.place(&mut whole, elapsed.as_secs_f64(), today.as_secs_f64());
        events.push(&whole.to_string());
        if let Some(file) = &mut self.tensorboard {
            file.push_bytes(&tensorboard::record_of(&whole));
        }
        log::info!("{}", line_of(&self.phase, &whole, since));
    }

    /// Counts the time since the last event for a step that has none to tell of it.
    pub(crate) fn add_since_last(&mut self, step: &str) {
        let now = self.clock.now();
        self.timers.add(step, (now - self.last).as_secs_f64());
        self.last = now;
    }

    /// A digest of all events so far.
    #[doc(hidden)]
    pub fn events_hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The lines of `metrics.jsonl`, on rank 0; nothing elsewhere.
    #[doc(hidden)]
    pub(crate) fn events(&self) -> &[u8] {
        self.events.as_ref().map_or(&[], Events::text)
    }

    /// Makes `metrics.jsonl` hold all events, and `validation.json` the last validation, on rank 0.
    ///
    /// # Errors
    /// Exit 5: it can't be written.
    #[doc(hidden)]
    pub(crate) fn make_events_whole(&mut self) -> Result<()> {
        if let Some(file) = &mut self.tensorboard {
            file.make_whole().map_err(|error| Error::file(file.path(), &error))?;
        }
        if let Some(file) = &mut self.validation {
            file.make_whole().map_err(|error| Error::file(file.path(), &error))?;
        }
        let Some(events) = &mut self.events else { return Ok(()) };
        events.make_whole().map_err(|error| Error::file(events.path(), &error))
    }

    /// Goes on after the events `before`, whose digest is `hash`.
    ///
    /// # Errors
    /// Exit 5: `metrics.jsonl` can't be written.
    #[doc(hidden)]
    pub(crate) fn resume(&mut self, before: &[u8], hash: [u8; 32]) -> Result<()> {
        self.hash = hash;
        self.timeline.resume(before);
        if let Some(file) = &mut self.tensorboard {
            let begun = file.begin(&tensorboard::records_of(before));
            begun.map_err(|error| Error::file(file.path(), &error))?;
        }
        let Some(events) = &mut self.events else { return Ok(()) };
        events.begin(before).map_err(|error| Error::file(events.path(), &error))
    }

    #[doc(hidden)]
    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.since(self.started)
    }
}

/// The steps of a run, as jobs and events name them and as people do.
pub(crate) const STEPS: [(&str, &str); 3] =
    [("pretrain", "pretraining"), ("experts", "expert step"), ("shared", "shared step")];

/// What a whole run is cut into, by the timers of these names; what is left is "other".
pub(crate) const PHASES: [(&str, &str); 4] =
    [("opening", "opening data"), STEPS[0], STEPS[1], STEPS[2]];

/// What people call the phase that the report of a run names so.
pub(crate) fn name_of_phase(phase: &str) -> &str {
    PHASES.iter().find(|known| known.0 == phase).map_or(phase, |known| known.1)
}

/// What people call the step that events name so.
pub(crate) fn name_of_step(step: &str) -> Option<&'static str> {
    STEPS.iter().find(|known| known.0 == step).map(|known| known.1)
}

/// `round 1/2  expert step  epoch 3  loss 3.5142  GAP@20 0.6312  1.2 s`
fn line_of(phase: &str, event: &Value, since: Duration) -> String {
    let mut parts = vec![phase.to_string()];
    // Pretraining is a phase of its own.
    let step = event["step"].as_str().filter(|step| *step != "pretrain");
    parts.extend(step.and_then(name_of_step).map(String::from));
    for name in ["epoch", "iteration"] {
        if let Some(number) = event[name].as_u64() {
            parts.push(format!("{name} {number}"));
        }
    }
    if let Some(loss) = event["loss"].as_f64() {
        parts.push(format!("loss {loss:.5}"));
    }
    let validation = &event["validation"];
    for (key, name) in
        [("gap_at_20", "GAP@20"), ("hit_at_1", "Hit@1"), ("map_full", "MAP"), ("loss", "loss")]
    {
        if let Some(number) = validation[key].as_f64() {
            parts.push(format!("validation {name} {number:.4}"));
        }
    }
    parts.push(format!("{:.1} s", since.as_secs_f64()));
    parts.join("  ")
}
