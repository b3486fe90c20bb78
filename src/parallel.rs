//! The threads of one rank: items are worked off by whoever is free, each into a place of its own,
//! so that no result depends on who did what or when.

use std::sync::Mutex;

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

#[cfg(test)]
mod tests {
    use super::*;

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
