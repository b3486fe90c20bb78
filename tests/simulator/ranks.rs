//! Ranks as the world's threads: what `Comm` calls.

use std::cell::Cell;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;

use reelscale::Comm;
use reelscale::internals::comm::{self, Backend, Buffers, Pending, StopFlag};

use super::meeting::{Brought, Call, Seat, Ticket};
use super::plan::When;
use super::plant::{Plant, Site, change, is_agreement};
use super::state::{Ending, Standing};
use super::trace::Step;
use super::world::{Ended, Place, World, is_rank};

/// One rank of a group.
struct Rank {
    world: Arc<World>,
    seat: Seat,
    size: usize,
    /// Where the next collective is called.
    place: Cell<Option<Place>>,
    /// Times that the group was split.
    splits: Cell<u64>,
    /// Bytes of the first stretch of the weights that were gathered last.
    stretch: Cell<usize>,
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
    let seat = Seat { group: 0, rank, of_all: rank };
    Comm::with_stop(Box::new(Rank::new(world.clone(), seat, size)), stop)
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

impl Rank {
    fn new(world: Arc<World>, seat: Seat, size: usize) -> Rank {
        let (place, splits, stretch) = Default::default();
        Rank { world, seat, size, place, splits, stretch }
    }

    /// Comes to a collective.
    fn come(&self, call: Call, brought: Brought) -> Ticket {
        let (world, place) = (&*self.world, self.place());
        let name = match call {
            Call::Barrier => "barrier",
            Call::Broadcast { .. } => "broadcast",
            Call::AllGather { .. } => "all-gather",
            Call::AllToAll => "all-to-all",
        };
        world.point(self.seat.of_all, Step::new(name, Some(place)));
        let mut state = world.lock();
        match state.meeting.come(self.seat, (call, place), brought) {
            Ok(ticket) => ticket,
            Err(text) => world.fail(state, text),
        }
    }

    fn place(&self) -> Place {
        self.place.get().expect("told before each collective")
    }

    fn is_told(&self) -> bool {
        self.world.lock().told[self.seat.of_all].is_some()
    }

    /// Whether a planted fault makes this rank leave out an all-gather.
    fn leaves_out(&self, call: &Call, mine: &[u8]) -> bool {
        match self.world.plant {
            Plant::LeavesAlone => {
                let site = Site::of(call, self.place(), self.size);
                site == Some(Site::Boundary) && self.is_told()
            }
            Plant::AgreesAlone => is_agreement(call) && mine[0] != 0,
            _ => false,
        }
    }
}

/// A collective that a rank has started.
struct Open {
    world: Arc<World>,
    /// None where a planted fault has the rank leave it out, or once it has left.
    ticket: Option<Ticket>,
    call: comm::Call,
    buffers: Option<Buffers>,
    /// Where a planted fault may change what comes, and the first stretch of the last weights.
    site: Option<Site>,
    size: usize,
    stretch: usize,
}

impl Open {
    /// Puts what has come to where it belongs.
    fn take(&mut self, ticket: Ticket) -> Buffers {
        let mut buffers = self.buffers.take().expect("it is given back once");
        let mut state = self.world.lock();
        let mut rest = buffers.receive.bytes_mut();
        let mut put = |count: usize, bytes: &[u8]| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(count);
            if count > 0 {
                part.copy_from_slice(bytes);
            }
            rest = after;
        };
        match &self.call {
            comm::Call::Barrier => {}
            comm::Call::Broadcast { root } if *root == ticket.seat.rank => {}
            comm::Call::Broadcast { root } => {
                let bytes = state.meeting.bytes(ticket, *root);
                put(bytes.len(), bytes);
            }
            comm::Call::AllGather { counts } => {
                for (rank, count) in counts.iter().enumerate() {
                    put(*count, state.meeting.bytes(ticket, rank));
                }
            }
            comm::Call::AllToAll { from, .. } => {
                for (rank, count) in from.iter().enumerate() {
                    put(*count, state.meeting.bytes_for(ticket, rank));
                }
            }
        }
        state.meeting.part(ticket);
        drop(state);
        if let Some(site) = self.site {
            let (own, all) = ((ticket.seat.rank, self.size), buffers.receive.bytes_mut());
            change(&self.world.plant, site, own, self.stretch, all);
        }
        buffers
    }
}

impl Pending for Open {
    fn poll(&mut self) -> bool {
        let Some(ticket) = self.ticket else { return true };
        self.world.point(ticket.seat.of_all, Step::new("poll", None));
        self.world.lock().meeting.is_met(ticket)
    }

    fn wait(mut self: Box<Self>) -> Buffers {
        let Some(ticket) = self.ticket else {
            return self.buffers.take().expect("it is given back once");
        };
        let mut state = self.world.lock();
        state.standings[ticket.seat.of_all] = Standing::Meets(ticket);
        self.world.hand_over(state, ticket.seat.of_all);
        let mut state = self.world.lock();
        state.standings[ticket.seat.of_all] = Standing::Ready;
        drop(state);
        self.ticket = None;
        self.take(ticket)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket
            && !std::thread::panicking()
        {
            self.world.lock().meeting.part(ticket);
        }
    }
}

impl Backend for Rank {
    fn rank(&self) -> usize {
        self.seat.rank
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
        if state.told[self.seat.of_all].is_some()
            && !state.knows[self.seat.of_all]
            && !std::thread::panicking()
        {
            self.world
                .fail(state, format!("rank {} is to stop and tells nobody", self.seat.of_all));
        }
    }

    fn start(&self, call: comm::Call, mut buffers: Buffers) -> Box<dyn Pending> {
        let (send, receive) = (buffers.send.bytes(), buffers.receive.bytes());
        let (named, brought) = match &call {
            comm::Call::Barrier => (Call::Barrier, Brought::default()),
            comm::Call::Broadcast { root } => {
                let own = if self.seat.rank == *root { receive.to_vec() } else { Vec::new() };
                let named = Call::Broadcast { root: *root, bytes: receive.len() };
                (named, Brought { bytes: own, ..Brought::default() })
            }
            comm::Call::AllGather { counts } => {
                let brought = Brought { bytes: send.to_vec(), ..Brought::default() };
                (Call::AllGather { counts: counts.clone() }, brought)
            }
            comm::Call::AllToAll { to, at, from } => {
                let parts = at.iter().zip(to).flat_map(|(at, count)| &send[*at..at + count]);
                let (bytes, to, from) = (parts.copied().collect(), to.clone(), from.clone());
                (Call::AllToAll, Brought { bytes, to, from })
            }
        };
        let last = self.seat.rank + 1 == self.size;
        let left_out = match &named {
            Call::Barrier => self.world.plant == Plant::NoBarrier && last,
            Call::AllGather { .. } => self.leaves_out(&named, send),
            _ => false,
        };
        let site = match &call {
            comm::Call::AllToAll { from, .. } => Site::of_states(self.place(), from),
            _ => None,
        };
        let site = site.or_else(|| Site::of(&named, self.place(), self.size));
        if let Some(Site::Weights(first)) = site {
            self.stretch.set(first);
        }
        let ticket = match left_out {
            false => Some(self.come(named, brought)),
            true => {
                let (own, all) = (buffers.send.bytes(), buffers.receive.bytes_mut());
                all.chunks_mut(own.len().max(1)).for_each(|part| part.copy_from_slice(own));
                None
            }
        };
        let (world, buffers) = (self.world.clone(), Some(buffers));
        let (size, stretch) = (self.size, self.stretch.get());
        Box::new(Open { world, ticket, call, buffers, site, size, stretch })
    }

    fn group(&self, members: &[usize]) -> Rc<dyn Backend> {
        let number = self.splits.replace(self.splits.get() + 1);
        let group = self.world.lock().meeting.group(self.seat.group, number, members);
        let rank = members.iter().position(|rank| *rank == self.seat.rank);
        let seat = Seat { group, rank: rank.expect("this rank is a member"), ..self.seat };
        Rc::new(Rank::new(self.world.clone(), seat, members.len()))
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
        self.world.point(self.seat.of_all, Step::new("tells to stop", None));
        let mut state = self.world.lock();
        state.knows[self.seat.of_all] = true;
        let now = state.points;
        for other in (0..self.size).filter(|rank| *rank != self.seat.rank) {
            (0..times).for_each(|_| state.meeting.tell(self.seat.rank, other, now));
        }
    }

    fn told_stop(&self) -> bool {
        let mut state = self.world.lock();
        let told = state.meeting.is_told(self.seat.of_all, state.points);
        state.knows[self.seat.of_all] |= told;
        told
    }

    fn settle_stop(&self, tellers: &[usize]) {
        let mut state = self.world.lock();
        // What comes now is nobody's business any more.
        state.knows[self.seat.of_all] = true;
        drop(state);
        if self.world.plant == Plant::NewsLeft {
            return;
        }
        for teller in tellers.iter().filter(|rank| **rank != self.seat.rank) {
            let mut state = self.world.lock();
            state.standings[self.seat.of_all] = Standing::News(*teller);
            self.world.hand_over(state, self.seat.of_all);
            let mut state = self.world.lock();
            state.standings[self.seat.of_all] = Standing::Ready;
            state.meeting.take_news(*teller, self.seat.of_all);
        }
    }
}
