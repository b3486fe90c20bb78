//! This rank's own class blocks: those that fit lie on the device; the others lie on the host and
//! come to the device whenever rows pass them, in runs, of which a few at a time are there.
//!
//! Class blocks learn independently of each other, so nothing of that can be seen in the bits. What
//! needs no rows the host does itself for blocks that lie there.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::Bounds;
use super::cut::{Cut, Extent, bytes_of, cut};
use super::in_turn::{Beside, Whose, in_turn};
use super::part::{Part, neighbours};
use super::queue::Queue;
use super::rows::Rows;
use super::shuttle::{Rooms, Travels};
use crate::device::host::HeldBlocks;
use crate::device::{
    AllRows, Apart, ByEpoch, ClassBlock, FullBatches, Joint, JointStep, Learn, Leaves, MiniBatches,
    Nodes, Pace, Solving, VARIABLES,
};
use crate::error::Error;
use crate::kernel::mixture::Kernel;
use crate::model::Layout;
use crate::optim::Offered;
use crate::team::Team;

/// Class blocks that learn in the way S.
pub struct Blocks<S> {
    pub(super) queue: Queue,
    /// The first are those that stay.
    pub(super) places: Vec<Place<S>>,
    /// The first block of each place, and the end.
    firsts: Vec<usize>,
    /// Memory for those that come and go; none where all stay.
    pub(super) rooms: Option<Rooms>,
}

/// Where some consecutive blocks lie.
pub(super) enum Place<S> {
    /// On the device: for good, or until others want their memory.
    Here(Box<Part<S>>),
    Home(HeldBlocks<S>),
}

type Told<T> = Result<T, String>;

impl<S> Place<S> {
    /// In place of blocks that are on their way.
    pub(super) fn nobody() -> Place<S> {
        Place::Home(HeldBlocks::new(Vec::new()))
    }
}

impl<S: Solving> Blocks<S> {
    pub(super) fn new(
        queue: &Queue,
        (room, epsilon): (Bounds, f32),
        mut blocks: Vec<ClassBlock<S>>,
    ) -> Told<Blocks<S>> {
        let (vectors, gradients, chains) = blocks.first_mut().map_or((0, 0, 1), |block| {
            let vectors = block.state.take_vectors();
            let count = vectors.len();
            block.state.put_vectors(vectors);
            (count, block.state.gradients(), block.state.chains())
        });
        let like = blocks.first().map(|block| (block.layout.width, block.layout.dummy));
        let width = like.map_or(0, |like| like.0);
        let bytes = bytes_of(width, 1 + vectors + gradients);
        let extents: Vec<Extent> = blocks.iter().map(|block| Extent::of(&block.layout)).collect();
        let Some(Cut { stay, come, slots, slot }) = cut(&extents, bytes, room.blocks_bytes) else {
            let most = bytes(super::cut::largest(&extents));
            return Err(format!("a class block of {most} bytes exceeds {}", room.blocks_bytes));
        };
        let rooms = like.filter(|_| slots > 0).map(|like| {
            // What lasts comes for a gradient alone.
            let vectors = if S::GRADIENT_LASTS { 0 } else { vectors };
            let sizes = (epsilon, vectors, room.logits_bytes);
            Rooms::new(queue, (slots, slot), like, sizes, (S::GRADIENT_LASTS, chains))
        });
        let firsts = [stay.start].into_iter().chain(come.iter().map(|run| run.start));
        let firsts = firsts.chain([blocks.len()]).collect();
        let mut places: Vec<Place<S>> = Vec::new();
        for run in come.into_iter().rev() {
            places.push(Place::Home(HeldBlocks::new(blocks.split_off(run.start))));
        }
        let part = Part::new((queue, room.logits_bytes), epsilon, blocks)?;
        places.push(Place::Here(Box::new(part)));
        places.reverse();
        Ok(Blocks { queue: queue.clone(), places, firsts, rooms })
    }

    pub(super) fn count(&self) -> usize {
        *self.firsts.last().expect("an end")
    }

    /// A block's layout.
    pub(super) fn layout(&self, index: usize) -> Layout {
        match self.at(index) {
            (Place::Here(part), own) => part.held().layouts[own].clone(),
            (Place::Home(home), own) => home.of(own).layout.clone(),
        }
    }

    /// Where a block lies, and which of those there it is.
    fn place(&self, index: usize) -> (usize, usize) {
        let place = self.firsts.partition_point(|first| *first <= index) - 1;
        (place, index - self.firsts[place])
    }

    fn at(&self, index: usize) -> (&Place<S>, usize) {
        let (place, own) = self.place(index);
        (&self.places[place], own)
    }

    pub(super) fn at_mut(&mut self, index: usize) -> (&mut Place<S>, usize) {
        let (place, own) = self.place(index);
        (&mut self.places[place], own)
    }

    /// A block's weights: the same as long as somebody holds them and they don't change.
    pub(super) fn weights(&self, index: usize) -> Told<Arc<Vec<f32>>> {
        self.queue.alive()?;
        match self.at(index) {
            (Place::Here(part), own) => part.weights(own),
            (Place::Home(home), own) => Ok(home.of(own).weights.clone()),
        }
    }

    /// Shows a block with all that it has.
    pub(super) fn read(&self, index: usize, look: &mut dyn FnMut(&ClassBlock<S>)) -> Told<()> {
        self.queue.alive()?;
        match self.at(index) {
            (Place::Here(part), own) => part.read(own, look)?,
            (Place::Home(home), own) => look(home.of(own)),
        }
        Ok(())
    }

    /// Has somebody else change a block's weights.
    pub(super) fn change(&mut self, index: usize, with: &mut dyn FnMut(&mut [f32])) -> Told<()> {
        self.queue.alive()?;
        match self.at_mut(index) {
            (Place::Here(part), own) => part.rewrite(own, |_, weights| with(weights))?,
            (Place::Home(home), own) => {
                with(Arc::<Vec<f32>>::make_mut(&mut home.of_mut(own).weights))
            }
        }
        Ok(())
    }
}

impl<S: ByEpoch> Blocks<S> {
    pub(super) fn class_losses(&self) -> Told<Vec<Vec<f64>>> {
        self.queue.alive()?;
        let mut losses = Vec::new();
        for place in &self.places {
            match place {
                Place::Here(part) => losses.extend(part.class_losses()?),
                Place::Home(home) => losses.extend(home.all().map(|block| block.state.losses())),
            }
        }
        Ok(losses)
    }

    /// Number of blocks that still learn.
    pub(super) fn left(&self) -> usize {
        let left = self.places.iter().map(|place| match place {
            Place::Here(part) => part.left(),
            Place::Home(home) => home.all().filter(|block| !block.state.converged()).count(),
        });
        left.sum()
    }

    /// Ends the learning of classes that have stopped, at where the weights stand.
    pub(super) fn end(&mut self, index: usize, stopped: &[bool]) -> Told<()> {
        self.queue.alive()?;
        match self.at_mut(index) {
            (Place::Here(part), own) => part.end(own, stopped)?,
            (Place::Home(home), own) => {
                let ClassBlock { layout, weights, state } = home.of_mut(own);
                state.end(layout, weights, stopped);
            }
        }
        Ok(())
    }
}

impl Blocks<MiniBatches> {
    /// Takes every block that still learns through the mini-batches of the window that it hasn't
    /// seen. Runs that are there begin; the last ones stay for the next window.
    pub(super) fn learn(&mut self, rows: &Rows, how: &Learn, pace: &mut Pace) -> Told<()> {
        let end = rows.first + rows.count();
        let mut next = VecDeque::new();
        for (index, place) in self.places.iter().enumerate().skip(1) {
            match place {
                Place::Home(home) if home.all().any(|block| block.state.wants(end)) => {
                    next.push_back(index);
                }
                _ => {}
            }
        }
        let work = &mut |_, part: Whose<MiniBatches>, pace: &mut Pace, beside: Beside| match part {
            Whose::Own(part) | Whose::Guest(part) => part.learn(rows, how, pace, beside),
        };
        in_turn(self, next, false, (pace, &|error| error), work)
    }

    /// Exchanges weights and their averages, where there are any.
    pub(super) fn swap_averages(&mut self) {
        self.places.iter_mut().for_each(|place| match place {
            Place::Here(part) => part.swap_averages(),
            Place::Home(home) => home.swap_averages(),
        });
    }

    /// Ends an epoch: the sums of losses of blocks that still learn begin again.
    pub(super) fn end_epoch(&mut self, tolerance: f64) -> Told<()> {
        self.queue.alive()?;
        for place in &mut self.places {
            match place {
                Place::Here(part) => part.end_epoch(tolerance)?,
                Place::Home(home) => home.end_epoch(tolerance),
            }
        }
        Ok(())
    }
}

impl Blocks<Apart> {
    /// Adds what a window's rows give to the own slices of a pass.
    pub(super) fn evaluate(&mut self, rows: &Rows, all: &AllRows, pace: &mut Pace) -> Told<()> {
        add_slices(self, (rows, all), pace, |state| !state.converged)
    }

    /// Has somebody else change a block's state.
    pub(super) fn change_state(
        &mut self,
        index: usize,
        with: &mut dyn FnMut(&mut Apart),
    ) -> Told<()> {
        self.queue.alive()?;
        match self.at_mut(index) {
            (Place::Here(part), own) => part.change_state(own, with)?,
            (Place::Home(home), own) => with(&mut home.of_mut(own).state),
        }
        Ok(())
    }

    /// Takes what the pass has given a block.
    pub(super) fn sums(&mut self, index: usize) -> Nodes {
        match self.at_mut(index) {
            (Place::Here(part), own) => {
                part.begins = true;
                let luggage = part.luggage.get_mut(own);
                luggage.map_or(Vec::new(), |luggage| luggage.complete.nodes())
            }
            (Place::Home(home), own) => home.sums(own),
        }
    }
}

impl Blocks<FullBatches> {
    /// Adds what a window's rows give to every class's value and gradient.
    pub(super) fn evaluate(&mut self, rows: &Rows, all: &AllRows, pace: &mut Pace) -> Told<()> {
        add_slices(self, (rows, all), pace, |state| !state.converged())
    }

    /// Gives every search its value and gradient, and puts its class at the next trial.
    pub(super) fn advance(
        &mut self,
        kernels: &mut [Kernel],
        rows: usize,
        l2: f64,
        offered: &Offered,
    ) -> Told<()> {
        for place in &mut self.places {
            let team = Team::new(kernels);
            match place {
                Place::Here(part) => part.advance(team, rows, l2, offered)?,
                Place::Home(home) => home.advance(team, rows, l2, offered),
            }
        }
        Ok(())
    }

    /// Leaves out what a pass has given so far.
    pub(super) fn forget(&mut self) {
        self.places.iter_mut().for_each(|place| match place {
            Place::Here(part) => part.forget(),
            Place::Home(home) => home.forget(),
        });
    }

    /// Puts every class at its last accepted point.
    pub(super) fn settle(&mut self) -> Told<()> {
        self.queue.alive()?;
        for place in &mut self.places {
            match place {
                Place::Here(part) => part.settle()?,
                Place::Home(home) => home.settle(),
            }
        }
        Ok(())
    }
}

impl Blocks<Joint> {
    /// Both gradients of a mini-batch: with respect to the weights, which stay with them, and each
    /// block's part of dL/dv as a leaf, where that is wanted. Gives each block's losses by class.
    pub(super) fn gradients(
        &mut self,
        rows: &Rows,
        mut slopes: Option<&mut (dyn Leaves + '_)>,
        failed: &dyn Fn(String) -> Error,
    ) -> Result<Vec<Vec<f64>>, Error> {
        let work = &mut |_, part: Whose<_>, _: &mut Pace, beside: Beside| {
            // Each place has the leaves for as long as it is worked on.
            let leaves = slopes.as_mut().map(|leaves| &mut **leaves as &mut dyn Leaves);
            match part {
                Whose::Own(part) => part.gradients(rows, leaves, beside),
                Whose::Guest(part) => part.gradients(rows, leaves, beside),
            }
        };
        let (mut poll, next) = (|| (), (1..self.places.len()).collect());
        let pace = &mut Pace::new(&mut poll, &|| false);
        in_turn(self, next, true, (pace, failed), work)?;
        let mut losses = Vec::new();
        for place in &mut self.places {
            match place {
                Place::Here(part) => losses.extend(part.losses().map_err(failed)?),
                Place::Home(home) => losses.extend(home.losses()),
            }
        }
        Ok(losses)
    }

    /// Squared norms of those gradients, by variable.
    pub(super) fn squares(&self) -> Told<Vec<[f64; VARIABLES]>> {
        self.queue.alive()?;
        let mut squares = Vec::new();
        for place in &self.places {
            match place {
                Place::Here(part) => squares.extend(part.squares()?),
                Place::Home(home) => squares.extend(home.squares()),
            }
        }
        Ok(squares)
    }

    /// Adam's step of every block by its gradient.
    pub(super) fn step(&mut self, kernels: &mut [Kernel], step: &JointStep) -> Told<()> {
        self.queue.alive()?;
        for place in &mut self.places {
            match place {
                Place::Here(part) => part.step(step)?,
                Place::Home(home) => home.step(Team::new(kernels), step),
            }
        }
        Ok(())
    }
}

/// Adds what a window's rows give to the sums of the blocks that `learn`.
fn add_slices<S: Travels>(
    blocks: &mut Blocks<S>,
    passing: (&Rows, &AllRows),
    pace: &mut Pace,
    learn: fn(&S) -> bool,
) -> Told<()> {
    let learning = |place: &mut Place<S>| match place {
        Place::Here(part) => {
            let own = part.own.get_mut().iter();
            neighbours(own.map(|own| learn(&own.block.state)))
        }
        Place::Home(home) => neighbours(home.all().map(|block| learn(&block.state))),
    };
    let learning: Vec<Vec<Range<usize>>> = blocks.places.iter_mut().map(learning).collect();
    let next = (1..learning.len()).filter(|index| !learning[*index].is_empty()).collect();
    let work = &mut |index: usize, part: Whose<S>, pace: &mut Pace, beside: Beside| match part {
        Whose::Own(part) => part.evaluate(&learning[index], passing, pace, beside),
        Whose::Guest(part) => {
            // Its sums came with it.
            part.begins = false;
            part.evaluate(&learning[index], passing, pace, beside)
        }
    };
    in_turn(blocks, next, true, (pace, &|error| error), work)
}
