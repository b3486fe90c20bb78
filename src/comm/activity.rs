//! Whether a rank waits for others, for those who watch over it from another thread.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What the talking thread of a rank does.
#[derive(Debug, Default)]
pub struct Activity {
    /// Milliseconds, and one, since `start` when it began to wait; 0 while it doesn't.
    waiting_since: AtomicU64,
}

fn milliseconds() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}

impl Activity {
    pub fn waits(&self) {
        self.waiting_since.store(milliseconds(), Relaxed);
    }

    pub fn works(&self) {
        self.waiting_since.store(0, Relaxed);
    }

    /// How long the rank has been waiting for others.
    pub fn waiting(&self) -> Duration {
        match self.waiting_since.load(Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(milliseconds().saturating_sub(since)),
        }
    }
}
