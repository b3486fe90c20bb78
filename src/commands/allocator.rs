//! The system's allocator, except that a refusal ends all ranks with exit 9 and says who wanted how
//! much, where Rust would end one process with a signal.

use std::alloc::{GlobalAlloc, Layout, System};

use crate::comm::{abort_all, leave, own_rank};
use crate::error::Exit;
use crate::progress::phase;
use crate::report::failure;
use crate::tell;

/// To be the program's `#[global_allocator]`.
pub struct Allocator;

fn given(place: *mut u8, bytes: usize) -> *mut u8 {
    if place.is_null() && bytes > 0 {
        refuse(bytes);
    }
    place
}

#[cold]
fn refuse(bytes: usize) -> ! {
    // Printing needs a little memory itself; if even that can't be had, this function is called
    // again.
    static ONCE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    if !ONCE.swap(true, std::sync::atomic::Ordering::SeqCst) {
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
        given(unsafe { System.realloc(place, layout, bytes) }, bytes)
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: passed on as it came.
        unsafe { System.dealloc(place, layout) }
    }
}
