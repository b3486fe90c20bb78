//! Ranks as MPI processes. Only this folder names the `mpi` crate; `progress.rs` moves what is
//! under way.

mod chain;
mod operation;
mod progress;
mod short;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use mpi::Threading;
use mpi::environment::Universe;
use mpi::ffi;
use mpi::point_to_point::{Destination, Source};
use mpi::raw::AsRaw;
use mpi::request::{Request, StaticScope};
use mpi::topology::{Communicator, SimpleCommunicator};

use self::operation::Operation;
use self::progress::Progress;
use super::backend::{Backend, Buffers, Call, Pending};
use super::process::{self, Stage, abort_all, stage};
use super::{ending, unwatched};
use crate::error::{Error, Exit, Result};
use crate::progress::set_phase;

/// MPI_COMM_WORLD. Once the last group of ranks is dropped MPI is finalised.
pub(crate) struct Processes {
    world: Rc<World>,
    communicator: ffi::MPI_Comm,
    rank: usize,
    size: usize,
    /// How many collectives have been started on it.
    started: Cell<usize>,
}

struct World {
    communicator: SimpleCommunicator,
    /// Messages on their way that tell others to stop.
    telling: RefCell<Vec<Request<'static, [u8], StaticScope>>>,
    progress: Arc<Progress>,
    /// None once it is finalised.
    universe: Option<Universe>,
}

impl Processes {
    /// Initialises MPI; one thread at a time calls it (MPI_THREAD_SERIALIZED), where it grants
    /// less one thread alone.
    ///
    /// MPI_Init waits for all ranks, and where one was lost meanwhile for ever: see `unwatched`.
    ///
    /// # Errors
    /// Exit 3 where MPI is initialised already.
    pub(crate) fn start() -> Result<Processes> {
        ending::prepare();
        unwatched::start_begins();
        let (universe, granted) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| Error::new(Exit::Launch, "MPI is initialised already"))?;
        let communicator = universe.world();
        let (rank, size) = (communicator.rank() as usize, communicator.size() as usize);
        process::runs(rank);
        unwatched::mpi_runs();
        let by_itself = granted >= Threading::Serialized && size > 1;
        let progress = Progress::start(by_itself);
        let raw = communicator.as_raw();
        let (telling, universe) = (RefCell::default(), Some(universe));
        let world = Rc::new(World { communicator, telling, progress, universe });
        Ok(Processes { world, communicator: raw, rank, size, started: Cell::new(0) })
    }
}

impl Drop for World {
    /// MPI_Finalize waits for all ranks, as any collective does; what is under way comes first.
    fn drop(&mut self) {
        set_phase("MPI_Finalize");
        let _limit = unwatched::Finalising::begin();
        if !std::thread::panicking() {
            self.progress.end();
        }
        // Waits here where another thread is ending all ranks.
        *stage() = Stage::Finalising;
        drop(self.universe.take());
        *stage() = Stage::Over;
    }
}

/// Ends all ranks of the run (MPI_Abort, section 9.7).
pub(crate) fn abort_world(code: i32) -> ! {
    SimpleCommunicator::world().abort(code)
}

/// The first line of what the library says of itself, which it does at any time (MPI-4.0, section
/// 9.1.1).
pub(crate) fn description() -> Option<String> {
    let version = mpi::environment::library_version().ok()?;
    let line = version.trim_end_matches('\0').lines().next().unwrap_or_default();
    Some(match line.strip_prefix("MPICH Version:") {
        Some(number) => format!("MPICH {}", number.trim()),
        None => line.to_string(),
    })
}

/// Of messages that say that the run is to stop. They have no content.
const STOP_TAG: i32 = 75;

/// Memory for messages without content: an empty Rust slice points to address 1, which is
/// MPI_IN_PLACE.
static NOWHERE: [u8; 8] = [0; 8];

/// A collective that is under way.
struct Open {
    progress: Arc<Progress>,
    /// Its number; none once its memory is given back.
    number: Option<usize>,
}

impl Pending for Open {
    fn poll(&mut self) -> bool {
        self.number.is_none_or(|number| self.progress.poll(number))
    }

    fn wait(mut self: Box<Self>) -> Buffers {
        self.progress.wait(self.number.take().expect("it is waited for once"))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.progress.leave_alone(number);
        }
    }
}

impl Backend for Processes {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn count_max(&self) -> usize {
        i32::MAX as usize
    }

    fn start(&self, call: Call, buffers: Buffers) -> Box<dyn Pending> {
        let number = self.started.replace(self.started.get().wrapping_add(1));
        let operation = Operation::new((self.rank, self.size), number, &call, buffers);
        let number = self.world.progress.begin(operation, &call, self.communicator);
        Box::new(Open { progress: self.world.progress.clone(), number: Some(number) })
    }

    fn group(&self, members: &[usize]) -> Rc<dyn Backend> {
        let rank = members.iter().position(|rank| *rank == self.rank);
        let rank = rank.expect("this rank is a member");
        let communicator = self.world.progress.split(self.communicator, members[0], rank);
        let (world, size) = (self.world.clone(), members.len());
        Rc::new(Processes { world, communicator, rank, size, started: Cell::new(0) })
    }

    fn on_node(&self) -> (usize, usize) {
        self.world.progress.on_node(self.communicator, self.rank)
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
        let _calls = self.world.progress.calls();
        let others = (0..self.size).filter(|rank| *rank != self.rank);
        let requests = others.map(|rank| {
            let other = self.world.communicator.process_at_rank(rank as i32);
            other.immediate_send_with_tag(StaticScope, &NOWHERE[..0], STOP_TAG)
        });
        self.world.telling.borrow_mut().extend(requests);
    }

    fn told_stop(&self) -> bool {
        // If the progress thread is inside MPI just now, the message is seen at a later look.
        let Some(_calls) = self.world.progress.calls_if_free() else { return false };
        self.world.communicator.any_process().immediate_probe_with_tag(STOP_TAG).is_some()
    }

    fn settle_stop(&self, tellers: &[usize]) {
        let _calls = self.world.progress.calls();
        let mut nowhere = NOWHERE;
        for teller in tellers.iter().filter(|rank| **rank != self.rank) {
            let teller = self.world.communicator.process_at_rank(*teller as i32);
            teller.receive_into_with_tag(&mut nowhere[..0], STOP_TAG);
        }
        self.world.telling.borrow_mut().drain(..).for_each(|request| {
            request.wait();
        });
    }
}
