//! What travels proves itself. Every part of a message is followed by its seal, the crc32c of what
//! the sender has in memory, and the receiver compares what has arrived.
//!
//! A rank that has taken in a damaged part of a large message (numbers, made zero there) goes on
//! with what others wait for, until all agree: `Comm::agree` gives the damage before anything else.
//! In messages that say what ranks do next there is no going on, so damage there ends the run.

use std::fmt::Display;

use super::Comm;
use super::crc::crc32c_by;
use crate::error::{Error, Exit, Result};

/// Bytes of a seal.
pub(crate) const SEAL: usize = size_of::<u32>();

/// Numbers of `T` in whose place a seal lies at the end of a vector of them.
pub(super) fn seal_numbers<T>() -> usize {
    SEAL.div_ceil(size_of::<T>())
}

/// The seal that the bytes begin with.
pub(super) fn seal_in(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..SEAL].try_into().expect("a seal has as many bytes"))
}

#[doc(hidden)]
impl Comm {
    /// Says how many threads this rank computes with: they help where large messages are proven.
    pub fn use_threads(&self, threads: usize) {
        self.own.threads.set(threads.max(1));
    }

    /// The threads that this rank computes with.
    pub(crate) fn threads(&self) -> usize {
        self.own.threads.get()
    }

    /// The seal of what this rank sends; one rank alone sends nothing.
    pub(super) fn seal_of(&self, bytes: &[u8]) -> u32 {
        if self.size() == 1 { 0 } else { crc32c_by(self.threads(), bytes) }
    }

    /// What is wrong with what rank `sender` sent, if anything: its crc32c isn't the seal.
    pub(super) fn damage(
        &self,
        sender: usize,
        what: impl Display,
        bytes: &[u8],
        seal: u32,
    ) -> Result<()> {
        self.checked(sender, what, || crc32c_by(self.threads(), bytes), seal)
    }

    /// The same of what has been found to have some crc32c.
    fn checked(
        &self,
        sender: usize,
        what: impl Display,
        found: impl FnOnce() -> u32,
        seal: u32,
    ) -> Result<()> {
        // What a rank sends itself doesn't travel.
        if sender == self.rank() {
            return Ok(());
        }
        match found() {
            found if found == seal => Ok(()),
            found => Err(self.damaged(sender, what, found, seal)),
        }
    }

    /// The error that what rank `sender` sent has another crc32c than its seal.
    pub(crate) fn damaged(
        &self,
        sender: usize,
        what: impl Display,
        found: u32,
        seal: u32,
    ) -> Error {
        let (sender, own) = (self.in_all(sender), self.in_all(self.rank()));
        let text = format!(
            "rank {sender}: {what}: arrived damaged on rank {own}: found crc32c {found:08x}, \
             expected {seal:08x}"
        );
        Error::new(Exit::Peer, text).hint(
            "the memory or network of one of them has a fault; the same command goes on from the \
             last checkpoint",
        )
    }

    /// Keeps the first damage that this rank has taken in, until ranks agree.
    pub(crate) fn keep_damage(&self, error: Error) {
        let kept = self.own.damage.take().or(Some(error));
        self.own.damage.set(kept);
    }

    /// The outcome of work on what has arrived: an error where some of that was damaged. Not
    /// collective: `agree` makes it so.
    pub(crate) fn unless_damaged<T>(&self, outcome: Result<T>) -> Result<T> {
        self.own.damage.take().map_or(outcome, Err)
    }

    /// Ends the run where what rank `sender` sent has another crc32c than its seal.
    pub(crate) fn prove(&self, sender: usize, what: &str, found: u32, seal: u32) {
        self.undamaged(self.checked(sender, what, || found, seal));
    }

    /// Ends the run: without what was damaged this rank doesn't know what to do next.
    pub(super) fn undamaged(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.backend.fail(error);
        }
    }
}
