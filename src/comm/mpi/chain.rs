//! A long broadcast goes along a chain of all ranks, in segments: each rank receives from the one
//! before it, and passes on what it has to the one after it.
//!
//! So every link carries everything once, and all of them at the same time (a pipelined ring, as in
//! SUMMA: van de Geijn and Watts, 1997). Unlike Open MPI's MPI_Ibcast, which moves a segment and a
//! step at each call of MPI, a rank asks for all segments at once, so one call moves whatever has
//! come. It doesn't end before the rank after it has taken everything.

use std::ffi::c_int;

use mpi::ffi;

use crate::comm::chain_segment;

/// Tags of chains and rounds that are open at once: MPI has at least 32,767 (MPI-4.0, section
/// 9.1.2).
const TAGS: usize = 1 << 14;
const FIRST_TAG: usize = 1 << 10;

/// One rank's place in a chain.
pub(crate) struct Chain {
    before: Option<c_int>,
    after: Option<c_int>,
    tag: c_int,
    bytes: usize,
    segment: usize,
    /// Where the message lies, and on what it travels; none before it starts.
    on: Option<(*mut u8, ffi::MPI_Comm)>,
    receives: Vec<ffi::MPI_Request>,
    /// Segments that are here, the first ones.
    here: usize,
    sends: Vec<ffi::MPI_Request>,
    /// Segments that have been passed on.
    gone: usize,
}

impl Chain {
    /// That of a broadcast of so many bytes, if it is long enough. `number` counts what has been
    /// started on the communicator.
    pub(crate) fn new(
        (rank, size): (usize, usize),
        number: usize,
        root: usize,
        bytes: usize,
    ) -> Option<Chain> {
        let segment = chain_segment(bytes).filter(|_| size > 1)?;
        let neighbour = |rank: usize| Some((rank % size) as c_int);
        let before = if rank == root { None } else { neighbour(rank + size - 1) };
        let after = if (rank + 1) % size == root { None } else { neighbour(rank + 1) };
        let (receives, sends) = (Vec::new(), Vec::new());
        let (tag, on, here, gone) = (tag_of(number), None, 0, 0);
        Some(Chain { before, after, tag, bytes, segment, on, receives, here, sends, gone })
    }

    fn segments(&self) -> usize {
        self.bytes.div_ceil(self.segment)
    }

    /// # Safety
    /// At `memory` there are as many bytes as the broadcast has. They are this chain's, in the same
    /// place, until `test` says that it is complete.
    pub(crate) unsafe fn start(&mut self, memory: *mut u8, on: ffi::MPI_Comm) {
        self.on = Some((memory, on));
        match self.before {
            None => self.here = self.segments(),
            Some(before) => {
                self.receives = (0..self.segments())
                    .map(|at| {
                        self.request(at, |memory, count, bytes, tag, on, request| {
                            // SAFETY: the segment lies within the message.
                            unsafe {
                                ffi::MPI_Irecv(
                                    memory.cast(),
                                    count,
                                    bytes,
                                    before,
                                    tag,
                                    on,
                                    request,
                                )
                            }
                        })
                    })
                    .collect()
            }
        }
        self.pass_on();
    }

    /// Starts to send or receive a segment.
    fn request(
        &self,
        index: usize,
        start: impl FnOnce(
            *mut u8,
            c_int,
            ffi::MPI_Datatype,
            c_int,
            ffi::MPI_Comm,
            *mut ffi::MPI_Request,
        ) -> c_int,
    ) -> ffi::MPI_Request {
        let (memory, on) = self.on.expect("it has been started");
        let from = index * self.segment;
        let count = self.segment.min(self.bytes - from) as c_int;
        // SAFETY: constants of the library.
        let (mut request, bytes) = unsafe { (ffi::RSMPI_REQUEST_NULL, ffi::RSMPI_UINT8_T) };
        let outcome = start(memory.wrapping_add(from), count, bytes, self.tag, on, &mut request);
        // The library ends all ranks where something is wrong (MPI_ERRORS_ARE_FATAL).
        assert_eq!(outcome, 0, "MPI starts segment {index} of a broadcast");
        request
    }

    /// Starts to send all that is here and hasn't been.
    fn pass_on(&mut self) {
        let Some(after) = self.after else { return };
        for index in self.sends.len()..self.here {
            let request = self.request(index, |memory, count, bytes, tag, on, request| {
                // SAFETY: the segment lies within the message, and nobody writes to it any more.
                unsafe { ffi::MPI_Isend(memory.cast(), count, bytes, after, tag, on, request) }
            });
            self.sends.push(request);
        }
    }

    /// Whether all of it is here and passed on. Passes on what has come since.
    pub(crate) fn test(&mut self) -> bool {
        while self.here < self.segments() && is_through(&mut self.receives[self.here]) {
            self.here += 1;
            self.pass_on();
        }
        while self.gone < self.sends.len() && is_through(&mut self.sends[self.gone]) {
            self.gone += 1;
        }
        let passed_on = if self.after.is_some() { self.gone } else { self.here };
        passed_on == self.segments()
    }
}

/// The tag of what is made of point-to-point messages, as number `number` on its communicator.
pub(crate) fn tag_of(number: usize) -> c_int {
    (FIRST_TAG + number % TAGS) as c_int
}

pub(crate) fn is_through(request: &mut ffi::MPI_Request) -> bool {
    let mut flag = 0;
    // SAFETY: it has been started, and is the caller's.
    let outcome = unsafe { ffi::MPI_Test(request, &mut flag, ffi::RSMPI_STATUS_IGNORE) };
    assert_eq!(outcome, 0, "MPI_Test");
    flag != 0
}
