//! Ranks as MPI processes. The only file that names the `mpi` crate.

use std::cell::RefCell;

use mpi::Threading;
use mpi::collective::{CommunicatorCollectives, Root};
use mpi::datatype::{Partition, PartitionMut};
use mpi::environment::Universe;
use mpi::point_to_point::{Destination, Source};
use mpi::request::{Request, StaticScope, scope};
use mpi::topology::{Communicator, SimpleCommunicator};

use super::process::{self, Stage, abort_all, stage};
use super::{Backend, Work, ending, unwatched};
use crate::error::{Error, Exit, Result};
use crate::progress::set_phase;

/// MPI_COMM_WORLD. Dropping it finalises MPI.
pub struct World {
    communicator: SimpleCommunicator,
    /// Messages on their way that tell others to stop.
    telling: RefCell<Vec<Request<'static, [u8], StaticScope>>>,
    /// None once it is finalised.
    universe: Option<Universe>,
}

impl World {
    /// Initialises MPI; one thread of each rank talks (MPI_THREAD_FUNNELED).
    ///
    /// MPI_Init waits for all ranks, and where one was lost meanwhile for ever: see `unwatched`.
    ///
    /// # Errors
    /// Exit 3 where MPI is initialised already.
    pub fn start() -> Result<World> {
        ending::prepare();
        unwatched::start_begins();
        let (universe, _) = mpi::initialize_with_threading(Threading::Funneled)
            .ok_or_else(|| Error::new(Exit::Launch, "MPI is initialised already"))?;
        let (communicator, telling) = (universe.world(), RefCell::default());
        process::runs(communicator.rank() as usize);
        unwatched::mpi_runs();
        Ok(World { communicator, telling, universe: Some(universe) })
    }
}

impl Drop for World {
    /// MPI_Finalize waits for all ranks, as any collective does.
    fn drop(&mut self) {
        set_phase("MPI_Finalize");
        // Waits here where another thread is ending all ranks.
        *stage() = Stage::Finalising;
        let _limit = unwatched::Finalising::begin();
        drop(self.universe.take());
        *stage() = Stage::Over;
    }
}

/// Ends all ranks of the run (MPI_Abort, section 9.7).
pub fn abort_world(code: i32) -> ! {
    SimpleCommunicator::world().abort(code)
}

/// The first line of what the library says of itself. MPI must be running.
pub fn description() -> Option<String> {
    let version = mpi::environment::library_version().ok()?;
    Some(version.trim_end_matches('\0').lines().next().unwrap_or_default().to_string())
}

fn counts_of(lengths: &[usize]) -> Vec<i32> {
    lengths.iter().map(|length| i32::try_from(*length).expect("messages are split")).collect()
}

fn places_of(counts: &[i32]) -> Vec<i32> {
    counts.iter().scan(0, |at, count| Some(std::mem::replace(at, *at + count))).collect()
}

/// Memory for buffers without content: an empty Rust slice points to address 1, which is
/// MPI_IN_PLACE.
static NOWHERE: [u8; 8] = [0; 8];

/// Of messages that say that the run is to stop. They have no content.
const STOP_TAG: i32 = 75;

fn sent(buffer: &[u8]) -> &[u8] {
    if buffer.is_empty() { &NOWHERE[..0] } else { buffer }
}

fn received<'a>(buffer: &'a mut [u8], nowhere: &'a mut [u8; 8]) -> &'a mut [u8] {
    if buffer.is_empty() { &mut nowhere[..0] } else { buffer }
}

/// Runs `work`, asking after the request whenever `work` lets it; then waits.
fn finish<'a, D: ?Sized, S: mpi::request::Scope<'a>>(request: Request<'a, D, S>, work: Work) {
    let mut pending = Some(request);
    work(&mut || {
        if let Some(request) = pending.take() {
            pending = request.test().err();
        }
    });
    if let Some(request) = pending {
        request.wait();
    }
}

impl Backend for World {
    fn rank(&self) -> usize {
        self.communicator.rank() as usize
    }

    fn size(&self) -> usize {
        self.communicator.size() as usize
    }

    fn count_max(&self) -> usize {
        i32::MAX as usize
    }

    fn barrier(&self) {
        self.communicator.barrier();
    }

    fn broadcast(&self, root: usize, data: &mut [u8], work: Work) {
        let root = self.communicator.process_at_rank(root as i32);
        let mut nowhere = NOWHERE;
        let data = received(data, &mut nowhere);
        scope(|scope| finish(root.immediate_broadcast_into(scope, data), work));
    }

    fn all_gather_v(&self, mine: &[u8], lengths: &[usize], all: &mut [u8], work: Work) {
        let counts = counts_of(lengths);
        let places = places_of(&counts);
        let (mine, mut nowhere) = (sent(mine), NOWHERE);
        let mut all = PartitionMut::new(received(all, &mut nowhere), counts, places);
        scope(|scope| {
            let communicator = &self.communicator;
            finish(communicator.immediate_all_gather_varcount_into(scope, mine, &mut all), work);
        });
    }

    fn all_to_all_v(&self, send: &[u8], to: &[usize], arriving: &mut [u8], from: &[usize]) {
        let (to, from) = (counts_of(to), counts_of(from));
        let (to_places, from_places) = (places_of(&to), places_of(&from));
        let mut nowhere = NOWHERE;
        let send = Partition::new(sent(send), to, to_places);
        let arriving = received(arriving, &mut nowhere);
        let mut arriving = PartitionMut::new(arriving, from, from_places);
        self.communicator.all_to_all_varcount_into(&send, &mut arriving);
    }

    fn kind(&self) -> &'static str {
        "MPI processes"
    }

    fn all_have_met(&self) {
        unwatched::start_ends();
    }

    fn abort(&self, code: i32) -> ! {
        abort_all(code)
    }

    fn tell_stop(&self) {
        let others = (0..self.size()).filter(|rank| *rank != self.rank());
        let requests = others.map(|rank| {
            let other = self.communicator.process_at_rank(rank as i32);
            other.immediate_send_with_tag(StaticScope, &NOWHERE[..0], STOP_TAG)
        });
        self.telling.borrow_mut().extend(requests);
    }

    fn told_stop(&self) -> bool {
        self.communicator.any_process().immediate_probe_with_tag(STOP_TAG).is_some()
    }

    fn settle_stop(&self, tellers: &[usize]) {
        let mut nowhere = NOWHERE;
        for teller in tellers.iter().filter(|rank| **rank != self.rank()) {
            let teller = self.communicator.process_at_rank(*teller as i32);
            teller.receive_into_with_tag(&mut nowhere[..0], STOP_TAG);
        }
        self.telling.borrow_mut().drain(..).for_each(|request| {
            request.wait();
        });
    }
}
