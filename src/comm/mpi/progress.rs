//! Moves what is under way in MPI. MPI moves messages inside its own calls only: so while work goes
//! on that polls rarely, a thread asks after them now and then (docs/exchanges.md).

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use mpi::ffi;

use crate::comm::backend::{Buffers, Call};
use crate::comm::ending::quiet_thread;

/// How often the thread asks after exchanges while the rank works.
const EVERY: Duration = Duration::from_micros(500);
/// How long a rank that waits asks without a pause, so that short waits stay short.
const EAGER: Duration = Duration::from_millis(2);
/// Its pauses after that: others may need the core.
const PAUSE: Duration = Duration::from_micros(50);

/// `0` leaves out the thread, to see what it brings.
const VARIABLE: &str = "REELSCALE_PROGRESS_THREAD";

/// A collective, and all that MPI may read or write until it is complete (MPI-4.0, section 6.12).
pub struct Operation {
    request: ffi::MPI_Request,
    buffers: Buffers,
    /// Counts and places of what is sent and received, by rank.
    sent: (Vec<c_int>, Vec<c_int>),
    received: (Vec<c_int>, Vec<c_int>),
    /// A byte that a rank sends itself where there is nothing else.
    spare: Option<Box<u8>>,
    complete: bool,
    /// Whether nobody wants what it brings.
    alone: bool,
}

// SAFETY: a request is a handle that any thread may use, one at a time (MPI_THREAD_SERIALIZED); of
// the buffers, which are vectors of plain numbers, other threads see the bytes only.
unsafe impl Send for Operation {}

fn counts_and_places(lengths: &[usize]) -> (Vec<c_int>, Vec<c_int>) {
    let count = |length: &usize| c_int::try_from(*length).expect("messages are split");
    let counts: Vec<c_int> = lengths.iter().map(count).collect();
    let places = counts.iter().scan(0, |at, count| Some(std::mem::replace(at, *at + count)));
    let places = places.collect();
    (counts, places)
}

/// Memory for buffers without content: an empty Rust vector points to address 1, which is
/// MPI_IN_PLACE.
static NOWHERE: [u8; 8] = [0; 8];

fn address(bytes: &[u8]) -> *const c_void {
    if bytes.is_empty() { (&raw const NOWHERE).cast() } else { bytes.as_ptr().cast() }
}

fn address_mut(bytes: &mut [u8]) -> *mut c_void {
    // Nothing is written where there is no content.
    if bytes.is_empty() {
        (&raw const NOWHERE).cast_mut().cast()
    } else {
        bytes.as_mut_ptr().cast()
    }
}

impl Operation {
    pub fn new(rank: usize, call: &Call, buffers: Buffers) -> Operation {
        let none = || (Vec::new(), Vec::new());
        let (mut sent, mut received) = match call {
            Call::Barrier | Call::Broadcast { .. } => (none(), none()),
            Call::AllGather { counts } => (none(), counts_and_places(counts)),
            Call::AllToAll { to, from } => (counts_and_places(to), counts_and_places(from)),
        };
        // Open MPI 4.1 (NBC_Schedule_request) gives no tag to an all-to-all in which a rank has
        // nothing to do, and the ranks that have something do use one: later ones get mixed up.
        let nothing = |counts: &[c_int]| counts.iter().all(|count| *count == 0);
        let mut spare = None;
        if let Call::AllToAll { .. } = call
            && nothing(&sent.0)
            && nothing(&received.0)
        {
            (sent.0[rank], received.0[rank], spare) = (1, 1, Some(Box::default()));
        }
        // SAFETY: a constant of the library.
        let request = unsafe { ffi::RSMPI_REQUEST_NULL };
        Operation { request, buffers, sent, received, spare, complete: false, alone: false }
    }

    /// Starts it on a communicator.
    fn start(&mut self, call: &Call, on: ffi::MPI_Comm) {
        let Buffers { send, receive } = &mut self.buffers;
        let length = |bytes: &[u8]| c_int::try_from(bytes.len()).expect("messages are split");
        let (send_length, receive_length) = (length(send.bytes()), length(receive.bytes()));
        let (from, mut to) = (address(send.bytes()), address_mut(receive.bytes_mut()));
        if let Some(spare) = &mut self.spare {
            to = (&raw mut **spare).cast();
        }
        let ((out, out_at), (into, into_at)) = (&self.sent, &self.received);
        let request = &mut self.request;
        // SAFETY: buffers, counts and places lie on the heap and stay with this operation, as they
        // are, until MPI says that it is complete; an operation that isn't is never dropped. Counts
        // have as many entries as the communicator ranks, and add up to the lengths of buffers.
        let outcome = unsafe {
            let bytes = ffi::RSMPI_UINT8_T;
            match call {
                Call::Barrier => ffi::MPI_Ibarrier(on, request),
                Call::Broadcast { root } => {
                    ffi::MPI_Ibcast(to, receive_length, bytes, *root as c_int, on, request)
                }
                Call::AllGather { .. } => {
                    let (counts, places) = (into.as_ptr(), into_at.as_ptr());
                    ffi::MPI_Iallgatherv(
                        from,
                        send_length,
                        bytes,
                        to,
                        counts,
                        places,
                        bytes,
                        on,
                        request,
                    )
                }
                Call::AllToAll { .. } => {
                    let (counts, places) = (out.as_ptr(), out_at.as_ptr());
                    let (their, at) = (into.as_ptr(), into_at.as_ptr());
                    ffi::MPI_Ialltoallv(
                        from, counts, places, bytes, to, their, at, bytes, on, request,
                    )
                }
            }
        };
        // The library ends all ranks where something is wrong (MPI_ERRORS_ARE_FATAL).
        assert_eq!(outcome, 0, "MPI starts {call:?}");
    }

    /// Asks MPI whether it is complete, which moves whatever is under way.
    fn test(&mut self) -> bool {
        if !self.complete {
            let mut flag = 0;
            // SAFETY: the request is this operation's, which has been started.
            let outcome =
                unsafe { ffi::MPI_Test(&mut self.request, &mut flag, ffi::RSMPI_STATUS_IGNORE) };
            assert_eq!(outcome, 0, "MPI_Test");
            self.complete = flag != 0;
        }
        self.complete
    }
}

/// What is under way. Whoever holds it may call MPI.
#[derive(Default)]
pub struct Calls {
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
            if place.as_mut().is_some_and(|operation| operation.test() && operation.alone) {
                *place = None;
            }
            all &= place.as_ref().is_none_or(|operation| operation.complete);
        }
        all
    }
}

/// What is under way in MPI, and the thread that moves it.
pub struct Progress {
    calls: Mutex<Calls>,
    /// Something has been started, or all ends.
    changed: Condvar,
    /// Whether the rank itself has asked MPI since the thread last looked.
    asked: AtomicBool,
}

impl Progress {
    /// With a thread of its own where MPI lets several threads call it in turn.
    pub fn start(by_itself: bool) -> Arc<Progress> {
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
    pub fn calls(&self) -> MutexGuard<'_, Calls> {
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
    pub fn begin(&self, mut operation: Operation, call: &Call, on: ffi::MPI_Comm) -> usize {
        let mut calls = self.calls();
        operation.start(call, on);
        let number = calls.insert(operation);
        self.changed.notify_all();
        number
    }

    /// The same, unless somebody else holds it.
    pub fn calls_if_free(&self) -> Option<MutexGuard<'_, Calls>> {
        match self.calls.try_lock() {
            Ok(calls) => Some(calls),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Whether a collective is complete. Moves all of them, unless the thread does so just now.
    pub fn poll(&self, number: usize) -> bool {
        self.asked.store(true, Relaxed);
        let Some(mut calls) = self.calls_if_free() else { return false };
        calls.test_all();
        calls.operation(number).complete
    }

    /// Waits until a collective is complete.
    pub fn wait(&self, number: usize) -> Buffers {
        let began = Instant::now();
        while !self.poll(number) {
            match began.elapsed() < EAGER {
                true => std::thread::yield_now(),
                false => std::thread::sleep(PAUSE),
            }
        }
        let operation = self.calls().operations[number].take();
        operation.expect("it is waited for once").buffers
    }

    /// Nobody waits for a collective any more. It stays until it is complete.
    pub fn leave_alone(&self, number: usize) {
        self.calls().operation(number).alone = true;
    }

    /// The group of those that give the same `color`, ordered by `key` (MPI_Comm_split).
    pub fn split(&self, of: ffi::MPI_Comm, color: usize, key: usize) -> ffi::MPI_Comm {
        let _calls = self.calls();
        // SAFETY: a constant of the library.
        let mut new = unsafe { ffi::RSMPI_COMM_NULL };
        // SAFETY: all ranks of the communicator call it, each with a color that isn't negative.
        let outcome = unsafe { ffi::MPI_Comm_split(of, color as c_int, key as c_int, &mut new) };
        assert_eq!(outcome, 0, "MPI_Comm_split");
        new
    }

    /// Waits for what is left alone, and ends the thread: it calls MPI no more.
    pub fn end(&self) {
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
