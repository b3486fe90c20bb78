//! The system's allocator, except that a refusal ends all ranks with exit 9 and says who wanted how
//! much, where Rust would end one process with a signal.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed, Ordering::SeqCst};

use crate::comm::{abort_all, leave, own_rank};
use crate::error::Exit;
use crate::progress::phase;
use crate::report::failure;
use crate::tell;

/// To be the program's `#[global_allocator]`.
pub struct Allocator;

/// Up to so many bytes a piece of memory comes from what was given back before, as far as glibc
/// allows, and up to so many that were given back stay with the process.
#[cfg(target_env = "gnu")]
const KEPT: [(libc::c_int, libc::c_int); 2] =
    [(libc::M_MMAP_THRESHOLD, 32 << 20), (libc::M_TRIM_THRESHOLD, 64 << 20)];

/// Keeps memory that is given back at hand: what ranks exchange is a few MiB anew with each
/// mini-batch, and the system's pages for it took an eighth of pretraining.
pub(crate) fn keep_what_is_given_back() {
    #[cfg(target_env = "gnu")]
    for (what, bytes) in KEPT {
        // SAFETY: it sets a number of glibc's, which any thread may do at any time; where it is
        // refused, memory is as fast as it was.
        unsafe { libc::mallopt(what, bytes) };
    }
}

/// Whether bytes are counted, how many there are more than when that began, and the most so far.
static COUNTS: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

/// The memory of this process as it is taken and given back.
pub(crate) struct Counted(());

/// Counts bytes from now on.
pub(crate) fn counted_from_here() -> Counted {
    BYTES.store(0, Relaxed);
    PEAK.store(0, Relaxed);
    COUNTS.store(true, Relaxed);
    Counted(())
}

impl Counted {
    /// The most bytes at a time since then, beyond those that were there; none where another
    /// allocator serves this process.
    pub(crate) fn peak(&self) -> Option<usize> {
        usize::try_from(PEAK.load(Relaxed)).ok().filter(|peak| *peak > 0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        COUNTS.store(false, Relaxed);
    }
}

fn count(change: isize) {
    if COUNTS.load(Relaxed) {
        let now = BYTES.fetch_add(change, Relaxed) + change;
        // Threads that only look at it don't take it from each other.
        if now > PEAK.load(Relaxed) {
            PEAK.fetch_max(now, Relaxed);
        }
    }
}

fn given(place: *mut u8, bytes: usize) -> *mut u8 {
    if place.is_null() && bytes > 0 {
        refuse(bytes);
    }
    count(bytes as isize);
    place
}

#[cold]
fn refuse(bytes: usize) -> ! {
    // Printing needs a little memory itself; if even that can't be had, this function is called
    // again.
    static ONCE: AtomicBool = AtomicBool::new(false);
    if !ONCE.swap(true, SeqCst) {
        let text = format!(
            "out of memory: {bytes} bytes wanted in {}; hint: run.memory_gib, more ranks or fewer \
             on a node",
            phase()
        );
        tell::line(&format!("reelscale: rank {}: {text}", own_rank()));
        failure::record(own_rank(), Exit::Resources, &text);
        abort_all(Exit::Resources as i32);
    }
    leave(Exit::Resources as i32)
}

// SAFETY: every call is the system's.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on as it came.
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on as it came.
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: passed on as it came.
        let place = given(unsafe { System.realloc(place, layout, bytes) }, bytes);
        count(-(layout.size() as isize));
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: passed on as it came.
        unsafe { System.dealloc(place, layout) }
    }
}
