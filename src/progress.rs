//! What this process is at and how far it has come, for those who watch over it from another
//! thread: a count that rises with every piece of work, a phase, and the calls under way that may
//! never come back.
//!
//! Only work that somebody waits for counts: that of the thread that talks and of the pool which
//! works for it. A thread that works ahead (`team::Ahead`) counts while it is waited for; else
//! it would hide that the others hang. Ranks that are threads of one process share all of this.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// A count in a cache line of its own: every thread raises it.
#[repr(align(128))]
struct Count(AtomicU64);

static COUNT: Count = Count(AtomicU64::new(0));
/// How many threads wait for one that works ahead.
static AWAITED: AtomicUsize = AtomicUsize::new(0);
static PHASE: Mutex<String> = Mutex::new(String::new());
static CALLS: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

thread_local! {
    static AHEAD: Cell<bool> = const { Cell::new(false) };
}

/// Says that a piece of work is done: a file, a chunk, a tile, a message.
pub(crate) fn tick() {
    if counts() {
        COUNT.0.fetch_add(1, Relaxed);
    }
}

/// Pieces of work done so far.
pub(crate) fn count() -> u64 {
    COUNT.0.load(Relaxed)
}

/// Whether anybody waits for what this thread does.
fn counts() -> bool {
    !AHEAD.get() || AWAITED.load(Relaxed) > 0
}

/// From now on this thread works ahead: what it does counts only while it is waited for.
pub(crate) fn work_ahead() {
    AHEAD.set(true);
}

/// While this lives, a thread waits for one that works ahead.
pub(crate) struct Awaiting(());

impl Awaiting {
    pub(crate) fn begin() -> Awaiting {
        AWAITED.fetch_add(1, Relaxed);
        Awaiting(())
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        AWAITED.fetch_sub(1, Relaxed);
        tick();
    }
}

/// What this process is at, as far as it has said.
pub(crate) fn phase() -> String {
    // Asked for in the middle of anything, where memory runs out too, so that this very thread may
    // hold it; another one that does lets it go at once.
    for _ in 0..100 {
        match PHASE.try_lock() {
            Ok(phase) if !phase.is_empty() => return phase.clone(),
            Ok(_) => break,
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
    "unnamed phase".into()
}

/// Says what this process is at.
pub(crate) fn set_phase(text: &str) {
    let mut phase = lock(&PHASE);
    phase.clear();
    phase.push_str(text);
}

/// How long a call may take without counting as a hang.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CallPatience {
    /// As long as any work.
    Usual,
    /// Without end: a disk that syncs or renames slowly loses nothing, so that gives a warning
    /// only.
    Endless,
    /// So long: a call of something foreign that says nothing while it goes on.
    Until(Duration),
}

/// A call under way.
#[derive(Clone, Debug)]
pub(crate) struct Underway {
    /// `reading`, `syncing`.
    pub(crate) what: &'static str,
    /// The file or whatever it is done to; may be empty.
    pub(crate) path: PathBuf,
    pub(crate) since: Instant,
    pub(crate) patience: CallPatience,
}

struct Entry {
    number: u64,
    thread: ThreadId,
    ahead: bool,
    call: Underway,
}

/// A call that may never come back, for as long as this lives.
#[must_use]
pub(crate) struct CallGuard {
    number: u64,
}

impl CallGuard {
    /// Work on a file: `CallGuard::on("reading", path)`.
    pub(crate) fn on(what: &'static str, path: &Path) -> CallGuard {
        CallGuard::begin(what, path, CallPatience::Usual)
    }

    /// A call that may take any time; if it is slow there is a warning.
    pub(crate) fn slow(what: &'static str, path: &Path) -> CallGuard {
        CallGuard::begin(what, path, CallPatience::Endless)
    }

    /// A call that may say nothing for as long as `limit`.
    pub(crate) fn until(what: &'static str, path: &Path, limit: Duration) -> CallGuard {
        CallGuard::begin(what, path, CallPatience::Until(limit))
    }

    fn begin(what: &'static str, path: &Path, patience: CallPatience) -> CallGuard {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, Relaxed);
        let call = Underway { what, path: path.into(), since: Instant::now(), patience };
        let (thread, ahead) = (thread::current().id(), AHEAD.get());
        lock(&CALLS).push(Entry { number, thread, ahead, call });
        tick();
        CallGuard { number }
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let mut calls = lock(&CALLS);
        if let Some(at) = calls.iter().position(|entry| entry.number == self.number) {
            calls.remove(at);
        }
        drop(calls);
        tick();
    }
}

/// The call that has been under way longest, of the innermost ones of threads that are waited for.
pub(crate) fn oldest_call() -> Option<Underway> {
    let awaited = AWAITED.load(Relaxed) > 0;
    // Calls are appended as they begin.
    let calls = lock(&CALLS);
    let innermost = |at: &usize| calls[at + 1..].iter().all(|e| e.thread != calls[*at].thread);
    let waited_for = |at: &usize| awaited || !calls[*at].ahead;
    (0..calls.len()).find(|at| waited_for(at) && innermost(at)).map(|at| calls[at].call.clone())
}

/// Nobody does anything slow while holding one of these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test: the counts are the process's, and other tests raise them at the same time.
    #[test]
    fn work_ahead_counts_while_it_is_waited_for() {
        let seen = |path: &str| lock(&CALLS).iter().any(|e| e.call.path == Path::new(path));
        let before = count();
        tick();
        assert!(count() > before);
        let (go, going) = std::sync::mpsc::channel::<()>();
        let (done, came) = std::sync::mpsc::channel();
        let maker = std::thread::spawn(move || {
            work_ahead();
            let _call = CallGuard::on("reading", Path::new("/ahead-of-its-use"));
            for () in going {
                done.send(counts()).unwrap();
            }
        });
        go.send(()).unwrap();
        // Whether other tests wait just now isn't known.
        came.recv().unwrap();
        let waiting = Awaiting::begin();
        go.send(()).unwrap();
        assert!(came.recv().unwrap() && seen("/ahead-of-its-use"));
        drop(waiting);
        drop(go);
        maker.join().unwrap();
        assert!(!seen("/ahead-of-its-use"), "a call that has come back is gone");
    }

    #[test]
    fn a_call_is_named_with_its_patience() {
        let path = Path::new("/of-this-test");
        let call = CallGuard::until("asking", path, Duration::from_secs(7));
        let found = lock(&CALLS).iter().find(|entry| entry.call.path == path).unwrap().call.clone();
        assert_eq!(
            (found.what, found.patience),
            ("asking", CallPatience::Until(Duration::from_secs(7)))
        );
        drop(call);
        assert!(lock(&CALLS).iter().all(|entry| entry.call.path != path));
    }
}
