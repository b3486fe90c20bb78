//! Moves what is under way in MPI. MPI moves messages inside its own calls only: so while work goes
//! on that polls rarely, a thread asks after them now and then (docs/exchanges.md).

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use mpi::ffi;

use super::operation::Operation;
use crate::comm::backend::{Buffers, Call};
use crate::comm::ending::quiet_thread;

/// How often the thread asks after exchanges while the rank works.
const EVERY: Duration = Duration::from_micros(500);
/// How long a rank that waits asks without a pause, so that short waits stay short.
const EAGER: Duration = Duration::from_millis(2);
/// Its pauses after that, since others may need the core: a part of what it has waited so far, and
/// at least and at most these.
const PAUSE_PART: u32 = 32;
const PAUSE: Duration = Duration::from_micros(50);
const LONG_PAUSE: Duration = Duration::from_micros(500);

/// `0` leaves out the thread, to see what it brings.
const VARIABLE: &str = "REELSCALE_PROGRESS_THREAD";

/// What is under way. Whoever holds it may call MPI.
#[derive(Default)]
pub(crate) struct Calls {
    /// By number; numbers are used again.
    operations: Vec<Option<Operation>>,
    ends: bool,
}

impl Calls {
    fn insert(&mut self, operation: Operation) -> usize {
        match self.operations.iter().position(Option::is_none) {
            Some(free) => {
                self.operations[free] = Some(operation);
                free
            }
            None => {
                self.operations.push(Some(operation));
                self.operations.len() - 1
            }
        }
    }

    fn operation(&mut self, number: usize) -> &mut Operation {
        self.operations[number].as_mut().expect("it is there until it is waited for")
    }

    /// Asks after all, and forgets those that are complete and alone. Whether all are complete.
    fn test_all(&mut self) -> bool {
        let mut all = true;
        for place in &mut self.operations {
            if place.as_mut().is_some_and(|operation| operation.test() && operation.alone()) {
                *place = None;
            }
            all &= place.as_ref().is_none_or(Operation::complete);
        }
        all
    }
}

/// What is under way in MPI, and the thread that moves it.
pub(crate) struct Progress {
    calls: Mutex<Calls>,
    /// Something has been started, or all ends.
    changed: Condvar,
    /// Whether the rank itself has asked MPI since the thread last looked.
    asked: AtomicBool,
}

impl Progress {
    /// With a thread of its own where MPI lets several threads call it in turn.
    pub(crate) fn start(by_itself: bool) -> Arc<Progress> {
        let (calls, changed) = (Mutex::default(), Condvar::new());
        let progress = Arc::new(Progress { calls, changed, asked: AtomicBool::new(false) });
        if by_itself && std::env::var(VARIABLE).as_deref() != Ok("0") {
            let own = progress.clone();
            // Without one, work that polls moves them, as always.
            if let Err(error) = quiet_thread("progress", move || own.run()) {
                log::debug!("messages move when the rank polls: {error}");
            }
        }
        progress
    }

    /// Who holds what this gives may call MPI.
    pub(crate) fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What the thread does.
    fn run(&self) {
        let mut calls = self.calls();
        while !calls.ends {
            let asked = self.asked.swap(false, Relaxed);
            let idle = asked && calls.operations.iter().all(Option::is_none);
            if !asked && calls.test_all() || idle {
                // All that there is is complete.
                calls = self.changed.wait(calls).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
            drop(calls);
            std::thread::sleep(EVERY);
            calls = self.calls();
        }
    }

    /// Starts a collective on a communicator, and returns its number.
    pub(crate) fn begin(&self, mut operation: Operation, call: &Call, on: ffi::MPI_Comm) -> usize {
        let mut calls = self.calls();
        operation.start(call, on);
        let number = calls.insert(operation);
        self.changed.notify_all();
        number
    }

    /// The same, unless somebody else holds it.
    pub(crate) fn calls_if_free(&self) -> Option<MutexGuard<'_, Calls>> {
        match self.calls.try_lock() {
            Ok(calls) => Some(calls),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether a collective is complete. Moves all of them, unless the thread does so just now.
    pub(crate) fn poll(&self, number: usize) -> bool {
        self.asked.store(true, Relaxed);
        let Some(mut calls) = self.calls_if_free() else { return false };
        calls.test_all();
        calls.operation(number).complete()
    }

    /// Waits until a collective is complete.
    pub(crate) fn wait(&self, number: usize) -> Buffers {
        let began = Instant::now();
        while !self.poll(number) {
            let waited = began.elapsed();
            match waited < EAGER {
                true => std::thread::yield_now(),
                false => std::thread::sleep((waited / PAUSE_PART).clamp(PAUSE, LONG_PAUSE)),
            }
        }
        let operation = self.calls().operations[number].take();
        operation.expect("it is waited for once").into_buffers()
    }

    /// Nobody waits for a collective any more. It stays until it is complete.
    pub(crate) fn leave_alone(&self, number: usize) {
        self.calls().operation(number).leave_alone();
    }

    /// The group of those that give the same `color`, ordered by `key` (MPI_Comm_split).
    pub(crate) fn split(&self, of: ffi::MPI_Comm, color: usize, key: usize) -> ffi::MPI_Comm {
        let _calls = self.calls();
        // SAFETY: a constant of the library.
        let mut new = unsafe { ffi::RSMPI_COMM_NULL };
        // SAFETY: all ranks of the communicator call it, each with a color that isn't negative.
        let outcome = unsafe { ffi::MPI_Comm_split(of, color as c_int, key as c_int, &mut new) };
        assert_eq!(outcome, 0, "MPI_Comm_split");
        new
    }

    /// The rank among those that share a node's memory, and how many those are
    /// (MPI_Comm_split_type).
    pub(crate) fn on_node(&self, of: ffi::MPI_Comm, key: usize) -> (usize, usize) {
        let _calls = self.calls();
        let (mut rank, mut size) = (0, 0);
        // SAFETY: constants of the library; all ranks of the communicator call it, and what it
        // makes is asked here and then freed.
        unsafe {
            let (kind, none) = (ffi::RSMPI_COMM_TYPE_SHARED, ffi::RSMPI_INFO_NULL);
            let mut node = ffi::RSMPI_COMM_NULL;
            let outcome = ffi::MPI_Comm_split_type(of, kind, key as c_int, none, &mut node);
            assert_eq!(outcome, 0, "MPI_Comm_split_type");
            ffi::MPI_Comm_rank(node, &mut rank);
            ffi::MPI_Comm_size(node, &mut size);
            ffi::MPI_Comm_free(&mut node);
        }
        (rank as usize, size as usize)
    }

    /// Waits for what is left alone, and ends the thread: it calls MPI no more.
    pub(crate) fn end(&self) {
        loop {
            let mut calls = self.calls();
            if calls.test_all() {
                calls.ends = true;
                self.changed.notify_all();
                return;
            }
            drop(calls);
            std::thread::sleep(PAUSE);
        }
    }
}
