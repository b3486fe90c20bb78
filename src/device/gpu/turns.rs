//! Class blocks on a device that several ranks have at once: sums of the own slices come down, and
//! weights go up, part by part. Blocks that come and go come at each turn.

use std::sync::Arc;
use std::thread::sleep;

use super::blocks::{Blocks, Place};
use super::failure;
use super::luggage::{Luggage, Which};
use super::part::{Part, Room};
use super::rows::Rows;
use super::waiting::MOMENT;
use crate::device::{
    Apart, Batch, ClassBlock, Giving, Learn, Pace, Part as BlockPart, Slices, Solving, Turn, Turns,
};
use crate::error::Result;
use crate::kernel::mixture::Kernel;
use crate::team::Team;

type Told<T> = std::result::Result<T, String>;

/// Turns of blocks past some rows.
pub(super) struct GpuTurns<'a> {
    pub(super) blocks: &'a mut Blocks<Apart>,
    pub(super) rows: &'a Rows,
    pub(super) how: &'a Learn,
    pub(super) slices: Slices,
    /// The host's.
    pub(super) kernels: &'a mut [Kernel],
}

impl Turns for GpuTurns<'_> {
    fn count(&self) -> usize {
        self.blocks.count()
    }

    fn state(&mut self, block: usize) -> &mut Apart {
        match self.blocks.at_mut(block) {
            (Place::Here(part), own) => &mut part.own.get_mut()[own].block.state,
            (Place::Home(home), own) => &mut home.of_mut(own).state,
        }
    }

    fn numbers(&self, block: usize, part: &BlockPart) -> usize {
        part.numbers(&self.blocks.layout(block))
    }

    fn losses(&mut self, block: usize) -> Result<Vec<f64>> {
        let failed = failure(&self.blocks.queue);
        match self.blocks.at_mut(block) {
            (Place::Here(part), own) => part.held().losses(own).map_err(failed),
            (Place::Home(home), own) => Ok(home.of(own).state.losses.clone()),
        }
    }

    fn put_losses(&mut self, block: usize, losses: Vec<f64>) -> Result<()> {
        let failed = failure(&self.blocks.queue);
        match self.blocks.at_mut(block) {
            (Place::Here(part), own) => part.held().set_losses(own, &losses).map_err(failed)?,
            (Place::Home(home), own) => home.of_mut(own).state.losses = losses,
        }
        Ok(())
    }

    fn put(&mut self, block: usize, part: &BlockPart, numbers: &[f32]) -> Result<()> {
        let failed = failure(&self.blocks.queue);
        match self.blocks.at_mut(block) {
            (Place::Here(held), own) => held.put(own, part, numbers).map_err(failed)?,
            (Place::Home(home), own) => {
                let ClassBlock { layout, weights, .. } = home.of_mut(own);
                let pairs = part.placed(layout, numbers, Arc::<Vec<f32>>::make_mut(weights));
                Team::new(self.kernels).copy(pairs);
            }
        }
        Ok(())
    }

    fn sums(
        &mut self,
        turn: &Turn,
        batch: &Batch,
        giving: &mut Giving,
        pace: &mut Pace,
    ) -> Result<()> {
        let failed = failure(&self.blocks.queue);
        let nodes = self.nodes(turn.block, batch, giving, pace).map_err(failed)?;
        let layout = self.blocks.layout(turn.block);
        for part in giving.parts() {
            let mut own: Vec<_> = nodes.iter().map(|_| giving.room()).collect();
            let pairs = own.iter_mut().zip(&nodes);
            let pairs = pairs.flat_map(|(to, node)| part.taken(&layout, node, to));
            Team::new(self.kernels).copy(pairs);
            giving.give(own);
        }
        Ok(())
    }
}

impl GpuTurns<'_> {
    /// The nodes of a block's own slices, on the host; their losses are added to the epoch's.
    fn nodes(
        &mut self,
        block: usize,
        batch: &Batch,
        giving: &mut Giving,
        pace: &mut Pace,
    ) -> Told<Vec<Vec<f32>>> {
        let mut tend = || {
            pace.poll();
            giving.tend();
        };
        let GpuTurns { blocks, rows, how, slices, .. } = self;
        let (home, vectors) = match blocks.at_mut(block) {
            (Place::Home(home), own) => (true, home.of(own).state.gradients()),
            (Place::Here(part), own) => (false, part.own.borrow()[own].block.state.gradients()),
        };
        let room = if home { Some(blocks.free_room()?) } else { None };
        match (blocks.at_mut(block), room) {
            ((Place::Home(home), own), Some(room)) => {
                let ClassBlock { layout, weights, state } = home.of_mut(own);
                let block =
                    ClassBlock { layout: layout.clone(), weights: Arc::default(), state: () };
                let (weights, losses) = (weights.clone(), state.losses.clone());
                let luggage = Luggage { weights, losses, ..Luggage::default() };
                let losses = (0..slices.own.len()).map(Which::Losses);
                let what: Vec<Which> = [Which::Weights].into_iter().chain(losses).collect();
                let (mut part, mut trip) = Part::coming(room, vec![(block, luggage)], &what);
                while !trip.over() {
                    if !trip.up(&part)? {
                        sleep(MOMENT);
                    }
                    tend();
                }
                let nodes = part.nodes((rows, batch), how, (0, vectors), slices, &mut tend)?;
                state.losses = part.held().losses(0)?;
                let (_, room) = part.leave();
                blocks.rooms.as_mut().expect("where it came from").give(room);
                Ok(nodes)
            }
            ((Place::Here(part), own), _) => {
                part.nodes((rows, batch), how, (own, vectors), slices, &mut tend)
            }
            _ => panic!("a room for those that come"),
        }
    }
}

impl Blocks<Apart> {
    /// Memory for a block that comes for a turn: nobody stays in it.
    fn free_room(&mut self) -> Told<Room> {
        let rooms = self.rooms.as_mut().expect("blocks that come and go");
        Ok(rooms.take()?.expect("all are free"))
    }
}

impl<S: Solving> Part<S> {
    /// The nodes of the own slices of a block's mini-batch, on the host; earlier turns are tended
    /// while the device works.
    fn nodes(
        &mut self,
        (rows, batch): (&Rows, &Batch),
        how: &Learn,
        (block, vectors): (usize, usize),
        slices: &Slices,
        tend: &mut dyn FnMut(),
    ) -> Told<Vec<Vec<f32>>> {
        let position = batch.first - batch.own.first().map_or(0, |own| own.start);
        let own = batch.own.iter().cloned().enumerate();
        let own = own.map(|(index, rows)| (slices.own.start + index, index, rows)).collect();
        let of = (block..block + 1, vectors);
        let nodes = self.gradients_of_slices(rows, how, of, (own, position))?;
        tend();
        nodes.into_iter().map(|node| self.held().read(&self.gradients[node], block)).collect()
    }

    /// Sets the weights of a part of a block.
    fn put(&mut self, block: usize, part: &BlockPart, numbers: &[f32]) -> Told<()> {
        self.own.get_mut()[block].changed();
        let held = self.held();
        let [weights, biases] = part.places(&held.layouts[block]);
        let (of_weights, of_biases) = numbers.split_at(weights.len());
        let [from_weights, from_biases] = held.places(block);
        let first = held.layouts[block].biases();
        held.parameters().weights.write(from_weights + weights.start, of_weights)?;
        held.parameters().biases.write(from_biases + biases.start - first, of_biases)
    }
}
