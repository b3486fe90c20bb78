//! The clock as the program decides by it: when a checkpoint is due, when a save is tried again.
//!
//! One value that is handed on, so that a simulation can let time pass as it likes. What only tells
//! of time (timers of messages and of reading) looks at the system's clock by itself.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A clock that isn't the system's.
pub trait ClockHook: fmt::Debug + Send + Sync {
    /// A moment that never goes back.
    fn now(&self) -> Instant;
    /// The time of day, which may.
    fn today(&self) -> SystemTime;
    /// Lets so much time pass.
    fn sleep(&self, time: Duration);
}

/// The system's clock, unless there is a hook.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    hook: Option<Arc<dyn ClockHook>>,
}

impl Clock {
    /// A clock whose time comes from `hook`.
    pub fn hooked(hook: Arc<dyn ClockHook>) -> Clock {
        Clock { hook: Some(hook) }
    }

    /// A moment that never goes back.
    pub(crate) fn now(&self) -> Instant {
        self.hook.as_ref().map_or_else(Instant::now, |hook| hook.now())
    }

    /// Time since `then`.
    pub(crate) fn since(&self, then: Instant) -> Duration {
        self.now().saturating_duration_since(then)
    }

    /// The time of day.
    pub(crate) fn today(&self) -> SystemTime {
        self.hook.as_ref().map_or_else(SystemTime::now, |hook| hook.today())
    }

    /// Lets so much time pass.
    pub(crate) fn sleep(&self, time: Duration) {
        match &self.hook {
            Some(hook) => hook.sleep(time),
            None => std::thread::sleep(time),
        }
    }
}
