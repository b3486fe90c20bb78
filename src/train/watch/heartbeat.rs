//! Signs of life: every rank leaves one in the run directory now and then, and ranks that wait for
//! others longer than they should look for those who leave none. A rank that is stopped, or whose
//! node is lost without anybody noticing, would else make all others wait for ever.
//!
//! Files, not messages: the thread that talks is the one that waits.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::comm::{Activity, Comm, abort_all};
use crate::disk::{Disk, read_text};
use crate::error::Exit;
use crate::progress::phase;
use crate::report::{failure, host};
use crate::tell;

/// Beats in the time that a rank waits before it looks for others.
const BEATS: u32 = 6;
const BEAT_MAX: Duration = Duration::from_secs(10);
/// Bytes of a sign. All signs are equally long, so that one never covers half of the one before it.
const BYTES: usize = 512;
/// How many ranks look for lost ones. One would be enough if it couldn't be lost itself.
const WATCHERS: usize = 2;

/// A sign of life.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Sign {
    beat: u64,
    host: String,
    pid: u32,
    phase: String,
}

/// Leaves signs of life as long as it lives.
pub(crate) struct Heartbeat {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Starts to leave signs in `folder`, which all ranks see; ranks that have waited for
    /// `patience` look for the others. Nothing to do for one rank alone.
    pub(crate) fn start(comm: &Comm, folder: &Path, patience: Duration) -> Heartbeat {
        if comm.size() == 1 || patience.is_zero() {
            return Heartbeat { end: None, thread: None };
        }
        let watch = Watch {
            folder: folder.to_path_buf(),
            rank: comm.rank(),
            activity: comm.activity().clone(),
            patience,
            seen: vec![(None, Instant::now()); comm.size()],
        };
        let (end, ended) = channel();
        let beat = (patience / BEATS).min(BEAT_MAX);
        let thread = std::thread::spawn(move || {
            let mut watch = watch;
            for number in 0.. {
                // A rank that can't write its own sign most likely can't read those of others
                // either, so it judges nobody.
                match watch.leave_sign(number) {
                    Ok(()) => watch.look(),
                    Err(error) => log::debug!("sign of life: {error}"),
                }
                if ended.recv_timeout(beat) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Heartbeat { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            // Where the thread panicked, the panic hook has already printed why.
            let _ = thread.join();
        }
    }
}

struct Watch {
    folder: PathBuf,
    rank: usize,
    activity: Arc<Activity>,
    patience: Duration,
    /// The last beat seen of each rank, and when it was new.
    seen: Vec<(Option<u64>, Instant)>,
}

impl Watch {
    fn path(&self, rank: usize) -> PathBuf {
        self.folder.join(format!("{rank:05}"))
    }

    fn leave_sign(&self, beat: u64) -> io::Result<()> {
        let sign = Sign { beat, host: host(), pid: std::process::id(), phase: phase() };
        let mut text = serde_json::to_vec(&sign)?;
        text.resize(BYTES, b' ');
        let (disk, path) = (Disk::default(), self.path(self.rank));
        disk.create_dir(&self.folder)?;
        let file = match disk.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.open_existing(&path)?
            }
            file => file?,
        };
        file.write_all_at(&text, 0)
    }

    fn sign_of(&self, rank: usize) -> Option<Sign> {
        serde_json::from_str(&read_text(&self.path(rank), BYTES as u64).ok()?).ok()
    }

    /// If this rank has waited too long, looks for ranks that leave no signs, and ends the run if
    /// it finds any.
    fn look(&mut self) {
        let now = Instant::now();
        if self.rank >= WATCHERS || self.activity.waiting() < self.patience {
            self.seen.iter_mut().for_each(|seen| *seen = (None, now));
            return;
        }
        for rank in 0..self.seen.len() {
            let beat = self.sign_of(rank).map(|sign| sign.beat);
            if self.seen[rank].0 != beat {
                self.seen[rank] = (beat, now);
            }
        }
        // A rank that has never left a sign may be unable to write one: it doesn't count as lost.
        let lost = |rank: &usize| {
            let (beat, new) = self.seen[*rank];
            *rank != self.rank && beat.is_some() && new + self.patience / 2 < now
        };
        let lost: Vec<usize> = (0..self.seen.len()).filter(lost).collect();
        if lost.is_empty() {
            return;
        }
        let tell = |rank: &usize| {
            let sign = self.sign_of(*rank).unwrap_or_default();
            format!("rank {rank} (host {}, pid {}, {})", sign.host, sign.pid, sign.phase)
        };
        let shown: Vec<String> = lost.iter().map(tell).collect();
        let waited = self.activity.waiting().as_secs();
        let text = format!(
            "no sign of life of {}, for which rank {} has waited {waited} s; hint: the same \
             command goes on from the last checkpoint",
            shown.join(", "),
            self.rank
        );
        tell::line(&format!("reelscale: {text}"));
        failure::record(lost[0], Exit::Peer, &text);
        abort_all(Exit::Peer as i32);
    }
}
