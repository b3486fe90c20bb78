//! How the host waits for a device: messages move on, and copies go on.

use std::thread::sleep;
use std::time::Duration;

use super::in_turn::Beside;
use super::queue::Queue;
use crate::device::Pace;
use crate::progress::tick;

/// How long to look away from a device that works.
pub(super) const MOMENT: Duration = Duration::from_micros(50);

/// Pieces of work that the device may not have come to yet: mini-batches, class blocks of one, row
/// blocks on their way back.
pub(super) const QUEUED: usize = 2;

/// Waits until the device has come to all marks but `left`; messages move on meanwhile.
pub(super) fn wait(queue: &Queue, pace: &mut Pace, left: usize) -> Result<(), String> {
    wait_beside(queue, pace, left, &mut || Ok(false))
}

/// The same, doing at least once what is to be done `beside`.
pub(super) fn wait_beside(
    queue: &Queue,
    pace: &mut Pace,
    left: usize,
    beside: Beside,
) -> Result<(), String> {
    let mut before = usize::MAX;
    loop {
        let now = queue.marks_left()?;
        if now < before {
            tick();
            before = now;
        }
        pace.poll();
        let some = beside()?;
        if now <= left {
            return Ok(());
        }
        if !some {
            sleep(MOMENT);
        }
    }
}

/// As `wait_beside` where no messages are under way and nobody asks for a stop.
pub(super) fn wait_alone(queue: &Queue, left: usize, beside: Beside) -> Result<(), String> {
    wait_beside(queue, &mut Pace::new(&mut || (), &|| false), left, beside)
}
