//! What the threads that watch have in common.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::own::OwnRank;
use super::peers::Peer;
use super::sign::Sign;

/// How often a rank looks at itself.
pub(crate) const TICK: Duration = Duration::from_millis(250);
/// No limit is shorter: a busy machine lets a thread wait for a quarter of a second.
const PATIENCE_MIN: Duration = Duration::from_secs(2);

/// What follows from the patience that a run has with its ranks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Times {
    pub(crate) patience: Duration,
    /// Between two rounds of questions.
    pub(crate) beat: Duration,
    /// What an answer may take.
    pub(crate) answer: Duration,
}

impl Times {
    pub(crate) fn of(patience: Duration) -> Times {
        let patience = patience.max(PATIENCE_MIN);
        let beat = (patience / 12).clamp(TICK, Duration::from_secs(5));
        let answer = (patience / 6).clamp(2 * TICK, Duration::from_secs(2));
        Times { patience, beat, answer }
    }

    /// What a round of questions takes.
    pub(crate) fn round(&self) -> Duration {
        self.beat + self.answer
    }

    /// A longer gap between two looks is a pause of the whole process.
    pub(crate) fn gap_max(&self) -> Duration {
        (self.patience / 4).max(2 * TICK)
    }
}

pub(crate) struct Shared {
    pub(crate) rank: usize,
    pub(crate) peers: Vec<Peer>,
    own: Mutex<OwnRank>,
    /// Milliseconds; 0: nobody is watched.
    patience: AtomicU64,
    /// When a rank below this one looked after all, and when another one asked this one to do so:
    /// milliseconds of the own clock, and one.
    looked_after: AtomicU64,
    asked_to_look: AtomicU64,
    /// The last sign of each rank that has answered this one.
    known: Mutex<BTreeMap<usize, Sign>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Shared {
    pub(crate) fn new(own: OwnRank, rank: usize, peers: Vec<Peer>) -> Shared {
        let (own, known) = (Mutex::new(own), Mutex::default());
        let [patience, looked_after, asked_to_look] = [0; 3].map(AtomicU64::new);
        Shared { rank, peers, own, patience, looked_after, asked_to_look, known }
    }

    pub(crate) fn size(&self) -> usize {
        self.peers.len()
    }

    pub(crate) fn set_patience(&self, patience: Duration) {
        self.patience.store(patience.as_millis() as u64, SeqCst);
    }

    /// None where nobody is to be watched.
    pub(crate) fn times(&self) -> Option<Times> {
        let patience = self.patience.load(SeqCst);
        (patience > 0).then(|| Times::of(Duration::from_millis(patience)))
    }

    fn gap_max(&self) -> Duration {
        self.times().unwrap_or(Times::of(Duration::ZERO)).gap_max()
    }

    /// Looks at this rank; to be called every `TICK`.
    pub(crate) fn look_at_own(&self) {
        lock(&self.own).look(self.gap_max());
    }

    /// This rank's sign.
    pub(crate) fn sign(&self) -> Sign {
        lock(&self.own).sign(self.gap_max())
    }

    /// Time that this process has been awake.
    pub(crate) fn now(&self) -> Duration {
        lock(&self.own).now()
    }

    fn mark(&self, moment: &AtomicU64) {
        moment.store(self.now().as_millis() as u64 + 1, SeqCst);
    }

    fn within(&self, moment: &AtomicU64, time: Duration) -> bool {
        let marked = moment.load(SeqCst);
        marked > 0 && self.now() <= Duration::from_millis(marked - 1) + time
    }

    /// Rank `from` looks after all ranks, and has asked this one; a rank above asks this one to.
    pub(crate) fn was_looked_at(&self, from: usize) {
        self.mark(if from < self.rank { &self.looked_after } else { &self.asked_to_look });
    }

    /// Whether a rank below this one does look after all.
    pub(crate) fn is_looked_after(&self, within: Duration) -> bool {
        self.within(&self.looked_after, within)
    }

    /// Whether another rank wants this one to.
    pub(crate) fn is_asked_to_look(&self, within: Duration) -> bool {
        self.within(&self.asked_to_look, within)
    }

    pub(crate) fn keep(&self, sign: &Sign) {
        lock(&self.known).insert(sign.rank as usize, *sign);
    }

    /// The last sign of a rank that this one has had.
    pub(crate) fn last_of(&self, rank: usize) -> Option<Sign> {
        lock(&self.known).get(&rank).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_over_within_two_minutes_at_the_default() {
        let times = Times::of(Duration::from_secs(60));
        // A first question after a beat, one that asks too early, silence, a round that is under
        // way, telling and ending.
        let longest = 3 * times.beat + 2 * times.round() + times.patience + 2 * times.round();
        assert!(longest + Duration::from_secs(10) < Duration::from_secs(120), "{longest:?}");
        let short = Times::of(Duration::from_millis(10));
        assert_eq!(short.patience, PATIENCE_MIN);
        assert!(short.beat >= TICK && short.gap_max() >= 2 * TICK);
    }
}
