//! What one thread makes ahead of its use by another.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use crate::progress::{Awaiting, work_ahead};
use crate::stint;

/// Items made ahead of their use by a thread of their own, in their order, up to the first error.
pub(crate) struct Ahead<'a, T, E> {
    items: Option<Receiver<Result<T, E>>>,
    /// Waits for the thread to end, and gives what it panicked with.
    join: Option<Box<dyn FnOnce() -> std::thread::Result<()> + Send + 'a>>,
    wait_seconds: f64,
}

impl<T: Send + 'static, E: Send + 'static> Ahead<'static, T, E> {
    /// Items as `make` gives them until it gives none or an error, at most `depth` of them waiting.
    /// After an error `make` isn't asked again: what it reads from is in the middle of something.
    pub(crate) fn new(
        depth: usize,
        make: impl FnMut() -> Option<Result<T, E>> + Send + 'static,
    ) -> Ahead<'static, T, E> {
        let (sender, items) = sync_channel(depth);
        let maker = std::thread::spawn(move || send_all(&sender, make));
        Ahead { items: Some(items), join: Some(Box::new(|| maker.join())), wait_seconds: 0.0 }
    }
}

impl<'a, T: Send + 'a, E: Send + 'a> Ahead<'a, T, E> {
    /// The same by a thread of `scope`, whose items may borrow.
    pub(crate) fn of_scope(
        scope: &'a Scope<'a, '_>,
        depth: usize,
        make: impl FnMut() -> Option<Result<T, E>> + Send + 'a,
    ) -> Ahead<'a, T, E> {
        let (sender, items) = sync_channel(depth);
        let maker = scope.spawn(move || send_all(&sender, make));
        Ahead { items: Some(items), join: Some(Box::new(|| maker.join())), wait_seconds: 0.0 }
    }
}

/// What the thread does that makes items.
fn send_all<T, E>(to: &SyncSender<Result<T, E>>, mut make: impl FnMut() -> Option<Result<T, E>>) {
    work_ahead();
    while let Some(item) = make() {
        let last = item.is_err();
        // A closed channel: nobody wants more.
        if to.send(item).is_err() || last {
            return;
        }
    }
}

impl<T, E> Ahead<'_, T, E> {
    fn waited(&mut self, since: Instant) {
        let seconds = since.elapsed().as_secs_f64();
        self.wait_seconds += seconds;
        stint::waited(seconds);
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
        self.waited(started);
        match item {
            // The thread has panicked.
            Err(RecvTimeoutError::Disconnected) => self.next(),
            item => item.ok(),
        }
    }
}

impl<T, E> Iterator for Ahead<'_, T, E> {
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
        self.waited(started);
        if item.is_none()
            && let Some(join) = self.join.take()
            && let Err(panic) = join()
        {
            resume_unwind(panic);
        }
        item
    }
}

impl<T, E> Drop for Ahead<'_, T, E> {
    fn drop(&mut self) {
        self.items.take();
        if let Some(join) = self.join.take() {
            // Where the thread panicked, the panic hook has already printed why.
            let _ = join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::thread;

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
    fn items_of_a_scope_may_borrow_and_are_made_while_others_are_used() {
        let (numbers, made) = ([1, 2, 3], &AtomicUsize::new(0));
        let mut left = numbers.iter();
        let all: Vec<&i32> = thread::scope(|scope| {
            let mut items = Ahead::of_scope(scope, 0, move || {
                made.fetch_add(1, Relaxed);
                left.next().map(Ok::<_, ()>)
            });
            let first = items.next().unwrap().unwrap();
            // Nobody asks for the second one yet.
            while made.load(Relaxed) < 2 {
                thread::yield_now();
            }
            [first].into_iter().chain(items.map(Result::unwrap)).collect()
        });
        assert!(all.into_iter().eq(&numbers));
    }
}
