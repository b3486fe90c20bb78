//! What windows usually wait for others, among all that ranks wait. A window in which some rank
//! came late, wrote a checkpoint or had lost its core tells nothing of what exchanges take.

use crate::comm::Comm;
use crate::report::{Timers, WINDOW_WAITS};

/// Waits of the windows of an epoch or a pass.
pub(super) struct WindowWaits {
    /// What this rank had waited before the window.
    before: f64,
    /// Seconds of each window that has passed.
    each: Vec<f64>,
}

impl WindowWaits {
    pub(super) fn begin(comm: &Comm) -> WindowWaits {
        WindowWaits { before: comm.traffic().wait_seconds, each: Vec::new() }
    }

    /// One more has passed, and ranks have agreed on it.
    pub(super) fn passed(&mut self, comm: &Comm) {
        let now = comm.traffic().wait_seconds;
        self.each.push(now - self.before);
        self.before = now;
    }

    /// Counts them, all as long as the one in the middle.
    pub(super) fn end(mut self, comm: &Comm, timers: &mut Timers) {
        if comm.size() > 1 {
            timers.add(WINDOW_WAITS, usual(&mut self.each));
        }
    }
}

/// So many times the one in the middle.
fn usual(each: &mut [f64]) -> f64 {
    let count = each.len();
    if count == 0 {
        return 0.0;
    }
    let (_, middle, _) = each.select_nth_unstable_by((count - 1) / 2, f64::total_cmp);
    *middle * count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_waits_long_counts_as_one_that_does_not() {
        assert_eq!(usual(&mut []), 0.0);
        assert_eq!(usual(&mut [3.0]), 3.0);
        assert_eq!(usual(&mut [9.0, 2.0]), 4.0);
        assert_eq!(usual(&mut [0.5, 90.0, 0.25, 0.5, 0.75]), 2.5);
    }
}
