//! What the record of a run says where the run fails: whoever fails writes it, if the run directory
//! can be reached, from whatever thread.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, TryLockError};

use serde_json::{Value, json};

use crate::disk::{Disk, own_temporary, read_text};
use crate::error::{Error, Exit};
use crate::tell;

/// No record of a run is larger; what claims to be is not read.
const RECORD_BYTES_MAX: u64 = 64 << 20;

/// The run that this process is in the middle of.
static RUN: Mutex<Option<RunUnderWay>> = Mutex::new(None);

/// Where the record of a run is kept, and what it says.
struct RunUnderWay {
    disk: Disk,
    path: PathBuf,
    /// What is known of the run from its start.
    record: Value,
}

/// From now on the run whose record is the file `path` is under way; `record` is what it says of
/// this start, `start` tells it from all others and is the same on all ranks.
pub(crate) fn run_begins(disk: &Disk, path: &Path, mut record: Value, start: &str) {
    record["start"] = json!(start);
    if let Ok(mut run) = RUN.lock() {
        *run = Some(RunUnderWay { disk: disk.clone(), path: path.to_path_buf(), record });
    }
}

/// The run is over, or no longer this process's.
pub(crate) fn run_ends() {
    if let Ok(mut run) = RUN.lock() {
        *run = None;
    }
}

/// Whether a run is under way that a later start can go on with. Waits for nobody.
pub(crate) fn may_go_on() -> bool {
    RUN.try_lock().is_ok_and(|run| run.is_some())
}

/// Records that the run fails with `error`, which `rank` has. The first one to say so counts: what
/// others then see (a peer that is lost) follows from it. Nothing to do where no run is under way.
pub(crate) fn run_fails(rank: usize, error: &Error) {
    record(rank, error.exit, &error.text);
}

/// The same in the words of whoever watches, or of a panic.
pub(crate) fn record(rank: usize, exit: Exit, text: &str) {
    // Asked for in the middle of anything, by a thread that may be in here already.
    let mut run = match RUN.try_lock() {
        Ok(run) => run,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return,
    };
    let Some(RunUnderWay { disk, path, mut record }) = run.take() else { return };
    let before = read_text(&path, RECORD_BYTES_MAX).ok();
    let before = before.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let before = before.unwrap_or_default();
    let recorded = before["start"] == record["start"] && !before["error"].is_null();
    // A run that is finished stays so, whatever happens to a rank afterwards.
    if recorded || before["finished"] == true {
        return;
    }
    // A model that is in place stays this run's own, and earlier starts are kept.
    record["model_hash"] = json!(before["model_hash"].as_str().unwrap_or_default());
    let mut sessions = before["sessions"].as_array().cloned().unwrap_or_default();
    sessions.extend(record["sessions"].as_array().cloned().unwrap_or_default());
    record["sessions"] = json!(sessions);
    record["reason"] = json!("failed; the same command goes on from the last checkpoint");
    record["finished"] = json!(false);
    record["exit"] = json!(exit as u8);
    record["error"] = json!(text);
    record["rank"] = json!(rank);
    record["log_lines_dropped"] = json!(tell::dropped());
    let text = serde_json::to_string_pretty(&record).expect("plain data") + "\n";
    let written = disk.replace_by(&own_temporary(&path), &path, |to| to.write_all(text.as_bytes()));
    if let Err(error) = written {
        log::warn!("{}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_failure_of_a_start_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        fs::write(&path, "{\"model_hash\": \"abc\", \"sessions\": [1], \"error\": \"old\"}")
            .unwrap();
        let begin = |start: &str| {
            let record = json!({ "format": "reelscale-run", "sessions": [2] });
            run_begins(&Disk::default(), &path, record, start);
        };
        let found = || serde_json::from_slice::<Value>(&fs::read(&path).unwrap()).unwrap();
        begin("first");
        run_fails(3, &Error::input("a shard: cut"));
        assert_eq!(found()["error"], "a shard: cut");
        let all = (&found()["exit"], &found()["rank"], &found()["finished"], &found()["sessions"])
            == (&json!(4), &json!(3), &json!(false), &json!([1, 2]));
        assert!(all && found()["model_hash"] == "abc", "{}", found());
        // Another rank of the same start has nothing to add; the next start has.
        begin("first");
        record(0, Exit::Peer, "rank 3 is lost");
        assert_eq!(found()["error"], "a shard: cut");
        begin("second");
        record(0, Exit::Peer, "rank 1 is lost");
        assert_eq!(found()["error"], "rank 1 is lost");
        run_ends();
        run_fails(0, &Error::usage("after the end"));
        assert_eq!(found()["error"], "rank 1 is lost");
    }
}
