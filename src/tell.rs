//! Lines on standard error. One that can't be written is dropped and counted: whoever reads them
//! may go, or their disk be full, and neither is a reason to end days of work.
//!
//! The only place that writes there. `eprintln!` would panic. On a terminal one live line may stand
//! below all others: it makes room for each that comes.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, fcntl_getfd, write};
use rustix::stdio::{stderr, stdout};

/// How long a line waits for a reader who doesn't read, once; lines after it wait no more, until
/// there is room again.
const PATIENCE: Duration = Duration::from_secs(5);

static DROPPED: AtomicU64 = AtomicU64::new(0);
/// Whether the last line found no reader.
static STUCK: AtomicBool = AtomicBool::new(false);

/// Whether the live line stands on the terminal now.
static LIVE: Mutex<bool> = Mutex::new(false);
/// Whether there ever was one: elsewhere lines are plain text.
static SHOWN: AtomicBool = AtomicBool::new(false);
/// Whether another process may have a live line on the same terminal.
static LIVE_ELSEWHERE: AtomicBool = AtomicBool::new(false);
/// To the beginning of the line, and all of it gone.
const NO_LIVE_LINE: &str = "\r\x1b[K";

/// Whether standard output and standard error were closed when the process began. By the time of
/// `main` the standard library has put /dev/null in their place, which takes everything in silence.
static CLOSED: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = look;

extern "C" fn look() {
    for (stream, closed) in [stdout(), stderr()].into_iter().zip(&CLOSED) {
        closed.store(fcntl_getfd(stream) == Err(Errno::BADF), Relaxed);
    }
}

/// Whether standard output was closed when the process began.
pub(crate) fn output_was_closed() -> bool {
    CLOSED[0].load(Relaxed)
}

/// What a launcher gets to pass on a line before the rank that wrote it leaves; without it lines
/// are lost.
const PASSED_ON: Duration = Duration::from_millis(300);

/// Waits until a launcher has passed on what this rank has printed.
pub(crate) fn passed_on() {
    std::thread::sleep(PASSED_ON);
}

/// Lines that couldn't be written.
pub(crate) fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// Writes a line, in one piece where the system lets it: a rank may be killed at any moment after.
/// A live line goes; whoever keeps one shows it again.
pub(crate) fn line(text: &str) {
    let mut live = live_line();
    let stands = live.as_deref().is_none_or(|stands| *stands) || LIVE_ELSEWHERE.load(Relaxed);
    live.iter_mut().for_each(|stands| **stands = false);
    let whole =
        format!("{}{text}\n", if stands && SHOWN.load(Relaxed) { NO_LIVE_LINE } else { "" });
    if CLOSED[1].load(Relaxed) || write_all(whole.as_bytes()).is_err() {
        DROPPED.fetch_add(1, Relaxed);
    }
}

/// Shows this text, or none, as the live line, below all lines. Where the terminal takes nothing
/// now it stays as it is: nobody waits for it, and it counts as no line.
pub(crate) fn live(text: Option<&str>) {
    let Some(mut stands) = live_line() else { return };
    if text.is_none() && !*stands || CLOSED[1].load(Relaxed) || !has_room(stderr()) {
        return;
    }
    SHOWN.store(true, Relaxed);
    let whole = format!("{NO_LIVE_LINE}{}", text.unwrap_or_default());
    // A part of it would be written over by the next.
    let _ = write(stderr(), whole.as_bytes());
    *stands = text.is_some();
}

/// Says that another process shows a live line where this one's lines go.
pub(crate) fn live_elsewhere() {
    SHOWN.store(true, Relaxed);
    LIVE_ELSEWHERE.store(true, Relaxed);
}

/// Whether there is a live line; `None` where another thread doesn't let go of it: then whoever has
/// something to say says it all the same.
fn live_line() -> Option<MutexGuard<'static, bool>> {
    for _ in 0..100 {
        match LIVE.try_lock() {
            Ok(live) => return Some(live),
            Err(TryLockError::Poisoned(live)) => return Some(live.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    None
}

fn write_all(mut rest: &[u8]) -> io::Result<()> {
    let stream = stderr();
    wait_for_room(stream)?;
    while !rest.is_empty() {
        match write(stream, rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_for_room(stream)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether a write wouldn't wait.
fn has_room(stream: BorrowedFd) -> bool {
    let mut wanted = [PollFd::new(&stream, PollFlags::OUT)];
    let now = Duration::ZERO.try_into().expect("seconds");
    poll(&mut wanted, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Waits until a write wouldn't wait.
fn wait_for_room(stream: BorrowedFd) -> io::Result<()> {
    let patience = if STUCK.load(Relaxed) { Duration::ZERO } else { PATIENCE };
    let started = Instant::now();
    loop {
        let left = patience.saturating_sub(started.elapsed());
        let left = left.try_into().expect("seconds");
        let mut wanted = [PollFd::new(&stream, PollFlags::OUT)];
        match poll(&mut wanted, Some(&left)) {
            Err(Errno::INTR) => {}
            // Where poll itself fails, the write will say what is wrong.
            found => {
                let stuck = found == Ok(0);
                STUCK.store(stuck, Relaxed);
                return if stuck { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) };
            }
        }
    }
}
