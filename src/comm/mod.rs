//! Communication: ranks as nobody, as threads or as MPI processes, behind one trait.
//!
//! `Backend` is what the three backends implement: the few collectives in use, over bytes, in
//! messages that MPI can count. `Comm` is what the rest of the program calls: typed, of any length,
//! counted. Nothing above this folder knows whether ranks are threads or processes.
//!
//! Collectives don't return errors: a rank that can't go on ends the run (`Backend::abort`), so a
//! call that returns has succeeded on this rank. Errors that all ranks can learn of in time are
//! made common by `Comm::agree`.

mod activity;
mod agreement;
mod mpi;
mod ordered_sum;
mod serial;
mod stop;
mod threads;

use std::cell::Cell;
use std::ops::Range;
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use bytemuck::Pod;

use crate::error::{Error, Exit, Result};
use crate::progress::tick;
use stop::Telling;

pub use activity::Activity;
pub use agreement::{odd_ranks, same_on_all};
pub use mpi::{abort_all, library_version, own_rank};
pub use ordered_sum::OrderedSum;
pub use stop::StopFlag;
pub use threads::{run_threads, run_threads_limited, run_threads_through};

/// Work that goes on while a message travels. It calls what it is given between its pieces, so that
/// a library which moves data only inside its own calls can do so.
pub type Work<'a> = &'a mut dyn FnMut(&mut dyn FnMut());

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
    /// Ends all ranks of the run with this exit code, now (MPI_Abort, section 9.7).
    fn abort(&self, code: i32) -> !;
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
}

fn nothing(_: &mut dyn FnMut()) {}

impl Comm {
    pub fn new(backend: Box<dyn Backend>) -> Comm {
        Comm::with_stop(backend, StopFlag::default())
    }

    /// With a flag that is set when the run is to stop; ranks of one process share it.
    pub fn with_stop(backend: Box<dyn Backend>, stop: StopFlag) -> Comm {
        let (telling, activity) = (Cell::new(Telling::Listening), Arc::default());
        Comm { backend, traffic: Cell::default(), stop, telling, activity }
    }

    /// Whether this rank waits for others, and since when.
    pub fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// One rank and nobody else.
    pub fn serial() -> Comm {
        Comm::new(Box::new(serial::Serial))
    }

    /// The ranks that mpirun or srun started (MPI_COMM_WORLD). Once per process.
    pub fn mpi() -> Result<Comm> {
        Ok(Comm::new(Box::new(mpi::World::start()?)))
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

    pub fn traffic(&self) -> Traffic {
        self.traffic.get()
    }

    pub fn abort(&self, code: i32) -> ! {
        self.backend.abort(code)
    }

    #[track_caller]
    pub fn barrier(&self) {
        self.counted(0, 0, nothing, |backend, _| backend.barrier());
    }

    /// `data` of `root` replaces everyone's.
    #[track_caller]
    pub fn broadcast<T: Pod>(&self, root: usize, data: &mut [T]) {
        self.broadcast_during(root, data, nothing);
    }

    /// As `broadcast`, while `work` runs. `data` isn't seen by `work`.
    #[track_caller]
    pub fn broadcast_during<T: Pod>(
        &self,
        root: usize,
        data: &mut [T],
        mut work: impl FnMut(&mut dyn FnMut()),
    ) {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(data);
        let (first, rest) = bytes.split_at_mut(bytes.len().min(self.backend.count_max()));
        let mine = self.rank() == root;
        let (sent, received) = if mine { (first.len(), 0) } else { (0, first.len()) };
        self.counted(sent, received, &mut work, |backend, work| {
            backend.broadcast(root, first, work)
        });
        if !rest.is_empty() {
            self.broadcast(root, rest);
        }
    }

    /// Every rank's `mine` in rank order. All lengths are equal.
    #[track_caller]
    pub fn all_gather<T: Pod>(&self, mine: &[T]) -> Vec<T> {
        let mut all = vec![T::zeroed(); mine.len() * self.size()];
        self.all_gather_v(mine, &vec![mine.len(); self.size()], &mut all);
        all
    }

    /// Every rank's `mine` in rank order, of lengths that only their owners know, a part per rank.
    #[track_caller]
    pub fn all_gather_any<T: Pod>(&self, mine: &[T]) -> Vec<Vec<T>> {
        let counts: Vec<usize> =
            self.all_gather(&[mine.len() as u64]).iter().map(|count| *count as usize).collect();
        let mut all = vec![T::zeroed(); counts.iter().sum()];
        self.all_gather_v(mine, &counts, &mut all);
        split(all, &counts)
    }

    /// `all` becomes every rank's `mine` in rank order; `counts[r]` is the length of rank r's.
    #[track_caller]
    pub fn all_gather_v<T: Pod>(&self, mine: &[T], counts: &[usize], all: &mut [T]) {
        self.all_gather_v_during(mine, counts, all, nothing);
    }

    /// As `all_gather_v`, while `work` runs. Neither slice is seen by `work`.
    #[track_caller]
    pub fn all_gather_v_during<T: Pod>(
        &self,
        mine: &[T],
        counts: &[usize],
        all: &mut [T],
        mut work: impl FnMut(&mut dyn FnMut()),
    ) {
        assert_eq!(mine.len(), counts[self.rank()], "own count of an all-gather");
        assert_eq!(all.len(), counts.iter().sum::<usize>(), "sum of an all-gather's counts");
        let width = size_of::<T>();
        let bytes: Vec<usize> = counts.iter().map(|count| count * width).collect();
        let mine: &[u8] = bytemuck::cast_slice(mine);
        let all: &mut [u8] = bytemuck::cast_slice_mut(all);
        if all.len() <= self.backend.count_max() {
            self.counted(mine.len(), all.len() - mine.len(), &mut work, |backend, work| {
                backend.all_gather_v(mine, &bytes, all, work)
            });
            return;
        }
        // Too long for one call: turns in which every rank gives at most its share of the limit.
        work(&mut || ());
        let offsets = offsets(&bytes);
        let share = self.backend.count_max() / self.size();
        for from in (0..*bytes.iter().max().unwrap()).step_by(share) {
            let part = |rank: usize| from.min(bytes[rank])..(from + share).min(bytes[rank]);
            let counts: Vec<usize> = (0..self.size()).map(|rank| part(rank).len()).collect();
            let mut turn = vec![0; counts.iter().sum()];
            let mine = &mine[part(self.rank())];
            self.counted(mine.len(), turn.len() - mine.len(), nothing, |backend, work| {
                backend.all_gather_v(mine, &counts, &mut turn, work)
            });
            for (rank, piece) in split(turn, &counts).iter().enumerate() {
                let at = offsets[rank] + part(rank).start;
                all[at..at + piece.len()].copy_from_slice(piece);
            }
        }
    }

    /// Sends `parts[r]` to rank r and returns what each rank sent here, by rank. Any lengths.
    #[track_caller]
    pub fn all_to_all<T: Pod>(&self, parts: Vec<Vec<T>>) -> Vec<Vec<T>> {
        assert_eq!(parts.len(), self.size(), "one part for each rank");
        if self.size() == 1 {
            return parts;
        }
        let lengths: Vec<u64> = parts.iter().map(|part| part.len() as u64).collect();
        let ones = vec![1; self.size()];
        let mut counts = vec![0u64; self.size()];
        self.all_to_all_v(&lengths, &ones, &mut counts, &ones);
        let counts: Vec<usize> = counts.iter().map(|count| *count as usize).collect();
        let send_counts: Vec<usize> = parts.iter().map(Vec::len).collect();
        let mut received = vec![T::zeroed(); counts.iter().sum()];
        self.all_to_all_v(&parts.concat(), &send_counts, &mut received, &counts);
        split(received, &counts)
    }

    /// `send` holds `send_counts[r]` elements for each rank r, in rank order; `received` becomes
    /// what each rank r had for this one, `received_counts[r]` elements each.
    #[track_caller]
    pub fn all_to_all_v<T: Pod>(
        &self,
        send: &[T],
        send_counts: &[usize],
        received: &mut [T],
        received_counts: &[usize],
    ) {
        let width = size_of::<T>();
        let in_bytes = |counts: &[usize]| counts.iter().map(|n| n * width).collect::<Vec<_>>();
        let (to, from) = (in_bytes(send_counts), in_bytes(received_counts));
        let send: &[u8] = bytemuck::cast_slice(send);
        let received: &mut [u8] = bytemuck::cast_slice_mut(received);
        let longest = to.iter().chain(&from).copied().max().unwrap_or(0);
        // All ranks must take the same number of turns. One turn is the rule.
        let share = self.backend.count_max() / self.size();
        let turns = self.max(longest.div_ceil(share) as u64) as usize;
        let (to_at, from_at) = (offsets(&to), offsets(&from));
        for turn in 0..turns {
            let part = |n: usize| (turn * share).min(n)..((turn + 1) * share).min(n);
            let to_now: Vec<usize> = to.iter().map(|n| part(*n).len()).collect();
            let from_now: Vec<usize> = from.iter().map(|n| part(*n).len()).collect();
            let mut out = Vec::with_capacity(to_now.iter().sum());
            for (rank, n) in to.iter().enumerate() {
                out.extend_from_slice(&send[to_at[rank]..to_at[rank] + n][part(*n)]);
            }
            let mut inward = vec![0; from_now.iter().sum()];
            self.counted(out.len(), inward.len(), nothing, |backend, _| {
                backend.all_to_all_v(&out, &to_now, &mut inward, &from_now)
            });
            for (rank, piece) in split(inward, &from_now).iter().enumerate() {
                let at = from_at[rank] + part(from[rank]).start;
                received[at..at + piece.len()].copy_from_slice(piece);
            }
        }
    }

    /// The largest of every rank's `value`.
    #[track_caller]
    pub fn max(&self, value: u64) -> u64 {
        self.all_gather(&[value]).into_iter().max().expect("at least one rank")
    }

    /// Element by element the sum over ranks: whole numbers, so in any order.
    #[track_caller]
    pub fn sum(&self, values: &mut [u64]) {
        let length = values.len();
        for (index, value) in self.all_gather(values).into_iter().enumerate() {
            if index < length {
                values[index] = 0;
            }
            values[index % length] += value;
        }
    }

    /// Makes an outcome common: if any rank has an error, every rank returns the error of the
    /// lowest such rank (a fault before a stop). To be called where all ranks get, with or without
    /// an error of their own.
    #[track_caller]
    pub fn agree<T>(&self, outcome: Result<T>) -> Result<T> {
        let code = outcome.as_ref().err().map_or(0, |error| error.exit as u8);
        let codes = self.all_gather(&[code]);
        let fault = |code: &u8| ![0, Exit::Stopped as u8].contains(code);
        let first = codes.iter().position(fault);
        let first = first.or_else(|| codes.iter().position(|code| *code != 0));
        let Some(first) = first else { return outcome };
        let text = outcome.err().map_or(String::new(), |error| error.text);
        let texts = self.all_gather_any(text.as_bytes());
        let text = String::from_utf8_lossy(&texts[first]).into_owned();
        Err(Error { exit: Exit::from_code(codes[first]), text, agreed: true })
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
        self.activity.waits();
        call(&*self.backend, &mut |poll| {
            let started = Instant::now();
            self.activity.works();
            work(&mut || {
                poll();
                self.pass_on_stop();
            });
            worked += started.elapsed().as_secs_f64();
            self.activity.waits();
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

/// Where each of the consecutive parts of these lengths begins.
fn offsets(counts: &[usize]) -> Vec<usize> {
    counts.iter().scan(0, |at, count| Some(std::mem::replace(at, *at + count))).collect()
}

/// Cuts `all` into consecutive parts of these lengths.
fn split<T: Pod>(all: Vec<T>, counts: &[usize]) -> Vec<Vec<T>> {
    let at = offsets(counts);
    counts.iter().zip(at).map(|(count, at)| all[at..at + count].to_vec()).collect()
}

/// Runs of leaves, one per rank.
pub type Runs = Vec<Range<usize>>;
