//! Whether a rank waits for others, and where, for those who watch over it from another thread.

use std::panic::Location;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicPtr, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::time::{Duration, Instant};

/// What the talking thread of a rank does. Only that thread changes it.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// How often the rank has begun or ended to wait: odd while it waits.
    turns: AtomicU64,
    /// Where in the program the collective was called.
    place: AtomicPtr<Location<'static>>,
    /// Bytes that this rank gives and gets in it.
    bytes: AtomicU64,
    /// Milliseconds of `milliseconds` when it began to wait.
    since: AtomicU64,
}

fn milliseconds() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// What it does just now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Doing {
    /// Another number is another wait, or work.
    pub(crate) turn: u64,
    pub(crate) waits: bool,
    pub(crate) place: Option<&'static Location<'static>>,
    pub(crate) bytes: u64,
}

impl Activity {
    /// From now on the rank waits in a collective of so many bytes.
    pub(crate) fn waits(&self, place: &'static Location<'static>, bytes: usize) {
        self.place.store(ptr::from_ref(place).cast_mut(), Relaxed);
        self.bytes.store(bytes as u64, Relaxed);
        self.since.store(milliseconds(), Relaxed);
        self.turns.store(self.turns.load(Relaxed) / 2 * 2 + 1, Release);
    }

    /// From now on it works.
    pub(crate) fn works(&self) {
        self.turns.store(self.turns.load(Relaxed).next_multiple_of(2), Release);
    }

    /// How long the rank has been waiting for others.
    pub(crate) fn waiting(&self) -> Duration {
        let waits = self.turns.load(Acquire) % 2 == 1;
        let waited = milliseconds().saturating_sub(self.since.load(Relaxed));
        if waits { Duration::from_millis(waited) } else { Duration::ZERO }
    }

    pub(crate) fn now(&self) -> Doing {
        let turn = self.turns.load(Acquire);
        // SAFETY: null, or made of a reference to something that lives for ever.
        let place = unsafe { self.place.load(Relaxed).as_ref() };
        Doing { turn, waits: turn % 2 == 1, place, bytes: self.bytes.load(Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_has_a_number_of_its_own() {
        let activity = Activity::default();
        assert!(!activity.now().waits);
        activity.works();
        assert_eq!(activity.now().turn, 0, "it worked already");
        activity.waits(Location::caller(), 24);
        let first = activity.now();
        assert!(first.waits && first.bytes == 24 && first.place.is_some());
        activity.works();
        assert!(!activity.now().waits);
        activity.waits(Location::caller(), 24);
        assert!(activity.now().waits && activity.now().turn > first.turn);
    }
}
