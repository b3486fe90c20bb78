//! What this rank would tell of itself, and the clock by which it tells it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sign::{Sign, Slow};
use crate::comm::Activity;
use crate::progress::{self, CallPatience};

/// A clock that counts only while the process runs: what passed while it was stopped, or its
/// machine slept, is no time that anybody was waited for.
#[derive(Debug)]
pub(crate) struct Awake {
    last: Instant,
    now: Duration,
}

impl Awake {
    pub(crate) fn new() -> Awake {
        Awake { last: Instant::now(), now: Duration::ZERO }
    }

    /// To be called often; at most `most` counts since the last time.
    pub(crate) fn look(&mut self, most: Duration) -> Duration {
        let now = Instant::now();
        self.passes(now - self.last, most);
        self.last = now;
        self.now
    }

    fn passes(&mut self, time: Duration, most: Duration) {
        self.now += time.min(most);
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }
}

/// This rank as it was when it was last looked at.
#[derive(Debug)]
pub(crate) struct OwnRank {
    rank: usize,
    activity: Arc<Activity>,
    awake: Awake,
    /// Pieces of work then, and since when so many.
    progress: (u64, Duration),
    /// The number of the wait then, and since when.
    turn: (u64, Duration),
    beat: u64,
}

impl OwnRank {
    pub(crate) fn new(rank: usize, activity: Arc<Activity>) -> OwnRank {
        let (progress, turn) = ((0, Duration::ZERO), (0, Duration::ZERO));
        OwnRank { rank, activity, awake: Awake::new(), progress, turn, beat: 0 }
    }

    /// Looks at what has changed; no more than `most` counts since the last time.
    pub(crate) fn look(&mut self, most: Duration) {
        let now = self.awake.look(most);
        let (progress, turn) = (progress::count(), self.activity.now().turn);
        if progress != self.progress.0 {
            self.progress = (progress, now);
        }
        if turn != self.turn.0 {
            self.turn = (turn, now);
            // A rank whose wait has just ended gets the whole patience again.
            self.progress.1 = now;
        }
    }

    /// Time that this process has been awake.
    pub(crate) fn now(&self) -> Duration {
        self.awake.now()
    }

    pub(crate) fn sign(&mut self, most: Duration) -> Sign {
        self.look(most);
        self.beat += 1;
        let (now, doing) = (self.awake.now(), self.activity.now());
        let since = |then: Duration| (now - then).as_millis() as u64;
        let mut sign = Sign::of(self.rank, std::process::id());
        (sign.beat, sign.progress) = (self.beat, self.progress.0);
        sign.still = since(self.progress.1);
        if doing.waits {
            sign.waiting = since(self.turn.1) + 1;
            sign.bytes = doing.bytes;
            let place = doing.place.map(|place| format!("{}:{}", place.file(), place.line()));
            sign.set_place(&place.unwrap_or_default());
        }
        sign.set_phase(&progress::phase());
        if let Some(call) = progress::oldest_call() {
            let taken = call.since.elapsed();
            sign.call_time = taken.as_millis() as u64;
            sign.slow = match call.patience {
                CallPatience::Usual => Slow::No,
                CallPatience::Endless => Slow::Sync,
                CallPatience::Until(limit) if taken < limit => Slow::Foretold,
                CallPatience::Until(_) => Slow::No,
            } as u32;
            sign.set_call(&format!("{} {}", call.what, call.path.display()));
        }
        sign
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;

    use super::*;

    #[test]
    fn a_pause_counts_only_in_part() {
        let mut awake = Awake::new();
        awake.passes(Duration::from_secs(5), Duration::from_secs(15));
        awake.passes(Duration::from_secs(3600), Duration::from_secs(15));
        assert_eq!(awake.now(), Duration::from_secs(20));
    }

    #[test]
    fn a_rank_tells_how_long_it_waits_and_where() {
        let activity = Arc::new(Activity::default());
        let mut own = OwnRank::new(3, activity.clone());
        let most = Duration::from_secs(1);
        assert!(!own.sign(most).waits());
        activity.waits(Location::caller(), 12);
        let first = own.sign(most);
        std::thread::sleep(Duration::from_millis(20));
        let second = own.sign(most);
        assert!(first.waits() && second.waiting >= first.waiting + 20 && second.beat == 3);
        assert!(second.place().contains("own.rs:") && second.bytes == 12, "{}", second.place());
        activity.works();
        activity.waits(Location::caller(), 12);
        assert!(own.sign(most).waiting < 20, "another wait");
    }
}
