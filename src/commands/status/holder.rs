//! Who has the run directory, as far as the lock file and the system tell. The lock itself isn't
//! tried: for that moment a run that begins would be refused.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::disk::{read_text, there};
use crate::report::{LOCK, host};
use crate::system::opened;

/// No such file is larger; what claims to be is not read.
const BYTES_MAX: u64 = 4096;
/// Files of a run that was copied have about the same times.
const ABOUT: Duration = Duration::from_secs(10);

/// Who took the lock last.
pub(super) struct Holder {
    /// What the lock says: host, pid, and since this version ranks and the time of the start.
    pub(super) owner: Value,
    pub(super) started: Option<u64>,
    pub(super) alive: Alive,
    /// Whether `run.json` was written after the lock was taken, as far as times of files tell.
    pub(super) is_older_than_record: bool,
}

/// Whether the process that took the lock is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Alive {
    /// On this machine, with the lock open.
    Here,
    Gone,
    /// It is of another machine, which can't be asked.
    Elsewhere,
    /// Nobody has taken it, or the file is torn.
    Nobody,
}

impl Alive {
    pub(super) fn name(self) -> &'static str {
        match self {
            Alive::Here => "alive",
            Alive::Gone => "gone",
            Alive::Elsewhere => "on another host",
            Alive::Nobody => "nobody",
        }
    }
}

impl Holder {
    pub(super) fn of(run: &Path) -> Holder {
        let lock = run.join(LOCK);
        let text = read_text(&lock, BYTES_MAX).unwrap_or_default();
        let owner: Value = serde_json::from_str(&text).unwrap_or_default();
        let changed = |path: &Path| there(path).ok().flatten()?.modified().ok();
        let (taken, recorded) = (changed(&lock), changed(&run.join("run.json")));
        let pid = owner["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        let alive = match (owner["host"].as_str(), pid) {
            (Some(of), Some(pid)) if of == host() => match opened(pid, &lock) {
                Some(true) | None => Alive::Here,
                Some(false) => Alive::Gone,
            },
            (Some(_), Some(_)) => Alive::Elsewhere,
            _ => Alive::Nobody,
        };
        let started = owner["started_unix_seconds"].as_u64();
        let later = recorded.zip(taken).is_some_and(|(recorded, taken)| recorded + ABOUT >= taken);
        Holder { owner, started, alive, is_older_than_record: later }
    }

    /// Whether it may be the process of this number; earlier versions' records have none.
    pub(super) fn may_be(&self, pid: &Value) -> bool {
        pid.is_null() || *pid == self.owner["pid"]
    }
}

/// Of the signs of life that ranks leave in `folder` how many are no older than so many seconds,
/// and how many there are; nothing where there are none.
pub(super) fn signs(folder: &Path, seconds: f64) -> Option<(usize, usize)> {
    let is_sign = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let entries = fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok());
    let signs = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_sign));
    let now = SystemTime::now();
    let age = |entry: fs::DirEntry| {
        let changed = entry.metadata().and_then(|found| found.modified());
        changed.map_or(Duration::MAX, |changed| now.duration_since(changed).unwrap_or_default())
    };
    let ages: Vec<Duration> = signs.map(age).collect();
    let fresh = ages.iter().filter(|age| age.as_secs_f64() <= seconds).count();
    (!ages.is_empty()).then_some((fresh, ages.len()))
}
