//! Waits in which nobody watches over anybody: MPI_Init and the first gatherings, by which ranks
//! learn of one another, and MPI_Finalize where it hangs after all have met. A limit holds instead.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::{abort_all, ending};
use crate::error::Exit;
use crate::tell;

/// What each of the waits at the start gets, in seconds, unless this says otherwise.
const VARIABLE: &str = "REELSCALE_MPI_INIT_SECONDS";
const SECONDS: u32 = 50;
/// A year.
const SECONDS_MAX: u32 = 31_536_000;
/// MPI_Finalize gets so many times as much: a rank that is missing there is found before.
const AT_THE_END: u32 = 2;
/// Where launchers tell a process its rank before MPI does.
const RANK: [&str; 4] = ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"];
/// Ranks that find the same tell it one after the other: the first one ends the others.
const BETWEEN_RANKS: Duration = Duration::from_millis(1500);
const RANKS_THAT_WAIT: usize = 8;
/// Time passes in steps, so that a pause of the process is but one of them.
const STEP: Duration = Duration::from_millis(250);

/// Where the end of the wait at the start is sent; dropped once somebody watches.
static START: Mutex<Option<Sender<()>>> = Mutex::new(None);

fn seconds() -> u32 {
    let seconds = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
    seconds.unwrap_or(SECONDS).min(SECONDS_MAX)
}

fn rank() -> Option<usize> {
    RANK.into_iter().find_map(|name| std::env::var(name).ok()?.trim().parse().ok())
}

/// Waits until something is sent, but time does not count while the process is paused.
fn ends_within(end: &Receiver<()>, seconds: u32) -> Result<(), RecvTimeoutError> {
    let turn = BETWEEN_RANKS * rank().unwrap_or(0).min(RANKS_THAT_WAIT) as u32;
    let limit = Duration::from_secs(seconds.into()) + turn;
    let mut waited = Duration::ZERO;
    loop {
        match end.recv_timeout(STEP) {
            Err(RecvTimeoutError::Timeout) if waited < limit => waited += STEP,
            outcome => return outcome,
        }
    }
}

/// The limit on MPI_Init begins: where it is over the process ends with exit 8.
pub(crate) fn start_begins() {
    let (began, end) = channel();
    *START.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(began);
    let seconds = seconds();
    let hint = format!(
        "another rank was lost while it started, or is late; hint: {VARIABLE}=300 waits longer"
    );
    let waiting = move || {
        match ends_within(&end, seconds) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                over("MPI_Init", seconds, &hint);
                // Nothing that MPI has registered may run.
                ending::leave(Exit::Peer as i32);
            }
        }
        if ends_within(&end, seconds) == Err(RecvTimeoutError::Timeout) {
            over("the first gathering", seconds, &hint);
            abort_all(Exit::Peer as i32);
        }
    };
    if let Err(error) = ending::quiet_thread("unwatched", waiting) {
        log::warn!("MPI_Init is waited for without end: {error}");
    }
}

/// MPI_Init has come back: the limit on the first gatherings begins.
pub(crate) fn mpi_runs() {
    if let Some(began) = &*START.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        // Its thread goes only when the process ends.
        let _ = began.send(());
    }
}

/// Ranks watch over each other, or have nothing to wait for.
pub(crate) fn start_ends() {
    START.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
}

/// The limit on MPI_Finalize holds for as long as this lives.
pub(crate) struct Finalising {
    _end: Sender<()>,
}

impl Finalising {
    pub(crate) fn begin() -> Finalising {
        let (end, ended) = channel();
        let seconds = AT_THE_END * seconds();
        let waiting = move || {
            if ends_within(&ended, seconds) == Err(RecvTimeoutError::Timeout) {
                over("MPI_Finalize", seconds, "what this rank has written is complete");
                ending::leave(Exit::Peer as i32);
            }
        };
        // Without memory for a thread it is waited for without end.
        let _ = ending::quiet_thread("unwatched", waiting);
        Finalising { _end: end }
    }
}

fn over(call: &str, seconds: u32, hint: &str) {
    if !ending::begin() {
        ending::stand_aside();
    }
    let rank = rank().map_or("a rank".into(), |rank| format!("rank {rank}"));
    tell::line(&format!(
        "reelscale: {rank} (host {}, pid {}): {call} hasn't come back in {seconds} s: {hint}",
        rustix::system::uname().nodename().to_string_lossy(),
        std::process::id()
    ));
    tell::passed_on();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_what_is_sent_or_its_time() {
        let (end, waits) = channel();
        end.send(()).unwrap();
        assert_eq!(ends_within(&waits, 100), Ok(()));
        assert_eq!(ends_within(&waits, 0), Err(RecvTimeoutError::Timeout));
        drop(end);
        assert_eq!(ends_within(&waits, 100), Err(RecvTimeoutError::Disconnected));
    }
}
