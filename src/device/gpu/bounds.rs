//! How a device's memory is divided, which a plan says (`cost/device_memory.rs`).

use super::LOGITS_BYTES;

/// How the device's memory is divided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Bytes that logits may take at once, unless those of one group of classes are more.
    pub(crate) logits_bytes: usize,
    /// Bytes that own class blocks may take; those that don't fit come and go.
    pub(crate) blocks_bytes: usize,
    /// Bytes that rows at rest may take while they are scored.
    pub(crate) rest_bytes: usize,
}

impl Bounds {
    /// Of so many bytes in which nothing but a step is done, of which nobody makes a plan.
    pub(crate) fn of_a_step(limit: usize) -> Bounds {
        let logits_bytes = LOGITS_BYTES.min(limit / 8);
        Bounds { logits_bytes, blocks_bytes: limit / 2, rest_bytes: limit / 8 }
    }
}

impl Default for Bounds {
    /// Without a plan: as much as there is.
    fn default() -> Bounds {
        let all = usize::MAX;
        Bounds { logits_bytes: LOGITS_BYTES, blocks_bytes: all, rest_bytes: all }
    }
}
