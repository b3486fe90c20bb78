//! Signals that ask a run to stop. Libraries that a rank loads may take them for themselves (LLVM,
//! within an OpenCL, takes SIGUSR1 and SIGUSR2): so they are taken before MPI starts and after it,
//! and looked at again at each boundary of a run.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::libc::{self, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, c_int};

use crate::error::{Error, Exit, Result};

const SIGNALS: [(c_int, &str); 4] =
    [(SIGUSR1, "SIGUSR1"), (SIGUSR2, "SIGUSR2"), (SIGTERM, "SIGTERM"), (SIGINT, "SIGINT")];
/// What shells report of a process that SIGTERM has ended: a second signal ends at once.
const AT_ONCE: i32 = 128 + SIGTERM;
/// Signals that come so soon after the first one say the same: Slurm sends a cancelled job's ranks
/// SIGTERM twice, once for the step and once for the job.
const SAME_REQUEST: Duration = Duration::from_secs(2);

/// When signals were taken first; none is taken before.
static STARTED: OnceLock<Instant> = OnceLock::new();
/// The flag of the run, once there is one.
static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();
/// Whether any has come.
static ASKED: AtomicBool = AtomicBool::new(false);
/// Milliseconds from `STARTED` until the first signal, and one; 0 before it.
static FIRST: AtomicU64 = AtomicU64::new(0);
/// Bits of `SIGNALS` that were taken by another handler and not reported yet.
static LOST: AtomicU32 = AtomicU32::new(0);

/// Sets atomic flags, reads the clock, leaves with _exit: all that a handler may do.
extern "C" fn received(_signal: c_int) {
    ASKED.store(true, SeqCst);
    if let Some(stop) = STOP.get() {
        stop.store(true, SeqCst);
    }
    let now = STARTED.get().map_or(0, |started| started.elapsed().as_millis() as u64) + 1;
    let before = FIRST.compare_exchange(0, now, SeqCst, SeqCst).err();
    let late = |before| now.saturating_sub(before) > SAME_REQUEST.as_millis() as u64;
    if before.is_some_and(late) {
        // SAFETY: ends the process and touches nothing of it.
        unsafe { libc::_exit(AT_ONCE) };
    }
}

/// Takes a signal, unless it is taken already. Returns whether something else had it.
fn take(signal: c_int) -> io::Result<bool> {
    let handler = received as extern "C" fn(c_int) as libc::sighandler_t;
    // SAFETY: the structures are plain and live through the calls; the handler does what handlers
    // may do. SA_RESTART: calls of libraries under way go on.
    unsafe {
        let mut found: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(signal, std::ptr::null(), &mut found) != 0 {
            return Err(io::Error::last_os_error());
        }
        if found.sa_sigaction == handler {
            return Ok(false);
        }
        let mut own: libc::sigaction = std::mem::zeroed();
        own.sa_sigaction = handler;
        own.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&mut own.sa_mask);
        match libc::sigaction(signal, &own, std::ptr::null_mut()) {
            0 => Ok(true),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// From now on SIGUSR1, SIGUSR2, SIGTERM and SIGINT are kept for the run that is to come; a second
/// one of them, not at the same time, ends the process at once.
///
/// # Errors
/// Exit 3: the system refuses.
pub(crate) fn take_signals() -> Result<()> {
    STARTED.get_or_init(Instant::now);
    for (signal, name) in SIGNALS {
        take(signal).map_err(|error| Error::new(Exit::Launch, format!("{name}: {error}")))?;
    }
    Ok(())
}

/// Those signals set `stop`, also one that has come already. Further calls in the same process
/// change nothing: its ranks share the flag.
///
/// # Errors
/// As `take_signals`.
pub(crate) fn set_on_signals(stop: &Arc<AtomicBool>) -> Result<()> {
    let begun = STARTED.get().is_some();
    if STOP.set(stop.clone()).is_err() {
        return Ok(());
    }
    if ASKED.load(SeqCst) {
        stop.store(true, SeqCst);
    }
    if begun {
        look_again()
    } else {
        take_signals()?
    }
    Ok(())
}

/// Takes back the signals that something else has taken since. Any thread may do so at any time;
/// nothing happens before they were taken first.
pub(crate) fn look_again() {
    if STARTED.get().is_none() {
        return;
    }
    for (index, (signal, _)) in SIGNALS.into_iter().enumerate() {
        if take(signal).unwrap_or(false) {
            LOST.fetch_or(1 << index, SeqCst);
        }
    }
}

/// The same, and tells of it.
pub(crate) fn look_and_tell() {
    look_again();
    let lost = LOST.swap(0, SeqCst);
    for (index, (_, name)) in SIGNALS.into_iter().enumerate() {
        if lost >> index & 1 == 1 {
            log::info!("{name}: a library had taken it for itself; it is taken back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern "C" fn of_a_library(_signal: c_int) {}

    // One test: handlers are the process's.
    #[test]
    fn signals_set_the_flag_and_are_taken_back_from_libraries() {
        look_again();
        assert!(STARTED.get().is_none());
        take_signals().unwrap();
        // SAFETY: the handler is this process's.
        unsafe { libc::raise(SIGUSR2) };
        let stop: Arc<AtomicBool> = Arc::default();
        set_on_signals(&stop).unwrap();
        assert!(stop.swap(false, SeqCst), "one that came before there was a run");
        set_on_signals(&Arc::default()).unwrap();
        for (signal, name) in SIGNALS {
            let library = of_a_library as extern "C" fn(c_int) as libc::sighandler_t;
            // SAFETY: the handler does nothing.
            unsafe { libc::signal(signal, library) };
            look_again();
            // SAFETY: as before; it comes so soon after the first that it says the same.
            unsafe { libc::raise(signal) };
            assert!(stop.swap(false, SeqCst), "{name}");
        }
        assert_eq!(LOST.load(SeqCst), 0b1111);
        look_and_tell();
        assert_eq!(LOST.load(SeqCst), 0);
    }
}
