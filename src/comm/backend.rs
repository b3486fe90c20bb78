//! One way to be several ranks: what serial, thread and MPI ranks (and those of tests) implement.

use std::any::Any;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

use bytemuck::Pod;

use crate::error::Error;
use crate::tell;

/// How long it takes until an abort has reached all ranks.
const BETWEEN_RANKS: Duration = Duration::from_millis(800);
const RANKS_THAT_WAIT: usize = 8;

/// A collective over all ranks of a backend, over bytes. Counts are bytes by rank.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Complete once every rank has started it (MPI_Ibarrier, MPI-4.0, section 6.12.1).
    Barrier,
    /// What `root` has in `receive` replaces everyone's (MPI_Ibcast, section 6.12.2).
    Broadcast { root: usize },
    /// `receive` becomes every rank's `send`, in rank order (MPI_Iallgatherv, section 6.12.5).
    AllGather { counts: Vec<usize> },
    /// Rank r receives, in rank order, what each rank has for it: `to[r]` bytes of `send` from
    /// `at[r]` on, which other ranks may get, too (MPI_Ialltoallv, section 6.12.6).
    AllToAll { to: Vec<usize>, at: Vec<usize>, from: Vec<usize> },
}

/// What others send in the call that is started next, for a backend that has to make it because
/// they aren't there (`reelscale bench rank`). Where nothing is said each rank's part is as this
/// rank's own.
#[derive(Clone)]
pub enum Cargo<'a> {
    /// Numbers, each rank's part ending with its seal in so many bytes; an empty one has none.
    Numbers { seal_bytes: usize },
    /// What this makes of each rank's part.
    Made(Rc<Made>),
    /// How long the labels of those ranks' rows are, which have so many `numbers`, `stride` each.
    Labels { numbers: &'a [usize], stride: usize },
    /// The parts whose lengths were told last.
    Announced,
}

/// Fills a rank's part with what it would give of rows that stand for its own.
pub type Made = dyn Fn(usize, &dyn AnyRow, &mut [u8]);

/// Rows that stand for those of all ranks.
pub trait AnyRow {
    /// Numbers and labels of a row.
    fn row(&self, row: usize) -> (&[f32], &[u32]);
}

/// Memory that belongs to an exchange while it is under way: numbers of any kind, seen as bytes.
///
/// Implemented here alone, since MPI writes to it: its bytes stay where they are.
pub trait Buffer: Any + sealed::Sealed {
    fn bytes(&self) -> &[u8];
    fn bytes_mut(&mut self) -> &mut [u8];
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

mod sealed {
    pub trait Sealed {}
    impl<T: bytemuck::Pod> Sealed for Vec<T> {}
}

impl<T: Pod> Buffer for Vec<T> {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(self)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// What a collective sends and receives.
pub struct Buffers {
    pub send: Box<dyn Buffer>,
    pub receive: Box<dyn Buffer>,
}

/// A collective that this rank has started. Dropping it waits for nobody: it goes on by itself, and
/// what it brings is lost (docs/exchanges.md).
pub trait Pending {
    /// Whether it is complete on this rank. Never waits; once it has said yes it says so for ever.
    fn poll(&mut self) -> bool;
    /// Waits until it is, and gives the memory back.
    fn wait(self: Box<Self>) -> Buffers;
}

/// One way to be several ranks. All ranks start the same collectives, in the same order. No message
/// (and no sum of a call's receive counts) exceeds `count_max()` bytes.
pub trait Backend {
    /// This rank, 0..size (MPI-4.0, section 7.4.1).
    fn rank(&self) -> usize;
    /// Number of ranks.
    fn size(&self) -> usize;
    /// Largest number of bytes in one call: `i32::MAX` for MPI.
    fn count_max(&self) -> usize;
    /// Says what travels in the collective that is started next.
    fn carries(&self, _cargo: Cargo) {}
    /// Starts a collective, and waits for nobody.
    fn start(&self, call: Call, buffers: Buffers) -> Box<dyn Pending>;
    /// The group of the ranks `members`, in this order; this rank is one of them. All ranks call it
    /// at once, each with the group that it is in (MPI_Comm_split, section 7.4.2).
    fn group(&self, members: &[usize]) -> Rc<dyn Backend>;
    /// This rank among those that share a node's memory, and how many those are. All ranks call it
    /// at once (MPI_Comm_split_type, MPI-4.0, section 7.4.2).
    fn on_node(&self) -> (usize, usize) {
        (self.rank(), self.size())
    }
    /// What ranks are, for people: `threads of one process`.
    fn kind(&self) -> &'static str;
    /// All ranks have met, or wait for nobody: limits on the start end.
    fn all_have_met(&self) {}
    /// Ends all ranks of the run with this exit code, now (MPI_Abort, section 9.7).
    fn abort(&self, code: i32) -> !;
    /// The same after telling why, in one line. Where several ranks find the same fault only one
    /// prints it: each waits long enough for the ranks before it to end the run.
    fn fail(&self, error: Error) -> ! {
        std::thread::sleep(BETWEEN_RANKS * self.rank().min(RANKS_THAT_WAIT) as u32);
        tell::line(&format!("reelscale: {error}"));
        tell::passed_on();
        self.abort(error.exit as i32)
    }
    /// Tells every other rank that the run is to stop, and waits for nobody (MPI_Isend, section
    /// 3.7.2). Nothing to do where ranks share one flag.
    fn tell_stop(&self) {}
    /// Whether another rank has told this one to stop (MPI_Iprobe, section 3.8.1).
    fn told_stop(&self) -> bool {
        false
    }
    /// Takes in what those ranks have told, so that no message is left behind.
    fn settle_stop(&self, _tellers: &[usize]) {}
    /// Where in the program the next collective is started, which is the same place on all ranks:
    /// for a backend that tests that they are.
    fn called_from(&self, _place: &'static Location<'static>) {}
}
