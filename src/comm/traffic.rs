//! What passes through a communicator is counted.

use super::Comm;
use crate::stint;

/// What passed through a communicator so far, on this rank.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Collective calls that were split or not, as given to the backend.
    pub messages: u64,
    /// Bytes that this rank contributed.
    pub bytes_sent: u64,
    /// Bytes that this rank was given by others.
    pub bytes_received: u64,
    /// Seconds in which this rank did nothing but start collectives and wait for them.
    pub(crate) wait_seconds: f64,
}

#[doc(hidden)]
impl Comm {
    /// Counts in the group and in all of them.
    fn count(&self, add: impl Fn(&mut Traffic)) {
        for traffic in [&self.traffic, &self.own.traffic] {
            let mut sums = traffic.get();
            add(&mut sums);
            traffic.set(sums);
        }
    }

    pub(super) fn count_message(&self, sent: usize, received: usize) {
        self.count(|traffic| {
            traffic.messages += 1;
            traffic.bytes_sent += sent as u64;
            traffic.bytes_received += received as u64;
        });
    }

    pub(super) fn count_wait(&self, seconds: f64) {
        self.count(|traffic| traffic.wait_seconds += seconds);
        stint::waited(seconds);
    }
}
