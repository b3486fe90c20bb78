//! One thread in the place of a rank's many, for `reelscale bench rank`. While a thread replays,
//! the items of its teams run one after the other on it, each by the member that would be free
//! first, and its clock goes on as if so many threads had worked on them.

use std::cell::Cell;
use std::time::Instant;

use super::Team;

/// Tells seconds that this thread has worked.
type Clock = fn() -> f64;

#[derive(Clone, Copy)]
struct State {
    clock: Clock,
    /// What is added to what the clock says.
    ahead: f64,
    /// Seconds until the threads of a team have begun and are done.
    begin: f64,
    /// Seconds that it takes to tell the time.
    telling: f64,
    /// How many times as long items are taken to be.
    stretch: f64,
    totals: Totals,
    /// Whether an item is worked on: teams within it are its member alone.
    within: bool,
}

/// What teams have worked so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Seconds of all items.
    pub(crate) items: f64,
    /// Seconds that the teams took.
    pub(crate) teams: f64,
}

thread_local! {
    static STATE: Cell<Option<State>> = const { Cell::new(None) };
}

/// Runs of what is measured.
const RUNS: usize = 1000;

/// This thread replays as long as this lives.
pub(crate) struct Replaying(());

impl Replaying {
    /// From now on, by `clock`, which should count the processor time of the calling thread: then
    /// other work on the machine isn't seen in it. A team's threads take `team_seconds` to begin.
    pub(crate) fn begin(clock: Clock, team_seconds: f64) -> Replaying {
        let telling = fastest(|| {
            clock();
        });
        let (begin, totals, ahead) = (team_seconds, Totals::default(), -clock());
        let (stretch, within) = (1.0, false);
        let state = State { clock, ahead, begin, telling, stretch, totals, within };
        assert!(STATE.replace(Some(state)).is_none(), "a thread replays once");
        Replaying(())
    }
}

impl Drop for Replaying {
    fn drop(&mut self) {
        STATE.set(None);
    }
}

/// Seconds until the threads of a team of so many have begun and are done: measured with two, and
/// growing with the logarithm.
pub(crate) fn team_seconds(threads: usize) -> f64 {
    match threads {
        1 => 0.0,
        _ => {
            fastest(|| Team::new(&mut [(); 2]).for_each(0..2, |(), _| ())) * (threads as f64).log2()
        }
    }
}

/// What the fastest of many runs takes: others were disturbed.
fn fastest(mut work: impl FnMut()) -> f64 {
    let seconds = (0..RUNS).map(|_| {
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64()
    });
    seconds.fold(f64::INFINITY, f64::min)
}

fn state() -> State {
    STATE.get().expect("this thread replays")
}

fn change(with: impl FnOnce(&mut State)) {
    let mut state = state();
    with(&mut state);
    STATE.set(Some(state));
}

/// Seconds since this thread began to replay.
pub(crate) fn now() -> f64 {
    let State { clock, ahead, .. } = state();
    ahead + clock()
}

/// Whether this thread is at an item of a team that it replays: what that item's member does, it
/// does alone.
pub(super) fn within_an_item() -> bool {
    STATE.get().is_some_and(|state| state.within)
}

/// What teams have worked since then.
pub(crate) fn totals() -> Totals {
    state().totals
}

/// Sets the clock.
fn set(seconds: f64) {
    change(|state| state.ahead = seconds - (state.clock)());
}

/// Lets time pass until `seconds`, unless that is over.
pub(crate) fn pass_until(seconds: f64) {
    if seconds > now() {
        set(seconds);
    }
}

/// Work that takes no time: what others do.
pub(crate) fn outside<R>(work: impl FnOnce() -> R) -> R {
    let before = now();
    let made = work();
    set(before);
    made
}

/// Work whose items stand for so many times their own: of rows, say, that are here in part.
pub(crate) fn stretched<R>(times: f64, work: impl FnOnce() -> R) -> R {
    let before = state().stretch;
    change(|state| state.stretch = times);
    let made = work();
    change(|state| state.stretch = before);
    made
}

/// A team that is replayed.
pub(super) struct Turn {
    /// When it began, and for how long each member has worked since.
    began: f64,
    worked: Vec<f64>,
    /// Until its threads had begun.
    begin: f64,
}

impl Turn {
    /// One of so many members, where this thread replays and isn't within another one's item.
    pub(super) fn begin(members: usize) -> Option<Turn> {
        let several = |state: &State| members > 1 || state.stretch != 1.0;
        let state = STATE.get().filter(|state| several(state) && !state.within)?;
        change(|state| state.within = true);
        let begin = if members > 1 { state.begin } else { 0.0 };
        Some(Turn { began: now() + begin, begin, worked: vec![0.0; members] })
    }

    /// The member that is free first.
    pub(super) fn free(&self) -> usize {
        let first = |best: usize, one: usize| match self.worked[one] < self.worked[best] {
            true => one,
            false => best,
        };
        (1..self.worked.len()).fold(0, first)
    }

    /// An item of a member.
    pub(super) fn item(&mut self, member: usize, work: impl FnOnce()) {
        let State { clock, telling, stretch, .. } = state();
        let before = clock();
        work();
        let seconds = clock() - before - telling;
        self.worked[member] += stretch * seconds.max(0.0);
    }

    /// What the first member does between its items.
    pub(super) fn between(&mut self, work: impl FnOnce()) {
        set(self.began + self.worked[0]);
        work();
        self.worked[0] = now() - self.began;
    }

    /// All members are done.
    pub(super) fn end(self) {
        let longest = self.worked.iter().copied().fold(0.0, f64::max);
        set(self.began + longest);
        change(|state| {
            state.within = false;
            state.totals.items += self.worked.iter().sum::<f64>();
            state.totals.teams += longest + self.begin;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static SECONDS: Cell<f64> = const { Cell::new(7.0) };
    }

    fn work(seconds: f64) {
        SECONDS.set(SECONDS.get() + seconds);
    }

    fn begin(team_seconds: f64) -> Replaying {
        let replaying = Replaying::begin(|| SECONDS.get(), team_seconds);
        // Here telling the time takes none of it.
        change(|state| state.telling = 0.0);
        replaying
    }

    /// Six items of a second take two members three and four of them two; within an item there are
    /// no further threads; polls see the first member's time.
    #[test]
    fn items_take_as_long_as_their_members_would() {
        let _replaying = begin(0.5);
        for (count, expected) in [(1, 6.0), (2, 3.5), (4, 2.5), (9, 1.5)] {
            let (mut members, before, mut polls) = (vec![0; count], now(), Vec::new());
            let mut poll = || polls.push(now() - before);
            Team::new(&mut members).polling(&mut poll).for_each(0..6, |done, _| {
                *done += 1;
                Team::new(&mut [(); 3]).for_each(0..2, |(), _| work(0.5));
            });
            assert_eq!((now() - before, members.iter().sum::<usize>()), (expected, 6));
            assert!(polls.is_sorted() && polls.last() == Some(&expected), "{polls:?}");
        }
        // A member alone is no team, but those within its items are.
        let Totals { items, teams } = totals();
        assert_eq!((items, teams), (6.0 + 18.0, 6.0 + 7.5));
    }

    #[test]
    fn items_of_different_length_go_to_who_is_free() {
        let _replaying = begin(0.0);
        let lengths = [5.0, 1.0, 1.0, 1.0, 4.0];
        Team::new(&mut [(); 2]).for_each(lengths, |(), length| work(length));
        assert_eq!(now(), 7.0);
    }

    #[test]
    fn stretched_items_count_several_times_and_what_is_alone_once() {
        let _replaying = begin(0.5);
        stretched(3.0, || {
            work(1.0);
            Team::new(&mut [(); 2]).for_each(0..2, |(), _| work(2.0));
        });
        assert_eq!((now(), totals().items), (1.0 + 0.5 + 6.0, 12.0));
        Team::new(&mut [(); 2]).for_each(0..2, |(), _| work(2.0));
        assert_eq!(now(), 10.0);
    }

    #[test]
    fn what_others_do_takes_no_time_and_waits_are_jumps() {
        let _replaying = begin(0.0);
        outside(|| work(2.0));
        assert_eq!(now(), 0.0);
        pass_until(5.0);
        pass_until(1.0);
        work(0.25);
        assert_eq!(now(), 5.25);
    }
}
