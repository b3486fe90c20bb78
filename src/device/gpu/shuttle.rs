//! Brings runs of class blocks to the device and home again beside work on others: the next one
//! comes and the one before goes while one is worked on, as far as there is memory for them.

use std::collections::VecDeque;
use std::thread::sleep;

use super::blocks::Place;
use super::cut::Extent;
use super::held::Held;
use super::luggage::{Luggage, Trip, Which};
use super::part::{Part, Room};
use super::queue::Queue;
use super::waiting::MOMENT;
use crate::device::host::{Complete, HeldBlocks};
use crate::device::{Apart, ClassBlock, FullBatches, Joint, MiniBatches, Pace, Solving};
use crate::model::spec::Dummy;
use crate::progress::tick;

type Told<T> = Result<T, String>;

/// What comes of blocks that learn in some way, and goes home again.
pub(super) trait Travels: Solving + Sized {
    /// How they learn on the device.
    type Guest: Solving;

    /// What goes up of each block that keeps so many vectors and chains of losses, and what comes
    /// home.
    fn what(vectors: usize, chains: usize) -> [Vec<Which>; 2];

    /// Blocks that set out, and what remains at home of them.
    fn set_out(home: &mut HeldBlocks<Self>) -> Vec<(ClassBlock<Self::Guest>, Luggage)>;

    /// Blocks that are there for a while, of such a place. Nobody asks where guests go home.
    fn guests(_: Box<Part<Self>>) -> Part<Self::Guest> {
        panic!("their guests go home")
    }

    /// The same the other way round.
    fn own(_: Part<Self::Guest>) -> Box<Part<Self>> {
        panic!("their guests go home")
    }

    /// Blocks that are back.
    fn come_back(home: &mut HeldBlocks<Self>, blocks: Vec<(ClassBlock<Self::Guest>, Luggage)>);
}

/// Memory on the device for blocks that come and go, which is made when first wanted.
pub(super) struct Rooms {
    queue: Queue,
    pub(super) extent: Extent,
    /// So many may there be, and so many are yet to be made.
    most: usize,
    unmade: usize,
    free: Vec<Room>,
    like: (usize, Dummy),
    /// eps, vectors for each parameter, bytes of logits.
    sizes: (f32, usize, usize),
    /// Whether a gradient comes and goes.
    gradient: bool,
    /// Chains of losses of each class.
    chains: usize,
}

/// A run that is on its way or there: its place, its blocks and the way.
struct Run<S>(usize, Part<S>, Trip);

/// The runs of one window.
pub(super) struct Shuttle<'a, S: Travels> {
    places: &'a mut [Place<S>],
    rooms: &'a mut Rooms,
    /// Places of those that are yet to come, in order.
    next: VecDeque<usize>,
    coming: Option<Run<S::Guest>>,
    /// Those that have been worked on, and that go home once their memory is wanted.
    worked: VecDeque<(usize, Part<S::Guest>)>,
    going: Option<Run<S::Guest>>,
    /// Whether they go home in any case.
    home: bool,
}

impl Rooms {
    /// For so many runs of at most this extent, of blocks of this width and dummy that keep
    /// `sizes.1` vectors.
    pub(super) fn new(
        queue: &Queue,
        (most, extent): (usize, Extent),
        like: (usize, Dummy),
        sizes: (f32, usize, usize),
        (gradient, chains): (bool, usize),
    ) -> Rooms {
        let (queue, free) = (queue.clone(), Vec::new());
        Rooms { queue, extent, most, unmade: most, free, like, sizes, gradient, chains }
    }

    /// What goes up of a block there, and what comes home.
    fn what<S: Travels>(&self) -> [Vec<Which>; 2] {
        S::what(self.sizes.1, self.chains)
    }

    fn any(&self) -> bool {
        self.unmade > 0 || !self.free.is_empty()
    }

    /// One of them, if there is any.
    pub(super) fn take(&mut self) -> Told<Option<Room>> {
        if let Some(room) = self.free.pop() {
            return Ok(Some(room));
        }
        if self.unmade == 0 {
            return Ok(None);
        }
        let held = Held::with_room(&self.queue, self.extent, self.like, self.sizes)?;
        let held = held.with_chains(self.chains)?;
        let gradients = if self.gradient { vec![held.zeros()?] } else { Vec::new() };
        self.unmade -= 1;
        Ok(Some(Room(held, gradients)))
    }

    pub(super) fn give(&mut self, room: Room) {
        self.free.push(room);
        assert!(self.free.len() + self.unmade <= self.most, "a room of another's");
    }
}

impl<'a, S: Travels> Shuttle<'a, S> {
    /// For the runs at the places `next`, in this order. Where they needn't go `home` at the end
    /// some stay.
    pub(super) fn new(
        places: &'a mut [Place<S>],
        rooms: &'a mut Rooms,
        next: VecDeque<usize>,
        home: bool,
    ) -> Shuttle<'a, S> {
        let (coming, worked, going) = (None, VecDeque::new(), None);
        Shuttle { places, rooms, next, coming, worked, going, home }
    }

    /// Does what can be done now without waiting, pieces of copies at most. Whether that was
    /// anything.
    pub(super) fn step(&mut self) -> Told<bool> {
        let mut some = false;
        if let Some(Run(_, part, trip)) = &mut self.going {
            some |= trip.down(part)?;
            if trip.over() {
                self.arrived_home();
                some = true;
            }
        }
        let awaited = self.coming.is_none() && !self.next.is_empty() && !self.rooms.any();
        if self.going.is_none() && (self.home || awaited) {
            some |= self.send_home();
        }
        if self.coming.is_none()
            && self.rooms.any()
            && let Some(index) = self.next.pop_front()
        {
            let Place::Home(home) = &mut self.places[index] else { panic!("at home") };
            let room = self.rooms.take()?.expect("just seen");
            let blocks = S::set_out(home);
            let (part, trip) = Part::coming(room, blocks, &self.rooms.what::<S>()[0]);
            self.coming = Some(Run(index, part, trip));
            some = true;
        }
        if let Some(Run(_, part, trip)) = &mut self.coming {
            some |= trip.up(part)?;
        }
        Ok(some)
    }

    /// The next run, once it is there; none: there is none, or the run is to stop.
    pub(super) fn next(&mut self, pace: &mut Pace) -> Told<Option<(usize, Part<S::Guest>)>> {
        loop {
            if let Some(Run(index, part, _)) = self.coming.take_if(|run| run.2.over()) {
                return Ok(Some((index, part)));
            }
            let none = self.next.is_empty() && self.coming.is_none();
            if none || pace.stopped() {
                return Ok(None);
            }
            self.rest(pace)?;
        }
    }

    /// A run has been worked on.
    pub(super) fn worked(&mut self, index: usize, part: Part<S::Guest>) {
        self.worked.push_back((index, part));
    }

    /// All have been worked on, or are to stop: those that go home do. Gives those that stay.
    pub(super) fn end(&mut self, pace: &mut Pace) -> Told<VecDeque<(usize, Part<S::Guest>)>> {
        self.next.clear();
        // What a run on its way has on the host is as it was.
        self.put_back_coming();
        while self.going.is_some() || (self.home && !self.worked.is_empty()) {
            self.rest(pace)?;
        }
        Ok(std::mem::take(&mut self.worked))
    }

    fn put_back_coming(&mut self) {
        if let Some(Run(index, part, _)) = self.coming.take() {
            self.put_back(index, part);
        }
    }

    /// Has one go home, if there is any: whether there is.
    fn send_home(&mut self) -> bool {
        let Some((index, mut part)) = self.worked.pop_front() else { return false };
        let trip = part.going(&self.rooms.what::<S>()[1]);
        self.going = Some(Run(index, part, trip));
        true
    }

    fn arrived_home(&mut self) {
        let Some(Run(index, part, _)) = self.going.take() else { return };
        self.put_back(index, part);
    }

    fn put_back(&mut self, index: usize, part: Part<S::Guest>) {
        let (blocks, room) = part.leave();
        let Place::Home(home) = &mut self.places[index] else { panic!("its place at home") };
        S::come_back(home, blocks);
        self.rooms.give(room);
    }

    /// Does what can be done now, or waits for a moment; messages move on.
    fn rest(&mut self, pace: &mut Pace) -> Told<()> {
        match self.step()? {
            true => tick(),
            false => sleep(MOMENT),
        }
        pace.poll();
        Ok(())
    }
}

impl<S: Travels> Drop for Shuttle<'_, S> {
    /// After an error: what was being made is thrown away, but memory goes where it belongs.
    fn drop(&mut self) {
        self.put_back_coming();
        self.arrived_home();
        while let Some((index, part)) = self.worked.pop_front() {
            self.put_back(index, part);
        }
    }
}

impl Travels for MiniBatches {
    type Guest = MiniBatches;

    fn guests(part: Box<Part<MiniBatches>>) -> Part<MiniBatches> {
        *part
    }

    fn own(part: Part<MiniBatches>) -> Box<Part<MiniBatches>> {
        Box::new(part)
    }

    fn what(vectors: usize, chains: usize) -> [Vec<Which>; 2] {
        let vectors = (0..vectors).map(Which::Vector);
        let losses = (0..chains).map(Which::Losses);
        let all = [Which::Weights].into_iter().chain(vectors).chain(losses);
        let all: Vec<Which> = all.collect();
        [all.clone(), all]
    }

    fn set_out(home: &mut HeldBlocks<MiniBatches>) -> Vec<(ClassBlock<MiniBatches>, Luggage)> {
        let set_out = |mut block: ClassBlock<MiniBatches>| {
            let luggage = Luggage {
                weights: std::mem::take(&mut block.weights),
                vectors: block.state.take_vectors(),
                gradient: Vec::new(),
                losses: block.state.losses.clone(),
                complete: Complete::default(),
            };
            (block, luggage)
        };
        home.take().into_iter().map(set_out).collect()
    }

    fn come_back(
        home: &mut HeldBlocks<MiniBatches>,
        blocks: Vec<(ClassBlock<MiniBatches>, Luggage)>,
    ) {
        let come_back = |(mut block, luggage): (ClassBlock<MiniBatches>, Luggage)| {
            block.weights = luggage.weights;
            block.state.put_vectors(luggage.vectors);
            block.state.losses = luggage.losses;
            block
        };
        *home = HeldBlocks::new(blocks.into_iter().map(come_back).collect());
    }
}

impl Travels for FullBatches {
    type Guest = ();

    fn what(_: usize, _: usize) -> [Vec<Which>; 2] {
        let sums = vec![Which::Gradient, Which::Losses(0)];
        [[vec![Which::Weights], sums.clone()].concat(), sums]
    }

    fn set_out(home: &mut HeldBlocks<FullBatches>) -> Vec<(ClassBlock<()>, Luggage)> {
        frozen(home)
    }

    fn come_back(home: &mut HeldBlocks<FullBatches>, blocks: Vec<(ClassBlock<()>, Luggage)>) {
        take_sums(home, blocks);
    }
}

/// For a pass over all rows.
impl Travels for Apart {
    type Guest = ();

    fn what(vectors: usize, chains: usize) -> [Vec<Which>; 2] {
        FullBatches::what(vectors, chains)
    }

    fn set_out(home: &mut HeldBlocks<Apart>) -> Vec<(ClassBlock<()>, Luggage)> {
        frozen(home)
    }

    fn come_back(home: &mut HeldBlocks<Apart>, blocks: Vec<(ClassBlock<()>, Luggage)>) {
        take_sums(home, blocks);
    }
}

impl Travels for Joint {
    type Guest = ();

    fn what(_: usize, _: usize) -> [Vec<Which>; 2] {
        [vec![Which::Weights], vec![Which::Gradient, Which::Losses(0)]]
    }

    fn set_out(home: &mut HeldBlocks<Joint>) -> Vec<(ClassBlock<()>, Luggage)> {
        frozen(home)
    }

    fn come_back(home: &mut HeldBlocks<Joint>, blocks: Vec<(ClassBlock<()>, Luggage)>) {
        take_sums(home, blocks);
    }
}

/// Blocks as they come for a gradient alone: what they learn with stays at home.
fn frozen<S>(home: &mut HeldBlocks<S>) -> Vec<(ClassBlock<()>, Luggage)> {
    let count = home.all().count();
    let frozen = |index| {
        let ClassBlock { layout, weights, .. } = home.of(index);
        let (layout, weights) = (layout.clone(), weights.clone());
        let (gradient, losses, complete) = home.take_sums(index);
        let block = ClassBlock { layout, weights: Default::default(), state: () };
        (block, Luggage { weights, vectors: Vec::new(), gradient, losses, complete })
    };
    (0..count).map(frozen).collect()
}

/// Their sums of a pass or a mini-batch, which are back.
fn take_sums<S>(home: &mut HeldBlocks<S>, blocks: Vec<(ClassBlock<()>, Luggage)>) {
    for (index, (_, luggage)) in blocks.into_iter().enumerate() {
        home.put_sums(index, (luggage.gradient, luggage.losses, luggage.complete));
    }
}
