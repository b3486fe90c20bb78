//! The threads of one rank: items are worked off by whoever is free, each into a place of its own,
//! so that no result depends on who did what or when.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Release};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::progress::{Awaiting, tick, work_ahead};

/// Works off `items` on as many threads as there are `states`, each thread with a state of its own
/// (kernels, scratch). The calling thread takes part and calls `poll` after each of its items and
/// while it waits, so that messages under way move on. The others come from rayon's pool, where
/// they stand ready: items may be as short as some tens of microseconds.
///
/// Panics of any thread are passed on.
pub fn work_off<S: Send, I: Send>(
    states: &mut [S],
    items: impl IntoIterator<Item = I, IntoIter: Send>,
    work: impl Fn(&mut S, I) + Sync,
    poll: &mut dyn FnMut(),
) {
    let items = items.into_iter();
    let (own, others) = states.split_first_mut().expect("at least one thread");
    let most = items.size_hint().1.unwrap_or(usize::MAX);
    let helpers = others.len().min(most.saturating_sub(1));
    let queue = Mutex::new(items);
    let next = || queue.lock().expect("no panic while the queue is held").next();
    let busy = AtomicUsize::new(helpers);
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
        for state in &mut others[..helpers] {
            scope.spawn(|_| {
                let _leaves = Leaves(&busy);
                while let Some(item) = next() {
                    work(state, item);
                    tick();
                }
            });
        }
        lead();
    });
}

/// Counts a thread off when it is done or panics.
struct Leaves<'a>(&'a AtomicUsize);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Release);
    }
}

/// As `work_off`, for items that several threads can also share: whole rounds of one item a thread,
/// and then all threads together at each of the items that are left, so that no thread is idle
/// where there are few items.
pub fn work_off_together<S: Send, I: Send>(
    states: &mut [S],
    mut items: Vec<I>,
    work: impl Fn(&mut [S], I) + Sync,
    poll: &mut dyn FnMut(),
) {
    let left = items.split_off(items.len() / states.len() * states.len());
    work_off(states, items, |state, item| work(std::slice::from_mut(state), item), poll);
    for item in left {
        work(states, item);
        tick();
        poll();
    }
}

/// Items made ahead of their use by a thread of their own, in their order, up to the first error.
pub struct Ahead<T, E> {
    items: Option<Receiver<Result<T, E>>>,
    maker: Option<JoinHandle<()>>,
    wait_seconds: f64,
}

impl<T: Send + 'static, E: Send + 'static> Ahead<T, E> {
    /// Items as `make` gives them until it gives none or an error, at most `depth` of them waiting.
    /// After an error `make` isn't asked again: what it reads from is in the middle of something.
    pub fn new(
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

    /// Seconds that `next` has waited so far.
    pub fn wait_seconds(&self) -> f64 {
        self.wait_seconds
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
            // A panic there has told itself.
            let _ = maker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                let mut done = vec![0; count];
                let mut states = vec![0; threads];
                let items = done.iter_mut().enumerate();
                work_off(
                    &mut states,
                    items,
                    |state, (index, done)| {
                        *state += 1;
                        *done += index + 1;
                    },
                    &mut || (),
                );
                assert!(done.iter().enumerate().all(|(index, done)| *done == index + 1));
                assert_eq!(states.iter().sum::<usize>(), count);
            }
        }
    }

    #[test]
    fn items_that_are_left_are_shared_by_all_threads() {
        let done = Mutex::new(vec![]);
        let team = |states: &mut [usize], item| done.lock().unwrap().push((item, states.len()));
        work_off_together(&mut [0; 3], (0..8).collect(), team, &mut || ());
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert!(done.iter().copied().eq((0..8).map(|item| (item, if item < 6 { 1 } else { 3 }))));
    }

    #[test]
    #[should_panic(expected = "item 5")]
    fn a_panic_of_a_helping_thread_is_passed_on() {
        let work = |_: &mut (), item| assert!(item != 5, "item {item}");
        work_off(&mut [(); 4], 0..100, work, &mut || ());
    }
}
