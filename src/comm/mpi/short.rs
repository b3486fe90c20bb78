//! A short all-gather among many ranks goes in rounds, in each of which a rank has twice as much
//! (Bruck, Ho, Kipnis, Upfal and Weathersby, 1997): log2 P messages a rank, where Open MPI's
//! MPI_Iallgatherv sends P - 1.
//!
//! In round k a rank sends what it has to the rank 2^k before it, and receives as much of the rank
//! 2^k after it. So parts lie from its own on, around the ring, and are put in rank order at the
//! end. A round begins inside the call that sees the one before it through.

use std::ffi::c_int;

use mpi::ffi;

use super::chain::{is_through, tag_of};
use crate::comm::goes_in_rounds;

/// One rank's place in the rounds.
pub(crate) struct Short {
    rank: usize,
    size: usize,
    /// Bytes of a rank's part.
    part: usize,
    tag: c_int,
    on: Option<ffi::MPI_Comm>,
    /// The parts that are here, from this rank's on, around the ring.
    parts: Vec<u8>,
    here: usize,
    /// Of the round that goes on: receiving, sending, and how many parts come.
    round: Option<([ffi::MPI_Request; 2], usize)>,
}

impl Short {
    /// That of an all-gather of parts of these lengths, where that is short. `number` counts what
    /// has been started on the communicator.
    pub(crate) fn new(
        (rank, size): (usize, usize),
        number: usize,
        counts: &[usize],
        own: &[u8],
    ) -> Option<Short> {
        let part = goes_in_rounds(counts)?;
        let mut parts = vec![0; part * size];
        parts[..part].copy_from_slice(own);
        let (tag, on, here, round) = (tag_of(number), None, 1, None);
        Some(Short { rank, size, part, tag, on, parts, here, round })
    }

    pub(crate) fn start(&mut self, on: ffi::MPI_Comm) {
        self.on = Some(on);
        self.begin();
    }

    /// Begins the next round, if there is one.
    fn begin(&mut self) {
        let Some(on) = self.on.filter(|_| self.here < self.size) else { return };
        let (distance, comes) = (self.here, self.here.min(self.size - self.here));
        let to = ((self.rank + self.size - distance) % self.size) as c_int;
        let from = ((self.rank + distance) % self.size) as c_int;
        let (have, room) = self.parts.split_at_mut(self.here * self.part);
        let count = (comes * self.part) as c_int;
        // SAFETY: constants of the library.
        let (null, bytes) = unsafe { (ffi::RSMPI_REQUEST_NULL, ffi::RSMPI_UINT8_T) };
        let [mut receive, mut send] = [null; 2];
        // SAFETY: what comes has room behind what is here, of which as much is sent; both lie on
        // the heap, in the same place, until `test` says that all is complete, and are touched by
        // nobody meanwhile.
        let outcomes = unsafe {
            let room = room.as_mut_ptr().cast();
            let have = have.as_ptr().cast();
            [
                ffi::MPI_Irecv(room, count, bytes, from, self.tag, on, &mut receive),
                ffi::MPI_Isend(have, count, bytes, to, self.tag, on, &mut send),
            ]
        };
        // The library ends all ranks where something is wrong (MPI_ERRORS_ARE_FATAL).
        assert_eq!(outcomes, [0, 0], "MPI starts a round of a short all-gather");
        self.round = Some(([receive, send], comes));
    }

    /// Whether all parts are here and have been passed on.
    pub(crate) fn test(&mut self) -> bool {
        while let Some((requests, comes)) = &mut self.round {
            let [received, sent] = requests.each_mut().map(is_through);
            if !(received && sent) {
                return false;
            }
            self.here += *comes;
            self.round = None;
            self.begin();
        }
        self.here == self.size
    }

    /// Puts all parts in rank order.
    pub(crate) fn finish(&self, all: &mut [u8]) {
        let (from_own, around) = all.split_at_mut(self.rank * self.part);
        let (own_on, before) = self.parts.split_at((self.size - self.rank) * self.part);
        around.copy_from_slice(own_on);
        from_own.copy_from_slice(before);
    }
}
