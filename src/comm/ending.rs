//! How a rank ends before its time. The watcher, an error and a panic may want to at once: whoever
//! is first does it, and the others stand aside. Two MPI_Abort in one process crash it.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

/// The number of the thread that ends this rank; 0: none.
static ENDED_BY: AtomicU64 = AtomicU64::new(0);
/// When to leave, and with which code.
static LEAVE: Mutex<Option<(Instant, i32)>> = Mutex::new(None);
static TOLD: Condvar = Condvar::new();
/// What is done before the last resort is taken.
static BEFORE: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

thread_local! {
    static NUMBER: u64 = {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        NUMBERS.fetch_add(1, SeqCst)
    };
}

/// Whether this thread is the one that ends the rank: true for the first that asks, and for that
/// one ever after.
pub(crate) fn begin() -> bool {
    let own = NUMBER.with(|number| *number);
    let before = ENDED_BY.compare_exchange(0, own, SeqCst, SeqCst).unwrap_or_else(|other| other);
    before == 0 || before == own
}

/// Waits for the end, which another thread sees to.
pub(crate) fn stand_aside() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Ends this process at once: nothing that a library has registered runs, which might wait for what
/// is broken.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: ends the process and touches nothing of it.
    unsafe { libc::_exit(code) }
}

#[cfg(feature = "mpi")]
/// Starts the thread that leaves when all else hangs. It is there before it is needed: later there
/// may be no memory for one.
pub(crate) fn prepare() {
    let _ = quiet_thread("last-resort", || {
        let mut leave_at = LEAVE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        loop {
            let left = leave_at.map(|(at, _)| at.saturating_duration_since(Instant::now()));
            leave_at = match (left, *leave_at) {
                (Some(Duration::ZERO), Some((_, code))) => {
                    if let Some(before) = BEFORE.get() {
                        before();
                    }
                    leave(code)
                }
                (Some(left), _) => match TOLD.wait_timeout(leave_at, left) {
                    Ok((guard, _)) => guard,
                    Err(poisoned) => poisoned.into_inner().0,
                },
                _ => TOLD.wait(leave_at).unwrap_or_else(|poisoned| poisoned.into_inner()),
            };
        }
    });
}

/// `before` is called when the last resort is taken. Only the first one counts.
pub(crate) fn before_leaving(before: impl Fn() + Send + Sync + 'static) {
    let _ = BEFORE.set(Box::new(before));
}

/// The process leaves with this code when so much time has passed, whatever else happens. Only the
/// first call counts.
pub(crate) fn leave_within(time: Duration, code: i32) {
    let mut leave_at = LEAVE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    leave_at.get_or_insert((Instant::now() + time, code));
    TOLD.notify_all();
}

/// A thread to which the system brings no signal: handlers run where a call may be interrupted.
pub(crate) fn quiet_thread(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let mut before = SigSet::empty();
    let masked = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before));
    let thread = std::thread::Builder::new().name(name.into()).stack_size(256 << 10).spawn(body);
    if masked.is_ok() {
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    }
    thread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_ends_a_rank() {
        assert!(begin() && begin());
        assert!(!std::thread::spawn(begin).join().unwrap());
    }
}
