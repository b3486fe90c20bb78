//! What comes down from a device while it goes on with other work.

use super::launcher::Lane;
use super::queue::{Inner, Queue};

/// Bytes that come down while others work.
pub(crate) struct Fetch {
    pub(super) queue: Queue,
    /// The lane and the piece of staging memory that they come through.
    pub(super) piece: (Lane, usize),
    pub(super) bytes: usize,
}

impl Fetch {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether they have come.
    ///
    /// # Errors
    /// The device is lost, or what made them has failed.
    pub(crate) fn come(&self) -> Result<bool, String> {
        self.queue.asked(|Inner { launcher, lanes, staging, .. }| {
            let (_, until) = staging.taken(self.piece);
            lanes.passed(&mut **launcher, (self.piece.0, until))
        })
    }

    /// Waits for them, and copies them to where they are wanted.
    ///
    /// # Errors
    /// As of `come`.
    pub(crate) fn wait(self, to: &mut [u8]) -> Result<(), String> {
        self.queue.asked(|Inner { launcher, lanes, staging, .. }| {
            let (stage, until) = staging.taken(self.piece);
            lanes.wait(&mut **launcher, (self.piece.0, until))?;
            to.copy_from_slice(launcher.staged(stage, 0..self.bytes));
            Ok(())
        })
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.queue.leave(self.piece);
    }
}
