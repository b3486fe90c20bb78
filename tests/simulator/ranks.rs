//! Ranks as the world's threads: what `Comm` calls.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::sync::Arc;

use reelscale::comm::{Backend, Comm, StopFlag, Work};

use super::meeting::{Brought, Call, Meeting};
use super::plan::When;
use super::plant::Plant;
use super::trace::Step;
use super::world::{Ended, Ending, Place, Standing, World, is_rank};

/// One rank.
struct Rank {
    world: Arc<World>,
    rank: usize,
    size: usize,
    /// Where the next collective is called.
    place: Cell<Option<Place>>,
}

/// The communicator of a rank.
pub fn comm(world: &Arc<World>, rank: usize) -> Comm {
    let size = world.session.ranks;
    let stop = StopFlag::watched(Arc::new({
        let world = Arc::downgrade(world);
        move || {
            if let Some(world) = world.upgrade().filter(|_| is_rank()) {
                look(&world, rank);
            }
        }
    }));
    *world.stops[rank].lock().expect("short") = Some(stop.clone());
    let place = Cell::new(None);
    Comm::with_stop(Box::new(Rank { world: world.clone(), rank, size, place }), stop)
}

/// A rank looks whether it is to stop: nobody else goes on, but it may come just then.
fn look(world: &World, rank: usize) {
    if std::thread::panicking() {
        return;
    }
    let mut state = world.lock();
    state.looks[rank] += 1;
    world.happen(&mut state, |when, state| match when {
        When::Look(rank, at) => at <= state.looks[rank],
        _ => false,
    });
}

/// Bytes of flags and digest, of a code, and of the crc32c behind each.
const BOUNDARY: usize = 8;
const CODE: usize = 1;
const SEAL: usize = 4;

/// Whether every rank brings so many bytes to an all-gather, and their seal.
fn gathers(call: &Call, bytes: usize) -> bool {
    let sealed = bytes + SEAL;
    matches!(call, Call::AllGather { counts } if counts.iter().all(|count| *count == sealed))
}

/// Whether a collective is the one at which ranks agree to go on, to save or to stop.
fn is_boundary(call: &Call, place: Place) -> bool {
    place.file().ends_with("train/state.rs") && gathers(call, BOUNDARY)
}

/// Whether it is the first one of `Comm::agree`.
fn is_agreement(call: &Call) -> bool {
    gathers(call, CODE)
}

impl Rank {
    /// Comes to a collective, works meanwhile, and leaves it with what `read` makes of it.
    fn meet(&self, call: Call, brought: Brought, work: Work, read: impl FnOnce(&Meeting, u64)) {
        let (world, rank, place) = (&*self.world, self.rank, self.place());
        let name = match call {
            Call::Barrier => "barrier",
            Call::Broadcast { .. } => "broadcast",
            Call::AllGather { .. } => "all-gather",
            Call::AllToAll => "all-to-all",
        };
        world.point(rank, Step::new(name, Some(place)));
        let mut state = world.lock();
        let number = match state.meeting.come(rank, (call, place), brought) {
            Ok(number) => number,
            Err(text) => world.fail(state, text),
        };
        drop(state);
        work(&mut || world.point(rank, Step::new("poll", None)));
        let mut state = world.lock();
        state.standings[rank] = Standing::Meets(number);
        world.hand_over(state, rank);
        let mut state = world.lock();
        state.standings[rank] = Standing::Ready;
        read(&state.meeting, number);
        state.meeting.part(number);
    }

    fn place(&self) -> Place {
        self.place.get().expect("told before each collective")
    }

    fn is_told(&self) -> bool {
        self.world.lock().told[self.rank].is_some()
    }

    /// Whether a planted fault makes this rank leave out an all-gather.
    fn leaves_out(&self, call: &Call, mine: &[u8]) -> bool {
        match self.world.plant {
            Plant::LeavesAlone => is_boundary(call, self.place()) && self.is_told(),
            Plant::AgreesAlone => is_agreement(call) && mine[0] != 0,
            _ => false,
        }
    }

    /// What a planted fault makes of the flags at a boundary.
    fn change(&self, call: &Call, all: &mut [u8]) {
        if !is_boundary(call, self.place()) {
            return;
        }
        for (rank, part) in all.chunks_mut(BOUNDARY + SEAL).enumerate() {
            let (word, seal) = part.split_at_mut(BOUNDARY);
            match self.world.plant {
                Plant::OwnDue if self.rank > 0 && rank == 0 => word[0] |= 2,
                Plant::StopUnseen => word[0] &= !1,
                _ => continue,
            }
            seal.copy_from_slice(&crc32c::crc32c(word).to_le_bytes());
        }
    }
}

impl Backend for Rank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn count_max(&self) -> usize {
        i32::MAX as usize
    }

    fn called_from(&self, place: Place) {
        self.place.set(Some(place));
        let state = self.world.lock();
        if state.told[self.rank].is_some() && !state.knows[self.rank] && !std::thread::panicking() {
            self.world.fail(state, format!("rank {} is to stop and tells nobody", self.rank));
        }
    }

    fn barrier(&self) {
        if self.world.plant == Plant::NoBarrier && self.rank + 1 == self.size {
            return;
        }
        self.meet(Call::Barrier, Brought::default(), &mut |_| (), |_, _| ());
    }

    fn broadcast(&self, root: usize, data: &mut [u8], work: Work) {
        let bytes = if self.rank == root { data.to_vec() } else { Vec::new() };
        let call = Call::Broadcast { root, bytes: data.len() };
        self.meet(call, Brought { bytes, ..Brought::default() }, work, |meeting, number| {
            data.copy_from_slice(meeting.bytes(number, root));
        });
    }

    fn all_gather_v(&self, mine: &[u8], counts: &[usize], all: &mut [u8], work: Work) {
        let call = Call::AllGather { counts: counts.to_vec() };
        if self.leaves_out(&call, mine) {
            all.chunks_mut(mine.len()).for_each(|part| part.copy_from_slice(mine));
            return;
        }
        let brought = Brought { bytes: mine.to_vec(), ..Brought::default() };
        self.meet(call.clone(), brought, work, |meeting, number| {
            let mut rest = &mut *all;
            for (rank, count) in counts.iter().enumerate() {
                let (part, after) = rest.split_at_mut(*count);
                if *count > 0 {
                    part.copy_from_slice(meeting.bytes(number, rank));
                }
                rest = after;
            }
        });
        self.change(&call, all);
    }

    fn all_to_all_v(&self, send: &[u8], to: &[usize], received: &mut [u8], from: &[usize]) {
        let brought = Brought { bytes: send.to_vec(), to: to.to_vec(), from: from.to_vec() };
        self.meet(Call::AllToAll, brought, &mut |_| (), |meeting, number| {
            let mut rest = received;
            for (rank, count) in from.iter().enumerate() {
                let (part, after) = rest.split_at_mut(*count);
                if *count > 0 {
                    part.copy_from_slice(meeting.bytes_for(number, rank, self.rank));
                }
                rest = after;
            }
        });
    }

    fn kind(&self) -> &'static str {
        "threads of a simulated world"
    }

    fn abort(&self, _code: i32) -> ! {
        let mut state = self.world.lock();
        self.world.end(&mut state, Ending::Aborted);
        drop(state);
        resume_unwind(Box::new(Ended))
    }

    fn tell_stop(&self) {
        let times = match self.world.plant {
            Plant::NoNews => return,
            Plant::NewsTwice => 2,
            _ => 1,
        };
        self.world.point(self.rank, Step::new("tells to stop", None));
        let mut state = self.world.lock();
        state.knows[self.rank] = true;
        let now = state.points;
        for other in (0..self.size).filter(|rank| *rank != self.rank) {
            (0..times).for_each(|_| state.meeting.tell(self.rank, other, now));
        }
    }

    fn told_stop(&self) -> bool {
        let mut state = self.world.lock();
        let told = state.meeting.is_told(self.rank, state.points);
        state.knows[self.rank] |= told;
        told
    }

    fn settle_stop(&self, tellers: &[usize]) {
        let mut state = self.world.lock();
        // What comes now is nobody's business any more.
        state.knows[self.rank] = true;
        drop(state);
        if self.world.plant == Plant::NewsLeft {
            return;
        }
        for teller in tellers.iter().filter(|rank| **rank != self.rank) {
            let mut state = self.world.lock();
            state.standings[self.rank] = Standing::News(*teller);
            self.world.hand_over(state, self.rank);
            let mut state = self.world.lock();
            state.standings[self.rank] = Standing::Ready;
            state.meeting.take_news(*teller, self.rank);
        }
    }
}
