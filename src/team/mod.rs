//! The threads of one rank: items are worked off by whoever is free, each into a place of its own,
//! so that no result depends on who did what or when.

use std::panic::resume_unwind;
use std::slice;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Release};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::progress::{Awaiting, tick, work_ahead};

pub(crate) mod replay;

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

/// Items made ahead of their use by a thread of their own, in their order, up to the first error.
pub(crate) struct Ahead<T, E> {
    items: Option<Receiver<Result<T, E>>>,
    maker: Option<JoinHandle<()>>,
    wait_seconds: f64,
}

impl<T: Send + 'static, E: Send + 'static> Ahead<T, E> {
    /// Items as `make` gives them until it gives none or an error, at most `depth` of them waiting.
    /// After an error `make` isn't asked again: what it reads from is in the middle of something.
    pub(crate) fn new(
        depth: usize,
        mut make: impl FnMut() -> Option<Result<T, E>> + Send + 'static,
    ) -> Ahead<T, E> {
        let (sender, items) = sync_channel(depth);
        let maker = std::thread::spawn(move || {
            work_ahead();
            while let Some(item) = make() {
                let last = item.is_err();
                // A closed channel: nobody wants more.
                if sender.send(item).is_err() || last {
                    return;
                }
            }
        });
        Ahead { items: Some(items), maker: Some(maker), wait_seconds: 0.0 }
    }

    /// Seconds that `next` and `within` have waited so far.
    pub(crate) fn wait_seconds(&self) -> f64 {
        self.wait_seconds
    }

    /// The next item, if there is one before so much time has passed: for who has to look after
    /// something else meanwhile, and knows that there will be one. What the thread does counts only
    /// while the caller holds an `Awaiting`.
    pub(crate) fn within(&mut self, time: Duration) -> Option<Result<T, E>> {
        let started = Instant::now();
        let items = self.items.as_ref().expect("there until it is dropped");
        let item = items.recv_timeout(time);
        self.wait_seconds += started.elapsed().as_secs_f64();
        match item {
            // The thread has panicked.
            Err(RecvTimeoutError::Disconnected) => self.next(),
            item => item.ok(),
        }
    }
}

impl<T, E> Iterator for Ahead<T, E> {
    type Item = Result<T, E>;

    /// Panics of the thread are passed on.
    fn next(&mut self) -> Option<Result<T, E>> {
        let started = Instant::now();
        let items = self.items.as_ref().expect("there until it is dropped");
        let item = match items.try_recv() {
            Err(TryRecvError::Empty) => {
                let _awaiting = Awaiting::begin();
                items.recv().ok()
            }
            item => item.ok(),
        };
        self.wait_seconds += started.elapsed().as_secs_f64();
        if item.is_none()
            && let Some(maker) = self.maker.take()
            && let Err(panic) = maker.join()
        {
            resume_unwind(panic);
        }
        item
    }
}

impl<T, E> Drop for Ahead<T, E> {
    fn drop(&mut self) {
        self.items.take();
        if let Some(maker) = self.maker.take() {
            // Where the thread panicked, the panic hook has already printed why.
            let _ = maker.join();
        }
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
    fn items_made_ahead_come_in_order_and_may_be_left() {
        let mut numbers = (0..100).map(Ok::<usize, ()>);
        let all: Result<Vec<usize>, ()> = Ahead::new(3, move || numbers.next()).collect();
        assert!(all.unwrap().into_iter().eq(0..100));
        let mut endless = (0..).map(Ok::<usize, ()>);
        assert_eq!(Ahead::new(2, move || endless.next()).nth(4), Some(Ok(4)));
    }

    #[test]
    fn nothing_is_made_after_an_error() {
        let mut asked = 0;
        let mut items = Ahead::new(3, move || {
            asked += 1;
            assert!(asked <= 2, "asked again");
            Some(if asked == 2 { Err("damaged") } else { Ok(asked) })
        });
        assert_eq!(
            [items.next(), items.next(), items.next()],
            [Some(Ok(1)), Some(Err("damaged")), None]
        );
    }

    #[test]
    #[should_panic(expected = "made to fail")]
    fn a_panic_of_the_thread_that_makes_items_is_passed_on() {
        Ahead::<usize, ()>::new(0, || panic!("made to fail")).next();
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
