//! Ranks that start wait for one another before anybody can watch: in MPI_Init, and in the first
//! gatherings, by which they learn of one another. A limit holds there instead.

use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::{abort_all, ending};
use crate::error::Exit;
use crate::tell;

/// What each of the two waits gets, in seconds, unless this says otherwise.
const VARIABLE: &str = "REELSCALE_MPI_INIT_SECONDS";
const SECONDS: u64 = 50;
/// Where launchers tell a process its rank before MPI does.
const RANK: [&str; 4] = ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"];
/// Ranks that find the same tell it one after the other: the first one ends the others.
const BETWEEN_RANKS: Duration = Duration::from_millis(500);
const RANKS_THAT_WAIT: usize = 8;
/// What a launcher gets to pass on a line.
const PASSED_ON: Duration = Duration::from_millis(300);

/// Where the end of a wait is told; dropped once somebody watches.
static UNDER_WAY: Mutex<Option<Sender<()>>> = Mutex::new(None);

/// The limit on MPI_Init begins: where it is over the process ends with exit 8.
pub fn begin() {
    let (began, told) = channel();
    *UNDER_WAY.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(began);
    let seconds = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
    let seconds = seconds.unwrap_or(SECONDS);
    let rank = RANK.into_iter().find_map(|name| std::env::var(name).ok()?.trim().parse().ok());
    let rank: Option<usize> = rank;
    let turn = BETWEEN_RANKS * rank.unwrap_or(0).min(RANKS_THAT_WAIT) as u32;
    let limit = Duration::from_secs(seconds) + turn;
    let waiting = move || {
        match told.recv_timeout(limit) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                over("MPI_Init", rank, seconds);
                // Nothing that MPI has registered may run.
                ending::leave(Exit::Peer as i32);
            }
        }
        if told.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            over("the first gathering", rank, seconds);
            abort_all(Exit::Peer as i32);
        }
    };
    if let Err(error) = ending::quiet_thread("start-limit", waiting) {
        log::warn!("MPI_Init is waited for without end: {error}");
    }
}

fn over(call: &str, rank: Option<usize>, seconds: u64) {
    if !ending::begin() {
        ending::stand_aside();
    }
    let rank = rank.map_or("a rank".into(), |rank| format!("rank {rank}"));
    tell::line(&format!(
        "reelscale: {rank} (host {}, pid {}): {call} hasn't come back in {seconds} s: another rank \
         was lost while it started, or is late; hint: {VARIABLE}=300 waits longer",
        rustix::system::uname().nodename().to_string_lossy(),
        std::process::id()
    ));
    std::thread::sleep(PASSED_ON);
}

/// MPI_Init has come back: the limit on the first gatherings begins.
pub fn mpi_runs() {
    if let Some(began) = &*UNDER_WAY.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        // Its thread goes only when the process ends.
        let _ = began.send(());
    }
}

/// Ranks watch over each other, or have nothing to wait for.
pub fn end() {
    UNDER_WAY.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
}
