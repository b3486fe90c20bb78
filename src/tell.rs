//! Lines on standard error. One that can't be written is dropped and counted: whoever reads them
//! may go, or their disk be full, and neither is a reason to end days of work.
//!
//! The only place that writes there. `eprintln!` would panic.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
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
pub(crate) fn line(text: &str) {
    let whole = format!("{text}\n");
    if CLOSED[1].load(Relaxed) || write_all(whole.as_bytes()).is_err() {
        DROPPED.fetch_add(1, Relaxed);
    }
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
