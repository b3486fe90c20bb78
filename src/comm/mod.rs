//! Communication: ranks as nobody, as threads or as MPI processes, behind one trait.
//!
//! `Backend` is what the three backends implement: the few collectives in use, over bytes, in
//! messages that MPI can count. `Comm` is what the rest of the program calls: typed, of any length,
//! counted. Nothing above this folder knows whether ranks are threads or processes.
//!
//! Collectives don't return errors: a rank that can't go on ends the run (`Backend::abort`), so a
//! call that returns has succeeded on this rank. Errors that all ranks can learn of in time are
//! made common by `Comm::agree`, among them that a message arrived damaged (`seal.rs`).

mod activity;
mod agreement;
mod collectives;
mod ending;
#[cfg(feature = "mpi")]
mod mpi;
mod ordered_sum;
mod process;
mod seal;
mod serial;
mod stop;
mod threads;
#[cfg(feature = "mpi")]
mod unwatched;
mod watch;

use std::cell::{Cell, OnceCell};
use std::ops::Range;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Exit, Result};
use crate::partition::Owners;
use crate::progress::tick;
use crate::tell;
use stop::Telling;

pub use activity::Activity;
pub use agreement::{odd_ranks, same_on_all};
pub use ending::{begin as begin_ending, leave, stand_aside};
pub use ordered_sum::OrderedSum;
use process::mpi_ends;
pub use process::{abort_all, library_version, own_rank};
pub use seal::{SEAL, crc32c_by};
pub use stop::StopFlag;
pub use threads::{run_threads, run_threads_limited, run_threads_through};
pub use watch::{Beside, Watch};

/// Work that goes on while a message travels. It calls what it is given between its pieces, so that
/// a library which moves data only inside its own calls can do so.
pub type Work<'a> = &'a mut dyn FnMut(&mut dyn FnMut());

/// What it takes until an abort has reached all ranks, and that.
const BETWEEN_RANKS: Duration = Duration::from_millis(800);
const RANKS_THAT_WAIT: usize = 8;

/// One way to be several ranks. Every method is collective: all ranks call it, in the same order.
/// No message (and no sum of a call's receive counts) exceeds `count_max()` bytes.
pub trait Backend {
    /// This rank, 0..size (MPI-4.0, section 6.4.1).
    fn rank(&self) -> usize;
    /// Number of ranks.
    fn size(&self) -> usize;
    /// Largest number of bytes in one call: `i32::MAX` for MPI.
    fn count_max(&self) -> usize;
    /// Returns once every rank has called it (MPI-4.0, section 6.3).
    fn barrier(&self);
    /// `data` of `root` replaces everyone's, while `work` runs (MPI_Ibcast, section 6.12.2).
    fn broadcast(&self, root: usize, data: &mut [u8], work: Work);
    /// `all` becomes every rank's `mine`, in rank order; `counts` are their lengths, while `work`
    /// runs (MPI_Iallgatherv, section 6.12.5).
    fn all_gather_v(&self, mine: &[u8], counts: &[usize], all: &mut [u8], work: Work);
    /// Rank r receives, in rank order, what each rank has for it; `send` lies in rank order too
    /// (MPI_Alltoallv, section 6.8).
    fn all_to_all_v(
        &self,
        send: &[u8],
        send_counts: &[usize],
        received: &mut [u8],
        received_counts: &[usize],
    );
    /// What ranks are, for people: `threads of one process`.
    fn kind(&self) -> &'static str;
    /// All ranks have met, or wait for nobody: limits on the start end.
    fn all_have_met(&self) {}
    /// Ends all ranks of the run with this exit code, now (MPI_Abort, section 9.7).
    fn abort(&self, code: i32) -> !;
    /// The same after telling why, in one line. Ranks that find the same fault don't all tell it:
    /// each gives those before it the time to.
    fn fail(&self, error: Error) -> ! {
        std::thread::sleep(BETWEEN_RANKS * self.rank().min(RANKS_THAT_WAIT) as u32);
        tell::line(&format!("reelscale: {error}"));
        tell::passed_on();
        self.abort(error.exit as i32)
    }
    /// Tells every other rank that the run is to stop, and waits for nobody (MPI_Isend, section
    /// 3.7.2). Nothing to do where ranks share one flag.
    fn tell_stop(&self) {}
    /// Whether another rank has told so (MPI_Iprobe, section 3.8.1).
    fn told_stop(&self) -> bool {
        false
    }
    /// Takes in what those ranks have told, so that no message is left behind.
    fn settle_stop(&self, _tellers: &[usize]) {}
    /// Where in the program the next collective is called, which is the same place on all ranks:
    /// for a backend that tests that they are.
    fn called_from(&self, _place: &'static Location<'static>) {}
}

/// What passed through a communicator so far, on this rank.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Collective calls that were split or not, as given to the backend.
    pub messages: u64,
    /// Bytes that this rank contributed.
    pub bytes_sent: u64,
    /// Bytes that this rank was given by others.
    pub bytes_received: u64,
    /// Seconds inside collectives, less the seconds of work done there.
    pub wait_seconds: f64,
}

/// A group of ranks that call the same collectives in the same order.
pub struct Comm {
    backend: Box<dyn Backend>,
    traffic: Cell<Traffic>,
    stop: StopFlag,
    telling: Cell<Telling>,
    activity: Arc<Activity>,
    /// Threads that this rank computes with.
    threads: Cell<usize>,
    /// The first message that arrived damaged, until ranks agree.
    damage: Cell<Option<Error>>,
    watch: OnceCell<Option<Watch>>,
    /// How much each rank takes of what is dealt, where that isn't all alike.
    shares: OnceCell<Vec<usize>>,
}

impl Comm {
    pub fn new(backend: Box<dyn Backend>) -> Comm {
        Comm::with_stop(backend, StopFlag::default())
    }

    /// With a flag that is set when the run is to stop; ranks of one process share it.
    pub fn with_stop(backend: Box<dyn Backend>, stop: StopFlag) -> Comm {
        let (telling, activity) = (Cell::new(Telling::Listening), Arc::default());
        let (traffic, threads, damage) = (Cell::default(), Cell::new(1), Cell::default());
        let (watch, shares) = (OnceCell::new(), OnceCell::new());
        Comm { backend, traffic, stop, telling, activity, threads, damage, watch, shares }
    }

    /// Whether this rank waits for others, and since when.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// From now on ranks watch over each other, with this patience. Collective.
    pub fn watch_over(&self, patience: Duration, beside: Beside) {
        self.watch.get_or_init(|| Watch::start(self, patience, beside));
        self.backend.all_have_met();
    }

    /// Nobody of this command waits for another rank, so that nobody is watched.
    pub fn without_watch(&self) {
        self.backend.all_have_met();
    }

    /// The watch, where ranks can reach each other by TCP.
    pub fn watch(&self) -> Option<&Watch> {
        self.watch.get().and_then(Option::as_ref)
    }

    /// One rank and nobody else.
    pub fn serial() -> Comm {
        Comm::new(Box::new(serial::Serial))
    }

    /// The ranks that mpirun or srun started (MPI_COMM_WORLD). Once per process.
    ///
    /// # Errors
    /// Exit 3: MPI is initialised already.
    #[cfg(feature = "mpi")]
    pub fn mpi() -> Result<Comm> {
        Ok(Comm::new(Box::new(mpi::World::start()?)))
    }

    /// # Errors
    /// Exit 3: this program is built without MPI.
    #[cfg(not(feature = "mpi"))]
    pub fn mpi() -> Result<Comm> {
        let text = "found no MPI in this program, which is built without its feature \"mpi\"";
        Err(Error::new(Exit::Launch, text)
            .hint("--comm threads=N makes N ranks of one process; cargo build builds with MPI"))
    }

    /// What ranks are, for people: `MPI processes`, `threads of one process`, `one process`.
    pub fn kind(&self) -> &'static str {
        self.backend.kind()
    }

    pub fn rank(&self) -> usize {
        self.backend.rank()
    }

    pub fn size(&self) -> usize {
        self.backend.size()
    }

    /// True on the one rank that speaks to the user and writes the run's files.
    pub fn is_root(&self) -> bool {
        self.rank() == 0
    }

    /// Who owns which of so many blocks, or of other things that ranks share among themselves: here
    /// alone that is decided, alike on all ranks.
    pub fn deal(&self, blocks: usize) -> Owners {
        match self.shares.get() {
            Some(shares) => Owners::in_shares(blocks, shares, self.rank()),
            None => Owners::even(blocks, self.size(), self.rank()),
        }
    }

    /// Before anything is dealt: ranks take blocks in these shares, one for each rank and the same
    /// on all.
    pub fn deal_in(&self, shares: Vec<usize>) {
        assert_eq!(shares.len(), self.size(), "a share for each rank");
        self.shares.set(shares).expect("shares are given once");
    }

    pub fn traffic(&self) -> Traffic {
        self.traffic.get()
    }

    pub fn abort(&self, code: i32) -> ! {
        self.backend.abort(code)
    }

    /// Makes an outcome common: if any rank has an error, every rank returns the error of the
    /// lowest such rank (a fault before a stop). To be called where all ranks get, with or without
    /// an error of their own.
    #[track_caller]
    pub fn agree<T>(&self, outcome: Result<T>) -> Result<T> {
        let outcome = self.unless_damaged(outcome);
        let code = outcome.as_ref().err().map_or(0, |error| error.exit as u8);
        let codes = self.all_gather(&[code]);
        let fault = |code: &u8| ![0, Exit::Stopped as u8].contains(code);
        let first = codes.iter().position(fault);
        let first = first.or_else(|| codes.iter().position(|code| *code != 0));
        let Some(first) = first else { return outcome };
        let text = outcome.err().map_or(String::new(), |error| error.text);
        let texts = self.all_gather_any(text.as_bytes());
        let text = String::from_utf8_lossy(&texts[first]).into_owned();
        Err(Error { exit: Exit::from_code(codes[first]), text, agreed: true, rank: Some(first) })
    }

    #[track_caller]
    fn counted(
        &self,
        sent: usize,
        received: usize,
        mut work: impl FnMut(&mut dyn FnMut()),
        call: impl FnOnce(&dyn Backend, Work),
    ) {
        let started = Instant::now();
        let mut worked = 0.0;
        self.pass_on_stop();
        self.backend.called_from(Location::caller());
        let place = Location::caller();
        self.activity.waits(place, sent + received);
        call(&*self.backend, &mut |poll| {
            let started = Instant::now();
            self.activity.works();
            work(&mut || {
                poll();
                self.pass_on_stop();
            });
            worked += started.elapsed().as_secs_f64();
            self.activity.waits(place, sent + received);
        });
        self.activity.works();
        tick();
        let mut traffic = self.traffic.get();
        traffic.messages += 1;
        traffic.bytes_sent += sent as u64;
        traffic.bytes_received += received as u64;
        traffic.wait_seconds += started.elapsed().as_secs_f64() - worked;
        self.traffic.set(traffic);
    }
}

impl Drop for Comm {
    /// Leaving waits for all ranks, and is watched, too.
    fn drop(&mut self) {
        self.activity.waits(Location::caller(), 0);
    }
}

/// Runs of leaves, one per rank.
pub type Runs = Vec<Range<usize>>;
