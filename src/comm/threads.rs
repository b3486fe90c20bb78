//! Ranks as threads of one process: for tests, for comparing with MPI, and where there is no MPI.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::{Backend, Comm, StopFlag, Work};
use crate::error::{Error, Exit, Result};

/// What every rank brought to one collective: counts (where it sends parts) and bytes.
type Brought = Arc<Vec<(Vec<usize>, Vec<u8>)>>;

#[derive(Default)]
struct State {
    /// Number of collectives that everyone has entered.
    generation: u64,
    arrived: usize,
    brought: Vec<(Vec<usize>, Vec<u8>)>,
    /// What was brought to the last complete collective. It stays until the next one is complete,
    /// which needs everyone who still has to look at it.
    complete: Brought,
    /// The first failure; nobody waits any longer once it is there.
    failure: Option<Error>,
}

struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
}

impl Meeting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn fail(&self, error: Error) {
        self.lock().failure.get_or_insert(error);
        self.changed.notify_all();
    }
}

/// What a rank unwinds with when another one has failed. It says nothing: the other has the
/// message.
struct PeerFailed;

struct Thread {
    rank: usize,
    size: usize,
    count_max: usize,
    meeting: Arc<Meeting>,
}

impl Thread {
    fn meet(&self, counts: &[usize], bytes: &[u8]) -> Brought {
        let mut state = self.meeting.lock();
        let generation = state.generation;
        state.brought[self.rank] = (counts.to_vec(), bytes.to_vec());
        state.arrived += 1;
        if state.arrived == self.size {
            let empty = vec![Default::default(); self.size];
            state.complete = Arc::new(std::mem::replace(&mut state.brought, empty));
            state.arrived = 0;
            state.generation += 1;
            self.meeting.changed.notify_all();
        }
        while state.generation == generation && state.failure.is_none() {
            state = self.meeting.changed.wait(state).unwrap_or_else(|p| p.into_inner());
        }
        if state.generation == generation {
            drop(state);
            resume_unwind(Box::new(PeerFailed));
        }
        state.complete.clone()
    }
}

impl Backend for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn count_max(&self) -> usize {
        self.count_max
    }

    fn barrier(&self) {
        self.meet(&[], &[]);
    }

    fn broadcast(&self, root: usize, data: &mut [u8], work: Work) {
        assert!(data.len() <= self.count_max);
        work(&mut || ());
        let brought = self.meet(&[], if self.rank == root { data } else { &[] });
        data.copy_from_slice(&brought[root].1);
    }

    fn all_gather_v(&self, mine: &[u8], counts: &[usize], all: &mut [u8], work: Work) {
        assert!(all.len() <= self.count_max);
        work(&mut || ());
        let (brought, mut at) = (self.meet(&[], mine), 0);
        for ((_, bytes), count) in brought.iter().zip(counts) {
            all[at..at + count].copy_from_slice(bytes);
            at += count;
        }
    }

    fn all_to_all_v(&self, send: &[u8], to: &[usize], received: &mut [u8], from: &[usize]) {
        assert!(send.len().max(received.len()) <= self.count_max);
        let (brought, mut at) = (self.meet(to, send), 0);
        for ((counts, bytes), count) in brought.iter().zip(from) {
            let start: usize = counts[..self.rank].iter().sum();
            assert_eq!(counts[self.rank], *count, "what is sent and what is expected");
            received[at..at + count].copy_from_slice(&bytes[start..start + count]);
            at += count;
        }
    }

    fn kind(&self) -> &'static str {
        "threads of one process"
    }

    fn abort(&self, code: i32) -> ! {
        let exit = Exit::from_code(code as u8);
        self.meeting.fail(Error::new(exit, format!("rank {} ended the run", self.rank)));
        resume_unwind(Box::new(PeerFailed))
    }

    fn fail(&self, error: Error) -> ! {
        self.meeting.fail(error);
        resume_unwind(Box::new(PeerFailed))
    }
}

/// Runs `body` on `size` ranks, each a thread, and returns their outcomes by rank.
///
/// # Errors
/// The first error of any rank; a panic counts as one (exit 70). All other ranks are ended at their
/// next collective.
pub fn run_threads<T: Send>(
    size: usize,
    body: impl Fn(&Comm) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    run_threads_limited(size, i32::MAX as usize, body)
}

/// As `run_threads`, with messages of at most `count_max` bytes, which must be at least `size`.
pub fn run_threads_limited<T: Send>(
    size: usize,
    count_max: usize,
    body: impl Fn(&Comm) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    run_threads_through(size, count_max, |thread| thread, body)
}

/// As `run_threads_limited`, where everything passes through what `wrap` makes of each rank's
/// backend: for tests that count, damage or delay messages.
pub fn run_threads_through<T: Send>(
    size: usize,
    count_max: usize,
    wrap: impl Fn(Box<dyn Backend>) -> Box<dyn Backend> + Sync,
    body: impl Fn(&Comm) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let state = State { brought: vec![Default::default(); size], ..State::default() };
    let meeting = Arc::new(Meeting { state: Mutex::new(state), changed: Condvar::new() });
    let stop = StopFlag::default();
    let run = |rank: usize| {
        let meeting = meeting.clone();
        let thread = Thread { rank, size, count_max, meeting: meeting.clone() };
        let comm = Comm::with_stop(wrap(Box::new(thread)), stop.clone());
        match catch_unwind(AssertUnwindSafe(|| body(&comm))) {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => meeting.fail(error),
            Err(panic) if panic.is::<PeerFailed>() => {}
            Err(panic) => {
                let text = format!("rank {rank} panicked: {}", message(&*panic));
                meeting.fail(Error::new(Exit::Bug, text));
            }
        }
        None
    };
    let outcomes: Vec<Option<T>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..size)
            .map(|rank| {
                scope.spawn({
                    let run = &run;
                    move || run(rank)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("unwinding is caught")).collect()
    });
    match meeting.lock().failure.take() {
        Some(error) => Err(error),
        None => Ok(outcomes.into_iter().map(|value| value.expect("no failure")).collect()),
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("(no message)")
}
