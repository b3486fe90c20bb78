//! How a device lets others live while it works, and when it stops.

/// How a device lets others live while it works.
pub struct Pace<'a> {
    pub(super) poll: &'a mut dyn FnMut(),
    stopped: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Pace<'a> {
    /// `poll` is called on the calling thread between pieces of work and while others are waited
    /// for; `stopped` on any thread, and once it is true it stays so.
    pub fn new(poll: &'a mut dyn FnMut(), stopped: &'a (dyn Fn() -> bool + Sync)) -> Pace<'a> {
        Pace { poll, stopped }
    }

    /// Has messages under way move on.
    pub fn poll(&mut self) {
        (self.poll)();
    }

    /// Whether the run is to stop.
    pub fn stopped(&self) -> bool {
        (self.stopped)()
    }

    /// What says so, on any thread.
    pub(crate) fn stopping(&self) -> &'a (dyn Fn() -> bool + Sync) {
        self.stopped
    }
}
