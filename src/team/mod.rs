//! The threads of one rank: items are worked off by whoever is free, each into a place of its own,
//! so that no result depends on who did what or when.

use std::slice;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Release};

use crate::progress::tick;

mod ahead;
pub(crate) mod replay;

pub(crate) use ahead::Ahead;

/// Numbers that a thread copies at once, at least: to begin takes as long as some thousands.
const PIECE: usize = 1 << 13;

/// Threads that work together: one for each member, which is what that thread alone uses meanwhile
/// (a kernel, scratch memory, a reader). The calling thread takes part; the others come from
/// rayon's pool, where they stand ready: items may be as short as some tens of microseconds.
/// Panics of any thread are passed on.
pub struct Team<'a, S> {
    /// The first is the calling thread's. There is at least one.
    members: &'a mut [S],
    poll: Option<&'a mut dyn FnMut()>,
}

impl<'a, S: Send> Team<'a, S> {
    pub fn new(members: &'a mut [S]) -> Team<'a, S> {
        assert!(!members.is_empty(), "a team of nobody");
        Team { members, poll: None }
    }

    /// The one that the calling thread alone makes.
    pub fn alone(member: &'a mut S) -> Team<'a, S> {
        Team::new(slice::from_mut(member))
    }

    /// The same team, whose calling thread calls `poll` after each of its items and while it waits
    /// for the others, so that messages under way move on.
    pub(crate) fn polling<'b>(&'b mut self, poll: &'b mut dyn FnMut()) -> Team<'b, S> {
        Team { members: self.members, poll: Some(poll) }
    }

    /// The same team, for some of its work.
    fn again(&mut self) -> Team<'_, S> {
        Team { members: self.members, poll: reborrowed(&mut self.poll) }
    }

    /// Number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.members.len()
    }

    /// The member of the calling thread.
    pub fn own(&mut self) -> &mut S {
        &mut self.members[0]
    }

    fn poll(&mut self) {
        if let Some(poll) = &mut self.poll {
            poll();
        }
    }

    /// Works off `items`, each on one thread.
    pub(crate) fn for_each<I: Send>(
        &mut self,
        items: impl IntoIterator<Item = I, IntoIter: Send>,
        work: impl Fn(&mut S, I) + Sync,
    ) {
        let items = items.into_iter();
        let most = items.size_hint().1.unwrap_or(usize::MAX);
        if let Some(turn) = replay::Turn::begin(self.members.len().min(most.max(1))) {
            return self.replayed(turn, items, work);
        }
        let (own, others) = self.members.split_first_mut().expect("at least one member");
        let helpers = match replay::within_an_item() {
            true => 0,
            false => others.len().min(most.saturating_sub(1)),
        };
        let queue = Mutex::new(items);
        let next = || queue.lock().expect("no panic while the queue is held").next();
        let busy = AtomicUsize::new(helpers);
        let mut poll = || {
            if let Some(poll) = &mut self.poll {
                poll();
            }
        };
        let mut lead = || {
            while let Some(item) = next() {
                work(own, item);
                tick();
                poll();
            }
            while busy.load(Acquire) > 0 {
                poll();
                std::thread::yield_now();
            }
        };
        if helpers == 0 {
            return lead();
        }
        rayon::in_place_scope(|scope| {
            for member in &mut others[..helpers] {
                scope.spawn(|_| {
                    let _leaves = CountsOff(&busy);
                    while let Some(item) = next() {
                        work(member, item);
                        tick();
                    }
                });
            }
            lead();
        });
    }

    /// The same on the calling thread, in the place of all.
    fn replayed<I>(
        &mut self,
        mut turn: replay::Turn,
        items: impl Iterator<Item = I>,
        work: impl Fn(&mut S, I),
    ) {
        for item in items {
            let member = turn.free();
            turn.item(member, || work(&mut self.members[member], item));
            tick();
            if member == 0 {
                turn.between(|| self.poll());
            }
        }
        turn.end();
        self.poll();
    }

    /// Copies numbers to their places, equally many of each pair, by all threads.
    pub(crate) fn copy<'b, T: Copy + Send + Sync + 'b>(
        &mut self,
        pairs: impl IntoIterator<Item = (&'b mut [T], &'b [T])>,
    ) {
        let pairs: Vec<_> = pairs.into_iter().collect();
        let numbers: usize = pairs.iter().map(|(to, _)| to.len()).sum();
        let piece = numbers.div_ceil(self.threads()).max(PIECE);
        let cut = |(to, from): (&'b mut [T], &'b [T])| {
            assert_eq!(to.len(), from.len(), "a place for each number");
            to.chunks_mut(piece).zip(from.chunks(piece))
        };
        let pieces: Vec<_> = pairs.into_iter().flat_map(cut).collect();
        self.for_each(pieces, |_, (to, from)| to.copy_from_slice(from));
    }

    /// What `work` makes of each of `items`, in their order.
    pub(crate) fn map<I: Send, R: Send>(
        &mut self,
        items: impl IntoIterator<Item = I, IntoIter: Send>,
        work: impl Fn(&mut S, I) -> R + Sync,
    ) -> Vec<R> {
        let mut made: Vec<Vec<(usize, R)>> = Vec::new();
        made.resize_with(self.members.len(), Vec::new);
        let mut members: Vec<_> = self.members.iter_mut().zip(&mut made).collect();
        let mut team = Team { members: &mut members, poll: reborrowed(&mut self.poll) };
        team.for_each(items.into_iter().enumerate(), |(member, made), (place, item)| {
            made.push((place, work(member, item)));
        });
        let mut made: Vec<(usize, R)> = made.into_iter().flatten().collect();
        made.sort_unstable_by_key(|one| one.0);
        made.into_iter().map(|one| one.1).collect()
    }

    /// As `map`, for items that several threads can also share: whole rounds of one item a thread,
    /// and then all threads together at each of the items that are left, so that no thread is idle
    /// where there are few items. `work` is given the team of the item.
    pub(crate) fn together<I: Send, R: Send>(
        &mut self,
        mut items: Vec<I>,
        work: impl Fn(&mut Team<S>, I) -> R + Sync,
    ) -> Vec<R> {
        let left = items.split_off(items.len() / self.threads() * self.threads());
        let mut made = match items.is_empty() {
            true => Vec::new(),
            false => self.map(items, |member, item| work(&mut Team::alone(member), item)),
        };
        for item in left {
            made.push(work(&mut self.again(), item));
            tick();
            self.poll();
        }
        made
    }
}

/// What polls, for a team that works for another one.
fn reborrowed<'a>(poll: &'a mut Option<&mut dyn FnMut()>) -> Option<&'a mut dyn FnMut()> {
    match poll {
        Some(poll) => Some(&mut **poll),
        None => None,
    }
}

/// Counts a thread off when it is done or panics.
struct CountsOff<'a>(&'a AtomicUsize);

impl Drop for CountsOff<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_copies_all_numbers() {
        let from: Vec<usize> = (1..60_000).collect();
        for threads in [1, 3, 16] {
            for cut in [0, 7, 40_000] {
                let mut to = vec![0; from.len()];
                let (left, right) = to.split_at_mut(cut);
                let pairs = [(left, &from[..cut]), (right, &from[cut..])];
                Team::new(&mut vec![(); threads]).copy(pairs);
                assert!(to == from, "{threads} threads, cut at {cut}");
            }
        }
    }

    #[test]
    fn every_item_is_done_once_by_any_number_of_threads() {
        for threads in 1..5 {
            for count in [0, 1, 2, 17] {
                let (mut members, mut polls) = (vec![0; threads], 0);
                let mut poll = || polls += 1;
                let mut team = Team::new(&mut members);
                let found = team.polling(&mut poll).map(0..count, |own, item| {
                    *own += 1;
                    item + 1
                });
                assert!(found.into_iter().eq(1..=count), "in their order");
                assert_eq!(members.iter().sum::<usize>(), count);
                assert!(threads > 1 || polls == count, "{polls} polls");
            }
        }
    }

    #[test]
    fn items_that_are_left_are_shared_by_all_threads() {
        let done = Mutex::new(vec![]);
        let work = |team: &mut Team<()>, item| {
            done.lock().unwrap().push((item, team.threads()));
            item
        };
        let made = Team::new(&mut [(); 3]).together((0..8).collect(), work);
        assert!(made.into_iter().eq(0..8), "in their order");
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert!(done.iter().copied().eq((0..8).map(|item| (item, if item < 6 { 1 } else { 3 }))));
    }

    #[test]
    #[should_panic(expected = "item 5")]
    fn a_panic_of_a_helping_thread_is_passed_on() {
        let work = |_: &mut (), item| assert!(item != 5, "item {item}");
        Team::new(&mut [(); 4]).for_each(0..100, work);
    }
}
