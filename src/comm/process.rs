//! How far MPI is in this process, and how all ranks of the run end from any of its threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::ending;
#[cfg(feature = "mpi")]
use super::mpi;

/// How far MPI is in this process.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(not(feature = "mpi"), allow(dead_code, reason = "without MPI it never starts"))]
pub(super) enum Stage {
    NotStarted,
    Running,
    /// MPI_Finalize is under way: nothing else may be asked of MPI.
    Finalising,
    Over,
}

static STAGE: Mutex<Stage> = Mutex::new(Stage::NotStarted);
/// This process's rank, once there is one.
static RANK: AtomicUsize = AtomicUsize::new(0);

/// What an MPI_Abort gets.
const ABORT_LIMIT: Duration = Duration::from_secs(5);

/// Whoever holds this keeps MPI in its stage.
pub(super) fn stage() -> MutexGuard<'static, Stage> {
    STAGE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// MPI runs in this process, which is this rank.
#[cfg(feature = "mpi")]
pub(super) fn runs(rank: usize) {
    RANK.store(rank, Ordering::SeqCst);
    *stage() = Stage::Running;
}

/// Whether MPI_Finalize has begun in this process, and whether it has come back.
pub(crate) fn mpi_ends() -> (bool, bool) {
    let stage = *stage();
    (matches!(stage, Stage::Finalising | Stage::Over), stage == Stage::Over)
}

/// Ends all ranks of the run, if MPI is running, or else this process.
pub(crate) fn abort_all(code: i32) -> ! {
    if !ending::begin() {
        ending::stand_aside();
    }
    // Held to the end, so that MPI_Finalize doesn't begin meanwhile.
    let stage = stage();
    match *stage {
        Stage::NotStarted => std::process::exit(code),
        Stage::Running => {
            // Where the launcher doesn't answer, an abort may hang.
            ending::leave_within(ABORT_LIMIT, code);
            abort_world(code)
        }
        Stage::Finalising | Stage::Over => ending::leave(code),
    }
}

#[cfg(feature = "mpi")]
fn abort_world(code: i32) -> ! {
    mpi::abort_world(code)
}

#[cfg(not(feature = "mpi"))]
fn abort_world(code: i32) -> ! {
    ending::leave(code)
}

/// This process's rank, 0 where MPI has never run.
pub(crate) fn own_rank() -> usize {
    RANK.load(Ordering::SeqCst)
}

/// The MPI library's own description of itself; nothing where it doesn't run.
pub(crate) fn library_version() -> Option<String> {
    let running = *stage() == Stage::Running;
    running.then(library).flatten()
}

/// The same, whether or not it runs.
#[cfg(feature = "mpi")]
pub(crate) fn library() -> Option<String> {
    mpi::description()
}

/// Nothing: this program is built without MPI.
#[cfg(not(feature = "mpi"))]
pub(crate) fn library() -> Option<String> {
    None
}
