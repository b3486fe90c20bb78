//! Ranks as threads of one process: for tests, for comparing with MPI, and where there is no MPI.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;

use super::backend::{Backend, Buffers, Call, Pending};
use super::meeting::{Brought, Meeting, PeerFailed, Seat};
use super::{Comm, StopFlag};
use crate::error::{Error, Exit, Result};

/// A rank of a group.
struct Thread {
    seat: Seat,
    size: usize,
    count_max: usize,
    meeting: Arc<Meeting>,
    /// Times that the group was split.
    splits: Cell<u64>,
}

/// An exchange that this rank has come to.
struct Open {
    seat: Seat,
    number: u64,
    meeting: Arc<Meeting>,
    call: Call,
    buffers: Option<Buffers>,
    complete: bool,
}

impl Open {
    fn look(&mut self, wait: bool) {
        if self.complete {
            return;
        }
        if let Some(brought) = self.meeting.look(self.seat, self.number, wait) {
            self.complete = true;
            let buffers = self.buffers.as_mut().expect("it is given back by `wait` alone");
            receive(&self.call, self.seat.rank, &brought, buffers.receive.bytes_mut());
        }
    }
}

/// Copies what a rank receives of what all have brought.
fn receive(call: &Call, rank: usize, brought: &Brought, received: &mut [u8]) {
    let mut at = 0;
    let mut take = |bytes: &[u8]| {
        received[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    match call {
        Call::Barrier => {}
        Call::Broadcast { root } if *root == rank => {}
        Call::Broadcast { root } => take(&brought[*root].1),
        Call::AllGather { .. } => brought.iter().for_each(|(_, bytes)| take(bytes)),
        Call::AllToAll { from, .. } => {
            for ((theirs, bytes), count) in brought.iter().zip(from) {
                let Call::AllToAll { to, at, .. } = theirs else {
                    unreachable!("they go together")
                };
                assert_eq!(to[rank], *count, "what is sent and what is expected");
                take(&bytes[at[rank]..at[rank] + count]);
            }
        }
    }
}

impl Pending for Open {
    fn poll(&mut self) -> bool {
        self.look(false);
        self.complete
    }

    fn wait(mut self: Box<Self>) -> Buffers {
        self.look(true);
        self.buffers.take().expect("it is given back once")
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.complete {
            self.meeting.leave(self.seat, self.number);
        }
    }
}

impl Backend for Thread {
    fn rank(&self) -> usize {
        self.seat.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn count_max(&self) -> usize {
        self.count_max
    }

    fn start(&self, call: Call, buffers: Buffers) -> Box<dyn Pending> {
        assert!(buffers.send.bytes().len().max(buffers.receive.bytes().len()) <= self.count_max);
        let send = match &call {
            Call::Broadcast { root } if *root == self.seat.rank => buffers.receive.bytes(),
            _ => buffers.send.bytes(),
        };
        let number = self.meeting.come(self.seat, &call, send.to_vec());
        let (seat, meeting) = (self.seat, self.meeting.clone());
        Box::new(Open { seat, number, meeting, call, buffers: Some(buffers), complete: false })
    }

    fn group(&self, members: &[usize]) -> Rc<dyn Backend> {
        let number = self.splits.replace(self.splits.get() + 1);
        let group = self.meeting.group(self.seat.group, number, members);
        let rank = members.iter().position(|rank| *rank == self.seat.rank);
        let seat = Seat { group, rank: rank.expect("this rank is a member") };
        let (count_max, meeting, splits) = (self.count_max, self.meeting.clone(), Cell::new(0));
        Rc::new(Thread { seat, size: members.len(), count_max, meeting, splits })
    }

    fn kind(&self) -> &'static str {
        "threads of one process"
    }

    fn abort(&self, code: i32) -> ! {
        let exit = Exit::from_code(code as u8);
        self.meeting.fail(Error::new(exit, format!("rank {} ended the run", self.seat.rank)));
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
    let meeting = Arc::new(Meeting::new(size));
    let stop = StopFlag::default();
    let run = |rank: usize| {
        let meeting = meeting.clone();
        let seat = Seat { group: 0, rank };
        let thread =
            Thread { seat, size, count_max, meeting: meeting.clone(), splits: Cell::new(0) };
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
    match meeting.take_failure() {
        Some(error) => Err(error),
        None => Ok(outcomes.into_iter().map(|value| value.expect("no failure")).collect()),
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("(no message)")
}
