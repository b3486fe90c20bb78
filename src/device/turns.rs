//! Mini-batches of class blocks that several ranks have at once: mini-batch by mini-batch, in each
//! block by block, in turns that are the same on all of these ranks, one of which is on its way
//! while the next one's gradient is made.

use super::{Apart, Batch, Between, Pace, Part, Turn, Vote};
use crate::error::{Error, Result};
use crate::tree::nodes_of;

/// What a device does in turns.
pub trait Turns {
    /// Number of blocks.
    fn count(&self) -> usize;

    /// What the host has of a block's state; its losses may lie elsewhere.
    fn state(&mut self, block: usize) -> &mut Apart;

    /// Numbers of a part of a block.
    fn numbers(&self, block: usize, part: &Part) -> usize;

    /// Losses of a block as `Apart` has them.
    ///
    /// # Errors
    /// The device is lost.
    fn losses(&mut self, block: usize) -> Result<Vec<f64>>;

    /// Sets them.
    ///
    /// # Errors
    /// The device is lost.
    fn put_losses(&mut self, block: usize, losses: Vec<f64>) -> Result<()>;

    /// Sets the weights of a part.
    ///
    /// # Errors
    /// The device is lost.
    fn put(&mut self, block: usize, part: &Part, numbers: &[f32]) -> Result<()>;

    /// Sums the own slices of a turn and gives the nodes of each part, in order; losses are added
    /// to the epoch's.
    ///
    /// # Errors
    /// The device is full or lost.
    fn sums(
        &mut self,
        turn: &Turn,
        batch: &Batch,
        giving: &mut Giving,
        pace: &mut Pace,
    ) -> Result<()>;
}

/// A turn whose parts are given.
pub struct Giving<'a> {
    turn: &'a Turn,
    parts: &'a [Part],
    given: usize,
    vote: Vote,
    between: &'a mut dyn Between,
}

impl<'a> Giving<'a> {
    /// All parts of the turn's block.
    pub fn parts(&self) -> &'a [Part] {
        self.parts
    }

    /// Memory for a node of the next part, holding anything.
    pub fn room(&mut self) -> Vec<f32> {
        self.between.room(self.turn.block, self.given)
    }

    /// Gives the nodes of the next part.
    pub fn give(&mut self, nodes: Vec<Vec<f32>>) {
        self.between.give(self.turn, self.given, nodes, self.vote);
        self.given += 1;
        self.tend();
    }

    /// Goes on with earlier turns, whose weights are wanted soon: between pieces of work.
    pub fn tend(&mut self) {
        self.between.tend();
    }
}

/// What a block had before a turn that may yet take no step.
struct Before {
    turn: Turn,
    losses: Vec<f64>,
    rows: usize,
}

/// A rank's turns in a window.
struct Window<'a, T> {
    device: &'a mut T,
    /// Of each block.
    parts: Vec<Vec<Part>>,
    /// Whether the device has failed, and how: all that it would do from then on is left out.
    failed: Option<Error>,
    /// Turns that may yet take no step, in order.
    before: Vec<Before>,
}

/// Takes the blocks that still learn through the mini-batches of a window that they haven't seen,
/// with the ranks that `between` knows. A rank whose device fails gives zeros, and says so by its
/// vote, until all ranks leave the window at the same turn.
///
/// # Errors
/// The first of the device.
pub fn take_turns(
    device: &mut impl Turns,
    batches: &[Batch],
    between: &mut dyn Between,
    pace: &mut Pace,
) -> Result<()> {
    let parts = (0..device.count()).map(|block| between.parts(block)).collect();
    let mut window = Window { device, parts, failed: None, before: Vec::new() };
    let turns = batches
        .iter()
        .enumerate()
        .flat_map(|(index, batch)| (0..window.parts.len()).map(move |block| (index, batch, block)));
    for (index, batch, block) in turns.collect::<Vec<_>>() {
        let (rows, end) = (batch.positions.len(), batch.positions.end);
        if !window.device.state(block).wants(end) {
            continue;
        }
        let turn = Turn { block, batch: index, rows, end };
        if !between.begin(&turn, &mut |block, part, weights| window.put(block, part, weights), pace)
        {
            break;
        }
        // What was before the last turn has taken its step.
        window.before.drain(..window.before.len().saturating_sub(1));
        window.take(&turn, batch, between, pace);
    }
    let put = &mut |block, part, weights: &[f32]| window.put(block, part, weights);
    let dropped = between.end(put, pace);
    window.put_back(&dropped);
    window.failed.map_or(Ok(()), Err)
}

impl<T: Turns> Window<'_, T> {
    /// What `work` gives, unless the device has failed or does so now.
    fn try_to<R>(&mut self, work: impl FnOnce(&mut T) -> Result<R>) -> Option<R> {
        if self.failed.is_some() {
            return None;
        }
        work(self.device).map_err(|error| self.failed = Some(error)).ok()
    }

    fn put(&mut self, block: usize, part: usize, weights: &[f32]) {
        let part = self.parts[block][part].clone();
        self.try_to(|device| device.put(block, &part, weights));
    }

    /// The sums of a turn, all parts of which are given, whatever happens.
    fn take(&mut self, turn: &Turn, batch: &Batch, between: &mut dyn Between, pace: &mut Pace) {
        let losses = self.try_to(|device| device.losses(turn.block)).unwrap_or_default();
        let rows = std::mem::replace(&mut self.device.state(turn.block).rows, turn.end);
        self.before.push(Before { turn: turn.clone(), losses, rows });
        let vote = match () {
            () if self.failed.is_some() => Vote::Failed,
            () if pace.stopped() => Vote::Stops,
            () => Vote::GoOn,
        };
        let slices = between.slices();
        let parts = self.parts[turn.block].clone();
        let mut giving = Giving { turn, parts: &parts, given: 0, vote, between };
        self.try_to(|device| device.sums(turn, batch, &mut giving, pace));
        if self.failed.is_some() && giving.given == 0 {
            giving.vote = Vote::Failed;
        }
        while giving.given < parts.len() {
            assert!(self.failed.is_some(), "all parts are given");
            let numbers = self.device.numbers(turn.block, &parts[giving.given]);
            let zeros = || vec![0.0; numbers];
            giving.give(nodes_of(slices.own.clone()).iter().map(|_| zeros()).collect());
        }
    }

    /// Leaves blocks as they were before turns that took no step, the last ones first.
    fn put_back(&mut self, dropped: &[Turn]) {
        for turn in dropped.iter().rev() {
            let Before { turn: last, losses, rows } = self.before.pop().expect("a turn of late");
            assert_eq!(last, *turn, "the last turns take no step");
            self.device.state(turn.block).rows = rows;
            self.try_to(|device| device.put_losses(turn.block, losses));
        }
    }
}
