//! Whether a run is to stop, as far as one rank knows, and how the others get to know it.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::Comm;
use crate::error::{Error, Result};

/// What is called before each look.
type BeforeLook = Arc<dyn Fn() + Send + Sync>;

/// A flag that anything may set at any moment (a signal, a deadline, another rank's news) and that
/// the threads of a rank look at between pieces of work.
#[derive(Clone, Default)]
pub struct StopFlag {
    asked: Arc<AtomicBool>,
    before_look: Option<BeforeLook>,
}

impl StopFlag {
    /// A flag that calls `before_look` before each look at it, for tests that set it at that very
    /// moment.
    pub fn watched(before_look: BeforeLook) -> StopFlag {
        StopFlag { asked: Arc::default(), before_look: Some(before_look) }
    }

    /// Whether the run is to stop.
    pub(crate) fn asked(&self) -> bool {
        if let Some(before_look) = &self.before_look {
            before_look();
        }
        self.asked.load(Relaxed)
    }

    /// From now on it is.
    pub fn ask(&self) {
        self.asked.store(true, Relaxed);
    }

    /// What a signal handler may set.
    pub(crate) fn raw(&self) -> &Arc<AtomicBool> {
        &self.asked
    }
}

impl fmt::Debug for StopFlag {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_tuple("StopFlag").field(&self.asked).finish()
    }
}

/// What a rank has to do with the news that the run is to stop.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Telling {
    /// Nothing known yet.
    Listening,
    /// Another rank has told this one.
    Heard,
    /// This rank has told the others.
    Told,
    /// Nobody listens any more.
    Settled,
}

impl Comm {
    /// The flag that the run is to stop, as far as this rank knows. Whoever sets it on one rank
    /// stops all of them: the news travels beside all messages, while work goes on.
    ///
    /// A rank that sees it does no more arithmetic but makes every call that the others make, until
    /// all agree (`agree`) that what they have is to be left there.
    pub fn stop_flag(&self) -> &Arc<AtomicBool> {
        self.own.stop.raw()
    }

    /// The same flag, for those who look at it between pieces of work.
    #[doc(hidden)]
    pub(crate) fn stop(&self) -> &StopFlag {
        &self.own.stop
    }

    /// Whether this rank knows that the run is to stop. Not collective.
    #[doc(hidden)]
    pub(crate) fn stop_asked(&self) -> bool {
        self.pass_on_stop();
        self.own.stop.asked()
    }

    /// An error if this rank knows that the run is to stop. Not collective: `agree` makes it so.
    ///
    /// # Errors
    /// Exit 75.
    #[doc(hidden)]
    pub(crate) fn unless_stopped(&self) -> Result<()> {
        if self.stop_asked() { Err(Error::stopped()) } else { Ok(()) }
    }

    pub(super) fn pass_on_stop(&self) {
        let own = &self.own;
        if own.telling.get() != Telling::Listening {
            return;
        }
        if own.all.told_stop() {
            own.stop.ask();
            own.telling.set(Telling::Heard);
        } else if own.stop.asked() {
            own.all.tell_stop();
            own.telling.set(Telling::Told);
        }
    }

    /// Ends listening for stops, on all ranks; whatever was told is taken in. Once is enough.
    #[doc(hidden)]
    #[track_caller]
    pub(crate) fn settle_stop(&self) {
        assert!(self.is_of_all(), "all ranks settle stops at once");
        if self.own.telling.get() == Telling::Settled {
            return;
        }
        // This comes before ranks say whether they have told others: nobody would receive a message
        // that is sent later.
        self.pass_on_stop();
        let told = self.own.telling.replace(Telling::Settled) == Telling::Told;
        let told = self.all_gather(&[u8::from(told)]);
        let tellers: Vec<usize> = (0..self.size()).filter(|rank| told[*rank] == 1).collect();
        self.own.activity.waits(Location::caller(), 0);
        self.backend.settle_stop(&tellers);
        self.own.activity.works();
    }
}
