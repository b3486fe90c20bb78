//! The threads of one rank: items are worked off by whoever is free, each into a place of its own,
//! so that no result depends on who did what or when.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

/// Works off `items` on as many threads as there are `states`, each thread with a state of its own
/// (kernels, scratch). The calling thread takes part and calls `poll` after each of its items and
/// while it waits, so that messages under way move on.
///
/// Panics of any thread are passed on.
pub fn work_off<S: Send, I: Send>(
    states: &mut [S],
    items: Vec<I>,
    work: impl Fn(&mut S, I) + Sync,
    poll: &mut dyn FnMut(),
) {
    let (own, others) = states.split_first_mut().expect("at least one thread");
    let helpers = others.len().min(items.len().saturating_sub(1));
    let queue = Mutex::new(items.into_iter());
    let next = || queue.lock().expect("no panic while the queue is held").next();
    std::thread::scope(|scope| {
        let running: Vec<_> = others[..helpers]
            .iter_mut()
            .map(|state| {
                let (work, next) = (&work, &next);
                scope.spawn(move || {
                    while let Some(item) = next() {
                        work(state, item);
                    }
                })
            })
            .collect();
        while let Some(item) = next() {
            work(own, item);
            poll();
        }
        for handle in running {
            while !handle.is_finished() {
                poll();
                std::thread::yield_now();
            }
            if let Err(panic) = handle.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// Items made ahead of their use by a thread of their own, in their order.
pub struct Ahead<T> {
    items: Option<Receiver<T>>,
    maker: Option<JoinHandle<()>>,
    wait_seconds: f64,
}

impl<T: Send + 'static> Ahead<T> {
    /// Items as `make` gives them until it gives none, at most `depth` of them waiting.
    pub fn new(depth: usize, mut make: impl FnMut() -> Option<T> + Send + 'static) -> Ahead<T> {
        let (sender, items) = sync_channel(depth);
        let maker = std::thread::spawn(move || {
            // A closed channel: nobody wants more.
            while let Some(item) = make()
                && sender.send(item).is_ok()
            {}
        });
        Ahead { items: Some(items), maker: Some(maker), wait_seconds: 0.0 }
    }

    /// Seconds that `next` has waited so far.
    pub fn wait_seconds(&self) -> f64 {
        self.wait_seconds
    }
}

impl<T> Iterator for Ahead<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let started = Instant::now();
        let item = self.items.as_ref().expect("there until it is dropped").recv().ok();
        self.wait_seconds += started.elapsed().as_secs_f64();
        item
    }
}

impl<T> Drop for Ahead<T> {
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
        let mut numbers = 0..100;
        let all: Vec<usize> = Ahead::new(3, move || numbers.next()).collect();
        assert!(all.iter().copied().eq(0..100));
        let mut endless = 0..;
        assert_eq!(Ahead::new(2, move || endless.next()).nth(4), Some(4));
    }

    #[test]
    fn every_item_is_done_once_by_any_number_of_threads() {
        for threads in 1..5 {
            for count in [0, 1, 2, 17] {
                let mut done = vec![0; count];
                let mut states = vec![0; threads];
                let items = done.iter_mut().enumerate().collect();
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
}
