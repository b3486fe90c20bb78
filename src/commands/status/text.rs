//! Where a run stands, in words.

use serde_json::Value;

use crate::human::{counted, duration};
use crate::report::name_of_step;

pub(super) fn text(found: &Value) -> String {
    let mut text = format!("{}: {}\n", found["run"].as_str().unwrap_or_default(), state(found));
    for (name, line) in [
        ("refused", refused(found)),
        ("time", time(found)),
        ("now", now(found)),
        ("left", left(found)),
        ("ranks", ranks(found)),
        ("checkpoint", checkpoint(found)),
        ("model", kept(found)),
    ] {
        if let Some(line) = line {
            text += &format!("  {name:<12}{line}\n");
        }
    }
    text
}

fn ago(seconds: &Value) -> Option<String> {
    seconds.as_f64().map(duration)
}

fn state(found: &Value) -> String {
    let reason = found["reason"].as_str().unwrap_or("nothing recorded");
    let since = ago(&found["seconds_since_start"]);
    let start = match found["starts"].as_u64() {
        Some(count @ 2..) => format!("start {count}"),
        _ => "this start".to_string(),
    };
    let since = since.map_or(String::new(), |since| format!("; {start} began {since} ago"));
    let next = match (found["refused"].is_null(), found["checkpoint"].is_null()) {
        (true, false) => "; the same command goes on from the last checkpoint",
        (true, true) => "; the same command begins it anew, as there is no checkpoint",
        (false, _) => "",
    };
    match found["state"].as_str().unwrap_or_default() {
        "running" => format!("running{since}"),
        // The reason says what it left; whoever has taken that away changed what comes next.
        "stopped" if found["checkpoint"].is_null() => format!("stopped{next}"),
        "stopped" => format!("stopped: {reason}"),
        "finished" => format!("finished: {reason}"),
        "failed" => format!("failed: {reason}{next}"),
        // The record of one that came to its end may have been lost since.
        "killed" if found["record_refused"] == true => {
            format!("found no record that can be read of how it ended{since}")
        }
        "killed" => format!("ended without a record, as a killed run does{since}{next}"),
        _ => format!("taken by another host, where its process can't be seen from here{since}"),
    }
}

/// Why the same command wouldn't go on with it.
fn refused(found: &Value) -> Option<String> {
    let text = found["refused"].as_str()?;
    Some(format!("the same command would end with: {text}"))
}

/// How long a run that has ended took, and when that was.
fn time(found: &Value) -> Option<String> {
    let starts = counted(found["starts"].as_u64()?, "start");
    let taken = format!("{} in {starts}", duration(found["seconds"].as_f64()?));
    let ago = super::now().saturating_sub(found["ended_unix_seconds"].as_u64()?);
    Some(taken + &format!("; ended {} ago", duration(ago as f64)))
}

fn now(found: &Value) -> Option<String> {
    let (done, of) = (&found["done"], &found["of"]);
    let pieces = found["pieces"].as_str()?;
    let step = name_of_step(found["step"].as_str()?)?;
    let mut line = match found["round"].as_u64() {
        Some(round @ 1..) => format!("round {round} of {}, {step}", found["rounds"]),
        _ => step.to_string(),
    };
    line += &format!(": {done} of {of} {pieces} done");
    if let Some(loss) = found["loss"].as_f64() {
        line += &format!("; loss {loss:.5}");
    }
    if let Some(gap) = found["validation_gap_at_20"].as_f64() {
        line += &format!(", validation GAP@20 {gap:.4}");
    }
    if let (Some(ago), "running" | "unknown") =
        (ago(&found["last_event_seconds_ago"]), found["state"].as_str()?)
    {
        line += &format!("; last event {ago} ago");
    }
    Some(line)
}

fn left(found: &Value) -> Option<String> {
    let left = &found["left"];
    if found["step"] == "done" {
        return None;
    }
    let names = |list: &Value| {
        let list = list.as_array().into_iter().flatten();
        list.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    let step = ago(&left["step_seconds"]).map(|time| format!("{time} of this step"));
    let by = "by the median times of epochs and iterations so far";
    let unseen = names(&left["not_seen_yet"]);
    // Steps may stop early; of the validation at their end nothing is known before the first.
    let about = if left["ends_unseen"] == true { "about" } else { "at most" };
    Some(match (step, ago(&left["run_seconds"])) {
        (Some(step), Some(run)) => format!("{about} {step}, {run} of the run, {by}"),
        (None, Some(run)) => format!("{about} {run} of the run, {by}"),
        (Some(step), None) => {
            format!("{about} {step}, {by}; of the run unknown until it has seen {unseen}")
        }
        (None, None) => format!("unknown until it has seen {unseen}"),
    })
}

fn ranks(found: &Value) -> Option<String> {
    let ranks = &found["ranks"];
    let host = ranks["host"].as_str()?;
    let pid = &ranks["pid"];
    let holder = ranks["holder"].as_str()?;
    let count = ranks["count"].as_u64();
    let are = ranks["are"].as_str().map_or(String::new(), |are| format!(" ({are})"));
    let count = count.map_or("ranks".into(), |count| counted(count, "rank") + &are);
    let mut line = format!("{count}; rank 0 is process {pid} of {host}, which is {holder}");
    let several = ranks["count"].as_u64().is_some_and(|count| count > 1);
    if let (Some(fresh), Some(all)) =
        (ranks["signs_of_life"]["fresh"].as_u64(), ranks["signs_of_life"]["all"].as_u64())
    {
        line += &format!("; {fresh} of {all} gave a sign of life lately");
    } else if several && holder == "alive" {
        let seconds = &ranks["stall_seconds"];
        line += &format!("; ranks watch each other: one lost for {seconds} s would end all");
    }
    if let Some(job) = ranks["slurm_job"].as_str() {
        line += &format!("; Slurm job {job}");
    }
    Some(line)
}

fn checkpoint(found: &Value) -> Option<String> {
    let checkpoint = &found["checkpoint"];
    if found["checkpoints_unreadable"] == true {
        return Some("none that this program can go on from".into());
    }
    let Some(number) = checkpoint["number"].as_u64() else {
        return (found["state"] != "finished").then(|| "none yet".into());
    };
    let age = ago(&checkpoint["age_seconds"])?;
    let (step, round) = (checkpoint["step"].as_str().unwrap_or("?"), &checkpoint["round"]);
    Some(format!("number {number}, {age} old, of round {round}, step {step}"))
}

fn kept(found: &Value) -> Option<String> {
    let kept = serde_json::from_value::<crate::report::Kept>(found["kept"].clone()).ok()?;
    Some(kept.sentence(found["state"] == "finished"))
}
