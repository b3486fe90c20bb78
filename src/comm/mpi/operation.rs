//! A collective that is under way in MPI, with the memory that it may touch.

use std::ffi::{c_int, c_void};

use mpi::ffi;

use super::chain::Chain;
use super::short::Short;
use crate::comm::backend::{Buffers, Call};

/// A collective, and all that MPI may read or write until it is complete (MPI-4.0, section 6.12).
pub(crate) struct Operation {
    /// That of a collective, where it isn't made of point-to-point messages.
    request: ffi::MPI_Request,
    chain: Option<Chain>,
    short: Option<Short>,
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

fn counts_of(lengths: &[usize]) -> Vec<c_int> {
    let count = |length: &usize| c_int::try_from(*length).expect("messages are split");
    lengths.iter().map(count).collect()
}

fn counts_and_places(lengths: &[usize]) -> (Vec<c_int>, Vec<c_int>) {
    let counts = counts_of(lengths);
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
    /// `number` counts what the communicator has started; the same on all its ranks.
    pub(crate) fn new(
        (rank, size): (usize, usize),
        number: usize,
        call: &Call,
        buffers: Buffers,
    ) -> Operation {
        let none = || (Vec::new(), Vec::new());
        let (mut sent, mut received) = match call {
            Call::Barrier | Call::Broadcast { .. } => (none(), none()),
            Call::AllGather { counts } => (none(), counts_and_places(counts)),
            Call::AllToAll { to, at, from } => {
                ((counts_of(to), counts_of(at)), counts_and_places(from))
            }
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
        let chain = match call {
            Call::Broadcast { root } => {
                Chain::new((rank, size), number, *root, buffers.receive.bytes().len())
            }
            _ => None,
        };
        let short = match call {
            Call::AllGather { counts } => {
                Short::new((rank, size), number, counts, buffers.send.bytes())
            }
            _ => None,
        };
        let (complete, alone) = (false, false);
        Operation { request, chain, short, buffers, sent, received, spare, complete, alone }
    }

    /// Starts it on a communicator.
    pub(crate) fn start(&mut self, call: &Call, on: ffi::MPI_Comm) {
        if let Some(chain) = &mut self.chain {
            // SAFETY: the bytes lie on the heap and stay with this operation until all of the chain
            // is complete, and nobody else touches them.
            return unsafe { chain.start(self.buffers.receive.bytes_mut().as_mut_ptr(), on) };
        }
        if let Some(short) = &mut self.short {
            return short.start(on);
        }
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
    pub(crate) fn test(&mut self) -> bool {
        if let Some(chain) = &mut self.chain {
            self.complete = chain.test();
        } else if let Some(short) = self.short.as_mut().filter(|_| !self.complete) {
            self.complete = short.test();
            if self.complete {
                short.finish(self.buffers.receive.bytes_mut());
            }
        } else if !self.complete {
            let mut flag = 0;
            // SAFETY: the request is this operation's, which has been started.
            let outcome =
                unsafe { ffi::MPI_Test(&mut self.request, &mut flag, ffi::RSMPI_STATUS_IGNORE) };
            assert_eq!(outcome, 0, "MPI_Test");
            self.complete = flag != 0;
        }
        self.complete
    }

    /// Whether it is known to be.
    pub(crate) fn complete(&self) -> bool {
        self.complete
    }

    /// Nobody wants what it brings.
    pub(crate) fn leave_alone(&mut self) {
        self.alone = true;
    }

    pub(crate) fn alone(&self) -> bool {
        self.alone
    }

    pub(crate) fn into_buffers(self) -> Buffers {
        self.buffers
    }
}
