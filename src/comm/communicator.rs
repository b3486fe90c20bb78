//! `Comm`: a group of ranks as the rest of the program sees it.

use std::cell::{Cell, OnceCell, RefCell};
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::activity::Activity;
use super::backend::{Backend, Cargo};
#[cfg(feature = "mpi")]
use super::mpi;
use super::serial::Serial;
use super::stop::{StopFlag, Telling};
use super::traffic::Traffic;
use super::watch::{Beside, Watch};
#[cfg(not(feature = "mpi"))]
use crate::error::Exit;
use crate::error::{Error, Result};
use crate::partition::Owners;

/// A group of ranks that start the same exchanges in the same order.
pub struct Comm {
    pub(super) backend: Rc<dyn Backend>,
    /// What passed through this group on this rank.
    pub(super) traffic: Cell<Traffic>,
    pub(super) own: Rc<Own>,
    /// Of a group its members, as ranks among all.
    members: Option<Vec<usize>>,
    /// How much each rank takes of what is dealt, where that isn't all alike.
    shares: RefCell<Option<Vec<usize>>>,
}

/// What belongs to this rank, whichever groups it is in.
pub(super) struct Own {
    /// All ranks.
    pub(crate) all: Rc<dyn Backend>,
    /// What passed through all groups.
    pub(crate) traffic: Cell<Traffic>,
    pub(crate) stop: StopFlag,
    pub(crate) telling: Cell<Telling>,
    pub(crate) activity: Arc<Activity>,
    /// Threads that this rank computes with.
    pub(crate) threads: Cell<usize>,
    /// The first message that arrived damaged, until ranks agree.
    pub(crate) damage: Cell<Option<Error>>,
    watch: OnceCell<Option<Watch>>,
}

impl Comm {
    #[doc(hidden)]
    pub(crate) fn new(backend: Box<dyn Backend>) -> Comm {
        Comm::with_stop(backend, StopFlag::default())
    }

    /// With a flag that is set when the run is to stop; ranks of one process share it.
    #[doc(hidden)]
    pub fn with_stop(backend: Box<dyn Backend>, stop: StopFlag) -> Comm {
        let backend: Rc<dyn Backend> = backend.into();
        let (telling, activity) = (Cell::new(Telling::Listening), Arc::default());
        let (traffic, threads, damage) = (Cell::default(), Cell::new(1), Cell::default());
        let (all, watch) = (backend.clone(), OnceCell::new());
        let own = Own { all, traffic, stop, telling, activity, threads, damage, watch };
        Comm {
            backend,
            traffic: Cell::default(),
            own: Rc::new(own),
            members: None,
            shares: RefCell::default(),
        }
    }

    /// One rank and nobody else.
    pub fn serial() -> Comm {
        Comm::new(Box::new(Serial))
    }

    /// The ranks that mpirun or srun started (MPI_COMM_WORLD). Once per process.
    ///
    /// # Errors
    /// Exit 3: MPI is initialised already.
    #[cfg(feature = "mpi")]
    pub fn mpi() -> Result<Comm> {
        Ok(Comm::new(Box::new(mpi::Processes::start()?)))
    }

    /// # Errors
    /// Exit 3: this program is built without MPI.
    #[cfg(not(feature = "mpi"))]
    pub(crate) fn mpi() -> Result<Comm> {
        let text = "found no MPI in this program, which is built without its feature \"mpi\"";
        Err(Error::new(Exit::Launch, text)
            .hint("--comm threads=N makes N ranks of one process; cargo build builds with MPI"))
    }

    /// Makes groups of the ranks that give the same `color`, ordered by `key`, then by rank, and
    /// returns this rank's (MPI_Comm_split, MPI-4.0, section 7.4.2). Collective. Groups are few and
    /// last as long as MPI does. All that belongs to the rank rather than to a group they share:
    /// stops, damage, activity, threads.
    #[doc(hidden)]
    #[track_caller]
    pub fn split(&self, color: u64, key: u64) -> Comm {
        let given = self.all_gather(&[[color, key]]);
        let mut members: Vec<usize> =
            (0..self.size()).filter(|rank| given[*rank][0] == color).collect();
        members.sort_by_key(|rank| (given[*rank][1], *rank));
        self.group(members)
    }

    /// The same where all ranks know who is in which group: `members` are those of this rank's, in
    /// order. Collective.
    #[track_caller]
    pub(crate) fn group(&self, members: Vec<usize>) -> Comm {
        self.own.activity.waits(Location::caller(), 0);
        let backend = self.backend.group(&members);
        self.own.activity.works();
        let members = Some(members.into_iter().map(|rank| self.in_all(rank)).collect());
        Comm {
            backend,
            traffic: Cell::default(),
            own: self.own.clone(),
            members,
            shares: RefCell::default(),
        }
    }

    /// This rank among those of its node, and how many those are (MPI_Comm_split_type, MPI-4.0,
    /// section 7.4.2). Collective.
    #[doc(hidden)]
    pub(crate) fn on_node(&self) -> (usize, usize) {
        self.backend.on_node()
    }

    /// Whether this is the group of all ranks, and not one that was split from it.
    pub(crate) fn is_of_all(&self) -> bool {
        Rc::ptr_eq(&self.backend, &self.own.all)
    }

    /// The number that rank `rank` of this group has among all.
    pub(crate) fn in_all(&self, rank: usize) -> usize {
        self.members.as_ref().map_or(rank, |members| members[rank])
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

    /// What ranks are, for people: `MPI processes`, `threads of one process`, `one process`.
    pub(crate) fn kind(&self) -> &'static str {
        self.backend.kind()
    }

    /// Who owns which of so many blocks, or of other things that ranks share among themselves: here
    /// alone that is decided, alike on all ranks.
    #[doc(hidden)]
    pub fn deal(&self, blocks: usize) -> Owners {
        Owners::in_shares(blocks, &self.shares(), self.rank())
    }

    /// The same to the first so many ranks alone, in their shares; in equal ones where those are
    /// all 0.
    pub(crate) fn deal_to_first(&self, ranks: usize, blocks: usize) -> Owners {
        if ranks == self.size() {
            return self.deal(blocks);
        }
        let mut shares = self.shares();
        if shares[..ranks].iter().all(|share| *share == 0) {
            shares[..ranks].fill(1);
        }
        shares[ranks..].fill(0);
        Owners::in_shares(blocks, &shares, self.rank())
    }

    /// How much each rank takes of what is dealt.
    pub(crate) fn shares(&self) -> Vec<usize> {
        self.shares.borrow().clone().unwrap_or_else(|| vec![1; self.size()])
    }

    /// From now on ranks take blocks in these shares, one for each rank and the same on all. Tables
    /// that were made before stay what they are: whoever holds one makes it anew.
    #[doc(hidden)]
    pub fn deal_in(&self, shares: Vec<usize>) {
        assert_eq!(shares.len(), self.size(), "a share for each rank");
        self.shares.replace(Some(shares));
    }

    /// What passed through this group; of all ranks' what passed through the groups of it, too.
    #[doc(hidden)]
    pub fn traffic(&self) -> Traffic {
        if self.is_of_all() { self.own.traffic.get() } else { self.traffic.get() }
    }

    /// Says what travels in the exchange that is started next (`Cargo`).
    pub(crate) fn carries(&self, cargo: Cargo) {
        self.backend.carries(cargo);
    }

    /// Whether this rank waits for others, and since when.
    #[doc(hidden)]
    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.own.activity
    }

    /// From now on ranks watch over each other, with this patience. Collective.
    #[doc(hidden)]
    pub(crate) fn watch_over(&self, patience: Duration, beside: Beside) {
        self.own.watch.get_or_init(|| Watch::start(self, patience, beside));
        self.own.all.all_have_met();
    }

    /// Nobody of this command waits for another rank, so that nobody is watched.
    #[doc(hidden)]
    pub fn without_watch(&self) {
        self.own.all.all_have_met();
    }

    /// The watch, where ranks can reach each other by TCP.
    #[doc(hidden)]
    pub(crate) fn watch(&self) -> Option<&Watch> {
        self.own.watch.get().and_then(Option::as_ref)
    }

    #[doc(hidden)]
    pub(crate) fn abort(&self, code: i32) -> ! {
        self.backend.abort(code)
    }
}

impl Drop for Comm {
    /// Leaving waits for all ranks, and is watched, too.
    fn drop(&mut self) {
        if self.is_of_all() {
            self.own.activity.waits(Location::caller(), 0);
        }
    }
}
