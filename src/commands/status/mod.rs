//! `reelscale status`: where a run stands, from its directory alone. Reads, takes no lock, and
//! bears files that are being written.

mod holder;
mod left;
mod position;
mod text;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use self::holder::{Alive, Holder, signs};
use self::left::Left;
use self::position::{Position, Step};
use super::examples;
use super::out::{self, For, Format};
use super::train::refusal;
use crate::checkpoint::newest_listed;
use crate::disk::read_text;
use crate::error::Result;
use crate::human::json_line;
use crate::job::Job;
use crate::report::{CHECKPOINTS, EVENTS_BYTES_MAX, Kept, RunDirectory, events_of, read_job};

/// Says where a run stands: step, round and epoch, since when, what is left, who computes it, its
/// last checkpoint.
///
/// Exit code 0 for a run that goes on, was stopped or is finished. Reads the run directory only, so
/// it may be asked from any machine that sees it, and takes no lock.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = examples::STATUS)]
pub(crate) struct Args {
    /// Directory of the run.
    run: PathBuf,
    /// For people, or one JSON object.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Runs alone, without MPI.
///
/// # Errors
/// Exit 6: there is no run directory; exit 5: standard output takes nothing.
pub(crate) fn run(args: &Args) -> Result<()> {
    let found = found(&args.run)?;
    out::print_here(
        For::Reading,
        &match args.format {
            Format::Json => json_line(&found),
            Format::Text => text::text(&found),
        },
    )
}

/// All that is known.
fn found(run: &Path) -> Result<Value> {
    let job = read_job(run)?;
    let record = RunDirectory::record_of(run).unwrap_or_default();
    let metrics = run.join("metrics.jsonl");
    // A run that has just begun has none yet.
    let events = events_of(&read_text(&metrics, EVENTS_BYTES_MAX).unwrap_or_default());
    let (checkpoint, unreadable) = match newest_listed(&run.join(CHECKPOINTS)) {
        Ok(found) => (found, None),
        Err(error) => (None, Some(error)),
    };
    let about = checkpoint.as_ref().map_or(&Value::Null, |(_, about)| about);
    let holder = Holder::of(run);
    let state = State::of(&holder, &record);
    let position = match state {
        State::Finished => Position::done(&job),
        _ => Position::of(&job, &events, &about["standing"]),
    };
    let silent = age(&metrics);
    let running = matches!(state, State::Running | State::Unknown);
    let unreadable = unreadable.filter(|_| !running && state != State::Finished);
    let checkpoints_unreadable = unreadable.is_some();
    // As train looks: at the record and the model first.
    let by_record = refusal(run, &job).filter(|_| !running);
    let record_refused = by_record.is_some();
    let refused = by_record.or(unreadable);
    // The record of an earlier start says nothing of this one.
    let ended = matches!(state, State::Finished | State::Stopped | State::Failed);
    let recorded = Some(&record).filter(|_| ended).unwrap_or(&Value::Null);
    let seconds = recorded["report"]["seconds"].as_f64().or(recorded["seconds"].as_f64());
    // Those of a start count from when it began to open its data.
    let began = recorded["started_unix_seconds"].as_u64();
    let sessions = recorded["sessions"].as_array();
    let took = sessions.and_then(|all| all.last()?["seconds"].as_f64());
    let took = took.or(recorded["seconds"].as_f64()).map(|took| took.ceil() as u64);
    let under_way = Some(position.step).filter(|step| *step != Step::Done);
    let left = Left::of(&job, &events, &position);
    let kept = record["kept"].as_object().filter(|_| state == State::Finished);
    let kept =
        kept.map(|kept| json!(kept)).or_else(|| Some(json!(Kept::of(&events, &job.experts)?)));
    let since = holder.started.or(record["started_unix_seconds"].as_u64());
    let last = events.last().unwrap_or(&Value::Null);
    let starts = starts(&record, &about["sessions"], &holder);
    Ok(json!({
        "run": run.display().to_string(),
        "state": state.name(),
        "reason": recorded["error"].as_str().or(recorded["reason"].as_str()),
        "refused": refused.map(|error| error.text),
        "record_refused": record_refused,
        "step": position.step.name(),
        "round": position.round,
        "rounds": job.rounds.count,
        "done": under_way.map(|_| position.done),
        "of": under_way.map(|_| position.pieces(&job)),
        "pieces": under_way.map(|step| step.pieces()),
        "loss": events.iter().rev().find_map(|event| event["loss"].as_f64()),
        "validation_gap_at_20":
            events.iter().rev().find_map(|event| event["validation"]["gap_at_20"].as_f64()),
        "last_event": last["step"].as_str().map(|_| last),
        "last_event_seconds_ago": silent.filter(|_| !events.is_empty()),
        "started_unix_seconds": since,
        "seconds_since_start": since.and_then(|since| now().checked_sub(since)),
        "first_started_unix_seconds": starts.first,
        "starts": starts.count,
        "seconds": seconds,
        "ended_unix_seconds": began.zip(took).and_then(|(began, took)| began.checked_add(took)),
        "left": left.json(silent.filter(|_| running)),
        "ranks": ranks(&job, &holder, &record, about, run),
        "checkpoint": checkpoint.as_ref().map(|(number, about)| json!({
            "number": number,
            "age_seconds": age(&run.join(format!("checkpoints/{number:08}/state.json"))),
            "step": about["standing"]["step"],
            "round": about["standing"]["round"],
        })),
        "checkpoints_unreadable": checkpoints_unreadable,
        "kept": kept,
    }))
}

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Running,
    /// Told to stop; it can go on.
    Stopped,
    Finished,
    /// It ended with an error, which it has recorded.
    Failed,
    /// It ended and could record nothing: killed, or its node was lost.
    Killed,
    /// Another host has it, and from here nobody can say whether its process is there.
    Unknown,
}

impl State {
    /// By who has the directory and what the last start to end has recorded.
    fn of(holder: &Holder, record: &Value) -> State {
        let of_last_start = match (holder.started, record["started_unix_seconds"].as_u64()) {
            // Two starts of one second are two processes.
            (Some(started), Some(recorded)) => started == recorded && holder.may_be(&record["pid"]),
            // Put there before the model, by a start that ended meanwhile.
            (Some(_), None) => false,
            // Earlier versions' locks don't say when they were taken.
            (None, _) => {
                !record.is_null()
                    && record["finished"] != json!(null)
                    && holder.is_older_than_record
            }
        };
        let ended = match record["finished"].as_bool() {
            Some(true) => return State::Finished,
            Some(false) if record["error"].is_string() => State::Failed,
            _ => State::Stopped,
        };
        match holder.alive {
            Alive::Here => State::Running,
            _ if of_last_start => ended,
            Alive::Elsewhere => State::Unknown,
            Alive::Gone => State::Killed,
            Alive::Nobody if record.is_null() => State::Killed,
            Alive::Nobody => ended,
        }
    }

    fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Stopped => "stopped",
            State::Finished => "finished",
            State::Failed => "failed",
            State::Killed => "killed",
            State::Unknown => "unknown",
        }
    }
}

/// Who computes it, as far as can be seen from outside: the process that has the lock, and where
/// ranks leave signs of life in files, how many did so lately.
fn ranks(job: &Job, holder: &Holder, record: &Value, about: &Value, run: &Path) -> Value {
    let session = [&about["sessions"], &record["sessions"]]
        .into_iter()
        .filter_map(|sessions| sessions.as_array()?.last())
        .max_by_key(|session| session["started_unix_seconds"].as_u64())
        .unwrap_or(&Value::Null);
    let told = |key: &str| match &holder.owner[key] {
        Value::Null => session[key].clone(),
        value => value.clone(),
    };
    let signs = signs(&run.join("ranks"), job.run.stall_seconds);
    json!({
        "count": told("ranks"),
        "are": told("ranks_are"),
        "host": holder.owner["host"],
        "pid": holder.owner["pid"],
        "slurm_job": holder.owner["slurm_job"],
        "holder": holder.alive.name(),
        "signs_of_life": signs.map(|(fresh, all)| json!({ "fresh": fresh, "all": all })),
        "stall_seconds": job.run.stall_seconds,
    })
}

/// The starts of a run.
struct Starts {
    count: usize,
    first: Option<u64>,
}

fn starts(record: &Value, sessions: &Value, holder: &Holder) -> Starts {
    let all = [sessions, &record["sessions"]].into_iter().flat_map(|all| all.as_array());
    // Starts of the same second have gone on from different checkpoints.
    let of = |session: &Value| {
        Some((session["started_unix_seconds"].as_u64()?, session["checkpoint"].as_u64()))
    };
    let mut all: BTreeSet<(u64, Option<u64>)> = all.flatten().filter_map(of).collect();
    let is_another = |own: &u64| {
        let of_record = record["started_unix_seconds"].as_u64() == Some(*own);
        of_record && !holder.may_be(&record["pid"]) || all.iter().all(|(time, _)| time != own)
    };
    if let Some(started) = holder.started.filter(is_another) {
        // No checkpoint has that number.
        all.insert((started, Some(u64::MAX)));
    }
    Starts { count: all.len(), first: all.first().map(|(time, _)| *time) }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Seconds since a file was changed, where it is there.
fn age(path: &Path) -> Option<f64> {
    let changed = fs::symlink_metadata(path).ok()?.modified().ok()?;
    Some(SystemTime::now().duration_since(changed).map_or(0.0, |age| age.as_secs_f64()))
}
